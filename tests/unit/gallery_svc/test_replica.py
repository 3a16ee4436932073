"""The replica: in step with the store whatever other galleries do, and never ahead of what its index holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from gallery_svc.index.protocol import Update
from gallery_svc.live import LoadReason
from gallery_svc.members import SignsOfLife
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline
from gallery_svc.replica import BEHIND, HISTORY_LOST, RELOADING, Replica
from gallery_svc.rows import RowBatch, half
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import Change
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position, ShardPosition
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import shard_of
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, TemplateRecord
from gallery_svc.store.write_records import Enrolled, Enrollment, Erasure, ProfileUpdate
from tessera.chassis.clock import ManualClock, SystemClock
from tessera.domain.embedding import Modality
from tessera.domain.errors import NotFoundError, PositionNotReachedError, StoreCorruptError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tests.eventually import eventually
from tests.plain_index import PlainIndex

AT = datetime(2026, 11, 22, tzinfo=UTC)
STAFF, VISITORS, MODEL = CollectionId("staff"), CollectionId("visitors"), ModelId("m@1")


def soon() -> Deadline:
    """A minute from when it is asked for: a whole run of the tests takes longer than that."""
    return Deadline(SystemClock(), 60.0)


class StagedStore(MemoryStore):
    """A store in which a test stops, breaks and forgets things."""

    def __init__(self, log_kept: int = 1000) -> None:
        super().__init__(None, log_kept)
        self.away = False
        self.corrupt = False
        self.doomed: CollectionId | None = None
        self.leaves_out: int | None = None
        self.reads = 0
        self.rows_may_go = asyncio.Event()
        self.rows_may_go.set()
        self.changes_may_go = asyncio.Event()
        self.changes_may_go.set()

    async def heads(self, collection_ids: Sequence[CollectionId]) -> dict[CollectionId, CollectionHead]:
        """Where the logs stood; another gallery may delete a collection just afterwards."""
        if self.away:
            raise UnavailableError("store")
        found = await super().heads(collection_ids)
        doomed, self.doomed = self.doomed, None
        if doomed is not None:
            await self.delete_collection(doomed, AuditRecord("DeleteCollection", AT, "ev-0"), force=True)
        return found

    async def load_rows(self, collection_id: CollectionId, shard: int, epoch: int) -> AsyncIterator[RowBatch]:
        """Rows, when they may go."""
        await self.rows_may_go.wait()
        if self.corrupt:
            raise StoreCorruptError("staff/0", "half of a write; run: tessera store check")
        async for batch in super().load_rows(collection_id, shard, epoch):
            yield batch

    async def changes_after(
        self, collection_id: CollectionId, shard: int, position: Position, limit: int
    ) -> list[Change] | None:
        """Changes, when they may go; one may be left out."""
        await self.changes_may_go.wait()
        self.reads += 1
        changes = await super().changes_after(collection_id, shard, position, limit)
        return changes and [change for change in changes if change.position.sequence != self.leaves_out]


class FailingIndex(PlainIndex):
    """Refuses what it is given for as long as it is told to."""

    fails = False

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates, or not."""
        if self.fails:
            raise MemoryError("no room")
        super().apply(updates)


def _replica(store: MemoryStore, wait_s: float = 2.0) -> tuple[Replica, GalleryMetrics]:
    metrics = GalleryMetrics(CollectorRegistry())
    return Replica(store, PlainIndex, metrics, SystemClock(), wait_s), metrics


async def _filled(store: MemoryStore, *collection_ids: CollectionId, shards: int = 1) -> None:
    for collection_id in collection_ids:
        await store.create_collection(CollectionRecord(collection_id, Modality.FACE, MODEL, AT, shards=shards))


async def _enroll(store: MemoryStore, name: str, collection_id: CollectionId = STAFF) -> Enrolled:
    template = NewTemplate(TemplateRecord(TemplateId(f"t-{name}"), MODEL, AT, None, ""), half(np.ones(4) / 2))
    audit = AuditRecord("EnrollSubject", AT, "ev-1", collection_id=collection_id)
    profile = SubjectProfile(display_name=name.title())
    return await store.enroll(Enrollment(collection_id, SubjectId(name), profile, (template,), AT, audit))


