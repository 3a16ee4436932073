"""One collection as this process has it: its record, its index, and how far in the store's logs that index is.

It is loaded whole, then moved on change by change. It never guesses: where the logs do not tell how to get from here to
there, it says why, and whoever holds it loads another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from gallery_svc.engine_indexes import EngineIndexes, TableIndex, is_elsewhere
from gallery_svc.holding import ALL, Holding
from gallery_svc.index.protocol import Index, Put, Removal, Update
from gallery_svc.rows import RowBatch
from gallery_svc.store.change_records import Change
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position, ShardPosition
from gallery_svc.store.protocol import Store
from tessera.chassis.tasks import end_tasks, ended
from tessera.domain.errors import NotFoundError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId

T = TypeVar("T")

CHANGES_A_READ = 500
_SHARDS_AT_ONCE = 8
_ON_THE_SPOT = 8
"""New subjects that are put into an index in less time than a hop to a thread and back takes under load."""
_LOOKS = 5


class LoadReason(StrEnum):
    """Why an index is loaded whole."""

    START = "start"
    GAP = "gap"
    """The log left changes out."""
    TRIMMED = "trimmed"
    """The log no longer reaches back to what the index holds, or tells of another history."""
    ROLLED_BACK = "rolled_back"
    """The store has fewer changes than the index, or others."""
    RECREATED = "recreated"
    """It is another collection of the same name, or the store was repaired."""
    MODEL = "model"
    """The templates of another encoder are searched now."""
    SHUT = "shut"
    """The index lies on an engine, and its lease could not be kept."""


@dataclass(slots=True, eq=False)
class LiveCollection:
    """One collection, ready to be searched. Record, index and generation belong together for as long as it lives."""

    record: CollectionRecord
    index: Index
    generation: str
    positions: tuple[Position, ...]
    """The state that the index holds, of each shard; it may hold more, never less. Of shards that this process does not
    hold, the state that the store was last seen in."""
    held: frozenset[int] = frozenset()
    """The shards that are in the index."""
    subjects_stored: int = 0
    """In all shards, as the store was last seen."""
    templates_stored: int = 0
    """In all shards, as the store was last seen."""
    is_exact: bool = field(init=False)
    """Whether the index compares everybody; of each index for as long as it lives, as the next."""
    is_in_clear: bool = field(init=False)
    """Whether the index keeps vectors unencrypted outside of this process."""

    def __post_init__(self) -> None:
        """Ask the index once: to answer, it also measures its memory."""
        coverage = self.index.coverage
        self.is_exact, self.is_in_clear = coverage.exact, coverage.vectors_in_clear

    @property
    def is_whole(self) -> bool:
        """Whether the index has all shards."""
        return len(self.held) == len(self.positions)

    @property
    def wire_positions(self) -> tuple[int, ...]:
        """The same, as callers carry it."""
        return tuple(ShardPosition(shard, at.sequence).wire for shard, at in enumerate(self.positions))

    def missing(self, wanted: Sequence[ShardPosition]) -> ShardPosition | None:
        """The first of these positions that the index does not include; None: it has all of them.

        Those of shards that this process does not hold are for others to answer from.
        """
        mine = (at for at in wanted if at.shard in self.held or at.shard >= len(self.positions))
        return next((at for at in mine if at.sequence > self.sequence_of(at.shard)), None)

    def sequence_of(self, shard: int) -> int:
        """How far it is in one shard; 0 for a shard that it does not have."""
        return self.positions[shard].sequence if shard < len(self.positions) else 0

    def is_level_with(self, head: CollectionHead) -> bool:
        """Whether the index has what the store has, and nothing else; False: `behind` and `parted_from` say why.

        It compares what it holds nothing of, too: of that, `look` takes the store's word.
        """
        is_shut = isinstance(self.index, TableIndex) and self.index.is_shut
        return not is_shut and head.generation == self.generation and head.positions == self.positions

    def behind(self, head: CollectionHead) -> int:
        """Changes that the store has and the index has not."""
        return sum(max(0, there.sequence - here.sequence) for _, here, there in self._held_beside(head))

    def parted_from(self, head: CollectionHead) -> LoadReason | None:
        """Why no change leads from here to what the store has now; None: as far as heads tell, one does."""
        if isinstance(self.index, TableIndex) and self.index.is_shut:
            return LoadReason.SHUT
        if head.generation != self.generation or len(head.positions) != len(self.positions):
            return LoadReason.RECREATED
        for _, here, there in self._held_beside(head):
            if there.sequence < here.sequence or (there.sequence == here.sequence and there.chain != here.chain):
                return LoadReason.ROLLED_BACK
        return None

    def renewed(self, record: CollectionRecord) -> LoadReason | None:
        """Take a newer record; or say why the index cannot go with it."""
        if isinstance(self.index, TableIndex) and self.index.is_shut:
            return LoadReason.SHUT
        if record.generation != self.record.generation:
            return LoadReason.RECREATED
        if (record.active_epoch, record.model_id) != (self.record.active_epoch, self.record.model_id):
            return LoadReason.MODEL
        self.record = record
        return None

    def shards_behind(self, head: CollectionHead) -> list[int]:
        """The shards of which the store has changes that the index has not."""
        return [shard for shard, here, there in self._held_beside(head) if here.sequence < there.sequence]

    def look(self, head: CollectionHead) -> None:
        """Take from the store's own state what needs no reading: how many subjects there are, and where those shards
        stand of which nothing is held here, so that there is nothing to be behind with, or to forget.
        """
        pairs = enumerate(zip(self.positions, head.positions, strict=True))
        self.positions = tuple(here if shard in self.held else there for shard, (here, there) in pairs)
        self.subjects_stored = head.subject_count
        self.templates_stored = head.template_count

    async def take(self, shard: int, changes: Sequence[Change]) -> LoadReason | None:
        """Apply changes that follow the shard's position, all at once for those who search.

        Returns:
            Why they cannot be applied; None: they were.
        """
        expected = range(self.positions[shard].sequence + 1, self.positions[shard].sequence + 1 + len(changes))
        if any(change.position.sequence != number for change, number in zip(changes, expected, strict=True)):
            return LoadReason.GAP
        await self._apply(_updates(changes))
        if isinstance(self.index, TableIndex):
            await ended(asyncio.to_thread(self.index.reached, shard, changes[-1].position))
        # The position last: it promises what the index holds, also to those who read it meanwhile.
        self.positions = (*self.positions[:shard], changes[-1].position, *self.positions[shard + 1 :])
        return None

    def _held_beside(self, head: CollectionHead) -> list[tuple[int, Position, Position]]:
        pairs = enumerate(zip(self.positions, head.positions, strict=False))
        return [(shard, here, there) for shard, (here, there) in pairs if shard in self.held]

    async def _apply(self, updates: Sequence[Update]) -> None:
        are_new = not is_elsewhere(self.index) and all(
            isinstance(update, Put) and update.row.subject_id not in self.index for update in updates
        )
        if len(updates) <= _ON_THE_SPOT and are_new:
            self.index.apply(updates)
        else:
            # What changes or erases a subject may copy a part of the index: other calls go on meanwhile.
            await ended(asyncio.to_thread(self.index.apply, updates))


class CollectionReader:
    """Reads one collection from the store: whole, or what changed.

    Args:
        store: what is read.
        make_index: an empty index for a model.
        collection_id: which one.
        holding: which of its shards.
        engine: where its index lies; None: in this process.
    """

    def __init__(
        self,
        store: Store,
        make_index: Callable[[ModelId], Index],
        collection_id: CollectionId,
        holding: Holding = ALL,
        *,
        engine: EngineIndexes | None = None,
    ) -> None:
        self._store = store
        self._make_index = make_index
        self._collection_id = collection_id
        self._holding = holding
        self._engine = engine

    async def head(self) -> CollectionHead:
        """Where the logs stand.

        Raises:
            NotFoundError: the collection does not exist.
        """
        head = (await self._store.heads([self._collection_id])).get(self._collection_id)
        if head is None:
            raise NotFoundError("collection", self._collection_id)
        return head

    async def start(self) -> LiveCollection:
        """The collection with an index that is still empty, at the place from which changes are to be taken.

        Heads are read first: what changes while rows are read is in the logs behind them, and is applied once more.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: it is being made anew again and again.
        """
        for _ in range(_LOOKS):
            head, record = await self.head(), await self._record()
            if record.generation == head.generation:
                held = self._holding.of(len(head.positions))
                index = await self._engine.open(record) if self._engine else self._make_index(record.model_id)
                index.expect(head.subject_count * len(held) // len(head.positions))
                return LiveCollection(
                    record, index, head.generation, head.positions, held, head.subject_count, head.template_count
                )
        raise UnavailableError("store", f"collection {self._collection_id}: its record and its shards do not agree")

    async def fill(self, live: LiveCollection, *, anew: bool = True) -> LoadReason | None:
        """Put everything that the store has into an index that nobody sees yet.

        Args:
            live: with an empty index, or one on an engine that has come some way in an earlier process.
            anew: also where it has.

        Returns:
            Why it must be done again; None: it is the collection as the store has it.

        Raises:
            NotFoundError: the collection went meanwhile.
            StoreCorruptError: the rows are not what the heads say.
            KeyMissingError: a row is sealed under a key that is not there.
        """
        reading, loading = asyncio.Semaphore(_SHARDS_AT_ONCE), asyncio.Lock()

        index, goes_on = live.index, await self._goes_on(live, anew=anew)
        take = index.take_names if isinstance(index, TableIndex) and goes_on else index.load

        async def load(batch: RowBatch) -> None:
            async with loading:
                await ended(asyncio.to_thread(take, batch))

        async def fill_shard(shard: int) -> None:
            async with reading:
                async for batch in self._store.load_rows(self._collection_id, shard, live.record.active_epoch):
                    await load(batch)

        await _all(*(fill_shard(shard) for shard in sorted(live.held)))
        if isinstance(index, TableIndex) and not goes_on:
            await ended(asyncio.to_thread(index.loaded, live.positions))
        # Rows of a model that was dropped meanwhile are no longer there: an empty index must not be shown.
        return await self.renew(live)

    def use(self, live: LiveCollection) -> None:
        """This one is searched from now on: what an engine keeps of earlier ones is of no more use."""
        if self._engine is not None and isinstance(live.index, TableIndex):
            self._engine.only(live.index)

    async def renew(self, live: LiveCollection) -> LoadReason | None:
        """Take the collection's newest record.

        Returns:
            Why the index cannot go with it; None: it does.

        Raises:
            NotFoundError: the collection does not exist.
        """
        return live.renewed(await self._record())

    async def take_changes(self, live: LiveCollection, head: CollectionHead) -> LoadReason | None:
        """Move an index on until it holds at least what `head` says.

        Returns:
            Why it must be loaded again; None: it is there.

        Raises:
            NotFoundError: the collection went meanwhile.
        """
        why = live.parted_from(head)
        if why is None and not live.is_whole:
            why = await self.renew(live)  # changes may be in shards alone of which none are read here
        while why is None and live.behind(head):
            why = await self._take_some(live, head)
        if why is None:
            live.look(head)
        return why

    async def _goes_on(self, live: LiveCollection, *, anew: bool) -> bool:
        """Whether an engine's table is there from before; the logs tell what became of the collection since."""
        if not isinstance(live.index, TableIndex):
            return False
        reached = await ended(asyncio.to_thread(partial(live.index.begin, len(live.positions), anew=anew)))
        if reached is not None:
            live.positions = reached
        return reached is not None

    async def _take_some(self, live: LiveCollection, head: CollectionHead) -> LoadReason | None:
        shards = live.shards_behind(head)
        read = await _all(*(self._changes(shard, live.positions[shard]) for shard in shards[:_SHARDS_AT_ONCE]))
        # The record after the changes: with the same one, they were read with the vectors of this index's own model.
        why = await self.renew(live)
        for shard, changes in zip(shards, read, strict=False):
            if why is not None:
                return why
            if changes is None:
                return LoadReason.TRIMMED
            if not changes:
                return LoadReason.ROLLED_BACK
            why = await live.take(shard, changes)
        return why

    async def _changes(self, shard: int, after: Position) -> list[Change] | None:
        return await self._store.changes_after(self._collection_id, shard, after, CHANGES_A_READ)

    async def _record(self) -> CollectionRecord:
        record = await self._store.find_collection(self._collection_id)
        if record is None:
            raise NotFoundError("collection", self._collection_id)
        return record


def _updates(changes: Sequence[Change]) -> list[Update]:
    # Each change comes with its subject as it is now: the last one says it all.
    newest = {change.subject_id: change.row for change in changes}
    return [Removal(subject_id) if row is None else Put(row) for subject_id, row in newest.items()]


async def _all(*works: Coroutine[Any, Any, T]) -> list[T]:
    """What each of these gives; when one fails, the others have ended before that is told."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await end_tasks(*(task for task in tasks if not task.done()))
