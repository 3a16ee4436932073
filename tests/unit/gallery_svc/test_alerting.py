"""The judgement over a real log: each alert comes once, whoever judges and wherever it is broken off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.alert_desk import AlertDesk, AlertQuery
from gallery_svc.alerting import Alerting
from gallery_svc.events import EventLog
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.rule_book import RuleBook, Span
from gallery_svc.store.event_records import CameraEventBody, NewEvent, SightingBody
from gallery_svc.store.memory import MemoryStore
from tessera.chassis.clock import SystemClock
from tessera.domain.alerting.alerts import Alert, AlertState
from tessera.domain.alerting.rules import Rule, RuleKind
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.errors import NotFoundError, OutcomeUnknownError, PreconditionError, UnavailableError
from tessera.domain.ids import CameraId, CollectionId, EventId, SubjectId, TrackletId
from tessera.domain.observation import Box, Quality
from tests.eventually import eventually

LIST = Rule("list", RuleKind.WATCHLIST, labels=("banned",), cooldown_s=30.0)
LOST = Rule("lost", RuleKind.CAMERA_LOST, lasting_s=30.0)
BEGAN = datetime(2026, 11, 23, 12, tzinfo=UTC)


class HandClock(SystemClock):
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at = BEGAN

    def now(self) -> datetime:
        """Where the hand points."""
        return self.at

    def monotonic_s(self) -> float:
        """The same in seconds."""
        return self.at.timestamp()


class BrokenStore:
    """A store in memory whose n-th call fails: before it was carried out, or after."""

    def __init__(self, store: MemoryStore, fails_at: int, *, carried_out: bool) -> None:
        self._store = store
        self._fails_at = fails_at
        self._carried_out = carried_out
        self.calls = 0

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._store, name)

        async def called(*args: Any) -> Any:
            self.calls += 1
            if self.calls != self._fails_at:
                return await method(*args)
            if self._carried_out:
                await method(*args)
                raise OutcomeUnknownError("", "CONNECTION")
            raise UnavailableError("store")

        return called


class Post:
    """A gallery as far as alerts go, over a store that others share."""

    def __init__(self, store: Any, clock: HandClock, name: str = "gallery-1") -> None:
        self.metrics = GalleryMetrics(CollectorRegistry())
        self.events = EventLog(store, clock, self.metrics, 5.0, 0.01)
        self.alerting = Alerting(
            store=store, events=self.events, clock=clock, metrics=self.metrics, member_id=name, lease_s=6.0
        )
        self.desk = AlertDesk(store, self.events, clock, self.metrics)

    async def work(self) -> None:
        """Judge until there is nothing more."""
        while await self.alerting.step():
            pass


def seen(name: str, at_s: float, subject_id: str = "ada", *, ended: bool = False) -> NewEvent:
    """Somebody who is on the list is seen; an empty id: somebody who is not enrolled."""
    at = BEGAN + timedelta(seconds=at_s)
    body = SightingBody(
        tracklet_id=TrackletId(name),
        collection_id=CollectionId("staff"),
        modality=Modality.FACE,
        outcome=Outcome.MATCH if subject_id else Outcome.UNKNOWN,
        reasons=(),
        threshold=None,
        model_id=None,
        evidence_id="",
        decided_at=at,
        decision_revision=1,
        subject_id=SubjectId(subject_id) if subject_id else None,
        first_seen=at,
        last_seen=at,
        frame_count=1,
        box=Box(0, 0, 1, 1),
        quality=Quality(0, 0, 0, 0, 0, 0),
        ended=ended,
        capture_to_decision_s=0.0,
        labels=("banned",) if subject_id else (),
    )
    return NewEvent(EventId(name), CameraId("gate"), at, at, at + timedelta(seconds=5), body, f"{subject_id}/{ended}")


def camera(kind: str, at_s: float) -> NewEvent:
    """Something happens to the camera."""
    at = BEGAN + timedelta(seconds=at_s)
    body = CameraEventBody(CameraEventKind[kind], None, "")
    return NewEvent(EventId(f"{kind}-{at_s:g}"), CameraId("gate"), at, at, at + timedelta(seconds=60), body, "once")


EVENTS = [
    seen("a", 0),
    seen("b", 10),
    camera("LOST", 12),
    seen("a", 20, ended=True),
    seen("c", 70, "bob"),
    seen("c", 75, ""),
    camera("ONLINE", 90),
    seen("d", 200),
]
"""Two hits of Ada's that are one alert, a camera that is lost and comes back, a hit that is revised, and a last one."""