async def _erase(store: MemoryStore, name: str) -> None:
    audit = AuditRecord("DeleteSubject", AT, "ev-1", collection_id=STAFF)
    await store.erase(Erasure(STAFF, SubjectId(name), f"receipt-{name}", 0, AT, audit))


def _loads(metrics: GalleryMetrics, why: LoadReason) -> float:
    return metrics.registry.get_sample_value("tessera_gallery_index_loads_total", {"why": why.value}) or 0.0


# ---- following


async def test_a_collection_that_goes_while_it_is_followed_is_forgotten() -> None:
    """The look goes on with the other collections; it used to end the gallery."""
    store = StagedStore()
    await _filled(store, STAFF, VISITORS)
    replica, _ = _replica(store)
    store.doomed = STAFF
    await replica.refresh()
    await replica.settle(5.0)
    assert replica.failure() is None
    assert (await replica.collection(VISITORS)).record.collection_id == VISITORS
    assert [record.collection_id for record in await replica.refresh()] == [VISITORS]
    assert replica.is_loaded()
    with pytest.raises(NotFoundError):
        await replica.collection(STAFF)


async def test_a_change_that_the_index_refused_is_taken_the_next_time() -> None:
    """The position never promises what the index does not hold."""
    store = MemoryStore()
    await _filled(store, STAFF)
    replica = Replica(store, FailingIndex, GalleryMetrics(CollectorRegistry()), SystemClock())
    live = await replica.collection(STAFF)
    assert isinstance(live.index, FailingIndex)
    live.index.fails = True
    await _enroll(store, "ada")
    with pytest.raises(MemoryError):
        await replica.catch_up(STAFF)
    assert (live.positions[0].sequence, replica.name_of(STAFF, SubjectId("ada"))) == (0, "")
    live.index.fails = False
    live = await replica.at_positions(STAFF, [ShardPosition(0, 1)], soon())
    assert replica.name_of(STAFF, SubjectId("ada")) == "Ada"


@pytest.mark.parametrize("shards", [1, 8])
async def test_what_others_write_is_followed(shards: int) -> None:
    """Enrolments, changes of profiles and erasures, in every shard, without a load."""
    store = MemoryStore()
    await _filled(store, STAFF, shards=shards)
    replica, metrics = _replica(store)
    await replica.collection(STAFF)
    names = [f"s{number}" for number in range(20)]
    for name in names:
        await _enroll(store, name)
    await _erase(store, "s3")
    audit = AuditRecord("UpdateSubject", AT, "ev-2", collection_id=STAFF)
    renamed = SubjectProfile(display_name="Zoe")
    await store.update_profile(ProfileUpdate(STAFF, SubjectId("s4"), renamed, frozenset({"display_name"}), AT, audit))
    live = await replica.catch_up(STAFF)
    assert isinstance(live.index, PlainIndex)
    assert set(live.index.rows) == set(names) - {"s3"}
    assert replica.name_of(STAFF, SubjectId("s4")) == "Zoe"
    assert live.positions == (await store.heads([STAFF]))[STAFF].positions
    assert [at >> 48 for at in live.wire_positions] == list(range(shards))
    assert (_loads(metrics, LoadReason.START), sum(_loads(metrics, why) for why in LoadReason)) == (1, 1)


async def test_what_was_there_before_is_loaded_from_every_shard() -> None:
    """A replica that starts late holds what one that followed holds."""
    store = MemoryStore()
    await _filled(store, STAFF, shards=8)
    for number in range(50):
        await _enroll(store, f"s{number}")
    replica, _ = _replica(store)
    live = await replica.collection(STAFF)
    assert (live.index.subject_count, live.index.template_count) == (50, 50)
    assert live.positions == (await store.heads([STAFF]))[STAFF].positions


async def test_those_who_ask_together_share_a_look_at_the_store() -> None:
    """A hundred enrolments that are acknowledged at once do not read the log a hundred times."""
    store = StagedStore()
    await _filled(store, STAFF)
    replica, _ = _replica(store)
    await replica.collection(STAFF)
    written = [await _enroll(store, f"s{number}") for number in range(100)]
    await asyncio.gather(*(replica.at_positions(STAFF, [one.position], soon()) for one in written))
    assert store.reads <= 2


