"""Follows the event log with the rules: what they decide becomes alerts, and events that tell of them.

One gallery does so at a time, under a lease; that saves work and is no lock. What makes an alert come once is that a
step is written at once or not at all: the place in the log, what the judgement remembers, the alerts and their events,
and only if nobody wrote another step in between. Whoever is killed before that has decided nothing, and whoever comes
next decides the same (docs/adr/0025-alerts-are-a-fold-over-the-log.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from gallery_svc.events import EventLog
from gallery_svc.happenings import alert_event, happening_of
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.alert_records import AlertingHead, AlertingStep, AlertWrite, KeptAlert
from gallery_svc.store.event_records import EventRecord, NewEvent
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.alerting.alerts import Alert, AlertChange, Decided, applied, opened
from tessera.domain.alerting.evaluator import Evaluator
from tessera.domain.alerting.state import EvaluatorState
from tessera.domain.errors import TesseraError

LEASE = "alerting"
EVENTS_A_STEP = 256
GRACE_S = 1.0
"""Timers go off so long behind this process's clock: an event that another gallery stamps now may still be on its way
into the log, and belongs before them."""
_RENEWALS_A_LEASE = 3


@dataclass(slots=True)
class _Judge:
    """The judgement as this gallery holds it."""

    head: AlertingHead
    state: EvaluatorState
    evaluator: Evaluator
    revisions: dict[str, int]
    """Of the rules."""


class Alerting:
    """Judges events.

    Args:
        store: events, rules, alerts.
        events: says when there is something new, and tells what came of it.
        clock: for timers that no event sets off, and the times of messages.
        metrics: where it counts.
        member_id: this gallery, as holder of the lease.
        lease_s: so long after its death another one goes on.
    """

    def __init__(
        self, *, store: Store, events: EventLog, clock: Clock, metrics: GalleryMetrics, member_id: str, lease_s: float
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._metrics = metrics
        self._member_id = member_id
        self._lease_s = lease_s
        self._asked_s: float | None = None
        self._judge: _Judge | None = None
        self._obstacle = ""
        self._stopped = False

    async def run(self) -> None:
        """Judge what comes, until `stop`."""
        while not self._stopped:
            if not await self._step_or_tell() and not self._stopped:
                await self._events.something_new()
        with contextlib.suppress(TesseraError):  # it ends by itself
            await self._store.drop_lease(LEASE, self._member_id)

    def stop(self) -> None:
        """End `run` after the step under way; another gallery goes on."""
        self._stopped = True

    async def step(self) -> bool:
        """Judge some events, where this gallery is the one that does.

        Returns:
            Whether there may be more to do at once.

        Raises:
            UnavailableError: the store is away; what was not written is judged again.
        """
        head = await self._store.alerting_head()
        if not head.live_rules or not await self._leads():
            self._judge = None
            self._metrics.judge_lag.set(0)
            return False
        judge = await self._level(head)
        found = await self._store.events_after(judge.head.cursor, EVENTS_A_STEP)
        now = self._clock.now()
        self._metrics.judge_lag.set((now - found[0].event.recorded_at).total_seconds() if found else 0.0)
        until_s = now.timestamp() - GRACE_S
        if not found and judge.state.first_due_s > until_s:
            return False
        self._judge = None  # until the step is written, nobody knows what holds
        decided = _decided(judge, found)
        if len(found) < EVENTS_A_STEP:
            decided += judge.evaluator.pass_time(judge.state, until_s)
        traces = {str(record.event.event_id): record.event.traceparent for record in found}
        if await self._write(judge, decided, found[-1].sequence if found else judge.head.cursor, now, traces):
            self._metrics.judged.inc(len(found))
            self._judge = judge
        return True

    # ---- inside

    async def _step_or_tell(self) -> bool:
        obstacle, more = "", False
        try:
            more = await self.step()
        except TesseraError as error:
            obstacle = str(error)
        except Exception:  # noqa: BLE001 - the edge of this task: alert_lag_seconds shows that it does not get on
            get_logger().exception("alerting.failed")
        if obstacle and obstacle != self._obstacle:
            get_logger().warning("alerting.delayed", why=obstacle)
        self._obstacle = obstacle
        return more

    async def _leads(self) -> bool:
        """Whether the lease is held; it is asked for anew well before it ends."""
        now_s = self._clock.monotonic_s()
        if self._asked_s is not None and now_s - self._asked_s < self._lease_s / _RENEWALS_A_LEASE:
            return True
        self._asked_s = None
        if await self._store.take_lease(LEASE, self._member_id, self._lease_s):
            self._asked_s = now_s
        return self._asked_s is not None

    async def _level(self, head: AlertingHead) -> _Judge:
        """The judgement as the store has it."""
        if self._judge is not None and self._judge.head == head:
            return self._judge
        if self._judge is not None and self._judge.head.version == head.version:
            state = self._judge.state
        else:
            head, entries = await self._store.alerting_state()
            state = EvaluatorState.load(entries)
        records = await self._store.list_rules()
        revisions = {record.rule.rule_id: record.revision for record in records}
        self._judge = _Judge(head, state, Evaluator([record.rule for record in records]), revisions)
        return self._judge

    async def _write(
        self, judge: _Judge, decided: Sequence[Decided], cursor: int, now: datetime, traces: Mapping[str, str]
    ) -> bool:
        kept = await self._store.find_alerts(sorted({each.alert_id for each in decided}))
        writes = _folded(decided, kept, judge.revisions, now, traces)
        step = AlertingStep(judge.head.version, cursor, judge.state.changes(), tuple(writes))
        written = await self._store.commit_alerting(step)
        if written is None:
            return False
        head = judge.head
        judge.head = AlertingHead(head.version + 1, cursor, head.rules, head.live_rules)
        self._count(judge, decided, writes)
        if written:
            self._events.announce(written)
        return True

    def _count(self, judge: _Judge, decided: Sequence[Decided], writes: Sequence[AlertWrite]) -> None:
        for write in writes:
            for event in write.told:
                if isinstance(event.body, Alert):
                    self._metrics.alerts.labels(event.body.severity, event.body.change).inc()
        for each in decided:
            if each.held_back and not each.leaves:
                self._metrics.alerts_held_back.labels(each.rule.rule_id).inc()
        self._metrics.events_too_late.inc(judge.evaluator.too_late)
        judge.evaluator.too_late = 0


def _decided(judge: _Judge, records: Sequence[EventRecord]) -> list[Decided]:
    happenings = filter(None, map(happening_of, records))
    return [each for happening in happenings for each in judge.evaluator.advance(judge.state, happening)]


def _folded(
    decided: Sequence[Decided],
    kept: dict[str, KeptAlert],
    revisions: dict[str, int],
    now: datetime,
    traces: Mapping[str, str],
) -> list[AlertWrite]:
    """What becomes of each alert: one write, and an event for each message, in the trace of its newest event."""
    alerts: dict[str, Alert] = {alert_id: one.alert for alert_id, one in kept.items()}
    told: dict[str, list[NewEvent]] = {}
    for each in decided:
        before = alerts.get(each.alert_id)
        # It was erased meanwhile, or is there although what is remembered was lost.
        if (each.change is AlertChange.OPENED) is not (before is None):
            continue
        alert = opened(each, revisions.get(each.rule.rule_id, 0)) if before is None else applied(before, each)
        alerts[each.alert_id] = alert
        messages = told.setdefault(each.alert_id, [])
        if each.is_told:
            trace = traces.get(each.source.event_id, "") if each.source is not None else ""
            messages.append(alert_event(alert, each.at_s, now, trace))
    return [
        AlertWrite(alert_id, alerts[alert_id], kept[alert_id].revision if alert_id in kept else 0, tuple(messages))
        for alert_id, messages in told.items()
    ]
