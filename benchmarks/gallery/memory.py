"""What a million templates take: resident memory of a fresh process, not the sum of what we think that we keep."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.figures import ROOT
from benchmarks.gallery import data
from benchmarks.gallery.plan import Plan, Story
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Removal
from gallery_svc.rows import HalfVectors, RowBatch, SearchProfile
from tessera.domain.ids import SubjectId

TEMPLATES = 1_000_000
BAR = 1.15
_KINDS = {
    "ids of our own making (33 characters)": "template-{:024x}",
    "12 characters": "{:012d}",
    "16 characters": "{:016d}",
}
_WARM = 70_000
_LIMIT_S = 300.0


def memory(plan: Plan) -> Story:
    """Subjects of 8 characters with one template each, for some kinds of template ids; then without one subject."""
    story, count = Story(), plan.count(TEMPLATES, TEMPLATES // 4)
    for kind in _KINDS:
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(count), kind],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
        told = json.loads(done.stdout)
        name = f"memory: {count:,} x {data.DIMENSIONS}-d, template ids: {kind}"
        ratio = told["grew_bytes"] / told["raw_bytes"]
        story.add(f"{name}, resident against float16 vectors", ratio, "ratio", f"at most {BAR}", ratio <= BAR)
        story.add(f"{name}, what the index says of itself", told["claimed_bytes"] / told["raw_bytes"], "ratio")
        story.add(f"{name}, the process grew at most by", told["peak_bytes"] / told["raw_bytes"], "ratio")
        story.add(f"{name}, one subject erased in", told["erased_ms"], "ms")
    return story


def measure(count: int, kind: str) -> dict[str, float]:
    """Fill an index; what the process grew by, and how long one erasure took."""
    vectors = data.templates(4096)
    # What the interpreter takes at its first load is not the index's.
    _fill(ExactIndex(data.MODEL), vectors, _WARM, _KINDS[kind])
    gc.collect()
    before, index = _status("VmRSS"), ExactIndex(data.MODEL)
    _fill(index, vectors, count, _KINDS[kind])
    gc.collect()
    grew, peak = _status("VmRSS") - before, _status("VmHWM") - before
    took = []
    for number in range(0, count, count // 9):
        began_s = time.perf_counter()
        index.apply([Removal(SubjectId(f"s{number:07d}"))])
        took.append(time.perf_counter() - began_s)
    return {
        "raw_bytes": 2 * data.DIMENSIONS * count,
        "grew_bytes": grew,
        "peak_bytes": peak,
        "claimed_bytes": index.coverage.memory_bytes,
        "erased_ms": float(np.median(took)) * 1e3,
    }


def _fill(index: ExactIndex, vectors: HalfVectors, count: int, spelling: str) -> None:
    for batch in _batches(vectors, count, spelling):
        index.load(batch)


def _batches(vectors: HalfVectors, count: int, spelling: str) -> Iterator[RowBatch]:
    nobody = SearchProfile()
    for first in range(0, count, len(vectors)):
        here = range(first, min(first + len(vectors), count))
        yield RowBatch(
            [f"s{number:07d}" for number in here],
            [nobody] * len(here),
            [1] * len(here),
            [spelling.format(number) for number in here],
            vectors[: len(here)],
        )


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2])))
