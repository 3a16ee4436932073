"""Searches of what this process holds of a collection: for its own callers, and for the galleries that hold the rest.

It answers for shards. Where its index has more of them than are asked for, hits of the others are left out, and the
search goes deeper until it has as many as are wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gallery_svc.coverage import SearchCoverage, own_coverage, subjects_here
from gallery_svc.engine_indexes import is_elsewhere
from gallery_svc.index.protocol import Hit, Index, Wanted
from gallery_svc.live import LiveCollection
from gallery_svc.replica import Replica, Until
from gallery_svc.searching import Searcher
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.protocol import shard_of
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ModelMismatchError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A search for several probes."""

    probes: tuple[Embedding, ...]
    """All of one model."""
    limit: int
    """Subjects for each."""
    wanted: Wanted
    min_positions: tuple[ShardPosition, ...] = ()
    """Answer only from a state that includes them."""


@dataclass(frozen=True, slots=True, eq=False)
class PartFound:
    """What one part found."""

    shards: tuple[int, ...]
    """That were searched."""
    positions: tuple[int, ...]
    """The state of each of them that was searched; it may have been a newer one."""
    hits: tuple[list[Hit], ...]
    """For each probe, best first."""
    coverage: SearchCoverage


@dataclass(frozen=True, slots=True)
class Claim:
    """A subject to be compared with."""

    subject_id: SubjectId
    wanted: Wanted
    min_positions: tuple[ShardPosition, ...] = ()


@dataclass(frozen=True, slots=True)
class PartBest:
    """A subject's best template."""

    hit: Hit | None
    """None: it has none, or is not wanted."""
    known: bool
    """The subject has templates."""
    position: int
    coverage: SearchCoverage


class OwnPart:
    """What this process holds.

    Args:
        replica: the collections and their indexes.
        searcher: searches them.
    """

    def __init__(self, replica: Replica, searcher: Searcher) -> None:
        self._replica = replica
        self._searcher = searcher

    async def live_for(
        self,
        collection_id: CollectionId,
        generation: str,
        model_id: ModelId,
        positions: Sequence[ShardPosition],
        until: Until,
    ) -> LiveCollection:
        """The collection as another gallery means it.

        Raises:
            NotFoundError: it does not exist.
            PositionNotReachedError: it does not get to these positions in time.
            UnavailableError: here it is another one of that name.
            ModelMismatchError: here it is searched with another model, also after a look at the store.
        """
        live = await self._replica.at_positions(collection_id, positions, until)
        if live.generation != generation or live.record.model_id != model_id:
            live = await self._replica.catch_up(collection_id)
        if live.generation != generation:
            raise UnavailableError("gallery", f"collection {collection_id} has another generation here")
        if live.record.model_id != model_id:
            raise ModelMismatchError(live.record.model_id, model_id)
        return live

    async def search(
        self, live: LiveCollection, shards: frozenset[int], asked: Asked, deadline_s: float | None
    ) -> PartFound:
        """The subjects of these shards that are most like each probe.

        Args:
            live: what is searched.
            shards: of the collection; what is not held of them is left out.
            asked: the probes.
            deadline_s: on the clock's `monotonic_s`.

        Raises:
            ModelMismatchError: the probes are of another model than the index.
            OverloadedError: too many wait.
            ExpiredError: the deadline passed before its turn.
        """
        mine = tuple(sorted(shards & live.held))
        # What the index held before the search: it may hold more by its end.
        positions = tuple(live.wire_positions[shard] for shard in mine)
        coverage = own_coverage(live, self._replica.behind(live.record.collection_id), len(mine))
        within = None if len(mine) == len(live.held) else frozenset(mine)
        searches = [self._nearest(live, within, asked, probe, deadline_s) for probe in asked.probes]
        # Most pictures have one face, whose search needs no task of its own.
        hits = [await searches[0]] if len(searches) == 1 else await asyncio.gather(*searches)
        return PartFound(mine, positions, tuple(hits), coverage)

    async def best_of(self, live: LiveCollection, claim: Claim, probe: Embedding) -> PartBest:
        """The subject's template that is most like the probe.

        Raises:
            ModelMismatchError: the probe is of another model than the index.
        """
        position = live.wire_positions[shard_of(claim.subject_id, len(live.positions))]
        coverage = own_coverage(live, self._replica.behind(live.record.collection_id), len(live.held))
        hit = await _of_index(live.index, lambda index: index.best_of(claim.subject_id, probe, claim.wanted))
        known = hit is not None or await self.knows(live, claim.subject_id)
        return PartBest(hit, known, position, coverage)

    async def best_of_newest(self, live: LiveCollection, claim: Claim, probe: Embedding) -> PartBest:
        """As `best_of`; a subject that is not known here may just have been enrolled, so that the store is looked at.

        Raises:
            ModelMismatchError: the probe is of another model than the index.
        """
        best = await self.best_of(live, claim, probe)
        if best.known:
            return best
        return await self.best_of(await self._replica.catch_up(live.record.collection_id), claim, probe)

    async def knows(self, live: LiveCollection, subject_id: SubjectId) -> bool:
        """Whether the subject has a template in the index."""
        return await _of_index(live.index, lambda index: subject_id in index)

    async def _nearest(
        self,
        live: LiveCollection,
        within: frozenset[int] | None,
        asked: Asked,
        probe: Embedding,
        deadline_s: float | None,
    ) -> list[Hit]:
        limit, shard_count = asked.limit, len(live.positions)
        while True:
            hits = await self._searcher.search(live.index, probe, limit, asked.wanted, deadline_s)
            if within is None:
                return hits
            found = [hit for hit in hits if shard_of(hit.subject_id, shard_count) in within]
            if len(found) >= asked.limit or len(hits) < limit:
                return found[: asked.limit]
            limit = max(2 * limit, min(limit * shard_count, subjects_here(live)))


async def _of_index(index: Index, question: Callable[[Index], _T]) -> _T:
    """An index's answer; one that has to ask an engine outside of this process is asked on a thread."""
    if is_elsewhere(index):
        return await asyncio.to_thread(question, index)
    return question(index)
