"""One search and 64 together, beside NumPy, faiss and usearch on the same rows with the same number of threads.

What is ours is whole: filters looked at, exact float64 ranks, ties, ids and names; the peers give row numbers. Each
number of threads has a process of its own, because OpenBLAS and OpenMP ask for it once, at their start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

import faiss
import numpy as np
from usearch.compiled import MetricKind
from usearch.index import search as usearch_search

from benchmarks.encoder.arithmetic import median_ratio, percentile
from benchmarks.figures import ROOT
from benchmarks.gallery import data
from benchmarks.gallery.plan import Plan, Story, in_rounds
from gallery_svc.index.exact import ExactIndex
from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vectors

LIMIT = 10
BATCH = 64
_ROWS_AT_A_TIME = 8192
_SINGLES = 15
_LIMIT_S = 900.0
Search = Callable[[Vectors], Callable[[], object]]
"""Takes probes in whatever form the searcher wants them; what it gives back is measured."""


def search(plan: Plan) -> Story:
    """At 100,000 and a million templates, with one thread and with two."""
    story = Story()
    for count, rounds in ((100_000, plan.count(25, 3)), (1_000_000, plan.count(9, 0))):
        for threads in (1, 2):
            if rounds:
                _tell(story, count, threads, _in_a_process(count, threads, rounds))
    story.note("search: ours gives subjects by exact float64 scores, with ids; the peers give row numbers.")
    return story


def _tell(story: Story, count: int, threads: int, told: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    for what, seconds in told.items():
        name = f"search: {count:,} x {data.DIMENSIONS}-d, {threads} thread{'s' * (threads > 1)}, {what}"
        ours = seconds["ours"]
        story.add(f"{name}: ours", median(ours) * 1e3, "ms")
        ratios = {}
        for peer, theirs in seconds.items():
            if peer != "ours":
                story.add(f"{name}: {peer}", median(theirs) * 1e3, "ms")
                ratios[peer] = median_ratio(theirs, ours)
        best = min(ratios, key=ratios.__getitem__)
        spread = sorted(other / mine for other, mine in zip(seconds[best], ours, strict=True))
        story.add(f"{name}: rate against {best}", ratios[best], "ratio", "at least 1", ratios[best] >= 1.0)
        low, high = percentile(spread, 0.25), percentile(spread, 0.75)
        story.note(f"{name}: half of the rounds between {low:.2f} and {high:.2f} of {best}.")


def _in_a_process(count: int, threads: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    width = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(count), str(threads), str(rounds)],
        cwd=ROOT,
        env={**os.environ, **width},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=True,
    )
    told: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    return told


def race(count: int, threads: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each round: of one search (the median of some), and of a batch.

    Args:
        count: templates, one a subject.
        threads: of everybody.
        rounds: each begins with another one.
    """
    rows = data.templates(count)
    probes = data.mated_probes(rows, BATCH)[1]
    with ThreadPoolExecutor(1) as helper:
        searches = {"ours": ours(rows, [helper] * (threads - 1)), **peers(rows, threads)}
        for each in searches.values():  # who is slow at first, such as a page fault, is not measured
            each(probes[:1])()
            each(probes)()
        told = {}
        for what, measure in (("one search", _one), (f"{BATCH} together", _together)):
            measures = [_measured(measure, each, probes) for each in searches.values()]
            told[what] = dict(zip(searches, in_rounds(measures, rounds), strict=True))
    return told


def ours(rows: HalfVectors, helpers: Sequence[ThreadPoolExecutor]) -> Search:
    """The gallery's index."""
    index = ExactIndex(data.MODEL, helpers)
    for batch in data.batches(rows):
        index.load(batch)
    return lambda probes: partial(index.search_many, data.embeddings(probes), LIMIT)


def peers(rows: HalfVectors, threads: int) -> dict[str, Search]:
    """Each with the settings that suit it best, over the same numbers."""
    library: Any = faiss  # its stubs tell of the C++ signatures, which Python code wraps
    library.cvar.distance_compute_blas_threshold = 20
    wide, dimensions = rows.astype(np.float32), rows.shape[1]
    flat = library.IndexFlatIP(dimensions)
    flat.add(wide)
    halves = library.IndexScalarQuantizer(dimensions, library.ScalarQuantizer.QT_fp16, library.METRIC_INNER_PRODUCT)
    halves.add(wide)

    def by_faiss(index: faiss.Index) -> Search:
        def ready(probes: Vectors) -> Callable[[], object]:
            library.omp_set_num_threads(threads)  # ours sets it for the thread that it searches on
            return lambda: index.search(probes, LIMIT)

        return ready

    def by_usearch(probes: Vectors) -> Callable[[], object]:
        return lambda: usearch_search(wide, probes, LIMIT, MetricKind.IP, exact=True, threads=threads)

    return {
        "NumPy float32": lambda probes: partial(by_numpy, wide, probes),
        "faiss Flat": by_faiss(flat),
        "faiss SQfp16": by_faiss(halves),
        "usearch exact": by_usearch,
    }


def by_numpy(rows: Vectors, probes: Vectors) -> object:
    """Products of some thousand rows at a time, which is quicker than one, and the best by partition."""
    scores = np.empty((len(probes), len(rows)), np.float32)
    for first in range(0, len(rows), _ROWS_AT_A_TIME):
        part = rows[first : first + _ROWS_AT_A_TIME]
        np.matmul(probes, part.T, out=scores[:, first : first + len(part)])
    best = np.argpartition(scores, -LIMIT, axis=1)[:, -LIMIT:]
    return np.take_along_axis(scores, best, axis=1), best


def _measured(measure: Callable[[Search, Vectors], float], search: Search, probes: Vectors) -> Callable[[], float]:
    return lambda: measure(search, probes)


def _one(search: Search, probes: Vectors) -> float:
    took = []
    for at in range(_SINGLES):
        find = search(probes[at : at + 1])
        began_s = time.perf_counter()
        find()
        took.append(time.perf_counter() - began_s)
    return median(took)


def _together(search: Search, probes: Vectors) -> float:
    find = search(probes)
    began_s = time.perf_counter()
    find()
    return time.perf_counter() - began_s


if __name__ == "__main__":
    print(json.dumps(race(*(int(word) for word in sys.argv[1:]))))