async def test_one_collection_that_loads_holds_up_no_other() -> None:
    """While the rows of one do not come, another is loaded, followed and searched."""
    store = StagedStore()
    await _filled(store, STAFF, VISITORS)
    replica, _ = _replica(store)
    await replica.collection(VISITORS)
    store.rows_may_go.clear()
    loading = asyncio.create_task(replica.collection(STAFF))
    await _enroll(store, "bob", VISITORS)
    live = await replica.at_positions(VISITORS, [ShardPosition(0, 1)], soon())
    assert SubjectId("bob") in live.index
    assert not replica.is_loaded()
    store.rows_may_go.set()
    assert (await loading).record.collection_id == STAFF
    await replica.close()


async def test_a_caller_who_leaves_takes_nobodys_answer_along() -> None:
    """The look at the store that he shared goes on for the others."""
    store = StagedStore()
    await _filled(store, STAFF)
    replica, _ = _replica(store)
    store.rows_may_go.clear()
    leaver, stayer = (asyncio.create_task(replica.collection(STAFF)) for _ in range(2))
    await eventually(lambda: _is_loading(replica))
    leaver.cancel()
    store.rows_may_go.set()
    assert (await stayer).record.collection_id == STAFF


async def _is_loading(replica: Replica) -> bool:
    return STAFF in replica.held()


# ---- why it is loaded again


async def test_a_log_that_leaves_a_change_out_is_not_believed() -> None:
    """gap: the index is loaded again, with what the log did not tell."""
    store = StagedStore()
    await _filled(store, STAFF)
    replica, metrics = _replica(store)
    await replica.collection(STAFF)
    store.leaves_out = 1
    for name in ("ada", "bob"):
        await _enroll(store, name)
    live = await replica.catch_up(STAFF)
    assert live.index.subject_count == 2
    assert _loads(metrics, LoadReason.GAP) == 1


async def test_a_log_that_was_trimmed_past_it_is_not_waited_for() -> None:
    """trimmed: what the log no longer tells is loaded."""
    store = StagedStore(log_kept=3)
    await _filled(store, STAFF)
    replica, metrics = _replica(store)
    await replica.collection(STAFF)
    for number in range(10):
        await _enroll(store, f"s{number}")
    live = await replica.catch_up(STAFF)
    assert live.index.subject_count == 10
    assert _loads(metrics, LoadReason.TRIMMED) == 1


async def test_a_store_that_was_rolled_back_is_believed() -> None:
    """rolled_back: whoever only the lost history knew is no longer found, also when as many changes came since."""
    before, after = MemoryStore(), MemoryStore()
    store = SwitchedStore(before)
    await _filled(before, STAFF)
    await _enroll(before, "ada")
    await _enroll(before, "bob")
    generation = (await before.heads([STAFF]))[STAFF].generation
    await _filled(after, STAFF)
    _pretend(after, generation)
    await _enroll(after, "eve")
    replica, metrics = _replica(store)  # type: ignore[arg-type]  # it passes everything on
    assert (await replica.collection(STAFF)).index.subject_count == 2
    store.current = after
    live = await replica.catch_up(STAFF)
    assert (live.index.subject_count, SubjectId("eve") in live.index) == (1, True)
    assert _loads(metrics, LoadReason.ROLLED_BACK) == 1
    store.current = before
    await replica.catch_up(STAFF)
    await _enroll(after, "zoe")
    store.current = after
    live = await replica.catch_up(STAFF)
    assert isinstance(live.index, PlainIndex)
    assert set(live.index.rows) == {"eve", "zoe"}
    assert _loads(metrics, LoadReason.ROLLED_BACK) == 2


async def test_another_collection_of_the_same_name_is_another() -> None:
    """recreated: nobody of the earlier one is found, not even while the new one is loaded."""
    store = StagedStore()
    await _filled(store, STAFF)
    await _enroll(store, "ada")
    replica, metrics = _replica(store)
    await replica.collection(STAFF)
    await store.delete_collection(STAFF, AuditRecord("DeleteCollection", AT, "ev-0"), force=True)
    later = CollectionRecord(STAFF, Modality.FACE, MODEL, AT + timedelta(seconds=1))
    await store.create_collection(later)
    store.rows_may_go.clear()
    caught_up = asyncio.create_task(replica.catch_up(STAFF))
    await eventually(lambda: _has_no_name(replica))
    store.rows_may_go.set()
    assert (await caught_up).index.subject_count == 0
    assert _loads(metrics, LoadReason.RECREATED) == 1


