"""Rules and alerts as messages: nothing is lost on the way, and what is no rule is refused by its field."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tessera.client.alert_values import StoredRule
from tessera.client.alert_wire import alert_from_wire
from tessera.client.rule_wire import rule_from_wire, rule_to_wire, stored_rule_from_wire, stored_rule_to_wire
from tessera.client.wire import time_to_wire
from tessera.domain.alerting import alerts, rules, schedules
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Day, Hours, Schedule
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.errors import InvalidInputError
from tessera.v1 import events_pb2, rules_pb2
from tests.unit.client.fake_messages import NOW

EVERY_WORD = [
    (events_pb2.RuleKind, "RULE_KIND_", rules.RuleKind),
    (events_pb2.Severity, "SEVERITY_", rules.Severity),
    (events_pb2.AlertState, "ALERT_STATE_", alerts.AlertState),
    (events_pb2.AlertChange, "ALERT_CHANGE_", alerts.AlertChange),
    (events_pb2.CameraEventKind, "CAMERA_EVENT_KIND_", CameraEventKind),
    (rules_pb2.Grouping, "GROUPING_", rules.Grouping),
    (rules_pb2.Weekday, "WEEKDAY_", schedules.Day),
]


@pytest.mark.parametrize(("enum", "prefix", "words"), EVERY_WORD, ids=[prefix for _, prefix, _ in EVERY_WORD])
def test_the_contract_has_the_domains_words(enum: object, prefix: str, words: type[rules.RuleKind]) -> None:
    """Each word is there under its prefix, and no other one."""
    names = set(enum.keys()) - {f"{prefix}UNSPECIFIED"}  # type: ignore[attr-defined]
    assert names == {f"{prefix}{word}" for word in words}


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            Rule(
                "gate",
                RuleKind.UNKNOWN_PERSON,
                Severity.CRITICAL,
                "Somebody",
                enabled=False,
                camera_ids=("gate",),
                zones=("yard", "hall"),
                dwell_s=12.5,
                schedule=Schedule((Hours("22:00", "06:00", (Day.FRI,)),), "Europe/Berlin", outside=True),
                group_by=(),
                cooldown_s=0.0,
                remind_s=0.0,
                messages_per_hour=1,
                time_to_live_s=5.0,
            ),
            id="unknown",
        ),
        pytest.param(
            Rule("s", RuleKind.SCENE, camera_event_kinds=(CameraEventKind.MOVED,), min_probability=0.7), id="scene"
        ),
        pytest.param(
            Rule("w", RuleKind.WATCHLIST, labels=("x",), group_by=(Grouping.LINK, Grouping.CAMERA)), id="watchlist"
        ),
        pytest.param(Rule("v", RuleKind.FAILED_VERIFIES, count=3, window_s=90.0), id="verifies"),
        pytest.param(Rule("l", RuleKind.CAMERA_LOST, lasting_s=45.0), id="lost"),
    ],
)
def test_a_rule_survives_the_wire(rule: Rule) -> None:
    """Also what is 0 or empty on purpose."""
    assert rule_from_wire(rule_to_wire(rule)) == rule
    stored = StoredRule(rule, 3, NOW, "eva", deleted=True)
    assert stored_rule_from_wire(stored_rule_to_wire(stored)) == stored


def test_what_a_message_leaves_out_is_as_usual() -> None:
    """A caller in another language sets an id and a kind, and gets the rule that a file of two lines makes."""
    message = rules_pb2.Rule(rule_id="lost", kind=events_pb2.RULE_KIND_CAMERA_LOST)
    assert rule_from_wire(message) == Rule("lost", RuleKind.CAMERA_LOST)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        pytest.param(rules_pb2.Rule(rule_id="a"), "kind", id="no kind"),
        pytest.param(rules_pb2.Rule(rule_id="a", kind=77), "kind", id="a kind of a later version"),  # type: ignore[arg-type]
        pytest.param(rules_pb2.Rule(kind=events_pb2.RULE_KIND_SCENE), "rule_id", id="no id"),
        pytest.param(
            rules_pb2.Rule(rule_id="a", kind=events_pb2.RULE_KIND_SCENE, group_by=rules_pb2.GroupBy(groupings=[0])),
            "group_by",
            id="no grouping",
        ),
    ],
)
def test_what_is_no_rule_is_refused(message: rules_pb2.Rule, field: str) -> None:
    """By its field."""
    with pytest.raises(InvalidInputError) as refused:
        rule_from_wire(message)
    assert refused.value.field == field


def test_an_alert_is_told_whole() -> None:
    """Every field of the message is somewhere in the SDK's value."""
    moment, later = time_to_wire(NOW), time_to_wire(NOW + timedelta(seconds=60))
    message = events_pb2.Alert(
        alert_id="alert-1",
        rule_id="list",
        severity=events_pb2.SEVERITY_CRITICAL,
        state=events_pb2.ALERT_STATE_ACKNOWLEDGED,
        summary="somebody",
        event_ids=["e1"],
        opened_at=moment,
        updated_at=moment,
        actor="eva",
        comment="looking",
        suppressed_events=7,
        rule_revision=2,
        kind=events_pb2.RULE_KIND_WATCHLIST,
        change=events_pb2.ALERT_CHANGE_REMINDED,
        title="List",
        camera_ids=["gate"],
        subjects=[events_pb2.AlertSubject(collection_id="staff", subject_id="ada", display_name="Ada")],
        steps=[
            events_pb2.AlertStep(state=events_pb2.ALERT_STATE_ACKNOWLEDGED, at=moment, actor="eva", comment="looking")
        ],
        held_back=3,
        messages=4,
        best_shot_id="shot-1",
        valid_until=later,
    )
    assert len(message.ListFields()) == len(events_pb2.Alert.DESCRIPTOR.fields)
    alert = alert_from_wire(message)
    assert (alert.severity, alert.state, alert.kind) == (
        Severity.CRITICAL,
        alerts.AlertState.ACKNOWLEDGED,
        RuleKind.WATCHLIST,
    )
    assert (alert.change, alert.suppressed_events, alert.held_back, alert.messages) == (
        alerts.AlertChange.REMINDED,
        7,
        3,
        4,
    )
    assert (alert.subjects[0].display_name, alert.steps[0].actor, alert.best_shot_id) == ("Ada", "eva", "shot-1")
    assert (alert.valid_until - alert.opened_at).total_seconds() == 60
