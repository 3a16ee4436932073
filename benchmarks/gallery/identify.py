"""`Identify` over gRPC against the bare index: what the service itself takes of what its index could do.

Served: 32 clients in two processes of their own, the gallery's process, a Valkey that forces every write, each decision
in the audit log before it is told. Bare: in a process of its own, 32 tasks that ask the same `Searcher` over the same
people with as many threads. In turn, each while the other is idle.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.encoder.arithmetic import median_ratio, percentile
from benchmarks.encoder.child import follow_orders
from benchmarks.encoder.load import Window
from benchmarks.encoder.orders import OK, Closed, Tally, order_from_json, order_to_json
from benchmarks.encoder.process_facts import Page, mean_between, read_page, rise
from benchmarks.encoder.worker import Worker
from benchmarks.gallery import data
from benchmarks.gallery.calls import Callers, together, write_requests
from benchmarks.gallery.plan import Plan, Story, in_rounds, on_cores
from benchmarks.gallery.served import (
    SEARCH_THREADS,
    Served,
    identify_requests,
    served_gallery,
    wrong_identifications,
)
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import EVERYBODY
from gallery_svc.searching import Searcher
from gallery_svc.settings import GallerySettings
from tessera.chassis.clock import SystemClock
from tessera.chassis.logs import configure_logs
from tessera.domain.embedding import Embedding

SUBJECTS = 100_000
CLIENTS, PROCESSES = 32, 2
BAR = 0.8
_PROBES = 256
_CHECKED = 32
_ROUNDS = 5


def identify(plan: Plan) -> Story:
    """100,000 subjects, 32 clients."""
    story = Story()
    count = plan.count(SUBJECTS, SUBJECTS // 10)
    numbers, probes = data.mated_probes(data.templates(count), _PROBES)
    requests = identify_requests(probes)
    with tempfile.TemporaryDirectory() as folder, served_gallery(plan, data.templates(count), "always") as served:
        file = write_requests(Path(folder) / "identify", requests)
        wrong = wrong_identifications(served.gallery.address, numbers[:_CHECKED], requests[:_CHECKED])
        story.add(
            "identify: of the probes that were asked first, not found to be of their subject",
            wrong,
            f"of {_CHECKED}",
            "0",
            wrong == 0,
        )
        _race(plan, story, served, file, count)
    return story


def _race(plan: Plan, story: Story, served: Served, file: Path, count: int) -> None:
    order = Closed(CLIENTS // PROCESSES, plan.seconds(6, 2), plan.seconds(2, 1))
    seen: list[Tally] = []
    pages: list[tuple[Page, Page]] = []
    with ExitStack() as started:
        with on_cores(plan.server_cores):
            bare = started.enter_context(Worker(__name__, [str(count)]))
        callers = [started.enter_context(Callers(served.gallery.address, "Identify", file)) for _ in range(PROCESSES)]

        def over_grpc() -> float:
            before = read_page(served.gallery.metrics_port)
            for each in callers:
                each.start(order)
            seen.append(together([each.result() for each in callers]))
            pages.append((before, read_page(served.gallery.metrics_port)))
            return seen[-1].per_s()

        def in_process() -> float:
            bare.begin(order_to_json(Closed(CLIENTS, order.seconds, order.warm_s)))
            return Tally(**bare.answer(300.0)).per_s()

        paces = in_rounds([over_grpc, in_process], plan.count(_ROUNDS, 2))
    _tell(story, seen, paces, count)
    _tell_where(story, pages)


def _tell(story: Story, seen: list[Tally], paces: list[list[float]], count: int) -> None:
    name = f"identify, {count:,} subjects, {CLIENTS} clients"
    ratio = median_ratio(paces[0], paces[1])
    story.add(f"{name}: over gRPC against the bare index", ratio, "ratio", f"at least {BAR}", ratio >= BAR)
    ratios = [served / bare for served, bare in zip(*paces, strict=True)]
    story.add(f"{name}: the same, lowest and highest", f"{min(ratios):.2f} to {max(ratios):.2f}", "ratio")
    story.add(f"{name}: over gRPC", median(paces[0]), "answers/s")
    story.add(f"{name}: bare index", median(paces[1]), "answers/s")
    whole = together(seen)
    for share in (0.5, 0.99):
        story.add(f"{name}: p{share * 100:.0f} at the client", percentile(whole.latencies_ms[OK], share), "ms")
    failed = sum(whole.counts.values()) - whole.count()
    story.add(f"{name}: calls that failed", failed, f"of {sum(whole.counts.values())}", "0", failed == 0)


def _tell_where(story: Story, pages: list[tuple[Page, Page]]) -> None:
    """From the gallery's own metrics, over the last round."""
    before, after = pages[-1]
    for histogram, what, scale, unit in (
        ("tessera_gallery_search_batch_size", "searches done together", 1.0, "searches"),
        ("tessera_gallery_search_seconds", "one pass over the index", 1e3, "ms"),
        ("tessera_gallery_search_wait_seconds", "wait for a pass", 1e3, "ms"),
        ("tessera_gallery_audit_batch_size", "decisions recorded together", 1.0, "decisions"),
    ):
        found = mean_between(before, after, histogram)
        if found is not None:
            story.add(f"identify: mean of {what}", found * scale, unit)
    cpu_s = rise(before, after, "process_cpu_seconds_total")
    if cpu_s:
        story.add("identify: cores that the gallery took", cpu_s / (after.read_s - before.read_s), "cores")


# ---- the bare index


async def _search(
    order: Closed, stop: asyncio.Event, searcher: Searcher, index: ExactIndex, probes: Sequence[Embedding]
) -> Tally:
    tally, window = Tally(), Window(order.warm_s, order.seconds, stop)
    in_turn = itertools.cycle(probes)

    async def one() -> None:
        while window.open:
            started_s = time.perf_counter()
            hits = await searcher.search(index, next(in_turn), 1, EVERYBODY)
            if window.counts:
                tally.add(OK if len(hits) == 1 else "EMPTY", (time.perf_counter() - started_s) * 1e3)

    tasks = [asyncio.create_task(one()) for _ in range(order.concurrency)]
    tally.seconds = await window.wait()
    await asyncio.gather(*tasks)
    return tally


async def _follow(count: int) -> None:
    rows = data.templates(count)
    index = ExactIndex(data.MODEL)
    for batch in data.batches(rows):
        index.load(batch)
    probes = data.embeddings(data.mated_probes(rows, _PROBES)[1])
    settings = GallerySettings(store="memory")
    with ThreadPoolExecutor(SEARCH_THREADS) as threads:
        searcher = Searcher(
            threads,
            clock=SystemClock(),
            max_batch=settings.max_batch,
            max_queries=settings.max_queries,
        )

        async def handle(told: dict[str, Any], stop: asyncio.Event) -> dict[str, Any]:
            order = order_from_json(told)
            assert isinstance(order, Closed)
            return asdict(await _search(order, stop, searcher, index, probes))

        await follow_orders(handle)


def main() -> None:
    """Search whenever it is asked for."""
    configure_logs("bench", level="error")
    uvloop.run(_follow(int(sys.argv[1])))


if __name__ == "__main__":
    main()
