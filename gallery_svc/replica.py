"""The collections as this process knows them: an index for each, kept in step with the store's change logs.

The store decides; what stands here can be thrown away and loaded again. A collection that is loaded again goes on
answering from the index that it has, and says that it is behind. A query that asks for a state waits for it, for a
while, and is told why when it does not come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gallery_svc.engine_indexes import EngineIndexes, TableIndex
from gallery_svc.holding import ALL, Holding
from gallery_svc.index.protocol import Index
from gallery_svc.live import CollectionReader, LiveCollection, LoadReason
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position, ShardPosition
from gallery_svc.store.protocol import Store
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks
from tessera.domain.errors import NotFoundError, PositionNotReachedError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

BEHIND = "BEHIND"
RELOADING = "RELOADING"
HISTORY_LOST = "HISTORY_LOST"

DEFAULT_POSITION_WAIT_S = 2.0
_LOADS_IN_A_ROW = 5
_ASK_AGAIN_S = 0.05


class Until(Protocol):
    """The moment until which an answer is wanted."""

    def remaining_s(self, stage: str) -> float:
        """Seconds that are left."""
        ...


@dataclass(frozen=True, slots=True)
class Behind:
    """How far an index is behind the store; nothing in it: as far as is known, it is not."""

    changes: int = 0
    """That the store had when it was last looked at, and the index has not."""
    seconds: float = 0.0
    """Since it last had all of them."""
    why: str = ""
    """BEHIND or RELOADING."""


_NOT_BEHIND = Behind()


class _Followed:
    """One collection, and the one pass at a time that moves it on.

    Args:
        reader: reads it from the store.
        metrics: where it counts.
        clock: for how long it is behind.
        tasks: where its passes are while they run.
    """

    def __init__(
        self, reader: CollectionReader, metrics: GalleryMetrics, clock: Clock, tasks: set[asyncio.Task[LiveCollection]]
    ) -> None:
        self._reader = reader
        self._metrics = metrics
        self._clock = clock
        self._tasks = tasks
        self.live: LiveCollection | None = None
        self.loading: LiveCollection | None = None
        self.head: CollectionHead | None = None
        self.failure: Exception | None = None
        self.level_at_s = clock.monotonic_s()
        self._passing = asyncio.Lock()
        self._next: asyncio.Task[LiveCollection] | None = None

    async def level(self) -> LiveCollection:
        """The collection with every change that the store has by now.

        Those who ask while a pass is under way share the next one.

        Raises:
            NotFoundError: it does not exist.
        """
        return await asyncio.shield(self.begin())

    def begin(self) -> asyncio.Task[LiveCollection]:
        """The next pass, which begins after the one that is under way."""
        if self._next is None:
            self._next = asyncio.create_task(self._pass_in_turn())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._ended)
        return self._next

    def look(self, head: CollectionHead, record: CollectionRecord) -> None:
        """Take note of what the store has, and begin a pass where there is something to do."""
        live = self.live
        if live is None or live.parted_from(head) is None:
            self.head = head  # else it may only be older than what a pass read meanwhile: the next pass looks itself
        if live is None or live.positions != head.positions or live.parted_from(head) or live.renewed(record):
            self.begin()
        elif self.loading is None:
            self.level_at_s, self.failure = self._clock.monotonic_s(), None

    def behind(self, *, store_is_there: bool) -> Behind:
        """How far it is behind, as far as is known."""
        live, head = self.live, self.head
        is_settled = store_is_there and self.loading is None and self.failure is None
        if is_settled and live is not None and head is not None and live.is_level_with(head):
            return _NOT_BEHIND
        changes = live.behind(head) if live is not None and head is not None else 0
        parted = live is None or head is None or live.parted_from(head) is not None
        if is_settled and not changes and not parted:
            return _NOT_BEHIND
        why = RELOADING if self.loading is not None else BEHIND
        return Behind(changes, self._clock.monotonic_s() - self.level_at_s, why)

    def held(self) -> tuple[str, tuple[int, ...]] | None:
        """(generation, sequences) of the oldest state of which anything is in memory; None: nothing is."""
        oldest = self.live or self.loading
        if oldest is None:
            return None
        if isinstance(oldest.index, TableIndex):
            # An engine's files keep what was removed, for as long as it likes: no erasure is through with it.
            return oldest.generation, (0,) * len(oldest.positions)
        sequences = tuple(position.sequence for position in oldest.positions)
        beside = self.loading
        if beside is not None and beside.generation == oldest.generation:
            sequences = tuple(map(min, sequences, (position.sequence for position in beside.positions)))
        return oldest.generation, sequences

    # ---- inside

    async def _pass_in_turn(self) -> LiveCollection:
        async with self._passing:
            self._next = None  # who asks from now on may have written after this pass read
            began_s = self._clock.monotonic_s()
            live = await self._pass()
            self.level_at_s = began_s
            return live

    async def _pass(self) -> LiveCollection:
        live = self.live
        if live is None:
            return await self._load(LoadReason.START)
        self.head = await self._reader.head()
        is_news = live.positions != self.head.positions
        why = await (self._reader.take_changes(live, self.head) if is_news else self._reader.renew(live))
        return live if why is None else await self._load(why)

    async def _load(self, why: LoadReason) -> LiveCollection:
        began_s = self._clock.monotonic_s()
        try:
            live = await self._loaded(why)
        finally:
            self.loading = None
        self.live = live  # index and model at once
        self._reader.use(live)
        took_s = self._clock.monotonic_s() - began_s
        self._metrics.load_seconds.observe(took_s)
        get_logger().info(
            "index.load",
            collection=live.record.collection_id,
            why=why.value,
            templates=live.index.template_count,
            seconds=round(took_s, 3),
        )
        return live

    async def _loaded(self, why: LoadReason) -> LiveCollection:
        """A collection beside the one that answers, in step with the store."""
        for _ in range(_LOADS_IN_A_ROW):
            self._metrics.index_loads.labels(why.value).inc()
            self.loading = await self._reader.start()
            if self.live is not None and self.live.record.created_at != self.loading.record.created_at:
                self.live = None  # it was deleted, and what is there now only has its name
            again = await self._reader.fill(self.loading, anew=why not in {LoadReason.START, LoadReason.SHUT})
            if again is None:
                self.head = await self._reader.head()
                again = await self._reader.take_changes(self.loading, self.head)
            if again is None:
                return self.loading
            why = again
        raise UnavailableError("index", "the store changes faster than it can be loaded; raise log_kept")

    def _ended(self, task: asyncio.Task[LiveCollection]) -> None:
        self._tasks.discard(task)
        if self._next is task:  # it ended before it began
            self._next = None
        if not task.cancelled():
            error = task.exception()  # seen here, so that nobody warns of it
            self.failure = error if isinstance(error, Exception) else None


class Replica:
    """Every collection's index.

    Args:
        store: what it follows.
        make_index: an empty index for a model.
        metrics: where it counts.
        clock: for how long an index is behind.
        max_position_wait_s: a query waits so long for a state that it asks for.
        holding: which shards this process holds.
        engine: where the indexes lie; None: in this process.
    """

    def __init__(
        self,
        store: Store,
        make_index: Callable[[ModelId], Index],
        metrics: GalleryMetrics,
        clock: Clock,
        max_position_wait_s: float = DEFAULT_POSITION_WAIT_S,
        *,
        holding: Holding = ALL,
        engine: EngineIndexes | None = None,
    ) -> None:
        self._store = store
        self._make_index = make_index
        self._metrics = metrics
        self._clock = clock
        self._max_position_wait_s = max_position_wait_s
        self._holding = holding
        self._engine = engine
        self._followed: dict[CollectionId, _Followed] = {}
        self._tasks: set[asyncio.Task[LiveCollection]] = set()
        self._store_is_there = False

    # ---- asking

    async def collection(self, collection_id: CollectionId) -> LiveCollection:
        """A collection; one that is new to this process is loaded first.

        Raises:
            NotFoundError: it does not exist.
            UnavailableError: the store is away and the collection is not known here.
        """
        live = self._follow(collection_id).live
        return live if live is not None else await self.catch_up(collection_id)

    async def catch_up(self, collection_id: CollectionId) -> LiveCollection:
        """Take every change that the logs have by now.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: the store is away.
        """
        followed = self._follow(collection_id)
        try:
            live = await followed.level()
        except NotFoundError:
            self._forget(collection_id, followed)
            raise
        self._measure(collection_id, followed)
        return live

    async def at_positions(
        self, collection_id: CollectionId, positions: Sequence[ShardPosition], until: Until
    ) -> LiveCollection:
        """The collection in a state that includes these positions, as soon as there is one.

        Raises:
            NotFoundError: the collection does not exist.
            PositionNotReachedError: it does not get there in time, or the store itself no longer has them.
        """
        live = await self.collection(collection_id)
        if live.missing(positions) is None:
            return live
        limit_s = min(until.remaining_s("index"), self._max_position_wait_s)
        try:
            async with asyncio.timeout(limit_s):
                live = await self._level_at_last(collection_id)
        except TimeoutError:
            live, why = self._follow(collection_id).live or live, self.behind(collection_id).why or BEHIND
        else:
            why = HISTORY_LOST
        missing = live.missing(positions)
        self._metrics.position_waits.labels("reached" if missing is None else why).inc()
        if missing is not None:
            raise PositionNotReachedError(missing.wire, live.sequence_of(missing.shard), missing.shard, why)
        return live

    def name_of(self, collection_id: CollectionId, subject_id: SubjectId) -> str:
        """A subject's display name as far as it is known here; empty when it has none, or is no longer there."""
        followed = self._followed.get(collection_id)
        live = followed.live if followed is not None else None
        return live.index.name_of(subject_id) if live is not None else ""

    def behind(self, collection_id: CollectionId) -> Behind:
        """How far a collection's index is behind the store."""
        followed = self._followed.get(collection_id)
        return followed.behind(store_is_there=self._store_is_there) if followed is not None else Behind()

    def positions(self) -> Mapping[CollectionId, tuple[Position, ...]]:
        """What the indexes hold, of each collection that is loaded."""
        return {key: f.live.positions for key, f in self._followed.items() if f.live is not None}

    def held(self) -> Mapping[CollectionId, tuple[str, tuple[int, ...]]]:
        """(generation, sequence of each shard) of the oldest state of each collection that is still in memory."""
        return {key: held for key, f in self._followed.items() if (held := f.held()) is not None}

    # ---- following

    async def refresh(self) -> tuple[CollectionRecord, ...]:
        """See what the store has: begin to load and to catch up where something is new; forget what is gone.

        Returns:
            The collections that the store has.

        Raises:
            UnavailableError: the store is away.
        """
        try:
            records = await self._store.list_collections()
            heads = await self._store.heads([record.collection_id for record in records])
        except UnavailableError:
            self._store_is_there = False
            raise
        self._store_is_there = True
        for gone in self._followed.keys() - heads.keys():
            self._forget(gone, self._followed[gone])
        for record in records:
            if record.collection_id in heads:
                self._follow(record.collection_id).look(heads[record.collection_id], record)
        for collection_id, followed in self._followed.items():
            self._measure(collection_id, followed)
        return records

    async def settle(self, limit_s: float) -> None:
        """Wait until nothing is being loaded or caught up, or until the limit."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=limit_s)

    def is_loaded(self) -> bool:
        """Whether every collection that is known of has an index."""
        return all(followed.live is not None for followed in self._followed.values())

    def furthest_behind(self) -> Behind:
        """The collection that is behind for longest."""
        behind = (followed.behind(store_is_there=self._store_is_there) for followed in self._followed.values())
        return max(behind, key=lambda one: one.seconds, default=Behind())

    def failure(self) -> Exception | None:
        """Why a collection could not be followed the last time; None: all could, or they are gone."""
        failures = (followed.failure for followed in self._followed.values())
        return next((one for one in failures if one is not None and not isinstance(one, NotFoundError)), None)

    async def close(self) -> None:
        """End what is being loaded."""
        await end_tasks(*tuple(self._tasks))

    # ---- inside

    def _follow(self, collection_id: CollectionId) -> _Followed:
        followed = self._followed.get(collection_id)
        if followed is None:
            reader = CollectionReader(self._store, self._make_index, collection_id, self._holding, engine=self._engine)
            followed = self._followed[collection_id] = _Followed(reader, self._metrics, self._clock, self._tasks)
        return followed

    async def _level_at_last(self, collection_id: CollectionId) -> LiveCollection:
        """All that the store has by now; while the store is away, it is asked again."""
        while True:
            with contextlib.suppress(UnavailableError):
                return await self.catch_up(collection_id)
            await asyncio.sleep(_ASK_AGAIN_S)

    def _forget(self, collection_id: CollectionId, followed: _Followed) -> None:
        if self._followed.get(collection_id) is not followed:
            return
        del self._followed[collection_id]
        if self._engine is not None:
            self._engine.forget(collection_id)
        m = self._metrics
        for gauge in (
            m.index_templates,
            m.index_subjects,
            m.index_bytes,
            m.log_position,
            m.index_lag,
            m.behind_seconds,
        ):
            gauge.labels(collection_id)  # there to be removed, whether it was measured or not
            gauge.remove(collection_id)

    def _measure(self, collection_id: CollectionId, followed: _Followed) -> None:
        if self._followed.get(collection_id) is not followed:
            return
        behind = followed.behind(store_is_there=self._store_is_there)
        self._metrics.index_lag.labels(collection_id).set(behind.changes)
        self._metrics.behind_seconds.labels(collection_id).set(behind.seconds)
        if followed.head is not None:
            sequences = (position.sequence for position in followed.head.positions)
            self._metrics.log_position.labels(collection_id).set(sum(sequences))
        if followed.live is not None:
            index = followed.live.index
            self._metrics.index_templates.labels(collection_id).set(index.template_count)
            self._metrics.index_subjects.labels(collection_id).set(index.subject_count)
            self._metrics.index_bytes.labels(collection_id).set(index.coverage.memory_bytes)
