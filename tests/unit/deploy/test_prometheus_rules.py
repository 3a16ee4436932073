"""Rules for Prometheus: checked and tested by its own tool, each alert with its runbook and its tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from deploy.metrics_page import SERVICES
from tessera.chassis.catalogue import entries
from tests.unit.deploy.rule_files import (
    PROMETHEUS,
    RULES,
    RUNBOOKS,
    TESTS,
    Rule,
    alert_tests,
    known_series,
    metrics_in,
    rules,
)

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: that Prometheus takes the rules and fires them stays unproved"
)
CONFIGS = sorted(PROMETHEUS.glob("*.yml"))
ALERTS = [rule for rule in rules() if rule.is_alert]


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """What the tool says; it must be content."""
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], input=text, capture_output=True, text=True, timeout=100, check=False
    )
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    return told


@needs_promtool
def test_rules_and_configuration_pass_without_a_warning() -> None:
    """`promtool check rules` and `check config` find nothing to say but SUCCESS."""
    told = promtool("check", "rules", *RULES) + "".join(promtool("check", "config", path) for path in CONFIGS)
    lines = [line.strip() for line in told.splitlines() if line.strip() and not line.startswith("Checking ")]
    assert len(lines) > len(RULES)
    assert all(line.startswith("SUCCESS: ") for line in lines), told


@needs_promtool
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_metrics_pass_without_a_warning(service: str) -> None:
    """`promtool check metrics` has nothing to say of any metric of a service, each with a child."""
    assert promtool("check", "metrics", text=_page(service)) == ""


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_quiet(path: Path) -> None:
    """`promtool test rules`: each alert fires on what it is for, and on what is usual it does not."""
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_its_runbook_and_its_tests(alert: Rule) -> None:
    """It names a page that is there, in the words of the page's title; a test makes it fire and another keeps it quiet
    on the very series that make it fire, or on others of its expression."""
    page = RUNBOOKS / f"{alert.name}.md"
    assert alert.annotations["runbook"] == f"docs/runbooks/{alert.name}.md"
    assert page.read_text().startswith(f"# {alert.name}\n")
    for heading in ("## Where to look", "## What to do", "## When it is quiet"):
        assert heading in page.read_text()
    assert alert.labels["severity"] in {"page", "ticket"}
    held = [(one["exp_alerts"], block) for name, one, block in alert_tests() if name == alert.name]
    fired = [block for expected, block in held if expected]
    quiet = [block for expected, block in held if not expected]
    assert fired
    assert quiet
    assert all(_series(block) & _series(fired[0]) or _series(block) <= set(_asked(alert)) for block in quiet)


def test_no_runbook_is_left_over_and_each_is_listed() -> None:
    """Pages and alerts are the same set, and the index has a line for each."""
    assert {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"} == {alert.name for alert in ALERTS}
    index = (RUNBOOKS / "README.md").read_text()
    assert all(f"]({alert.name}.md) | {alert.labels['severity']} |" in index for alert in ALERTS)


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: f"{rule.file}-{rule.name}")
def test_every_metric_of_a_rule_is_in_the_catalogue(rule: Rule) -> None:
    """A rule over a metric that nobody exports would never fire, and nobody would know."""
    asked = metrics_in(rule.expr)
    assert asked
    assert asked <= known_series(), asked - known_series()


def test_an_expression_tells_its_metrics() -> None:
    """Functions, labels, durations, numbers and what is joined on are none."""
    expr = 'sum by (job, le) (rate(a_total{x="b_total"}[5m])) / on (c) e:f:rate5m > 1e9 and time() - g_s > 3'
    assert metrics_in(expr) == {"a_total", "e:f:rate5m", "g_s"}


def _series(block: dict[str, Any]) -> set[str]:
    return {one["series"].partition("{")[0] for one in block["input_series"]}


def _asked(alert: Rule) -> set[str]:
    recorded = {rule.name: rule for rule in rules() if not rule.is_alert}
    asked = metrics_in(alert.expr)
    return asked.union(*(metrics_in(recorded[name].expr) for name in asked if name in recorded))


def _page(service: str) -> str:
    registry, made = CollectorRegistry(), SERVICES[service]
    metrics: Any = made
    instance = metrics(registry)
    for attribute, entry in entries(made):
        if entry.labels:
            getattr(instance, attribute).labels(*("x" for _ in entry.labels))
    return generate_latest(registry).decode()
