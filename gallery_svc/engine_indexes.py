"""Indexes that lie on a Milvus engine: who may write to each, how far each has come, and what becomes of old ones.

One gallery at a time uses an engine's table: the one that holds the lease `milvus/COLLECTION`. Another one that is
given the same collection is not ready, says so, and goes on where the first one stopped when that is gone. An index
whose lease cannot be kept refuses everything from then on; the collection is then opened anew.

It decides nothing about a search. Every call that may reach the engine is made on a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from gallery_svc.index.milvus import MilvusIndex
from gallery_svc.index.milvus_engine import EngineIndex, MilvusEngine
from gallery_svc.index.milvus_rows import table_name
from gallery_svc.index.protocol import EVERYBODY, Hit, Index, IndexCoverage, Update, Wanted
from gallery_svc.rows import RowBatch
from gallery_svc.store.collection_records import CollectionRecord, Position
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks, ended
from tessera.domain.embedding import Embedding
from tessera.domain.errors import TesseraError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

LEASE_S = 15.0
_RENEWED_EACH_S = 5.0
_WRITTEN_UNTIL_S = 10.0
"""Nothing is written in the last third of a lease: a write that is under way then has ended before another begins."""


class TableIndex:
    """An index on the engine, as long as this process may use it; its counts are those of its last change.

    Args:
        table: the index itself.
        name: of its table.
        collection_id: whose it is.
        clock: of the lease.
    """

    def __init__(self, table: MilvusIndex, name: str, collection_id: CollectionId, clock: Clock) -> None:
        self.name = name
        self.collection_id = collection_id
        self._table = table
        self._clock = clock
        self._taken_at_s = clock.monotonic_s()
        self._shut_why = ""
        self._subjects = 0
        self._templates = 0

    # ---- whether it may be used

    @property
    def is_shut(self) -> bool:
        """It refuses everything: another one is to be opened."""
        return bool(self._shut_why)

    def shut(self, why: str) -> None:
        """Refuse everything from now on."""
        self._shut_why = self._shut_why or why

    def leased(self, at_s: float) -> None:
        """The lease was taken, or held longer, at this moment."""
        self._taken_at_s = at_s

    def _usable(self) -> MilvusIndex:
        if self._clock.monotonic_s() - self._taken_at_s > LEASE_S:
            self.shut("the lease of its table ran out")
        if self._shut_why:
            raise UnavailableError("milvus", self._shut_why)
        return self._table

    def _writable(self) -> MilvusIndex:
        table = self._usable()
        if self._clock.monotonic_s() - self._taken_at_s > _WRITTEN_UNTIL_S:
            raise UnavailableError("milvus", "the lease of its table was not held longer in time")
        return table

    # ---- how far it has come

    def begin(self, shards: int, *, anew: bool) -> tuple[Position, ...] | None:
        """Where the table goes on; None: it was emptied, and is to be loaded.

        Args:
            shards: of the collection.
            anew: whatever it says of itself.
        """
        table = self._writable()
        marker = {} if anew else table.marker()
        if set(marker) != set(range(shards)):
            table.reset()
            self._count()
            return None
        self._count()
        return tuple(Position(*marker[shard]) for shard in range(shards))

    def take_names(self, batch: RowBatch) -> None:
        """Learn what subjects are called that the table has already."""
        self._writable().take_names(batch)

    def reached(self, shard: int, position: Position) -> None:
        """All changes up to here are in the table."""
        self._writable().set_marker({shard: (position.sequence, position.chain)})

    def loaded(self, positions: Sequence[Position]) -> None:
        """All of the collection, as of these positions, is in the table."""
        self._writable().set_marker({shard: (at.sequence, at.chain) for shard, at in enumerate(positions)})
        self._count()

    def drop(self) -> None:
        """Remove the table: nobody will search it again."""
        self.shut("its table is gone")
        self._table.reset()

    # ---- an index like any other

    @property
    def model_id(self) -> ModelId:
        """The one model whose embeddings it holds."""
        return self._table.model_id

    @property
    def subject_count(self) -> int:
        """Subjects, as of the last change."""
        return self._subjects

    @property
    def template_count(self) -> int:
        """Templates, as of the last change."""
        return self._templates

    @property
    def coverage(self) -> IndexCoverage:
        """What its answers are worth."""
        return self._table.coverage

    def apply(self, updates: Sequence[Update]) -> None:
        """Take updates; see `MilvusIndex.apply`."""
        self._writable().apply(updates)
        self._count()

    def expect(self, subjects: int) -> None:
        """Nothing is made ready."""

    def load(self, batch: RowBatch) -> None:
        """Take many subjects; see `MilvusIndex.load`."""
        self._writable().load(batch)

    def search(self, probe: Embedding, limit: int, wanted: Wanted = EVERYBODY) -> list[Hit]:
        """The subjects most like the probe; see `MilvusIndex.search`."""
        return self.search_many([probe], limit, wanted)[0]

    def search_many(self, probes: Sequence[Embedding], limit: int, wanted: Wanted = EVERYBODY) -> list[list[Hit]]:
        """The same for several; what was searched while the table may have been another's is no answer."""
        found = self._usable().search_many(probes, limit, wanted)
        self._usable()
        return found

    def best_of(self, subject_id: SubjectId, probe: Embedding, wanted: Wanted = EVERYBODY) -> Hit | None:
        """The subject's template most like the probe; see `MilvusIndex.best_of`."""
        hit = self._usable().best_of(subject_id, probe, wanted)
        self._usable()
        return hit

    def name_of(self, subject_id: SubjectId) -> str:
        """The subject's display name."""
        return "" if self._shut_why else self._table.name_of(subject_id)

    def __contains__(self, subject_id: object) -> bool:
        """Whether the subject has a template here."""
        return subject_id in self._usable()

    def _count(self) -> None:
        self._subjects, self._templates = self._table.subject_count, self._table.template_count


