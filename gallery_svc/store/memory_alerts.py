"""Rules, alerts and the judgement's place, in dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gallery_svc.store.alert_records import AlertingHead, AlertingStep, AlertWrite, KeptAlert, RuleRecord
from gallery_svc.store.event_records import EventHead, EventRecord, NewEvent
from tessera.domain.errors import RevisionChangedError

ALERTS_KEPT = 100_000


class MemoryAlerts:
    """Rules and alerts.

    Args:
        append: writes an event.
        event_head: where the event log stands.
        alerts_kept: alerts kept.
    """

    def __init__(
        self,
        append: Callable[[NewEvent], EventRecord],
        event_head: Callable[[], EventHead],
        alerts_kept: int = ALERTS_KEPT,
    ) -> None:
        self._append = append
        self._event_head = event_head
        self._alerts_kept = alerts_kept
        self._rules: dict[str, list[RuleRecord]] = {}
        self._alerts: dict[str, KeptAlert] = {}
        self._opened = 0
        self._head = AlertingHead(0, 0, 0, 0)
        self._entries: dict[str, str] = {}

    def list_rules(self) -> tuple[RuleRecord, ...]:
        """The newest revision of each rule that is not deleted."""
        newest = [self._rules[rule_id][-1] for rule_id in sorted(self._rules)]
        return tuple(record for record in newest if not record.deleted)

    def find_rule(self, rule_id: str, revision: int) -> RuleRecord | None:
        """A revision of a rule."""
        records = self._rules.get(rule_id, [])
        if not records or revision > len(records):
            return None
        return records[revision - 1 if revision else -1]

    def put_rule(self, record: RuleRecord) -> None:
        """Write a rule's next revision."""
        records = self._rules.setdefault(record.rule.rule_id, [])
        if records and records[-1] == record:
            return
        if record.revision != len(records) + 1:
            raise RevisionChangedError("rule", record.rule.rule_id, record.revision - 1, len(records))
        was_live = bool(records) and not records[-1].deleted
        live = self._head.live_rules + (not record.deleted) - was_live
        if not self._head.live_rules:
            cursor = self._event_head().newest
            self._head = replace(self._head, cursor=cursor, version=self._head.version + 1)
        self._head = replace(self._head, rules=self._head.rules + 1, live_rules=live)
        records.append(record)

    def state(self) -> tuple[AlertingHead, dict[str, str]]:
        """How far the event log is judged, and what is remembered."""
        return self._head, dict(self._entries)

    def commit(self, step: AlertingStep) -> list[EventRecord] | None:
        """Write a step."""
        if step.before != self._head.version or not all(map(self._follows, step.alerts)):
            return None
        self._head = replace(self._head, version=step.before + 1, cursor=step.cursor)
        self._entries |= step.entries
        self._entries = {key: text for key, text in self._entries.items() if text}
        return [event for write in step.alerts for event in self._write(write)]

    def find(self, alert_ids: Sequence[str]) -> dict[str, KeptAlert]:
        """Alerts by id."""
        return {alert_id: self._alerts[alert_id] for alert_id in alert_ids if alert_id in self._alerts}

    def before(self, number: int, limit: int) -> list[KeptAlert]:
        """Alerts, newest first."""
        older = [kept for kept in self._alerts.values() if not number or kept.number < number]
        return sorted(older, key=lambda kept: -kept.number)[:limit]

    def amend(self, write: AlertWrite) -> list[EventRecord] | None:
        """Write one alert."""
        return self._write(write) if self._follows(write) else None

    def erase(self, collection_id: str, subject_id: str) -> None:
        """Have no alert name a subject."""
        for alert_id, kept in list(self._alerts.items()):
            if kept.alert.names(collection_id, subject_id):
                self._write(AlertWrite(alert_id, kept.alert.without(collection_id, subject_id), kept.revision))

    def _follows(self, write: AlertWrite) -> bool:
        kept = self._alerts.get(write.alert_id)
        return write.before == (kept.revision if kept else 0)

    def _write(self, write: AlertWrite) -> list[EventRecord]:
        kept = self._alerts.get(write.alert_id)
        if write.alert is None:
            self._alerts.pop(write.alert_id, None)
        else:
            self._opened += kept is None
            number = kept.number if kept else self._opened
            self._alerts[write.alert_id] = KeptAlert(write.alert, write.before + 1, number)
            while len(self._alerts) > self._alerts_kept:
                del self._alerts[min(self._alerts, key=lambda alert_id: self._alerts[alert_id].number)]
        return [self._append(event) for event in write.told]
