"""Ten million templates in one index: that it loads and answers, in how much time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

import numpy as np

from benchmarks.encoder.process_facts import memory_mb
from benchmarks.figures import ROOT
from benchmarks.gallery import data
from benchmarks.gallery.plan import Plan, Story, free_memory_gb
from gallery_svc.index.exact import ExactIndex

TEMPLATES = 10_000_000
NEEDED_GB = 12.0
_PROBES = 20
_BLOCK = 100_000
_LIMIT_S = 900.0


def ten_million(plan: Plan) -> Story:
    """In a process of its own; left out where there is too little memory."""
    story = Story()
    free_gb = free_memory_gb()
    if free_gb < NEEDED_GB and not plan.quick:
        story.note(f"ten-million: left out, {free_gb:.1f} GB of memory are free and {NEEDED_GB:g} are asked for.")
        return story
    count = plan.count(TEMPLATES, TEMPLATES // 50)
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=True,
    )
    told = json.loads(done.stdout)
    name = f"ten-million: {count:,} x {data.DIMENSIONS}-d"
    story.add(f"{name}, load", told["load_s"], "s")
    story.add(f"{name}, loaded each second", count / told["load_s"], "templates/s")
    story.add(f"{name}, the process grew by", told["grew_mb"] / 1024, "GB")
    raw_mb = count * 2 * data.DIMENSIONS / 2**20
    story.add(f"{name}, against the bare float16 vectors", told["grew_mb"] / raw_mb, "ratio")
    found = told["found"]
    story.add(f"{name}, mated probes that found their subject first", found, f"of {_PROBES}", "all", found == _PROBES)
    story.add(f"{name}, one search, p50", told["search_ms"], "ms")
    story.add(f"{name}, {_PROBES} searches together", told["together_ms"], "ms")
    return story


def load_and_search(count: int) -> dict[str, Any]:
    """Load so many templates, each another subject's, and search for some of them."""
    index = ExactIndex(data.MODEL)
    before_mb, load_s = memory_mb(os.getpid()), 0.0
    wanted = sorted(np.random.default_rng(9).choice(count, _PROBES, replace=False).tolist())
    vectors = []
    for first in range(0, count, _BLOCK):
        rows = data.templates(min(_BLOCK, count - first), seed=100 + first // _BLOCK)
        vectors += [rows[number - first] for number in wanted if first <= number < first + len(rows)]
        for batch in data.batches(rows, first=first):
            started_s = time.perf_counter()
            index.load(batch)
            load_s += time.perf_counter() - started_s
    del rows, batch
    probes = data.embeddings(data.noisy(np.stack(vectors)))
    grew_mb = memory_mb(os.getpid()) - before_mb
    took_s, found = [], 0
    for number, probe in zip(wanted, probes, strict=True):
        started_s = time.perf_counter()
        (hit,) = index.search(probe, 1)
        took_s.append(time.perf_counter() - started_s)
        found += hit.subject_id == data.subject_name(number)
    started_s = time.perf_counter()
    index.search_many(probes, 10)
    together_ms = (time.perf_counter() - started_s) * 1e3
    return {
        "load_s": load_s,
        "grew_mb": grew_mb,
        "found": found,
        "search_ms": median(took_s) * 1e3,
        "together_ms": together_ms,
    }


if __name__ == "__main__":
    print(json.dumps(load_and_search(int(sys.argv[1]))))