class EngineIndexes:
    """Opens indexes on an engine, keeps their leases, and removes tables that are of no more use.

    Args:
        engine: where they lie.
        kind: how they are searched.
        store: keeps the leases.
        holder: names this process.
        clock: of the leases.
    """

    def __init__(self, engine: MilvusEngine, kind: EngineIndex, store: Store, holder: str, clock: Clock) -> None:
        self._engine = engine
        self._kind = kind
        self._store = store
        self._holder = holder
        self._clock = clock
        self._open: dict[CollectionId, list[TableIndex]] = {}
        self._dropping: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def open(self, record: CollectionRecord) -> TableIndex:
        """The index of a collection's active epoch.

        Raises:
            UnavailableError: another gallery uses it.
        """
        now_s = self._clock.monotonic_s()
        if not await self._store.take_lease(_lease(record.collection_id), self._holder, LEASE_S):
            raise UnavailableError("milvus", f"another gallery uses the table of collection {record.collection_id}")
        name = f"{table_name(record.collection_id, record.generation, record.active_epoch)}_{self._kind.value}"
        table = MilvusIndex(record.model_id, self._engine, name, kind=self._kind)
        index = TableIndex(table, name, record.collection_id, self._clock)
        index.leased(now_s)
        opened = self._open.setdefault(record.collection_id, [])
        for other in opened:
            if other.name == name:
                other.shut("its table is opened anew")
        opened[:] = [*(other for other in opened if not other.is_shut), index]
        return index

    def only(self, index: TableIndex) -> None:
        """This one is searched from now on: the tables of earlier epochs and generations go."""
        opened = self._open.get(index.collection_id, [])
        for other in opened:
            if other is not index and other.name != index.name:
                self._drop(other)
        opened[:] = [index]

    def forget(self, collection_id: CollectionId) -> None:
        """The collection is gone, and so are its tables."""
        for index in self._open.pop(collection_id, []):
            self._drop(index)

    async def run(self) -> None:
        """Keep the leases until `stop`."""
        while not self._stopped.is_set():
            await self.renew()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RENEWED_EACH_S):
                    await self._stopped.wait()

    async def renew(self) -> None:
        """Hold each lease longer, and shut the indexes of those that somebody else has."""
        for collection_id, opened in list(self._open.items()):
            await self._renew(collection_id, opened)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def close(self) -> None:
        """Shut what is open, give the leases back, and let go of the engine."""
        for collection_id, opened in self._open.items():
            for index in opened:
                index.shut("this gallery goes down")
            with contextlib.suppress(TesseraError):  # it runs out by itself
                await self._store.drop_lease(_lease(collection_id), self._holder)
        await end_tasks(*self._dropping)
        await asyncio.to_thread(self._engine.close)

    async def _renew(self, collection_id: CollectionId, opened: Sequence[TableIndex]) -> None:
        now_s = self._clock.monotonic_s()
        try:
            is_ours = await self._store.take_lease(_lease(collection_id), self._holder, LEASE_S)
        except TesseraError:
            return  # it runs out, unless the store is back in time
        for index in opened:
            if is_ours:
                index.leased(now_s)
            else:
                index.shut("another gallery uses its table")

    def _drop(self, index: TableIndex) -> None:
        index.shut("its table is of no more use")

        async def drop() -> None:
            try:
                await ended(asyncio.to_thread(index.drop))
            except TesseraError as error:
                get_logger().error("milvus.table_kept", table=index.name, why=str(error))

        task = asyncio.create_task(drop(), name="drop table")
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)


def is_elsewhere(index: Index) -> bool:
    """Whether an index's calls go over a network: they belong on a thread then, never on an event loop."""
    return isinstance(index, TableIndex)


def _lease(collection_id: CollectionId) -> str:
    return f"milvus/{collection_id}"
