"""Brings what an older version wrote to the layout of this one; broken off, it goes on where it was.

Schema 1 had one slot a collection and everything in clear: `tessera:{ID}:record`, `head`, `subjects`, `order`,
`vectors` (little-endian float32), `log`, `audit`, `request:...`. A collection is written anew beside it, sealed, in one
shard; the old keys go when the counts agree. Request ids of schema 1 are forgotten: a retry across the migration is a
new request. No gallery of the older version may run meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np

from gallery_svc.rows import SearchRow, TemplateRow, half
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.protocol import GLOBAL_LOG
from gallery_svc.store.redis_collections import LOGS, RedisCollections
from gallery_svc.store.redis_keys import GLOBAL_TAG, ShardKeys, audit_key, record_key
from gallery_svc.store.redis_members import RedisMembers
from gallery_svc.store.redis_parts import Argument, Entry
from gallery_svc.store.redis_repair import Bench, RedisRepair
from gallery_svc.store.redis_values import SubjectSeals
from gallery_svc.store.subject_records import SubjectRecord
from tessera.domain.errors import StoreCorruptError, UnavailableError
from tessera.domain.ids import CollectionId

_SUBJECTS_A_READ = 200
_ENTRIES_A_WRITE = 500
_LEASE_S = 120.0
_OLD_KEYS = ("record", "head", "subjects", "order", "vectors", "log", "audit")


class RedisMigration(RedisCollections, RedisRepair, RedisMembers):
    """Migrations."""

    async def _migrate_from_1(self) -> None:
        """Write every collection anew, sealed.

        Raises:
            UnavailableError: another process migrates.
            StoreCorruptError: what was written does not agree with what was there.
        """
        holder = secrets.token_hex(8)
        for collection_id in await self._directory():
            await self._hold_migration(holder)
            await self._migrate_collection(holder, collection_id)
        await self._hold_migration(holder)
        await self._migrate_global_audit()
        await self.drop_lease("migrate", holder)

    async def _hold_migration(self, holder: str) -> None:
        if not await self.take_lease("migrate", holder, _LEASE_S):
            raise UnavailableError("store", "another process migrates it")

    async def _migrate_collection(self, holder: str, collection_id: CollectionId) -> None:
        keys = ShardKeys(collection_id, 0)
        old_record, old_head = await self._door.read(
            collection_id,
            [
                ("GET", _old(collection_id, "record")),
                ("HMGET", _old(collection_id, "head"), "generation", "subjects", "templates"),
            ],
        )
        if old_record is None:  # done before
            return
        generation, subjects, templates = (raw.decode() for raw in old_head)
        loaded = codec.load(CollectionRecord, old_record, _old(collection_id, "record"))
        record = replace(loaded, generation=generation, shards=1)
        if await self._found(collection_id) is None:
            await self._door.read(GLOBAL_TAG, [("SADD", LOGS, keys.tag)])
            bench = await self._take_shard(record, keys)
            async for some in self._old_subjects(collection_id):
                await self._hold_migration(holder)
                args = [part for subject, vectors in some for part in self._anew(bench, subject, vectors)]
                await self._on_bench(bench, "mend", bench.script_keys, args)
            await self._copy_audit(collection_id, _old(collection_id, "audit"), keys.tag)
            await self._release(bench, [], "MigrateStore")
            await self._require_counts(keys, (int(subjects), int(templates)))
            await self._door.write("write_record", [record_key(collection_id)], ["", codec.dump(record)])
        await self._door.read(collection_id, [("UNLINK", _old(collection_id, name)) for name in reversed(_OLD_KEYS)])

    async def _old_subjects(
        self, collection_id: CollectionId
    ) -> AsyncIterator[list[tuple[SubjectRecord, dict[str, bytes]]]]:
        """Subjects with their vectors as schema 1 has them."""
        cursor: bytes | int = 0
        key = _old(collection_id, "subjects")
        while True:
            (reply,) = await self._door.read(collection_id, [("HSCAN", key, cursor, "COUNT", _SUBJECTS_A_READ)])
            cursor, told = reply
            subjects = [codec.load(SubjectRecord, raw, key) for raw in told[1::2]]
            ids = [template.template_id for subject in subjects for template in subject.templates]
            vectors = await self._old_vectors(collection_id, ids)
            if subjects:
                yield [(subject, vectors) for subject in subjects]
            if not int(cursor):
                return

    async def _old_vectors(self, collection_id: CollectionId, ids: list[Any]) -> dict[str, bytes]:
        if not ids:
            return {}
        (raws,) = await self._door.read(collection_id, [("HMGET", _old(collection_id, "vectors"), *ids)])
        return {name: raw for name, raw in zip(ids, raws, strict=True) if raw is not None}

    def _anew(self, bench: Bench, subject: SubjectRecord, vectors: dict[str, bytes]) -> list[Argument]:
        """A subject as this schema keeps it, for `mend.lua`."""
        seals = SubjectSeals(self._sealer, bench.record.generation)
        data_key = seals.data_key(subject.subject_id, b"")
        templates = tuple(
            TemplateRow(each.template_id, half(np.frombuffer(vectors[each.template_id], "<f4")))
            for each in subject.templates
            if each.template_id in vectors
        )
        row = SearchRow(subject.subject_id, subject.profile.searched, templates)
        return [
            *(subject.subject_id, seals.seal_record(subject, data_key)),
            *(seals.seal_row(row, epoch, data_key) for epoch in bench.epochs),
            0,
        ]

    async def _require_counts(self, keys: ShardKeys, expected: tuple[int, int]) -> None:
        head = await self._whole_head(keys)
        found = (int(head["subjects"]), int(head["templates"]))
        if found != expected:
            raise StoreCorruptError(keys.head, f"{found} subjects and templates were migrated, of {expected}")

    # ---- audit

    async def _migrate_global_audit(self) -> None:
        """Entries without a stamp, beside those that there are to be."""
        old, new = audit_key(GLOBAL_LOG) + ":1", audit_key(GLOBAL_LOG)
        moved, there = await self._door.read(GLOBAL_TAG, [("EXISTS", old), ("EXISTS", new)])
        if there and not moved:
            await self._door.read(GLOBAL_TAG, [("RENAMENX", new, old)])
        await self._copy_audit(GLOBAL_TAG, old, GLOBAL_LOG)
        await self._door.read(GLOBAL_TAG, [("UNLINK", old)])

    async def _copy_audit(self, tag: str, old: str, log: str) -> None:
        """Put the entries of an old log on record again, stamped, behind those that were copied before."""
        (newest,) = await self._door.read(log, [("XREVRANGE", audit_key(log), "+", "-", "COUNT", 1)])
        copied, start, at = int(newest[0][0].split(b"-")[0]) if newest else 0, "-", 0
        while True:
            (some,) = await self._door.read(tag, [("XRANGE", old, start, "+", "COUNT", _ENTRIES_A_WRITE)])
            if not some:
                return
            left = [told[1] for number, (_, told) in enumerate(some, at + 1) if number > copied]
            await self._append_copies(old, log, left)
            at, start = at + len(some), "(" + some[-1][0].decode()

    async def _append_copies(self, old: str, log: str, texts: list[bytes]) -> None:
        entries = [Entry(self._stamps, log, codec.load(AuditRecord, text, old)) for text in texts]
        written = False
        try:
            if entries:
                await self._door.write("audit_many", [audit_key(log)], [part for e in entries for part in e.args])
            written = True
        finally:
            for entry in entries:
                entry.ended(written=written)


def _old(collection_id: CollectionId, name: str) -> str:
    """A key of schema 1."""
    return f"tessera:{{{collection_id}}}:{name}"
