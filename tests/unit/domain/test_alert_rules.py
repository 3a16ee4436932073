"""Rules as data: what they may hold, schedules in time zones, texts and back, and what people do with alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.alerting.alerts import Alert, AlertState, AlertStep, Source, settled
from tessera.domain.alerting.rule_text import read_duration, rule_from, rule_to
from tessera.domain.alerting.rules import DAY_S, Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Day, Hours, Schedule
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.errors import InvalidInputError, PreconditionError

WHOLE = Rule(
    "gate-at-night",
    RuleKind.UNKNOWN_PERSON,
    Severity.CRITICAL,
    display_name="Somebody at the gate",
    enabled=False,
    camera_ids=("gate",),
    collection_ids=("staff",),
    zones=("yard",),
    dwell_s=20.0,
    schedule=Schedule((Hours("22:00", "06:00", (Day.FRI,)),), "Europe/Berlin", outside=True),
    group_by=(Grouping.CAMERA, Grouping.LINK),
    cooldown_s=90.0,
    remind_s=0.0,
    messages_per_hour=3,
    time_to_live_s=7200.0,
)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(WHOLE, id="whole"),
        pytest.param(Rule("lost", RuleKind.CAMERA_LOST, lasting_s=DAY_S), id="lost"),
        pytest.param(
            Rule("s", RuleKind.SCENE, camera_event_kinds=(CameraEventKind.MOVED,), min_probability=0.5), id="scene"
        ),
        pytest.param(Rule("v", RuleKind.FAILED_VERIFIES, count=3, window_s=1.5, subject_ids=("ada",)), id="verifies"),
        pytest.param(Rule("w", RuleKind.WATCHLIST, labels=("banned",), group_by=()), id="watchlist"),
    ],
)
def test_a_rule_survives_its_text(rule: Rule) -> None:
    """What is written is read as the same rule, and leaves out what is usual."""
    told = rule_to(rule)
    assert rule_from(told) == rule
    assert "messages_per_hour" in told or rule is not WHOLE
    assert "camera_ids" not in rule_to(Rule("lost", RuleKind.CAMERA_LOST))


@pytest.mark.parametrize(
    ("told", "field"),
    [
        pytest.param([], "rule", id="no object"),
        pytest.param({"kind": "SCENE"}, "rule_id", id="no id"),
        pytest.param({"rule_id": "a"}, "kind", id="no kind"),
        pytest.param({"rule_id": "a b", "kind": "SCENE"}, "rule_id", id="bad id"),
        pytest.param({"rule_id": "a", "kind": "NOISE"}, "kind", id="unknown kind"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "cool_down": "5min"}, "rule.cool_down", id="misspelt"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "cooldown": "five"}, "cooldown", id="no duration"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "cooldown": "2d"}, "cooldown_s", id="too long"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "zones": ["x"]}, "zones", id="not of this kind"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "camera_ids": "gate"}, "camera_ids", id="no list"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "camera_event_kinds": ["BURNT"]}, "camera_event_kinds", id="k"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "enabled": 1}, "enabled", id="no flag"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "messages_per_hour": True}, "messages_per_hour", id="a flag"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "messages_per_hour": 0}, "messages_per_hour", id="no message"),
        pytest.param({"rule_id": "a", "kind": "SCENE", "min_probability": 1.1}, "min_probability", id="no rate"),
        pytest.param({"rule_id": "a", "kind": "WATCHLIST"}, "labels", id="an empty list"),
        pytest.param({"rule_id": "a", "kind": "FAILED_VERIFIES", "count": 1}, "count", id="one is not many"),
        pytest.param(
            {"rule_id": "a", "kind": "SCENE", "schedule": {"hours": []}}, "schedule.hours", id="a schedule of nothing"
        ),
        pytest.param(
            {"rule_id": "a", "kind": "SCENE", "schedule": {"hours": [{"start": "7:00", "end": "18:00"}]}},
            "schedule.hours.start",
            id="no clock",
        ),
        pytest.param(
            {
                "rule_id": "a",
                "kind": "SCENE",
                "schedule": {"time_zone": "Mars/Base", "hours": [{"start": "07:00", "end": "18:00"}]},
            },
            "schedule.time_zone",
            id="no zone",
        ),
    ],
)
def test_what_is_no_rule_is_refused_by_its_field(told: Any, field: str) -> None:
    """With the field's name, so that whoever wrote it knows where to look."""
    with pytest.raises(InvalidInputError) as refused:
        rule_from(told)
    assert refused.value.field == field