async def _all_alerts(store: MemoryStore) -> list[Alert]:
    return [kept.alert for kept in await store.alerts_before(0, 100)]


async def _messages(store: MemoryStore) -> list[tuple[str, str, int]]:
    records = await store.events_after(0, 1000)
    return [
        (record.event.event_id, record.event.body.change, record.revision)
        for record in records
        if isinstance(record.event.body, Alert)
    ]


async def _fresh(*rules: Rule) -> tuple[MemoryStore, HandClock]:
    clock = HandClock()
    store = MemoryStore(seconds=clock.monotonic_s)
    for rule in rules:
        await RuleBook(store, clock).put(rule, 0, "eva")
    return store, clock


async def _expected() -> tuple[list[Alert], set[tuple[str, str, int]]]:
    store, clock = await _fresh(LIST, LOST)
    post = Post(store, clock)
    for event in EVENTS:
        clock.at = event.recorded_at
        await store.record_event(event, None)
        await post.work()
    return await _all_alerts(store), set(await _messages(store))


async def test_events_become_alerts_and_messages() -> None:
    """In the log, in order; what happened before the first rule does not count, nor what a rule itself told."""
    alerts, messages = await _expected()
    assert [(alert.rule_id, alert.change) for alert in reversed(alerts)] == [
        ("list", "OPENED"),
        ("lost", "ENDED"),
        ("list", "WITHDRAWN"),
        ("list", "OPENED"),
    ]
    assert len(messages) == 6
    assert [source.event_id for source in alerts[-1].sources] == ["a", "b"]


@pytest.mark.parametrize("carried_out", [False, True], ids=["lost", "carried out"])
async def test_broken_off_at_any_step_it_decides_the_same(carried_out: bool) -> None:
    """At each call of the store: whoever comes next goes on, and each alert and each message is there once."""
    expected = await _expected()
    fails_at = 1
    while True:
        store, clock = await _fresh(LIST, LOST)
        broken = BrokenStore(store, fails_at, carried_out=carried_out)
        post = Post(broken, clock)
        for event in EVENTS:
            clock.at = event.recorded_at
            await store.record_event(event, None)
            try:
                await post.work()
            except (UnavailableError, OutcomeUnknownError):
                post = Post(broken, clock)  # killed, and started again
                await post.work()
        assert (await _all_alerts(store), set(await _messages(store))) == expected
        if broken.calls < fails_at:
            break
        fails_at += 1
    assert fails_at > 30


async def test_one_gallery_judges_and_another_goes_on() -> None:
    """While the first one lives the second does nothing; once its lease has ended, the second begins where it was."""
    store, clock = await _fresh(LIST)
    first, second = Post(store, clock, "gallery-1"), Post(store, clock, "gallery-2")
    await store.record_event(seen("a", 0), None)
    await first.work()
    await store.record_event(seen("b", 100), None)
    await second.work()
    assert len(await _all_alerts(store)) == 1
    clock.at += timedelta(seconds=6.1)
    await second.work()
    assert len(await _all_alerts(store)) == 2
    await store.record_event(seen("c", 200), None)
    await first.work()
    assert len(await _all_alerts(store)) == 2


async def test_two_that_judge_at_once_tell_each_alert_once() -> None:
    """A gallery that was paused for longer than its lease wakes up in its step: the other one wrote it already."""
    store, clock = await _fresh(LIST)
    first, second = Post(store, clock, "gallery-1"), Post(store, clock, "gallery-2")
    await first.work()
    for n in range(20):
        await store.record_event(seen(f"e{n}", 40.0 * n), None)

    class Paused:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def commit_alerting(self, step: Any) -> Any:
            clock.at += timedelta(seconds=7)
            await second.work()
            return await store.commit_alerting(step)

    late = Post(Paused(), clock, "gallery-1")
    assert await late.alerting.step()
    assert len(await _all_alerts(store)) == 12
    assert [revision for _, _, revision in await _messages(store)] == [1] * 12


