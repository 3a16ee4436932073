"""Rules and alerts in Redis, in one slot with the events: a step of the judgement is one script."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gallery_svc.store import codec
from gallery_svc.store.alert_records import AlertingHead, AlertingStep, AlertWrite, KeptAlert, RuleRecord
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.door import Command
from gallery_svc.store.event_records import EventRecord
from gallery_svc.store.protocol import GLOBAL_LOG
from gallery_svc.store.redis_keys import (
    EVENTS,
    EVENTS_HEAD,
    EVENTS_LATEST,
    GLOBAL_TAG,
    ROOT,
    alerts_of_key,
    audit_key,
    seen_key,
)
from gallery_svc.store.redis_parts import Again, Argument, Entry, RedisParts
from tessera.domain.alerting.alerts import Alert
from tessera.domain.errors import RevisionChangedError, StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId

RULES, RULE_REVISIONS = ROOT + "rules", ROOT + "rule-revisions"
HEAD, STATE = ROOT + "alerting", ROOT + "alerting:state"
ALERTS, ORDER = ROOT + "alerts", ROOT + "alerts:order"

_HEAD_FIELDS = ("HMGET", HEAD, "version", "cursor", "rules", "live")


class RedisAlerts(RedisParts):
    """Rules and alerts; see `AlertStore` for what each method promises."""

    # ---- rules

    async def list_rules(self) -> tuple[RuleRecord, ...]:
        """The newest revision of each rule that is not deleted."""
        (raws,) = await self._door.read(GLOBAL_TAG, [("HVALS", RULES)])
        records = [codec.load(RuleRecord, raw.split(b" ", 2)[2], RULES) for raw in raws]
        live = [record for record in records if not record.deleted]
        return tuple(sorted(live, key=lambda record: record.rule.rule_id))

    async def find_rule(self, rule_id: str, revision: int = 0) -> RuleRecord | None:
        """A revision of a rule."""
        if revision:
            (raw,) = await self._door.read(GLOBAL_TAG, [("HGET", RULE_REVISIONS, f"{rule_id}@{revision}")])
        else:
            (raw,) = await self._door.read(GLOBAL_TAG, [("HGET", RULES, rule_id)])
            raw = raw.split(b" ", 2)[2] if raw is not None else None
        return None if raw is None else codec.load(RuleRecord, raw, RULES)

    async def put_rule(self, record: RuleRecord) -> None:
        """Write a rule's next revision."""
        args: list[Argument] = [record.rule.rule_id, record.revision, codec.dump(record), int(record.deleted)]
        reply = await self._door.write("put_rule", [RULES, RULE_REVISIONS, HEAD, EVENTS_HEAD], args)
        if reply[0] != b"ok":
            raise RevisionChangedError("rule", record.rule.rule_id, record.revision - 1, int(reply[1]))

    # ---- the judgement

    async def alerting_head(self) -> AlertingHead:
        """How far the event log is judged."""
        (found,) = await self._door.read(GLOBAL_TAG, [_HEAD_FIELDS])
        return AlertingHead(*(int(number or 0) for number in found))

    async def alerting_state(self) -> tuple[AlertingHead, dict[str, str]]:
        """The same, and all that is remembered there."""
        while True:
            before, told, after = await self._door.read(GLOBAL_TAG, [_HEAD_FIELDS, ("HGETALL", STATE), _HEAD_FIELDS])
            if before == after:
                break
        entries = {key.decode(): text.decode() for key, text in zip(told[::2], told[1::2], strict=True)}
        return AlertingHead(*(int(number or 0) for number in before)), entries

    async def commit_alerting(self, step: AlertingStep) -> list[EventRecord] | None:
        """Write a step."""
        return await self._write_alerts(step.alerts, step, None)

    # ---- alerts

    async def find_alerts(self, alert_ids: Sequence[str]) -> dict[str, KeptAlert]:
        """Alerts by id."""
        if not alert_ids:
            return {}
        commands: list[Command] = [("HMGET", ALERTS, *alert_ids), ("ZMSCORE", ORDER, *alert_ids)]
        raws, numbers = await self._door.read(GLOBAL_TAG, commands)
        found = zip(alert_ids, raws, numbers, strict=True)
        return {key: _kept(raw, number) for key, raw, number in found if raw is not None and number is not None}

    async def alerts_before(self, number: int, limit: int) -> list[KeptAlert]:
        """Alerts, newest first."""
        newest = f"({number}" if number else "+inf"
        command = ("ZRANGE", ORDER, newest, "-inf", "BYSCORE", "REV", "LIMIT", 0, limit)
        (ids,) = await self._door.read(GLOBAL_TAG, [command])
        found = await self.find_alerts([each.decode() for each in ids])
        return sorted(found.values(), key=lambda kept: -kept.number)

    async def amend_alert(self, write: AlertWrite, audit: AuditRecord | None) -> list[EventRecord] | None:
        """Write one alert, its messages and an audit entry."""
        return await self._write_alerts([write], None, audit)

    async def erase_from_alerts(self, collection_id: CollectionId, subject_id: SubjectId) -> None:
        """Have no alert name a subject."""
        (ids,) = await self._door.read(GLOBAL_TAG, [("SMEMBERS", alerts_of_key(collection_id, subject_id))])
        for alert_id in sorted(each.decode() for each in ids):
            await self._until_done(partial(self._erase_from, alert_id, collection_id, subject_id))

    async def _erase_from(self, alert_id: str, collection_id: CollectionId, subject_id: SubjectId) -> None:
        kept = (await self.find_alerts([alert_id])).get(alert_id)
        if kept is None:  # it went by age meanwhile
            return
        write = AlertWrite(alert_id, kept.alert.without(collection_id, subject_id), kept.revision)
        if await self._write_alerts([write], None, None) is None:
            raise Again

    async def _write_alerts(
        self, writes: Sequence[AlertWrite], step: AlertingStep | None, audit: AuditRecord | None
    ) -> list[EventRecord] | None:
        keys = [HEAD, STATE, ALERTS, ORDER, EVENTS_HEAD, EVENTS, EVENTS_LATEST, audit_key(GLOBAL_LOG)]
        entry = Entry(self._stamps, GLOBAL_LOG, audit) if audit is not None else None
        args: list[Argument] = [step.before, step.cursor] if step is not None else ["", ""]
        args += [self._events_kept, self._alerts_kept, *(entry.args if entry else ("", ""))]
        entries = step.entries if step is not None else {}
        args += [len(entries), *(part for pair in entries.items() for part in pair), len(writes)]
        for write in writes:
            args += _write_args(write)
        written = False
        try:
            reply = await self._door.write("write_alerts", keys, args)
            written = reply[0] == b"ok"
        finally:
            if entry is not None:
                entry.ended(written=written)
        if not written:
            return None
        told = [event for write in writes for event in write.told]
        return [
            EventRecord(event, int(sequence), int(revision))
            for event, sequence, revision in zip(told, reply[1::2], reply[2::2], strict=True)
        ]


def _write_args(write: AlertWrite) -> list[Argument]:
    alert = write.alert
    named = [(CollectionId(one), SubjectId(other)) for one, other in alert.subjects] if alert is not None else []
    lists = f"{' '.join(alerts_of_key(*each) for each in named)},{' '.join(seen_key(*each) for each in named)}"
    record = codec.dump(alert) if alert is not None else ""
    messages = [part for event in write.told for part in (event.content_key, codec.dump(event))]
    return [write.alert_id, write.before, record, lists, len(write.told), *messages]


def _kept(raw: bytes, number: bytes) -> KeptAlert:
    revision, _, record = raw.split(b"|", 2)
    if not revision.isdigit():
        raise StoreCorruptError(ALERTS, "an alert without a revision")
    return KeptAlert(codec.load(Alert, record, ALERTS), int(revision), int(float(number)))
