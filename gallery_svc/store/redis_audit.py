"""Audit logs in Redis: streams with a contiguous count of their own; entries in one write, trimmed by nobody else."""

from __future__ import annotations

from collections.abc import Sequence

from gallery_svc.store.audit_records import AuditRecord, StoredAudit
from gallery_svc.store.protocol import GLOBAL_LOG
from gallery_svc.store.redis_collections import LOGS
from gallery_svc.store.redis_keys import GLOBAL_TAG, audit_key
from gallery_svc.store.redis_parts import Entry, RedisParts, all_of, stamp_from
from tessera.domain.errors import StoreCorruptError


class RedisAudit(RedisParts):
    """Audit logs; see `Store` for what each method promises."""

    async def append_audit(self, log: str, records: Sequence[AuditRecord]) -> list[int]:
        """Put entries on record in one write."""
        entries = [Entry(self._stamps, log, record) for record in records]
        written = False
        try:
            args = [part for entry in entries for part in entry.args]
            _, first = await self._door.write("audit_many", [audit_key(log)], args)
            written = True
        finally:
            for entry in entries:
                entry.ended(written=written)
        if first == 1 and log != GLOBAL_LOG:
            await self._door.read(GLOBAL_TAG, [("SADD", LOGS, log)])
        return list(range(first, first + len(records)))

    async def audit_logs(self) -> list[str]:
        """The logs that there are, sorted."""
        (names,) = await self._door.read(GLOBAL_TAG, [("SMEMBERS", LOGS)])
        logs = sorted({GLOBAL_LOG, *(name.decode() for name in names)})
        there = await all_of(self._is_there, logs)
        return [log for log, is_there in zip(logs, there, strict=True) if is_there]

    async def _is_there(self, log: str) -> bool:
        (exists,) = await self._door.read(log, [("EXISTS", audit_key(log))])
        return bool(exists)

    async def audit_after(self, log: str, sequence: int, limit: int) -> list[StoredAudit]:
        """Entries of a log, oldest first."""
        key = audit_key(log)
        (found,) = await self._door.read(log, [("XRANGE", key, f"{sequence + 1}-0", "+", "COUNT", limit)])
        return [_stored(entry_id, fields, key) for entry_id, fields in found]

    async def trim_audit(self, log: str, up_to: int) -> None:
        """Forget entries; their numbers are not given again."""
        await self._door.write("trim_stream", [audit_key(log)], [up_to])


def _stored(entry_id: bytes, fields: Sequence[bytes], key: str) -> StoredAudit:
    try:
        _, entry, _, stamp = fields
    except ValueError as error:  # somebody else put it there
        raise StoreCorruptError(key, "not an audit entry") from error
    return StoredAudit(int(entry_id.split(b"-", 1)[0]), entry, stamp_from(stamp, key))
