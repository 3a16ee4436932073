"""A full store in seconds: what enrolments would have left there, written straight into the server's hashes.

Enrolling 250,000 people one by one takes minutes and measures something else. The bytes are those of the store itself
(its own rows, records and seals), the heads say what they fold to, and `Store.check` finds nothing wrong; what is left
out are the logs of how it came to be.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from redis import Redis

from benchmarks.gallery.data import AT, batches
from benchmarks.gallery.store_server import StoreServer
from gallery_svc.rows import HalfVectors, RowBatch, SearchRow, TemplateRow
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.redis_following import TAG_BYTES, folded
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_values import SubjectSeals
from gallery_svc.store.row_codec import pack_row
from gallery_svc.store.sealing import Sealer
from gallery_svc.store.subject_records import SubjectProfile, SubjectRecord, TemplateRecord
from tessera.domain.errors import NotFoundError
from tessera.domain.ids import SubjectId, TemplateId

KEYS_VARIABLE = "TESSERA_BENCH_KEYS"
KEYS = f"env:{KEYS_VARIABLE}"
_EPOCH = 1


def keys_environ() -> dict[str, str]:
    """A key-encryption key for one run, as the environment of those who share a store."""
    return {KEYS_VARIABLE: f"bench {base64.b64encode(secrets.token_bytes(32)).decode()}"}


def open_store(url: str, fsync: str = "everysec", sealer: Sealer | None = None) -> RedisStore:
    """The gallery's store, without its service.

    Args:
        url: of the server.
        fsync: `always` or `everysec`.
        sealer: None: with the keys of `KEYS`.
    """
    durability = Durability("always" if fsync == "always" else "everysec")
    beside = None if sealer is None else 0  # rows in clear are nothing that a process of its own could open
    return RedisStore(
        open_door(url, durability), sealer or Sealer(Keyring.load(KEYS)), Unstamped(), load_processes=beside
    )


class ClearSealer(Sealer):
    """The control of a cold load: rows that lie in clear, each with 16 bytes of chance where a tag would be."""

    def open_rows(
        self,
        generation: str,  # noqa: ARG002 - as the sealer that it stands for
        epoch: int,  # noqa: ARG002
        subject_ids: object,  # noqa: ARG002
        sealed: object,
    ) -> list[bytes]:
        """The rows without their tags."""
        assert isinstance(sealed, list)
        return [value[:-TAG_BYTES] for value in sealed]


@dataclass(slots=True)
class _Shard:
    keys: ShardKeys
    subjects: int = 0
    rows_state: np.ndarray[tuple[int], np.dtype[np.uint64]] | None = None
    records_state: np.ndarray[tuple[int], np.dtype[np.uint64]] | None = None


async def fill(
    server: StoreServer, collection: CollectionRecord, rows: HalfVectors, each: int = 1, *, records: bool = True
) -> None:
    """Make a collection and fill it.

    Args:
        server: an empty one, or one without this collection.
        collection: of one shard.
        rows: one for each template.
        each: templates of each subject.
        records: also what a search never reads of a subject; without it, a collection is full in half of the time.
    """
    await _fill(server, collection, rows, each, sealed=True, records=records)


async def fill_in_clear(server: StoreServer, collection: CollectionRecord, rows: HalfVectors, each: int = 1) -> None:
    """The control: the rows in clear, for a store with a `ClearSealer`; without records."""
    await _fill(server, collection, rows, each, sealed=False, records=False)


async def _fill(
    server: StoreServer, collection: CollectionRecord, rows: HalfVectors, each: int, *, sealed: bool, records: bool
) -> None:
    store = open_store(server.url)
    try:
        await store.prepare()
        await store.create_collection(collection)
        made = await store.find_collection(collection.collection_id)
    finally:
        await store.close()
    if made is None:
        raise NotFoundError("collection", collection.collection_id)
    shard = _Shard(ShardKeys(collection.collection_id, 0))
    seals = SubjectSeals(Sealer(Keyring.load(KEYS)), made.generation)
    with server.client() as client:
        for batch in batches(rows, each, size=2048):
            _write(client, shard, made, batch, seals if sealed else None, with_records=records)
        head: dict[str, bytes | int] = {"subjects": shard.subjects, "templates": len(rows)}
        if shard.rows_state is not None:
            head[f"state:rows:{_EPOCH}"] = shard.rows_state.tobytes()
        if shard.records_state is not None:
            head["state"] = shard.records_state.tobytes()
        client.hset(shard.keys.head, mapping=head)


def _write(
    client: Redis,
    shard: _Shard,
    collection: CollectionRecord,
    batch: RowBatch,
    seals: SubjectSeals | None,
    *,
    with_records: bool,
) -> None:
    names, records, packed = [], [], []
    for row in _search_rows(batch):
        names.append(row.subject_id)
        if seals is None:
            packed.append(pack_row(row) + secrets.token_bytes(TAG_BYTES))
            continue
        data_key = secrets.token_bytes(32)
        packed.append(seals.seal_row(row, _EPOCH, data_key))
        if with_records:
            records.append(seals.seal_record(_record(row, collection), data_key))
    pipe = client.pipeline(transaction=False)
    pipe.hset(shard.keys.rows(_EPOCH), items=_alternating(names, packed))
    pipe.zadd(shard.keys.order, dict.fromkeys(names, 0))
    shard.subjects += len(names)
    shard.rows_state = folded(packed) if shard.rows_state is None else shard.rows_state ^ folded(packed)
    if records:
        pipe.hset(shard.keys.subjects, items=_alternating(names, records))
        state = folded(records)
        shard.records_state = state if shard.records_state is None else shard.records_state ^ state
    pipe.execute()


def _search_rows(batch: RowBatch) -> Iterator[SearchRow]:
    at = 0
    for subject_id, profile, count in zip(batch.subject_ids, batch.profiles, batch.counts, strict=True):
        templates = tuple(
            TemplateRow(TemplateId(batch.template_ids[k]), batch.vectors[k]) for k in range(at, at + count)
        )
        yield SearchRow(SubjectId(subject_id), profile, templates)
        at += count


def _record(row: SearchRow, collection: CollectionRecord) -> SubjectRecord:
    templates = tuple(
        TemplateRecord(template.template_id, collection.model_id, AT, None, "") for template in row.templates
    )
    return SubjectRecord(row.subject_id, collection.collection_id, SubjectProfile(), templates, AT, AT, 1)


def _alternating(names: list[SubjectId], values: list[bytes]) -> list[str | bytes]:
    return [part for pair in zip(names, values, strict=True) for part in pair]