async def test_a_moment_comes_without_an_event() -> None:
    """A camera that is away is told by the clock, a second after it is due: what is on its way comes before."""
    store, clock = await _fresh(LOST)
    post = Post(store, clock)
    await store.record_event(camera("LOST", 0), None)
    await post.work()
    clock.at = BEGAN + timedelta(seconds=30.9)
    await post.work()
    assert await _all_alerts(store) == []
    clock.at = BEGAN + timedelta(seconds=31.1)
    await post.work()
    (alert,) = await _all_alerts(store)
    assert alert.opened_s == (BEGAN + timedelta(seconds=30)).timestamp()


async def test_a_changed_rule_holds_from_the_next_event_on() -> None:
    """Without a restart; the alert names the revision that opened it."""
    store, clock = await _fresh(LIST)
    post, book = Post(store, clock), RuleBook(store, clock)
    await store.record_event(seen("a", 0), None)
    await post.work()
    await book.put(Rule("list", RuleKind.WATCHLIST, labels=("banned",), cooldown_s=0.0), 1, "eva")
    await store.record_event(seen("b", 10), None)
    await post.work()
    assert [alert.rule_revision for alert in await _all_alerts(store)] == [2, 1]
    await book.delete("list", 2, "eva")
    await store.record_event(seen("c", 20), None)
    await post.work()
    assert len(await _all_alerts(store)) == 2
    with pytest.raises(NotFoundError):
        await book.get("list")
    assert (await book.get("list", 1)).rule == LIST


async def test_what_a_person_resolved_is_judged_as_such() -> None:
    """The alert stays resolved while events join it, and another one opens after the cooldown."""
    store, clock = await _fresh(LIST)
    post = Post(store, clock)
    await store.record_event(seen("a", 0), None)
    await post.work()
    (alert,) = await _all_alerts(store)
    clock.at = BEGAN + timedelta(seconds=5)
    await post.desk.settle(alert.alert_id, AlertState.ACKNOWLEDGED, "eva", "", "r1")
    await post.desk.settle(alert.alert_id, AlertState.RESOLVED, "bo", "false alarm", "r2")
    for name, at_s in (("b", 20), ("c", 34), ("d", 36)):
        await store.record_event(seen(name, at_s), None)
    await post.work()
    second, first = await _all_alerts(store)
    assert (first.state, [step.actor for step in first.steps], len(first.sources)) == ("RESOLVED", ["eva", "bo"], 3)
    assert second.state is AlertState.OPEN
    assert await post.desk.list(AlertQuery(state=AlertState.OPEN), 0, 10) == ([second], 0)
    with pytest.raises(PreconditionError):
        await post.desk.settle(first.alert_id, AlertState.ACKNOWLEDGED, "cy", "", "r3")


async def test_an_alert_that_was_erased_is_not_made_again() -> None:
    """What joins it afterwards is counted nowhere, and nothing of it is told."""
    store, clock = await _fresh(LIST)
    post = Post(store, clock)
    await store.record_event(seen("a", 0), None)
    await post.work()
    await store.erase_events(CollectionId("staff"), SubjectId("ada"))
    await store.record_event(seen("b", 10), None)
    await post.work()
    assert (await _all_alerts(store), await _messages(store)) == ([], [])


async def test_rules_are_rehearsed_on_what_is_kept() -> None:
    """With the alerts as they would stand, and without any effect."""
    store, clock = await _fresh()
    for event in EVENTS:
        await store.record_event(event, None)
    book = RuleBook(store, clock)
    rehearsal = await book.rehearse([LIST, LOST], Span())
    alerts, _ = await _expected()
    assert {alert.alert_id: alert.change for alert in rehearsal.alerts} == {a.alert_id: a.change for a in alerts}
    assert rehearsal.events_judged == len(EVENTS)
    part = await book.rehearse([LIST], Span(until=BEGAN + timedelta(seconds=60)))
    assert len(part.alerts) == 1
    assert await _all_alerts(store) == []


async def test_a_store_that_is_away_is_waited_for() -> None:
    """The judgement goes on by itself when the store is back."""
    store, clock = await _fresh(LIST)
    post = Post(BrokenStore(store, 2, carried_out=False), clock)
    await store.record_event(seen("a", 0), None)
    running = asyncio.create_task(post.alerting.run())
    await eventually(lambda: _all_alerts(store))
    post.alerting.stop()
    await running
    assert await store.take_lease("alerting", "somebody else", 1.0)
