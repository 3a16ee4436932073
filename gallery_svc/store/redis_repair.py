"""Mends what `redis_check` finds: keeps each subject whose values open and agree, takes the others away, and says so.

A template that no row of any epoch has is half of a write that nobody was told of: it goes, and so does a row's that
its subject does not have. While a shard is mended nobody else writes to it. Its history begins anew, so that every
replica loads again. A repair that was broken off is begun again by the next one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import StoreFinding
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.redis_check import Folded, RedisCheck, owner_of
from gallery_svc.store.redis_collections import shards_of
from gallery_svc.store.redis_keys import SCHEMA, ShardKeys
from gallery_svc.store.redis_parts import Argument, Entry, layout_args
from gallery_svc.store.redis_values import UNCHANGED, SubjectSeals
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import CollectionId, SubjectId

_SUBJECTS_A_WRITE = 100


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """A shard that was taken for repair."""

    record: CollectionRecord
    keys: ShardKeys
    token: str
    epochs: tuple[int, ...]

    @property
    def script_keys(self) -> list[str]:
        """What `mend.lua` writes."""
        keys = self.keys
        return [keys.head, keys.subjects, keys.order, keys.pictures, *map(keys.rows, self.epochs)]


class RedisRepair(RedisCheck):
    """Repairs; see `Store` for what each method promises."""

    async def repair(self, collection_id: CollectionId) -> list[StoreFinding]:
        """Mend what `check` finds."""
        record = await self._existing(collection_id, fresh=True)
        mended: list[StoreFinding] = []
        for keys in shards_of(record):
            findings = await self._check_shard(record, keys)
            if findings:
                await self._mend_shard(record, keys)
                mended += findings
        return mended

    async def _mend_shard(self, record: CollectionRecord, keys: ShardKeys) -> None:
        bench = await self._take_shard(record, keys)
        found = await self._fold(record, keys, await self._whole_head(keys))
        names = sorted(_in_need(found))
        for first in range(0, len(names), _SUBJECTS_A_WRITE):
            some = names[first : first + _SUBJECTS_A_WRITE]
            args = [part for name in some for part in await self._mended(bench, found, name)]
            await self._on_bench(bench, "mend", bench.script_keys, args)
        await self._release(bench, [name for name in names if not _kept_templates(found, name)])

    async def _take_shard(self, record: CollectionRecord, keys: ShardKeys) -> Bench:
        """Keep everybody else out."""
        token = f"repair {secrets.token_hex(8)}"
        generation, revision, active, epochs = layout_args(record)
        args: list[Argument] = [generation, token, record.shards, active, epochs, revision, SCHEMA]
        reply = await self._door.write("begin_repair", [keys.head], args)
        if reply[0] != b"ok":
            raise StoreCorruptError(keys.head, "it is of another collection of this name")
        return Bench(record, keys, token, tuple(int(epoch) for epoch in reply[1].split(b",")))

    async def _mended(self, bench: Bench, found: Folded, name: str) -> list[Argument]:
        """A subject as it shall be, for `mend.lua`."""
        kept, subject_id = _kept_templates(found, name), SubjectId(name)
        ends = [
            field
            for field in sorted(found.pictures)
            if owner_of(field) == name
            and (field.partition("/")[2] not in kept or ("state:pictures", field) in found.unopened)
        ]
        if not kept:
            return [name, b"", *(b"" for _ in bench.epochs), len(ends), *ends]
        seals, keys = SubjectSeals(self._sealer, bench.record.generation), bench.keys
        commands = [("HGET", keys.subjects, name), *(("HGET", keys.rows(epoch), name) for epoch in bench.epochs)]
        sealed, *rows = await self._door.read(keys.tag, commands)
        subject, data_key = seals.record(subject_id, sealed), seals.data_key(subject_id, sealed)
        after = replace(subject, templates=tuple(t for t in subject.templates if t.template_id in kept))
        values: list[Argument] = [UNCHANGED if after == subject else seals.seal_record(after, data_key)]
        for epoch, raw in zip(bench.epochs, rows, strict=True):
            if name not in found.rows[epoch]:  # there is none, or it does not open
                values.append(b"")
                continue
            row = seals.row(subject_id, epoch, raw)
            left = replace(row, templates=tuple(t for t in row.templates if t.template_id in kept))
            if left.templates == row.templates:
                values.append(UNCHANGED)
            else:
                values.append(seals.seal_row(left, epoch, data_key) if left.templates else b"")
        return [name, *values, len(ends), *ends]

    async def _release(self, bench: Bench, erased: Sequence[str], method: str = "RepairStore") -> None:
        """Add up what is there now, write down what was done, and let everybody in again."""
        keys = bench.keys
        found = await self._fold(bench.record, keys, await self._whole_head(keys))
        folds = [part for name, state in found.states.items() for part in (name, state.tobytes())]
        templates = sum(map(len, found.subjects.values()))
        entries = [Entry(self._stamps, keys.tag, _told(bench, method, name)) for name in ("", *erased)]
        written = False
        args: list[Argument] = [secrets.token_hex(20), len(found.subjects), templates, len(found.states), *folds]
        try:
            told = [part for entry in entries for part in entry.args]
            await self._on_bench(bench, "end_repair", [keys.head, keys.log, keys.audit], [*args, *told])
            written = True
        finally:
            for entry in entries:
                entry.ended(written=written)

    async def _on_bench(self, bench: Bench, script: str, keys: list[str], args: Sequence[Argument]) -> None:
        reply = await self._door.write(script, keys, [bench.token, *args])
        if reply[0] != b"ok":
            raise StoreCorruptError(bench.keys.head, "somebody else began to repair this shard, too")


def _kept_templates(found: Folded, name: str) -> frozenset[str]:
    """The templates of a subject that some row has as well."""
    held = frozenset[str]().union(*(rows.get(name, frozenset()) for rows in found.rows.values()))
    return found.subjects.get(name, frozenset()) & held


def _in_need(found: Folded) -> set[str]:
    """The subjects that cannot stay as they are."""
    names = set(found.subjects).union(*found.rows.values()) | found.ordered | found.in_doubt
    names |= {owner_of(field) for field in found.pictures}
    stray = {owner_of(field) for field in found.pictures if not found.has_template(field)}
    return {name for name in names if name in found.in_doubt or name in stray or not _agrees(found, name)}


def _agrees(found: Folded, name: str) -> bool:
    kept = _kept_templates(found, name)
    rows = (rows[name] for rows in found.rows.values() if name in rows)
    return bool(kept) and found.subjects[name] == kept and name in found.ordered and all(row <= kept for row in rows)


def _told(bench: Bench, method: str, name: str) -> AuditRecord:
    """What is put on record: that it was done, and whom it took away."""
    return AuditRecord(
        method=method,
        at=datetime.now(UTC),
        evidence_id=bench.token,
        collection_id=bench.keys.collection_id,
        subject_id=SubjectId(name) if name else None,
    )
