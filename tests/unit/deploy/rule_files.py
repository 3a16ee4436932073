"""The rules, their tests and the dashboards of `deploy/` as values, and the metrics that an expression names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.metrics_page import all_entries

DEPLOY = Path(__file__).parents[3] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"

_ELSEWHERE = {"up", "process_start_time_seconds", "process_resident_memory_bytes"}
_SUFFIXES = {"Histogram": ("_bucket", "_sum", "_count"), "Counter": ("",), "Gauge": ("",)}
_STRINGS = re.compile(r'"[^"]*"')
_BY = re.compile(r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)")
_LABELS = re.compile(r"\{[^}]*\}")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_:]*")
_WORDS = frozenset(
    re.findall(
        r"\w+",
        """sum max min avg count rate increase deriv changes histogram_quantile time offset and or unless bool
        clamp_min count_values topk quantile label_replace absent sort_desc sort vector resets delta inf nan
        by on ignoring without
        """,
    )
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: an alert, or a recorded expression."""

    file: str
    name: str
    expr: str
    is_alert: bool
    labels: dict[str, str]
    annotations: dict[str, str]


@cache
def rules() -> tuple[Rule, ...]:
    """All of them."""
    return tuple(_read_rules())


def _read_rules() -> Iterator[Rule]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for raw in group["rules"]:
                name = raw.get("alert") or raw["record"]
                yield Rule(
                    path.name, name, raw["expr"], "alert" in raw, raw.get("labels", {}), raw.get("annotations", {})
                )


@cache
def alert_tests() -> tuple[tuple[str, dict[str, Any], dict[str, Any]], ...]:
    """(alert, what is held of it, the block that it stands in) of each test of `promtool test rules`."""
    return tuple(_read_tests())


def _read_tests() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for path in TESTS:
        for block in yaml.safe_load(path.read_text())["tests"]:
            for held in block["alert_rule_test"]:
                yield held["alertname"], held, block


def metrics_in(expr: str) -> set[str]:
    """Names of the series that an expression asks for."""
    bare = _BY.sub(" ", _LABELS.sub(" ", _STRINGS.sub('""', expr)))
    bare = re.sub(r"\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b\d+(\.\d+)?(e[+-]?\d+)?[smhdw]?\b", " ", bare)
    return {word for word in _NAME.findall(bare) if word.lower() not in _WORDS}


def known_series() -> set[str]:
    """Names that can be asked for: of the catalogue, recorded, and what Prometheus and its client library add."""
    exported = {entry.name + suffix for entry in all_entries() for suffix in _SUFFIXES[entry.kind.__name__]}
    return exported | {rule.name for rule in rules() if not rule.is_alert} | _ELSEWHERE
