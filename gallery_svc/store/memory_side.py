"""What the store in memory keeps beside collections: calibrations, events, audit entries, and who else is there."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gallery_svc.store import codec
from gallery_svc.store.alert_records import AlertingHead, AlertingStep, AlertWrite, KeptAlert, RuleRecord
from gallery_svc.store.audit_records import AuditRecord, AuditStamp, StoredAudit
from gallery_svc.store.calibration_records import CalibrationChoice, CalibrationRecord
from gallery_svc.store.change_records import Member
from gallery_svc.store.event_records import EventHead, EventRecord, NewEvent
from gallery_svc.store.memory_alerts import ALERTS_KEPT, MemoryAlerts
from gallery_svc.store.protocol import GLOBAL_LOG, Stamps
from tessera.domain.errors import AlreadyExistsError, RevisionChangedError
from tessera.domain.ids import CalibrationId, CollectionId, EventId, ModelId, SubjectId

EVENTS_NAMING = 1000
"""Revisions that name a subject and are told at once; the newest."""
MEMBER_SILENT_S = 30.0
"""A member that was not heard of for so long is left out."""


@dataclass(slots=True)
class Unstamped:
    """Stamps that prove nothing, for stores that outlive nothing."""

    counts: dict[str, int] = field(default_factory=dict)

    def stamp(self, log: str, entry: bytes) -> AuditStamp:  # noqa: ARG002 - the entry is what others would sign
        """A stamp with a count and no more."""
        self.counts[log] = self.counts.get(log, 0) + 1
        return AuditStamp("memory", self.counts[log], self.counts[log] - 1, (), bytes(32))

    def settled(self, log: str, stamp: AuditStamp) -> None:
        """It is written."""

    def gave_up(self, log: str, stamp: AuditStamp) -> None:
        """It was not written."""


class MemorySide:
    """Events, alerts, audit and membership in dictionaries.

    Args:
        stamps: makes audit entries provable; None: they are not.
        events_kept: event revisions kept.
        alerts_kept: alerts kept.
        seconds: a clock that never goes back.
    """

    def __init__(
        self,
        stamps: Stamps | None,
        events_kept: int,
        seconds: Callable[[], float] = time.monotonic,
        alerts_kept: int = ALERTS_KEPT,
    ) -> None:
        self._stamps = stamps or Unstamped()
        self._events_kept = events_kept
        self._seconds = seconds
        self._events: dict[int, EventRecord] = {}
        self._latest: dict[EventId, int] = {}
        self._event_head = EventHead(0, 1)
        self._alerting = MemoryAlerts(self._append_event, lambda: self._event_head, alerts_kept)
        self._audit: dict[str, list[StoredAudit]] = {}
        self._audit_newest: dict[str, int] = {}
        self._members: dict[str, tuple[float, Member]] = {}
        self._leases: dict[str, tuple[float, str]] = {}
        self._calibrations: dict[CalibrationId, CalibrationRecord] = {}
        self._choices: dict[ModelId, CalibrationChoice] = {}

    # ---- who else is there

    async def heartbeat(self, member: Member) -> None:
        """Remember a sign of life."""
        self._members[member.member_id] = (self._seconds(), member)

    async def members(self) -> list[Member]:
        """Who was heard of lately, by id."""
        since_s = self._seconds() - MEMBER_SILENT_S
        return [self._members[key][1] for key in sorted(self._members) if self._members[key][0] > since_s]

    async def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Hold a lease, or hold it longer."""
        until_s, held_by = self._leases.get(name, (0.0, holder))
        if held_by != holder and until_s > self._seconds():
            return False
        self._leases[name] = (self._seconds() + seconds, holder)
        return True

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back."""
        if name in self._leases and self._leases[name][1] == holder:
            del self._leases[name]

    # ---- calibrations

    async def add_calibration(self, record: CalibrationRecord) -> None:
        """Keep a calibration."""
        if self._calibrations.setdefault(record.calibration_id, record) != record:
            raise AlreadyExistsError("calibration", record.calibration_id)

    async def find_calibration(self, calibration_id: CalibrationId) -> CalibrationRecord | None:
        """A calibration, or None."""
        return self._calibrations.get(calibration_id)

    async def list_calibrations(self) -> tuple[CalibrationRecord, ...]:
        """All calibrations, oldest first."""
        return tuple(sorted(self._calibrations.values(), key=lambda one: (one.created_at, one.calibration_id)))

    async def calibration_choices(self) -> dict[ModelId, CalibrationChoice]:
        """Which calibration decides, for each model for which one was ever chosen."""
        return dict(self._choices)

    async def choose_calibration(self, choice: CalibrationChoice) -> None:
        """Write which calibration decides."""
        before = self._choices.get(choice.model_id, CalibrationChoice(choice.model_id))
        if before != choice and before.revision != choice.revision - 1:
            raise RevisionChangedError("calibration", choice.active_id, choice.revision - 1, before.revision)
        self._choices[choice.model_id] = choice

    # ---- events

    async def record_event(self, event: NewEvent, audit: AuditRecord | None) -> tuple[EventRecord, bool]:
        """Append an event's next revision."""
        latest = self._events.get(self._latest.get(event.event_id, 0))
        if latest is not None and latest.event.content_key == event.content_key:
            return latest, False
        record = self._append_event(event)
        if audit is not None:
            self._write_audit(GLOBAL_LOG, audit)
        return record, True

    def _append_event(self, event: NewEvent) -> EventRecord:
        latest = self._events.get(self._latest.get(event.event_id, 0))
        sequence = self._event_head.newest + 1
        record = EventRecord(event, sequence, latest.revision + 1 if latest else 1)
        self._events[sequence] = record
        self._latest[event.event_id] = sequence
        oldest = self._event_head.oldest
        while sequence - oldest + 1 > self._events_kept:
            self._drop_event(oldest)
            oldest += 1
        self._event_head = EventHead(sequence, oldest)
        return record

    async def find_event(self, event_id: EventId) -> EventRecord | None:
        """The newest revision of an event."""
        return self._events.get(self._latest.get(event_id, 0))

    async def event_head(self) -> EventHead:
        """Where the event log stands."""
        return self._event_head

    async def events_after(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events that follow, oldest first."""
        return [self._events[key] for key in sorted(self._events) if key > sequence][:limit]

    async def events_before(self, sequence: int, limit: int) -> list[EventRecord]:
        """Events before, newest first."""
        return [self._events[key] for key in sorted(self._events, reverse=True) if key < sequence][:limit]

    async def newest_revisions(self, event_ids: Sequence[EventId]) -> dict[EventId, int]:
        """The sequence of each event's newest revision."""
        return {event_id: self._latest[event_id] for event_id in event_ids if event_id in self._latest}

    async def events_naming(self, collection_id: CollectionId, subject_id: SubjectId) -> list[EventRecord]:
        """The revisions that name a subject."""
        named = [key for key, record in self._events.items() if (collection_id, subject_id) in record.event.named]
        return [self._events[key] for key in sorted(named)[-EVENTS_NAMING:]]

    async def erase_events(self, collection_id: CollectionId, subject_id: SubjectId) -> int:
        """Remove the events that name a subject, and the subject from alerts."""
        self._alerting.erase(collection_id, subject_id)
        named = [key for key, record in self._events.items() if (collection_id, subject_id) in record.event.named]
        for sequence in named:
            self._drop_event(sequence)
        return len(named)

    def _drop_event(self, sequence: int) -> None:
        record = self._events.pop(sequence, None)
        if record is not None and self._latest.get(record.event.event_id) == sequence:
            del self._latest[record.event.event_id]

    # ---- alerts

    async def list_rules(self) -> tuple[RuleRecord, ...]:
        """The newest revision of each rule that is not deleted."""
        return self._alerting.list_rules()

    async def find_rule(self, rule_id: str, revision: int = 0) -> RuleRecord | None:
        """A revision of a rule."""
        return self._alerting.find_rule(rule_id, revision)

    async def put_rule(self, record: RuleRecord) -> None:
        """Write a rule's next revision."""
        self._alerting.put_rule(record)

    async def alerting_head(self) -> AlertingHead:
        """How far the event log is judged."""
        return self._alerting.state()[0]

    async def alerting_state(self) -> tuple[AlertingHead, dict[str, str]]:
        """The same, and all that is remembered there."""
        return self._alerting.state()

    async def commit_alerting(self, step: AlertingStep) -> list[EventRecord] | None:
        """Write a step."""
        return self._alerting.commit(step)

    async def find_alerts(self, alert_ids: Sequence[str]) -> dict[str, KeptAlert]:
        """Alerts by id."""
        return self._alerting.find(alert_ids)

    async def alerts_before(self, number: int, limit: int) -> list[KeptAlert]:
        """Alerts, newest first."""
        return self._alerting.before(number, limit)

    async def amend_alert(self, write: AlertWrite, audit: AuditRecord | None) -> list[EventRecord] | None:
        """Write one alert, its messages and an audit entry."""
        written = self._alerting.amend(write)
        if written is not None and audit is not None:
            self._write_audit(GLOBAL_LOG, audit)
        return written

    # ---- audit

    async def append_audit(self, log: str, records: Sequence[AuditRecord]) -> list[int]:
        """Put entries on record."""
        return [self._write_audit(log, record) for record in records]

    async def audit_logs(self) -> list[str]:
        """The logs that there are, sorted."""
        return sorted(self._audit)

    async def audit_after(self, log: str, sequence: int, limit: int) -> list[StoredAudit]:
        """Entries of a log, oldest first."""
        entries = self._audit.get(log, [])
        start = bisect_right(entries, sequence, key=lambda entry: entry.sequence)
        return entries[start : start + limit]

    async def trim_audit(self, log: str, up_to: int) -> None:
        """Forget entries; their numbers are not given again."""
        if log in self._audit:
            self._audit[log] = [entry for entry in self._audit[log] if entry.sequence > up_to]

    def _write_audit(self, log: str, record: AuditRecord) -> int:
        entry = codec.dump(record).encode()
        stamp = self._stamps.stamp(log, entry)
        sequence = self._audit_newest.get(log, 0) + 1
        self._audit_newest[log] = sequence
        self._audit.setdefault(log, []).append(StoredAudit(sequence, entry, stamp))
        self._stamps.settled(log, stamp)
        return sequence
