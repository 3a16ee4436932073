"""One suite, several stores: rules, steps of the judgement, alerts, and that an erased subject is in none of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gallery_svc.happenings import alert_event
from gallery_svc.store.alert_records import AlertingHead, AlertingStep, AlertWrite, RuleRecord
from gallery_svc.store.event_records import CameraEventBody, NewEvent
from gallery_svc.store.protocol import GLOBAL_LOG, Store
from tessera.domain.alerting.alerts import Alert, AlertChange, AlertState, AlertStep, Source, settled
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Day, Hours, Schedule
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.errors import RevisionChangedError
from tessera.domain.ids import CameraId, EventId
from tests.congruence.conftest import ALERTS_KEPT, EVENTS_KEPT
from tests.congruence.store_world import ADA, AT, BOB, LATER, STAFF, audit, audited

RULE = Rule(
    "gate",
    RuleKind.UNKNOWN_PERSON,
    Severity.CRITICAL,
    zones=("yard",),
    schedule=Schedule((Hours("22:00", "06:00", (Day.FRI,)),), "Europe/Berlin"),
    group_by=(Grouping.CAMERA,),
)


def _record(revision: int = 1, rule: Rule = RULE, *, deleted: bool = False) -> RuleRecord:
    return RuleRecord(rule, revision, AT, "eva", deleted)


def _alert(name: str, *subjects: str) -> Alert:
    sources = tuple(Source(f"{name}-{who}", "door", STAFF, who, "shot") for who in subjects)
    at_s = AT.timestamp()
    return Alert(
        name, "gate", 1, RuleKind.WATCHLIST, Severity.WARNING, "Gate", "why", at_s, at_s, at_s + 60, sources=sources
    )


def _told(alert: Alert, before: int = 0) -> AlertWrite:
    return AlertWrite(alert.alert_id, alert, before, (alert_event(alert, alert.updated_s, AT),))


def _event(name: str) -> NewEvent:
    body = CameraEventBody(CameraEventKind.LOST, None, "")
    return NewEvent(EventId(name), CameraId("door"), AT, AT, AT + timedelta(seconds=60), body, "once")


# ---- rules


async def test_rules_keep_their_revisions(store: Store) -> None:
    """The newest of each is listed, by id; each revision can be read again; a deleted one is no longer listed."""
    other = _record(rule=Rule("a", RuleKind.CAMERA_LOST, lasting_s=45.0))
    changed = _record(2, replace(RULE, group_by=()))
    for record in (_record(), other, changed):
        await store.put_rule(record)
    assert await store.list_rules() == (other, changed)
    assert await store.find_rule("gate") == changed
    assert await store.find_rule("gate", 1) == _record()
    await store.put_rule(_record(3, deleted=True))
    assert await store.list_rules() == (other,)
    assert (await store.alerting_head()).live_rules == 1
    assert [await store.find_rule("gate", 3), await store.find_rule("none")] == [_record(3, deleted=True), None]


async def test_two_who_change_a_rule_do_not_overwrite_each_other(store: Store) -> None:
    """The second one is refused; the very same again does nothing."""
    await store.put_rule(_record())
    before = await store.alerting_head()
    await store.put_rule(_record())
    assert await store.alerting_head() == before
    for revision in (1, 3):
        with pytest.raises(RevisionChangedError):
            await store.put_rule(_record(revision, replace(RULE, severity=Severity.INFO)))


async def test_the_first_rule_judges_nothing_that_was_before_it(store: Store) -> None:
    """Also when there were others before, and none in between."""
    await store.record_event(_event("c1"), None)
    await store.put_rule(_record())
    assert (await store.alerting_head()).cursor == 1
    await store.record_event(_event("c2"), None)
    await store.put_rule(_record(rule=replace(RULE, rule_id="second")))
    assert (await store.alerting_head()).cursor == 1
    for rule_id in ("gate", "second"):
        await store.put_rule(_record(2, replace(RULE, rule_id=rule_id), deleted=True))
    before = await store.alerting_head()
    await store.put_rule(_record(3))
    after = await store.alerting_head()
    assert (before.cursor, after.cursor, after.live_rules) == (1, 2, 1)
    assert after.version > before.version


# ---- the judgement


async def test_a_step_is_written_whole(store: Store) -> None:
    """Cursor, what is remembered, the alert and its event; what is remembered is told back, the newest of each."""
    assert await store.alerting_head() == AlertingHead(0, 0, 0, 0)
    alert = _alert("alert-1", ADA)
    (event,) = await store.commit_alerting(AlertingStep(0, 7, {"i|a": "[1]", "i|b": "[2]"}, (_told(alert),))) or []
    assert (event.sequence, event.revision, event.event.body) == (1, 1, alert)
    assert await store.events_after(0, 10) == [event]
    await store.commit_alerting(AlertingStep(1, 9, {"i|a": "", "i|b": "[3]", "c|": "1.5"}))
    assert await store.alerting_state() == (AlertingHead(2, 9, 0, 0), {"i|b": "[3]", "c|": "1.5"})
    kept = (await store.find_alerts(["alert-1", "none"]))["alert-1"]
    assert (kept.alert, kept.revision, kept.number) == (alert, 1, 1)


async def test_of_two_who_judge_one_writes(store: Store) -> None:
    """The other one is told, and nothing of its step is there."""
    assert await store.commit_alerting(AlertingStep(0, 3)) == []
    late = AlertingStep(0, 4, {"i|a": "[1]"}, (_told(_alert("alert-1")),))
    assert await store.commit_alerting(late) is None
    assert await store.alerting_state() == (AlertingHead(1, 3, 0, 0), {})
    assert (await store.find_alerts(["alert-1"]), (await store.event_head()).newest) == ({}, 0)


async def test_a_step_does_not_overwrite_what_a_person_did(store: Store) -> None:
    """Whoever read the alert before somebody acknowledged it reads it again, and writes both."""
    alert = _alert("alert-1", ADA)
    await store.commit_alerting(AlertingStep(0, 1, alerts=(_told(alert),)))
    seen_to = settled(alert, AlertStep(AlertState.ACKNOWLEDGED, LATER.timestamp(), "eva"))
    assert len(await store.amend_alert(_told(seen_to, 1), audit("AcknowledgeAlert", None)) or []) == 1
    grown = replace(alert, suppressed_events=4)
    assert await store.commit_alerting(AlertingStep(1, 2, alerts=(AlertWrite("alert-1", grown, 1),))) is None
    grown = replace(seen_to, suppressed_events=4)
    assert await store.commit_alerting(AlertingStep(1, 2, alerts=(AlertWrite("alert-1", grown, 2),))) == []
    kept = (await store.find_alerts(["alert-1"]))["alert-1"]
    assert (kept.alert, kept.revision) == (grown, 3)
    assert await store.amend_alert(_told(seen_to, 2), None) is None
    assert [record.event.body for record in await store.events_after(0, 9)] == [alert, seen_to]
    assert [entry.method for entry in await audited(store, GLOBAL_LOG)] == ["AcknowledgeAlert"]


async def test_messages_are_revisions_of_one_event(store: Store) -> None:
    """In order, several of a step; the newest is the event."""
    first = _alert("alert-1", ADA)
    second = replace(first, messages=2, change=AlertChange.REMINDED, suppressed_events=9)
    told = (*_told(first).told, *_told(second).told)
    events = await store.commit_alerting(AlertingStep(0, 1, alerts=(AlertWrite("alert-1", second, 0, told),))) or []
    assert [(event.sequence, event.revision) for event in events] == [(1, 1), (2, 2)]
    assert await store.find_event(EventId("alert-1")) == events[-1]


async def test_alerts_are_listed_newest_first(store: Store) -> None:
    """From any of them on."""
    for n in range(1, 6):
        await store.commit_alerting(AlertingStep(n - 1, n, alerts=(_told(_alert(f"alert-{n}", ADA)),)))
    assert [kept.number for kept in await store.alerts_before(0, 3)] == [5, 4, 3]
    assert [kept.alert.alert_id for kept in await store.alerts_before(3, 9)] == ["alert-2", "alert-1"]
    assert await store.alerts_before(1, 9) == []


async def test_old_alerts_go_by_count(store: Store) -> None:
    """The oldest first; an erasure finds the others."""
    writes = [_told(_alert(f"alert-{n}", ADA)) for n in range(ALERTS_KEPT + 2)]
    for n, write in enumerate(writes):
        await store.commit_alerting(AlertingStep(n, n, alerts=(write,)))
    kept = await store.alerts_before(0, 100)
    assert [one.number for one in kept] == list(range(ALERTS_KEPT + 2, 2, -1))
    await store.erase_events(STAFF, ADA)
    assert await store.alerts_before(0, 100) == []


async def test_messages_push_old_events_out(store: Store) -> None:
    """Retention by count holds for alerts as for all events; an alert outlives its messages."""
    for n in range(EVENTS_KEPT + 3):
        await store.commit_alerting(AlertingStep(n, n, alerts=(_told(_alert(f"alert-{n}", ADA)),)))
    head = await store.event_head()
    assert (head.newest, head.oldest) == (EVENTS_KEPT + 3, 4)
    assert await store.find_event(EventId("alert-0")) is None
    assert len(await store.alerts_before(0, 100)) == EVENTS_KEPT + 3


async def test_an_erased_subject_is_in_no_alert(store: Store) -> None:
    """Its own alerts go, it leaves those that name others, and no message that named it is left."""
    alone, both, other = _alert("alert-1", ADA), _alert("alert-2", ADA, BOB), _alert("alert-3", BOB)
    await store.commit_alerting(AlertingStep(0, 1, alerts=tuple(map(_told, (alone, both, other)))))
    assert await store.erase_events(STAFF, ADA) == 2
    left = [kept.alert for kept in await store.alerts_before(0, 9)]
    assert left == [other, both.without(STAFF, ADA)]
    assert [record.event.body for record in await store.events_after(0, 9)] == [other]
    assert await store.erase_events(STAFF, ADA) == 0
    # What is told of it from now on is told, and Bob's erasure finds it.
    kept = (await store.find_alerts(["alert-2"]))["alert-2"]
    again = replace(kept.alert, messages=2)
    assert len(await store.commit_alerting(AlertingStep(1, 2, alerts=(_told(again, kept.revision),))) or []) == 1
    await store.erase_events(STAFF, BOB)
    assert (await store.alerts_before(0, 9), await store.events_after(0, 9)) == ([], [])
