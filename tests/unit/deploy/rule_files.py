"""The rules, their tests and the dashboards of `deploy/` as values, and the metrics that an expression names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"

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


def rules() -> Iterator[Rule]:
    """All of them."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for raw in group["rules"]:
                name = raw.get("alert") or raw["record"]
                yield Rule(
                    path.name, name, raw["expr"], "alert" in raw, raw.get("labels", {}), raw.get("annotations", {})
                )


def alert_tests() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(alert, what is held of it, the block that it stands in) of each test of `promtool test rules`."""
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