async def _has_no_name(replica: Replica) -> bool:
    return replica.name_of(STAFF, SubjectId("ada")) == ""


async def test_index_and_model_change_in_one_step() -> None:
    """model: whoever holds a collection has a record and an index of the same model, before and after."""
    store = MemoryStore()
    await _filled(store, STAFF)
    await _enroll(store, "ada")
    replica, metrics = _replica(store)
    old = await replica.collection(STAFF)
    await _switch_model(store)
    new = await replica.catch_up(STAFF)
    assert (old.record.model_id, old.index.model_id) == (MODEL, MODEL)
    assert (new.record.model_id, new.index.model_id) == ("m@2", "m@2")
    assert _loads(metrics, LoadReason.MODEL) == 1


async def _switch_model(store: MemoryStore) -> None:
    record = await store.find_collection(STAFF)
    assert record is not None
    newer = replace(record, model_id=ModelId("m@2"), active_epoch=2)
    await store.update_collection(newer, record.revision)


async def test_a_new_policy_needs_no_load() -> None:
    """The record is taken over; the index stays."""
    store = MemoryStore()
    await _filled(store, STAFF)
    replica, metrics = _replica(store)
    live = await replica.collection(STAFF)
    record = await store.find_collection(STAFF)
    assert record is not None
    await store.update_collection(replace(record, display_name="Staff"), record.revision)
    await replica.refresh()
    assert live.record.display_name == "Staff"
    assert _loads(metrics, LoadReason.MODEL) == 0


# ---- states that are asked for


async def test_a_position_of_another_gallery_is_waited_for() -> None:
    """The log is read at once, and what comes slowly is waited for."""
    store = StagedStore()
    await _filled(store, STAFF)
    replica, metrics = _replica(store)
    await replica.collection(STAFF)
    written = await _enroll(store, "ada")
    store.changes_may_go.clear()
    asked = asyncio.create_task(replica.at_positions(STAFF, [written.position], soon()))
    await eventually(lambda: _is_behind(replica))
    assert not asked.done()
    store.changes_may_go.set()
    assert SubjectId("ada") in (await asked).index
    assert metrics.registry.get_sample_value("tessera_gallery_position_waits_total", {"outcome": "reached"}) == 1


async def _is_behind(replica: Replica) -> bool:
    await replica.refresh()
    return replica.behind(STAFF).changes == 1


async def test_a_position_that_does_not_come_in_time_says_why() -> None:
    """BEHIND while the changes do not come; the caller's own deadline may be the shorter one."""
    store = StagedStore()
    await _filled(store, STAFF)
    replica, _ = _replica(store, wait_s=60.0)
    await replica.collection(STAFF)
    written = await _enroll(store, "ada")
    store.changes_may_go.clear()
    with pytest.raises(PositionNotReachedError) as refused:
        await replica.at_positions(STAFF, [written.position], Deadline(SystemClock(), 0.05))
    assert (refused.value.position, refused.value.reached, refused.value.why) == (1, 0, BEHIND)
    store.changes_may_go.set()


async def test_a_position_behind_a_load_says_so() -> None:
    """RELOADING; meanwhile the old index answers, marked as behind."""
    store = StagedStore(log_kept=1)
    await _filled(store, STAFF)
    await _enroll(store, "ada")
    replica, _ = _replica(store, wait_s=0.05)
    await replica.collection(STAFF)
    store.rows_may_go.clear()
    for name in ("bob", "eve"):
        await _enroll(store, name)
    with pytest.raises(PositionNotReachedError) as refused:
        await replica.at_positions(STAFF, [ShardPosition(0, 3)], soon())
    assert refused.value.why == RELOADING
    await replica.refresh()
    behind = replica.behind(STAFF)
    assert (behind.changes, behind.why, behind.seconds > 0) == (2, RELOADING, True)
    assert SubjectId("ada") in (await replica.collection(STAFF)).index
    store.rows_may_go.set()
    live = await replica.catch_up(STAFF)
    assert live.index.subject_count == 3
    assert replica.behind(STAFF).changes == 0


