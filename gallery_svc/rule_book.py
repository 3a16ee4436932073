"""The rules that are kept: listed, made, changed, taken out, and rehearsed on the events that there are.

Every change is in the audit log before it holds. Which rule opened an alert can always be read again: revisions stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from gallery_svc.happenings import happening_of
from gallery_svc.ids import time_ordered_id
from gallery_svc.store.alert_records import RuleRecord
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.event_records import EventRecord
from gallery_svc.store.protocol import GLOBAL_LOG, Store
from tessera.chassis.clock import Clock
from tessera.domain.alerting.rehearsal import Rehearsal, Rehearser
from tessera.domain.alerting.rules import Rule
from tessera.domain.errors import InvalidInputError, NotFoundError, PreconditionError, RevisionChangedError

MAX_RULES = 1000
MAX_REHEARSED = 500
_EVENTS_A_READ = 256


@dataclass(frozen=True, slots=True)
class Span:
    """Events by the time of their recording."""

    since: datetime | None = None
    until: datetime | None = None

    def takes(self, record: EventRecord) -> bool:
        """Whether an event lies in it."""
        at = record.event.recorded_at
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


class RuleBook:
    """Rules as people deal with them.

    Args:
        store: where they are.
        clock: for the times of changes.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self) -> tuple[RuleRecord, ...]:
        """All rules, by id."""
        return await self._store.list_rules()

    async def get(self, rule_id: str, revision: int = 0) -> RuleRecord:
        """One rule, as it is or as it was.

        Raises:
            NotFoundError: there is none, or it is deleted and no revision was asked for.
        """
        record = await self._store.find_rule(rule_id, revision)
        if record is None or (record.deleted and not revision):
            raise NotFoundError("rule", rule_id)
        return record

    async def put(self, rule: Rule, expected_revision: int, actor: str) -> RuleRecord:
        """Make a rule, or change it; the very same again changes nothing.

        Raises:
            RevisionChangedError: it is not at `expected_revision`.
            PreconditionError: there are as many rules as there may be (TOO_MANY_RULES).
        """
        newest = await self._store.find_rule(rule.rule_id)
        if newest is not None and newest.rule == rule and not newest.deleted:
            return newest
        if (newest is None or newest.deleted) and len(await self._store.list_rules()) >= MAX_RULES:
            raise PreconditionError("TOO_MANY_RULES", "rule_id", rule.rule_id, f"at most {MAX_RULES} rules")
        return await self._write("PutRule", rule, newest, expected_revision, actor, deleted=False)

    async def delete(self, rule_id: str, expected_revision: int, actor: str) -> RuleRecord:
        """Take a rule out; its alerts stay.

        Raises:
            NotFoundError: there is none.
            RevisionChangedError: it is not at `expected_revision`.
        """
        newest = await self.get(rule_id)
        return await self._write("DeleteRule", newest.rule, newest, expected_revision, actor, deleted=True)

    async def rehearse(self, rules: Sequence[Rule], span: Span) -> Rehearsal:
        """What rules would make of the events that are kept, from nothing.

        Args:
            rules: empty: those that are kept.
            span: of events.

        Raises:
            InvalidInputError: too many rules, or two of the same id.
        """
        if len(rules) > MAX_REHEARSED:
            raise InvalidInputError("rules", f"{len(rules)} rules", f"at most {MAX_REHEARSED}")
        if len({rule.rule_id for rule in rules}) < len(rules):
            raise InvalidInputError("rules", "two of the same rule_id", "each id once")
        rehearser = Rehearser(rules or [record.rule for record in await self._store.list_rules()])
        async for record in self._events():
            happening = happening_of(record) if span.takes(record) else None
            if happening is not None:
                rehearser.take(happening)
        return rehearser.finished()

    async def _events(self) -> AsyncIterator[EventRecord]:
        head = await self._store.event_head()
        cursor = head.oldest - 1
        while found := await self._store.events_after(cursor, _EVENTS_A_READ):
            for record in found:
                cursor = record.sequence
                if cursor > head.newest:
                    return
                yield record
            await asyncio.sleep(0)  # others have work, too

    async def _write(
        self, method: str, rule: Rule, newest: RuleRecord | None, expected: int, actor: str, *, deleted: bool
    ) -> RuleRecord:
        at = newest.revision if newest is not None else 0
        if expected and expected != at:
            raise RevisionChangedError("rule", rule.rule_id, expected, at)
        if len(actor) > 128:
            raise InvalidInputError("actor", actor, "up to 128 characters")
        now = self._clock.now()
        record = RuleRecord(rule, at + 1, now, actor, deleted)
        audit = AuditRecord(method, now, time_ordered_id("ev", now), actor, detail=f"{rule.rule_id} {record.revision}")
        await self._store.append_audit(GLOBAL_LOG, [audit])
        await self._store.put_rule(record)
        return record
