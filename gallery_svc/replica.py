"""The collections as this process knows them: an index for each, kept in step with the store's change log.

The store decides; what stands here can be thrown away and loaded again. It is loaded again when the log no longer tells
how to get from here to there: trimmed, rolled back, or another store behind the same address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gallery_svc.index.protocol import Addition, Index, Removal, Update
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.protocol import Store
from gallery_svc.store.records import Change, ChangeKind, CollectionHead, CollectionRecord, LoadedSubject, Position
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import ended
from tessera.domain.errors import NotFoundError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

_CHANGES_A_READ = 500


@dataclass(slots=True, eq=False)
class LiveCollection:
    """One collection, ready to be searched."""

    record: CollectionRecord
    index: Index
    position: Position
    """The state that the index holds."""
    names: dict[SubjectId, str]
    """Display names, for answers."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, changes: Sequence[Change]) -> None:
        """Apply changes that follow `position`, all at once for those who search."""
        updates: list[Update] = []
        for change in changes:
            updates.extend([Removal(change.subject_id)] if change.kind is ChangeKind.ERASED else _additions(change))
        # The position last: it promises what the index holds, also to those who read it meanwhile.
        self.index.apply(updates)
        for change in changes:
            if change.kind is ChangeKind.ERASED:
                self.names.pop(change.subject_id, None)
            else:
                self.names[change.subject_id] = change.display_name
            self.position = change.position


class Replica:
    """Every collection's index.

    Args:
        store: what it follows.
        make_index: an empty index for a model.
        metrics: where it counts.
    """

    def __init__(self, store: Store, make_index: Callable[[ModelId], Index], metrics: GalleryMetrics) -> None:
        self._store = store
        self._make_index = make_index
        self._metrics = metrics
        self._live: dict[CollectionId, LiveCollection] = {}
        self._loading = asyncio.Lock()

    async def collection(self, collection_id: CollectionId) -> LiveCollection:
        """A collection; one that is new to this process is loaded first.

        Raises:
            NotFoundError: it does not exist.
            UnavailableError: the store is away and the collection is not known here.
        """
        live = self._live.get(collection_id)
        return live if live is not None else await self._load(collection_id, "start")

    async def catch_up(self, collection_id: CollectionId) -> LiveCollection:
        """Take every change that the log has by now.

        Raises:
            NotFoundError: the collection does not exist.
        """
        live = await self.collection(collection_id)
        async with live.lock:
            while (
                changes := await self._store.changes_after(collection_id, live.position, _CHANGES_A_READ)
            ) is not None:
                if not changes:
                    self._measure(live)
                    return live
                if any(change.kind is ChangeKind.ERASED for change in changes):
                    # It copies the whole index: 0.4 s at 100,000 templates, in which the event loop has other work.
                    await ended(asyncio.to_thread(live.take, changes))
                else:
                    live.take(changes)
        return await self._load(collection_id, "other_history", instead_of=live)

    async def at_position(self, collection_id: CollectionId, position: int) -> LiveCollection:
        """The collection in a state that includes `position`.

        Raises:
            NotFoundError: the collection does not exist.
            UnavailableError: the log does not reach so far.
        """
        live = await self.collection(collection_id)
        if live.position.sequence < position:
            live = await self.catch_up(collection_id)
        if live.position.sequence < position:
            detail = f"it stands at position {live.position.sequence}; asked for {position}"
            raise UnavailableError("index", detail)
        return live

    def name_of(self, collection_id: CollectionId, subject_id: SubjectId) -> str:
        """A subject's display name as far as it is known here; empty when it has none, or is no longer there."""
        live = self._live.get(collection_id)
        return live.names.get(subject_id, "") if live is not None else ""

    async def refresh(self) -> tuple[CollectionRecord, ...]:
        """Bring everything in step with the store: new collections, changes, collections that are gone.

        Returns:
            The collections that the store has.
        """
        records = await self._store.list_collections()
        heads = await self._store.heads([record.collection_id for record in records])
        for gone in self._live.keys() - heads.keys():
            self._forget(gone)
        for collection_id, head in heads.items():
            with contextlib.suppress(NotFoundError):  # deleted since it was listed; `_read` has forgotten it
                await self._follow(collection_id, head)
        return records

    async def _follow(self, collection_id: CollectionId, head: CollectionHead) -> None:
        live = await self.collection(collection_id)
        lag = max(0, head.position.sequence - live.position.sequence)
        self._metrics.log_position.labels(collection_id).set(head.position.sequence)
        self._metrics.index_lag.labels(collection_id).set(lag)
        if head.position != live.position:
            await self.catch_up(collection_id)

    async def _load(
        self, collection_id: CollectionId, why: str, instead_of: LiveCollection | None = None
    ) -> LiveCollection:
        async with self._loading:
            there = self._live.get(collection_id)
            if there is not None and there is not instead_of:
                return there
            live = await self._read(collection_id)
            self._live[collection_id] = live
        self._metrics.index_loads.labels(why).inc()
        get_logger().info("index.load", collection=collection_id, why=why, templates=live.index.template_count)
        return await self.catch_up(collection_id)

    async def _read(self, collection_id: CollectionId) -> LiveCollection:
        # The head first: what changes while the subjects are read is in the log behind it and is applied once more.
        head = (await self._store.heads([collection_id])).get(collection_id)
        record = await self._store.find_collection(collection_id)
        if head is None or record is None:
            self._forget(collection_id)
            raise NotFoundError("collection", collection_id)
        live = LiveCollection(record, self._make_index(record.model_id), head.position, {})
        additions: list[Update] = []
        async for subject in self._store.load_subjects(collection_id):
            additions.extend(_additions(subject))
            live.names[subject.subject_id] = subject.display_name
        await asyncio.to_thread(live.index.apply, additions)
        return live

    def _forget(self, collection_id: CollectionId) -> None:
        self._live.pop(collection_id, None)
        m = self._metrics
        for gauge in (m.index_templates, m.index_subjects, m.log_position, m.index_lag):
            gauge.labels(collection_id)  # there to be removed, whether it was measured or not
            gauge.remove(collection_id)

    def _measure(self, live: LiveCollection) -> None:
        collection_id = live.record.collection_id
        self._metrics.index_templates.labels(collection_id).set(live.index.template_count)
        self._metrics.index_subjects.labels(collection_id).set(live.index.subject_count)
        self._metrics.log_position.labels(collection_id).set(live.position.sequence)
        self._metrics.index_lag.labels(collection_id).set(0)


def _additions(source: Change | LoadedSubject) -> list[Update]:
    return [Addition(source.subject_id, template.template_id, template.vector) for template in source.templates]
