"""One collection over several galleries: each part is asked for the shards that it holds, and the answers are merged.

Merging is exact: every hit was ranked in float64 by the same rule, and the best of a whole are among the best of its
parts. What no part answers for in time is told, and never taken for "nobody": the caller decides what follows from it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gallery_svc.coverage import SearchCoverage, joined
from gallery_svc.holding import Holding
from gallery_svc.index.protocol import Hit
from gallery_svc.live import LiveCollection
from gallery_svc.own_part import Asked, Claim, OwnPart, PartBest, PartFound
from gallery_svc.replica import Until
from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.protocol import shard_of
from tessera.chassis.clock import Clock
from tessera.chassis.tasks import end_tasks
from tessera.domain.embedding import Embedding
from tessera.domain.errors import (
    GalleryIncompleteError,
    ModelMismatchError,
    PositionNotReachedError,
    TesseraError,
)
from tessera.domain.ids import SubjectId

_T = TypeVar("_T")

_SHARE_OF_DEADLINE = 0.8
"""What is not here by then is missing: the rest is for judging and recording."""
_LEARNING_S = 1.0


class Peer(Protocol):
    """Another gallery of the same store."""

    @property
    def holding(self) -> Holding | None:
        """What it said that it holds; None: it is to be asked."""
        ...

    @property
    def is_doubtful(self) -> bool:
        """It failed a moment ago: others are asked first."""
        ...

    async def learn(self, limit_s: float) -> None:
        """Ask what it holds; one that does not say is left as it is."""
        ...

    async def search(self, live: LiveCollection, shards: frozenset[int], asked: Asked, limit_s: float) -> PartFound:
        """See `OwnPart.search`.

        Raises:
            TesseraError: why it does not answer.
        """
        ...

    async def best_of(self, live: LiveCollection, claim: Claim, probe: Embedding, limit_s: float) -> PartBest:
        """See `OwnPart.best_of`.

        Raises:
            TesseraError: why it does not answer.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What all parts found together."""

    hits: tuple[list[Hit], ...]
    """For each probe, best first."""
    positions: tuple[int, ...]
    """Of each shard, of the state that answered; of a shard that nobody answered for, as the store has it."""
    coverage: SearchCoverage


@dataclass(slots=True)
class _Answers(Generic[_T]):
    """What others said, and the shards that nobody answered for."""

    given: list[_T]
    missing: frozenset[int]
    refusals: list[TesseraError]


class Scatter:
    """Searches a whole collection, wherever its shards are held.

    Args:
        own: what is held here.
        peers: who holds the rest.
        clock: for deadlines.
    """

    def __init__(self, own: OwnPart, peers: Sequence[Peer], clock: Clock) -> None:
        self._own = own
        self._peers = peers
        self._clock = clock
        self._turns = itertools.count()

    async def search(
        self, live: LiveCollection, asked: Asked, until: Until, *, allow_partial: bool = False
    ) -> Gathered:
        """The subjects of the collection that are most like each probe.

        Args:
            live: what is held here of it.
            asked: the probes.
            until: when the answer is wanted.
            allow_partial: an answer from a part is welcome; its coverage is not complete.

        Raises:
            GalleryIncompleteError: no part answered in time for some shards, and `allow_partial` is false.
            PositionNotReachedError: the same, since a part is behind.
            ModelMismatchError: a part, or this one, searches with another model than the probes'.
            OverloadedError: too many wait here.
            ExpiredError: the deadline passed before its turn.
        """
        every = frozenset(range(len(live.positions)))
        left_s = until.remaining_s("search")
        deadline_s = self._clock.monotonic_s() + left_s
        if live.is_whole:
            found = await self._own.search(live, every, asked, deadline_s)
            return Gathered(found.hits, found.positions, found.coverage)

        async def ask(peer: Peer, shards: frozenset[int], limit_s: float) -> tuple[frozenset[int], PartFound]:
            found = await peer.search(live, shards, asked, limit_s)
            return frozenset(found.shards), found

        seen = live.wire_positions
        others = asyncio.create_task(self._ask(every - live.held, len(every), left_s, ask))
        try:
            mine = await self._own.search(live, live.held, asked, deadline_s)
            answers = await others
        finally:
            await end_tasks(others)
        if answers.missing and not allow_partial:
            _refuse(answers.refusals, len(every) - len(answers.missing), len(every))
        return _gathered([mine, *answers.given], seen, asked.limit)

    async def best_of(self, live: LiveCollection, claim: Claim, probe: Embedding, until: Until) -> PartBest:
        """One subject's template that is most like the probe, from whoever holds its shard.

        Raises:
            GalleryIncompleteError: nobody who holds it answered in time.
            PositionNotReachedError: the same, since a part is behind.
            ModelMismatchError: who holds it searches with another model than the probe's.
        """
        shard = shard_of(claim.subject_id, len(live.positions))
        if shard in live.held:
            best = await self._own.best_of(live, claim, probe)
            return PartBest(best.hit, best.known, best.position, best.coverage.for_nothing_left_out())

        async def ask(peer: Peer, shards: frozenset[int], limit_s: float) -> tuple[frozenset[int], PartBest]:
            return shards, await peer.best_of(live, claim, probe, limit_s)

        left_s = until.remaining_s("search")
        answers = await self._ask(frozenset({shard}), len(live.positions), left_s, ask)
        if not answers.given:
            _refuse(answers.refusals, 0, 1)
        best = answers.given[0]
        return PartBest(best.hit, best.known, best.position, best.coverage.for_nothing_left_out())

    async def knows(self, live: LiveCollection, subject_id: SubjectId) -> bool | None:
        """Whether the subject has a template; None: its shard is held elsewhere."""
        if shard_of(subject_id, len(live.positions)) not in live.held:
            return None
        return await self._own.knows(live, subject_id)

    # ---- asking others

    async def _ask(
        self,
        shards: frozenset[int],
        total: int,
        left_s: float,
        ask: Callable[[Peer, frozenset[int], float], Awaitable[tuple[frozenset[int], _T]]],
    ) -> _Answers[_T]:
        """Ask one peer for each shard, and another where one fails, until all have answered or time is up."""
        ends_s = self._clock.monotonic_s() + left_s * _SHARE_OF_DEADLINE
        answers: _Answers[_T] = _Answers([], shards, [])
        failed: set[Peer] = set()
        waiting: dict[asyncio.Task[tuple[frozenset[int], _T]], tuple[Peer, frozenset[int]]] = {}
        to_ask = shards
        try:
            while answers.missing:
                left_s = ends_s - self._clock.monotonic_s()
                if to_ask and left_s > 0:
                    for peer, some, limit_s in await self._plan(to_ask, total, failed, left_s):
                        waiting[asyncio.create_task(_awaited(ask(peer, some, limit_s)))] = peer, some
                        to_ask -= some
                left_s = ends_s - self._clock.monotonic_s()
                if not waiting or left_s <= 0:
                    break
                done, _ = await asyncio.wait(waiting, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    peer, some = waiting.pop(task)
                    to_ask |= some - _taken(task, some, answers)
                    if to_ask & some:
                        failed.add(peer)
        finally:
            await end_tasks(*waiting)
        return answers

    async def _plan(
        self, shards: frozenset[int], total: int, failed: set[Peer], left_s: float
    ) -> list[tuple[Peer, frozenset[int], float]]:
        """Who is asked for what, and for how long: half of the time, where another could be asked afterwards."""
        await self._learn([peer for peer in self._peers if not peer.is_doubtful], left_s)
        if shards - _held_by(self._peers, total, failed):
            await self._learn(self._peers, left_s)
        plan: list[tuple[Peer, frozenset[int], float]] = []
        able = [peer for peer in self._peers if peer not in failed]
        turn = next(self._turns)
        able = able[turn % len(able) :] + able[: turn % len(able)] if able else []
        for peer in sorted(able, key=lambda one: one.is_doubtful):
            some = shards & _held_by([peer], total, failed)
            if some:
                others = _held_by([one for one in able if one is not peer], total, failed)
                plan.append((peer, some, left_s / 2 if some & others else left_s))
                shards -= some
        return plan

    @staticmethod
    async def _learn(peers: Iterable[Peer], left_s: float) -> None:
        limit_s = min(_LEARNING_S, left_s / 2)
        await asyncio.gather(*(peer.learn(limit_s) for peer in peers if peer.holding is None))


def merged(parts: Iterable[Sequence[Hit]], limit: int) -> list[Hit]:
    """The best of several lists of hits, no subject in two of them: by score, ties by subject id and then template id.

    Args:
        parts: each with at least the best `limit` of its own.
        limit: so many.
    """
    return sorted(itertools.chain(*parts), key=lambda hit: (-hit.score, hit.subject_id, hit.template_id))[:limit]


def _gathered(parts: Sequence[PartFound], stored: Sequence[int], limit: int) -> Gathered:
    positions = list(stored)
    for part in parts:
        for shard, position in zip(part.shards, part.positions, strict=True):
            positions[shard] = position
    hits = tuple(merged(of_probe, limit) for of_probe in zip(*(part.hits for part in parts), strict=True))
    return Gathered(hits, tuple(positions), joined([part.coverage for part in parts]))


def _held_by(peers: Iterable[Peer], total: int, failed: set[Peer]) -> frozenset[int]:
    held = (peer.holding.of(total) for peer in peers if peer.holding is not None and peer not in failed)
    return frozenset(itertools.chain.from_iterable(held))


def _taken(
    task: asyncio.Task[tuple[frozenset[int], _T]], asked: frozenset[int], answers: _Answers[_T]
) -> frozenset[int]:
    """The shards that this answer is for, which is then among the answers."""
    try:
        shards, answer = task.result()
    except ModelMismatchError:
        raise  # a cut-over is under way: no answer of any part is to be mixed with this one
    except TesseraError as error:
        answers.refusals.append(error)
        return frozenset()
    if shards:
        answers.given.append(answer)
        answers.missing -= shards & asked
    return shards


def _refuse(refusals: Sequence[TesseraError], searched: int, total: int) -> None:
    for refusal in refusals:
        if isinstance(refusal, PositionNotReachedError):
            raise refusal
    raise GalleryIncompleteError(searched, total)


async def _awaited(work: Awaitable[_T]) -> _T:
    return await work


def positions_of(shards: frozenset[int], positions: Iterable[ShardPosition]) -> tuple[ShardPosition, ...]:
    """Those of these positions that these shards can be asked for."""
    return tuple(position for position in positions if position.shard in shards)