@pytest.mark.parametrize("position", [ShardPosition(0, 99), ShardPosition(5, 1)])
async def test_a_position_that_the_store_does_not_have_is_not_waited_for(position: ShardPosition) -> None:
    """HISTORY_LOST: it was written to a history that is gone, or to another collection."""
    store = MemoryStore()
    await _filled(store, STAFF)
    await _enroll(store, "ada")
    replica, _ = _replica(store, wait_s=60.0)
    with pytest.raises(PositionNotReachedError) as refused:
        await replica.at_positions(STAFF, [position], soon())
    assert (refused.value.why, refused.value.shard) == (HISTORY_LOST, position.shard)


async def test_a_store_that_is_away_for_a_moment_is_asked_again() -> None:
    """The query is answered when it is back; what is known already needs no store."""
    store = StagedStore()
    await _filled(store, STAFF)
    replica, _ = _replica(store)
    first = await _enroll(store, "ada")
    await replica.at_positions(STAFF, [first.position], soon())
    second = await _enroll(store, "bob")
    store.away = True
    assert SubjectId("ada") in (await replica.at_positions(STAFF, [first.position], soon())).index
    asked = asyncio.create_task(replica.at_positions(STAFF, [second.position], soon()))
    with pytest.raises(UnavailableError):
        await replica.refresh()
    assert replica.behind(STAFF).why == BEHIND
    store.away = False
    assert SubjectId("bob") in (await asked).index


async def test_positions_of_several_shards_are_all_waited_for() -> None:
    """One that is missing is enough to be behind."""
    store = MemoryStore()
    await _filled(store, STAFF, shards=4)
    names = ["a0"]
    names.append(next(f"a{n}" for n in range(1, 50) if shard_of(f"a{n}", 4) != shard_of("a0", 4)))
    replica, _ = _replica(store)
    await replica.collection(STAFF)
    positions = [(await _enroll(store, name)).position for name in names]
    live = await replica.at_positions(STAFF, positions, soon())
    assert live.missing(positions) is None
    assert live.missing([*positions, ShardPosition(positions[1].shard, 2)]) == ShardPosition(positions[1].shard, 2)


# ---- what it tells of itself


async def test_a_damaged_store_is_told_and_not_shown() -> None:
    """The failure names what to do; no half-loaded index answers."""
    store = StagedStore()
    await _filled(store, STAFF)
    store.corrupt = True
    replica, _ = _replica(store)
    await replica.refresh()
    await replica.settle(5.0)
    assert "tessera store check" in str(replica.failure())
    assert not replica.is_loaded()
    store.corrupt = False
    await replica.refresh()
    await replica.settle(5.0)
    assert (replica.failure(), replica.is_loaded()) == (None, True)


async def test_the_oldest_state_in_memory_is_what_is_told() -> None:
    """An erasure is not confirmed while an index from before it is still there, be it only half loaded."""
    store = StagedStore(log_kept=1)
    await _filled(store, STAFF)
    await _enroll(store, "ada")
    replica, _ = _replica(store)
    await replica.collection(STAFF)
    clock = ManualClock(AT)
    signs = SignsOfLife(store, replica, clock, "gallery-1")
    await signs.tell()
    assert (await store.members())[0].positions == {STAFF: (1,)}
    store.rows_may_go.clear()
    await _erase(store, "ada")
    await _enroll(store, "bob")
    reloading = asyncio.create_task(replica.catch_up(STAFF))
    await eventually(lambda: _reloads(replica))
    clock.advance(1.0)
    await signs.tell()
    assert (await store.members())[0].positions == {STAFF: (1,)}
    store.rows_may_go.set()
    await reloading
    await signs.tell()
    (member,) = await store.members()
    assert (member.member_id, member.positions) == ("gallery-1", {STAFF: (3,)})
    assert member.generations == {STAFF: (await store.heads([STAFF]))[STAFF].generation}


async def _reloads(replica: Replica) -> bool:
    return replica.behind(STAFF).why == RELOADING


class SwitchedStore:
    """Passes everything on to one store, then to another one."""

    def __init__(self, current: MemoryStore) -> None:
        self.current = current

    def __getattr__(self, name: str) -> object:
        return getattr(self.current, name)


def _pretend(store: MemoryStore, generation: str) -> None:
    """Give a collection another generation, as an older copy of a store has it."""
    collection = store._collections[STAFF]
    collection.record = replace(collection.record, generation=generation)
    for shard in collection.shards:
        shard.position = Position(0, generation)