@pytest.mark.parametrize(("told", "seconds"), [("90s", 90), ("10min", 600), ("2h", 7200), ("1d", DAY_S), (1.5, 1.5)])
def test_durations_have_units(told: object, seconds: float) -> None:
    """Seconds, minutes, hours, days; a number is seconds."""
    assert read_duration("cooldown", told) == seconds


# ---- schedules


def _utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_hours_go_over_midnight_on_the_day_on_which_they_begin() -> None:
    """Friday 22:00 to Saturday 06:00, and no other night."""
    table = Schedule((Hours("22:00", "06:00", (Day.FRI,)),)).compiled()
    holds = [table.holds_at(_utc(f"2026-11-{day}T{clock}")) for day, clock in ((27, "21:59"), (27, "22:00"))]
    assert holds == [False, True]
    assert table.holds_at(_utc("2026-11-28T05:59:59"))
    assert not table.holds_at(_utc("2026-11-28T06:00"))
    assert not table.holds_at(_utc("2026-11-27T03:00"))


def test_hours_are_those_of_the_wall_clock_summer_and_winter() -> None:
    """08:00 in Berlin is 07:00 UTC in winter and 06:00 UTC in summer."""
    table = Schedule((Hours("08:00", "09:00"),), "Europe/Berlin").compiled()
    assert [table.holds_at(_utc(f"2026-01-05T0{hour}:30")) for hour in (6, 7, 8)] == [False, True, False]
    assert [table.holds_at(_utc(f"2026-07-06T0{hour}:30")) for hour in (5, 6, 7)] == [False, True, False]


@given(
    st.integers(0, 7 * 24 * 60 - 1), st.sampled_from(["07:00", "00:00", "23:30"]), st.sampled_from(["18:00", "24:00"])
)
def test_outside_is_the_other_half(minute: int, start: str, end: str) -> None:
    """At each minute of a week exactly one of the two holds."""
    at_s = _utc("2026-11-23T00:00") + 60 * minute
    hours = (Hours(start, end, (Day.MON, Day.WED)),)
    inside, outside = Schedule(hours).compiled(), Schedule(hours, outside=True).compiled()
    assert inside.holds_at(at_s) is not outside.holds_at(at_s)


# ---- people and alerts

ALERT = Alert(
    "alert-1", "list", 1, RuleKind.WATCHLIST, Severity.WARNING, "List", "why", 10.0, 10.0, 70.0,
    sources=(Source("e1", "gate", "staff", "ada"), Source("e2", "yard", "staff", "bob")),
)  # fmt: skip


def _step(state: AlertState, actor: str = "eva", **fields: Any) -> AlertStep:
    return AlertStep(state, 20.0, actor, **fields)


def test_an_alert_is_acknowledged_and_resolved_by_somebody() -> None:
    """Who, when and why stay on it, in order; what is resolved stays so."""
    seen_to = settled(ALERT, _step(AlertState.ACKNOWLEDGED))
    done = settled(seen_to, _step(AlertState.RESOLVED, "bo", comment="the gardener"))
    assert [(step.state, step.actor, step.comment) for step in done.steps] == [
        (AlertState.ACKNOWLEDGED, "eva", ""),
        (AlertState.RESOLVED, "bo", "the gardener"),
    ]
    assert done.state is AlertState.RESOLVED
    with pytest.raises(PreconditionError, match="ALERT_RESOLVED"):
        settled(done, _step(AlertState.ACKNOWLEDGED, "cy"))
    with pytest.raises(PreconditionError, match="ALERT_ACKNOWLEDGED"):
        settled(seen_to, _step(AlertState.ACKNOWLEDGED, "cy"))


def test_the_same_request_again_changes_nothing() -> None:
    """By its id, or word for word."""
    once = settled(ALERT, _step(AlertState.ACKNOWLEDGED, request_id="r1"))
    assert settled(once, _step(AlertState.ACKNOWLEDGED, "somebody else", request_id="r1")) == once
    assert settled(once, _step(AlertState.ACKNOWLEDGED)) == once


@pytest.mark.parametrize(("actor", "comment"), [("", ""), ("rule:list", ""), ("e" * 129, ""), ("eva", "x" * 501)])
def test_nobody_settles_an_alert_without_a_name(actor: str, comment: str) -> None:
    """Nor as a rule, nor with a novel."""
    with pytest.raises(InvalidInputError):
        settled(ALERT, _step(AlertState.RESOLVED, actor, comment=comment))


def test_an_erased_subject_is_in_no_alert() -> None:
    """The others stay; an alert that was about nobody else is gone."""
    without = ALERT.without("staff", "ada")
    assert without is not None
    assert [source.subject_id for source in without.sources] == ["bob"]
    assert without.without("staff", "bob") is None
    assert not without.names("staff", "ada")
