"""Searches: those that come while one runs wait for its end, and then go together; a batch costs little more than one.

Small indexes are searched on the spot, large ones on a thread, one scan of an index at a time. There is no timer: a
search of an idle index begins when nobody else is on the way to it. What waits is bounded; who gave up or ran out of
time is dropped before a scan.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from gallery_svc.engine_indexes import is_elsewhere
from gallery_svc.gathering import until_nobody_comes
from gallery_svc.index.protocol import EVERYBODY, Hit, Index, Wanted
from tessera.chassis.clock import Clock
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ExpiredError, ModelMismatchError, OverloadedError

_NUMBERS_ON_THE_SPOT = 1_000_000
"""About 0.2 ms of search: what a hop to a thread and back costs under load."""
_QUEUE = "search"


class SearchMetrics(Protocol):
    """What a searcher tells of its work."""

    def searched(self, batch: int, waited_s: Sequence[float], scan_s: float) -> None:
        """One scan for so many probes, how long each had waited for it, and how long it took."""
        ...

    def refused(self, why: str) -> None:
        """A search that was not done: `full`, `expired` or `cancelled`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    """One caller, waiting."""

    probe: Embedding
    limit: int
    wanted: Wanted
    deadline_s: float | None
    arrived_s: float
    answer: asyncio.Future[list[Hit]]


class Searcher:
    """Searches indexes for many callers at once; belongs to one event loop.

    Args:
        threads: where large indexes are searched; the owner shuts it down.
        clock: of the deadlines.
        metrics: None: nobody is told.
        max_batch: probes of one scan at most.
        max_queries: callers that may wait, for all indexes together.
    """

    def __init__(
        self,
        threads: Executor,
        *,
        clock: Clock,
        metrics: SearchMetrics | None = None,
        max_batch: int = 64,
        max_queries: int = 256,
    ) -> None:
        self._threads = threads
        self._clock = clock
        self._metrics = metrics
        self._max_batch = max_batch
        self._max_queries = max_queries
        self._waiting: dict[int, deque[_Query]] = {}
        self._scans: set[asyncio.Task[None]] = set()

    async def search(
        self,
        index: Index,
        probe: Embedding,
        limit: int,
        wanted: Wanted = EVERYBODY,
        deadline_s: float | None = None,
    ) -> list[Hit]:
        """The subjects most like the probe; see `Index.search`.

        Args:
            index: to search.
            probe: of the index's model.
            limit: so many subjects.
            wanted: who may be found; searches go together only when they want the same.
            deadline_s: on the clock's `monotonic_s`; a search that has not begun by then is dropped.

        Raises:
            ModelMismatchError: the probe was made by another model.
            OverloadedError: too many wait.
            ExpiredError: the deadline passed before its scan began.
        """
        if probe.model_id != index.model_id:
            raise ModelMismatchError(index.model_id, probe.model_id)
        if not is_elsewhere(index) and index.template_count * probe.vector.size <= _NUMBERS_ON_THE_SPOT:
            return self._on_the_spot(index, probe, limit, wanted)
        if sum(map(len, self._waiting.values())) >= self._max_queries:
            self._refuse("full")
            raise OverloadedError(_QUEUE, self._max_queries)
        answer: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._enqueue(index, _Query(probe, limit, wanted, deadline_s, self._clock.monotonic_s(), answer))
        return await answer

    def _on_the_spot(self, index: Index, probe: Embedding, limit: int, wanted: Wanted) -> list[Hit]:
        begun = self._clock.monotonic_s()
        hits = index.search(probe, limit, wanted)
        if self._metrics is not None:
            self._metrics.searched(1, [0.0], self._clock.monotonic_s() - begun)
        return hits

    def _enqueue(self, index: Index, query: _Query) -> None:
        waiting = self._waiting.get(id(index))
        if waiting is not None:
            waiting.append(query)
            return
        # The task holds the index, so that its id is nobody else's for as long as somebody waits for it.
        self._waiting[id(index)] = deque([query])
        scan = asyncio.get_running_loop().create_task(self._scan_until_nobody_waits(index), name="search")
        self._scans.add(scan)
        scan.add_done_callback(self._scans.discard)

    async def _scan_until_nobody_waits(self, index: Index) -> None:
        waiting = self._waiting[id(index)]
        try:
            while waiting:
                await until_nobody_comes(waiting, self._max_batch)
                if batch := self._next_batch(waiting):
                    await self._scan(index, batch)
        finally:
            del self._waiting[id(index)]
            for query in waiting:  # only when this task itself is cancelled
                query.answer.cancel()

    def _next_batch(self, waiting: deque[_Query]) -> list[_Query]:
        """The next callers that want the same; those that want something else keep their places."""
        batch: list[_Query] = []
        others: list[_Query] = []
        while waiting and len(batch) < self._max_batch:
            query = waiting.popleft()
            if self._is_dropped(query):
                continue
            (others if batch and query.wanted != batch[0].wanted else batch).append(query)
        waiting.extendleft(reversed(others))
        return batch

    def _is_dropped(self, query: _Query) -> bool:
        if query.answer.done():
            self._refuse("cancelled")
            return True
        if query.deadline_s is not None and self._clock.monotonic_s() >= query.deadline_s:
            self._refuse("expired")
            query.answer.set_exception(ExpiredError(_QUEUE))
            return True
        return False

    async def _scan(self, index: Index, batch: Sequence[_Query]) -> None:
        begun = self._clock.monotonic_s()
        loop = asyncio.get_running_loop()
        answers: Sequence[list[Hit] | Exception]
        try:
            answers = await loop.run_in_executor(self._threads, _answers, index, batch)
        except asyncio.CancelledError:
            for query in batch:
                query.answer.cancel()
            raise
        except RuntimeError as error:  # the threads are shut down: nobody shall wait for ever
            answers = [error] * len(batch)
        if self._metrics is not None:
            waited_s = [begun - query.arrived_s for query in batch]
            self._metrics.searched(len(batch), waited_s, self._clock.monotonic_s() - begun)
        for query, answer in zip(batch, answers, strict=True):
            if query.answer.done():
                continue
            if isinstance(answer, Exception):
                query.answer.set_exception(answer)
            else:
                query.answer.set_result(answer)

    def _refuse(self, why: str) -> None:
        if self._metrics is not None:
            self._metrics.refused(why)


def _answers(index: Index, batch: Sequence[_Query]) -> Sequence[list[Hit] | Exception]:
    """Hits or an error for each caller; what fails together is tried one by one, so that nobody pays for another."""
    if len(batch) == 1:
        return [_answer(index, batch[0])]
    try:
        limit = max(query.limit for query in batch)
        found = index.search_many([query.probe for query in batch], limit, batch[0].wanted)
    except Exception:  # noqa: BLE001 - whatever it is, it comes again for whom it belongs to
        return [_answer(index, query) for query in batch]
    return [hits[: query.limit] for hits, query in zip(found, batch, strict=True)]


def _answer(index: Index, query: _Query) -> list[Hit] | Exception:
    try:
        return index.search(query.probe, query.limit, query.wanted)
    except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
        return error
