"""Rule files: YAML and JSON, one rule or many; and the ready rules of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tessera.cli.failure import Failure
from tessera.cli.rule_file import read_rules, rule_as_file
from tessera.domain.alerting.rules import Rule, RuleKind
from tests.unit.domain.alert_events import Watchroom, camera, seen

READY = Path(__file__).parents[3] / "docs" / "rules"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("rule_id: a\nkind: CAMERA_LOST\nlasting: 30", id="one"),
        pytest.param("- rule_id: a\n  kind: camera_lost\n  lasting: 30s", id="a list"),
        pytest.param('[{"rule_id": "a", "kind": "CAMERA_LOST", "lasting": 30.0}]', id="JSON"),
        pytest.param("---\nrule_id: a\nkind: CAMERA_LOST\nlasting: 30s\n---\n", id="documents"),
    ],
)
def test_rules_are_read_however_they_are_written(tmp_path: Path, text: str) -> None:
    """The same rule each time."""
    path = tmp_path / "rules.yaml"
    path.write_text(text.removesuffix("---\n"), encoding="utf-8")
    assert read_rules(path) == [Rule("a", RuleKind.CAMERA_LOST, lasting_s=30.0)]


def test_times_need_no_quotes(tmp_path: Path) -> None:
    """18:00 is a time, and no number to the base of 60; what is written is read again."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "rule_id: a\nkind: SCENE\nmin_probability: 0.5\nschedule: {hours: [{start: 18:00, end: 6:30}]}",
        encoding="utf-8",
    )
    with pytest.raises(Failure, match=r"schedule\.hours\.end"):
        read_rules(path)
    path.write_text(path.read_text(encoding="utf-8").replace("6:30", "06:30"), encoding="utf-8")
    (rule,) = read_rules(path)
    assert rule.schedule is not None
    assert (rule.schedule.hours[0].start, rule.schedule.hours[0].end) == ("18:00", "06:30")
    path.write_text(rule_as_file(rule), encoding="utf-8")
    assert read_rules(path) == [rule]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "has no rules", id="nothing"),
        pytest.param("a: [", "is no rule file", id="no YAML"),
        pytest.param("- rule_id: a\n  kind: SCENE\n- rule_id: a\n  kind: SCENE", "two rules a", id="twice"),
        pytest.param("- rule_id: a\n  kind: SCENE\n- rule_id: b\n  kind: NOISE", r"rule 2 \(b\): kind", id="no kind"),
        pytest.param("!!python/object/apply:os.getcwd []", "is no rule file", id="an object"),
    ],
)
def test_a_file_that_is_none_is_told_why(tmp_path: Path, text: str, complaint: str) -> None:
    """By rule and field."""
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Failure, match=complaint):
        read_rules(path)


def test_the_ready_rules_do_what_they_say() -> None:
    """The three of docs/alerts.md: a watchlist, somebody after hours, cameras."""
    rules = [rule for name in ("watchlist", "after-hours", "cameras") for rule in read_rules(READY / f"{name}.yaml")]
    room = Watchroom(*rules)
    night_s, noon_s = 2 * 3600.0, 12 * 3600.0
    room.take(seen("staff", night_s, "bob"), seen("night", night_s + 1, lasted_s=5.0))
    room.take(seen("noon", noon_s, lasted_s=60.0, ended=True), seen("listed", noon_s, "ada", labels=["watchlist"]))
    room.take(*(camera("LOST", noon_s + n, f"cam{n}") for n in range(3)), camera("COVERED", noon_s + 3))
    room.wait(noon_s + 100)
    assert [(alert.rule_id, alert.sources[0].event_id) for alert in room.alerts.values()] == [
        ("after-hours", "night"),
        ("watchlist", "listed"),
        ("camera-tampered", f"gate-COVERED-{noon_s + 3:g}"),
        ("camera-lost", f"cam0-LOST-{noon_s:g}"),
    ]
