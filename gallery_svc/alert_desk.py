"""What people see and do of alerts: list them, look at one, say who looks after it or that it is settled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gallery_svc.events import EventLog
from gallery_svc.happenings import alert_event
from gallery_svc.ids import time_ordered_id
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.alert_records import AlertWrite, KeptAlert
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.domain.alerting.alerts import Alert, AlertState, AlertStep, settled
from tessera.domain.alerting.rules import Severity
from tessera.domain.errors import NotFoundError, OverloadedError

_ALERTS_A_READ = 256
_MAX_CONFLICTS = 16
_SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """Which alerts."""

    state: AlertState | None = None
    rule_id: str = ""
    min_severity: Severity | None = None
    since: datetime | None = None
    """Opened then or later."""
    until: datetime | None = None
    """Opened before."""

    def takes(self, alert: Alert) -> bool:
        """Whether an alert is wanted."""
        worse = _SEVERITIES.index(alert.severity)
        return (
            self.state in (None, alert.state)
            and self.rule_id in ("", alert.rule_id)
            and (self.min_severity is None or worse >= _SEVERITIES.index(self.min_severity))
            and (self.since is None or alert.opened_s >= self.since.timestamp())
            and (self.until is None or alert.opened_s < self.until.timestamp())
        )


class AlertDesk:
    """Alerts as people deal with them.

    Args:
        store: where they are.
        events: tells who watches.
        clock: for the times of what is done.
        metrics: where it counts.
    """

    def __init__(self, store: Store, events: EventLog, clock: Clock, metrics: GalleryMetrics) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._metrics = metrics

    async def list(self, query: AlertQuery, before: int, limit: int) -> tuple[list[Alert], int]:
        """Alerts as they stand, newest first.

        Args:
            query: which ones.
            before: go on before the alert of this number; 0: from the newest.
            limit: at most so many.

        Returns:
            (alerts, next_before): 0 when there are no more.
        """
        listed: list[Alert] = []
        while True:
            found = await self._store.alerts_before(before, _ALERTS_A_READ)
            for kept in found:
                before = kept.number
                if query.takes(kept.alert):
                    listed.append(kept.alert)
                    if len(listed) == limit:
                        return listed, before
            if len(found) < _ALERTS_A_READ:
                return listed, 0

    async def get(self, alert_id: str) -> Alert:
        """One alert.

        Raises:
            NotFoundError: there is none.
        """
        return (await self._kept(alert_id)).alert

    async def settle(self, alert_id: str, state: AlertState, actor: str, comment: str, request_id: str) -> Alert:
        """Have a person acknowledge or resolve an alert; on record before it is answered.

        Raises:
            NotFoundError: there is none.
            InvalidInputError: nobody is named, or the comment is too long.
            PreconditionError: it is resolved already, or acknowledged by somebody else.
            OverloadedError: others kept changing it.
        """
        for _ in range(_MAX_CONFLICTS):
            kept = await self._kept(alert_id)
            now = self._clock.now()
            alert = settled(kept.alert, AlertStep(state, now.timestamp(), actor, comment, request_id))
            if alert == kept.alert:
                return alert
            event = alert_event(alert, now.timestamp(), now)
            audit = AuditRecord(
                method="AcknowledgeAlert",
                at=now,
                evidence_id=time_ordered_id("ev", now),
                caller=actor,
                request_id=request_id,
                detail=f"{alert_id} {state}",
            )
            written = await self._store.amend_alert(AlertWrite(alert_id, alert, kept.revision, (event,)), audit)
            if written is not None:
                self._metrics.alerts.labels(alert.severity, alert.change).inc()
                self._events.announce(written)
                return alert
        raise OverloadedError("alert", _MAX_CONFLICTS)

    async def _kept(self, alert_id: str) -> KeptAlert:
        kept = (await self._store.find_alerts([alert_id])).get(alert_id)
        if kept is None:
            raise NotFoundError("alert", alert_id)
        return kept
