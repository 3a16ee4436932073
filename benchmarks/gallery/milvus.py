"""The index on Milvus: its answers against every comparison in float64, and what it costs on an embedded engine.

    python -m benchmarks.gallery.milvus               # under a minute
    python -m benchmarks.gallery.milvus --quick       # for work on the benchmark itself

The engine is milvus-lite in a process of its own, written in Python and slow. Its answers are what counts here: its
times and sizes say nothing about a server.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.encoder.process_facts import memory_mb
from benchmarks.figures import Figure, report
from gallery_svc.index.milvus import MilvusIndex
from gallery_svc.index.milvus_engine import EngineAddress, EngineIndex, MilvusEngine
from gallery_svc.index.milvus_rows import table_name
from gallery_svc.index.protocol import Hit, Put, Removal
from gallery_svc.rows import HalfVectors, RowBatch, SearchProfile, SearchRow, TemplateRow, half
from tessera.chassis.ports import free_port
from tessera.domain.embedding import Embedding
from tessera.domain.errors import UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId

COMMAND = "python -m benchmarks.gallery.milvus"
MODEL = ModelId("bench@1")
DIMENSIONS = 128
LIMIT = 10
START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Gallery:
    """Seeded unit vectors, one a subject; one in a hundred is another's exact copy."""

    vectors: HalfVectors

    def batches(self, size: int = 4096) -> Iterator[RowBatch]:
        """All of it, as a bulk load gets it; each subject has a name of twelve letters."""
        for first in range(0, len(self.vectors), size):
            part = self.vectors[first : first + size]
            numbers = range(first, first + len(part))
            ids, templates = [f"s{n:011d}" for n in numbers], [f"t{n:011d}" for n in numbers]
            names = [f"Person {n:05d}" for n in numbers]
            yield RowBatch(ids, [SearchProfile()] * len(part), [1] * len(part), templates, part, names)

    def best(self, probe: Embedding) -> list[tuple[str, float]]:
        """Every comparison in float64."""
        rows = self.vectors.astype(np.float64)
        scores = np.sum(rows * probe.vector.astype(np.float64), axis=1) / np.sqrt(np.sum(rows * rows, axis=1))
        order = np.lexsort((np.arange(len(rows)), -scores))[:LIMIT]
        return [(f"s{n:011d}", float(scores[n])) for n in order.tolist()]


def gallery(templates: int) -> Gallery:
    """So many templates."""
    rng = np.random.default_rng(4)
    raw = rng.normal(size=(templates, DIMENSIONS)).astype(np.float32)
    raw[rng.choice(templates, templates // 100, replace=False)] = raw[rng.integers(0, templates, templates // 100)]
    return Gallery(half(raw / np.linalg.norm(raw, axis=1, keepdims=True)))


@contextmanager
def engine_process(folder: Path) -> Iterator[tuple[MilvusEngine, int]]:
    """An embedded engine in a process of its own, which has answered."""
    port = free_port()
    code = f"from milvus_lite.adapter.grpc.server import run_server; run_server({str(folder)!r}, '127.0.0.1', {port})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{port}", timeout_s=60))
    try:
        _wait_for(engine)
        yield engine, process.pid
    finally:
        engine.close()
        process.terminate()
        process.wait()


def _wait_for(engine: MilvusEngine) -> None:
    give_up_s = time.monotonic() + START_LIMIT_S
    while True:
        try:
            engine.is_ready("nothing", ())
        except UnavailableError:
            if time.monotonic() > give_up_s:
                raise
        else:
            return


def measure(templates: int, probes: int) -> Iterator[Figure]:
    """All figures, FLAT and HNSW."""
    people = gallery(templates)
    asked = _probes(people, probes)
    expected = [people.best(probe) for probe in asked]
    with tempfile.TemporaryDirectory() as folder, engine_process(Path(folder)) as (engine, pid):
        for kind in (EngineIndex.FLAT, EngineIndex.HNSW):
            at_first = memory_mb(pid)
            index = MilvusIndex(MODEL, engine, table_name(CollectionId("bench"), kind, 0), kind=kind)
            yield _figure(f"{kind}: load", templates / _seconds(lambda: _load(index, people)), "templates/s")  # noqa: B023 - called at once
            index.compact()
            yield from _answers(kind, index, asked, expected)
            yield from _writes(kind, index, people)
            rise = memory_mb(pid) - at_first
            yield _figure(f"{kind}: engine's memory, {templates} templates", rise, "MB")
            names = index.coverage.memory_bytes / templates
            yield _figure(f"{kind}: this process, for each subject with a name", names, "bytes")
        files = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        yield _figure("engine's files, for each template of either", files / (2 * templates), "bytes")


def _answers(
    kind: EngineIndex, index: MilvusIndex, probes: Sequence[Embedding], expected: Sequence[list[tuple[str, float]]]
) -> Iterator[Figure]:
    times, found = [], []
    for probe in probes:
        began_s = time.perf_counter()
        found.append(index.search(probe, LIMIT))
        times.append(time.perf_counter() - began_s)
    yield _figure(f"{kind}: one probe, p50", statistics.median(times) * 1000, "ms")
    batch = list(probes[:16])
    batches = [_seconds(lambda: index.search_many(batch, LIMIT)) for _ in range(3)]
    yield _figure(f"{kind}: 16 probes together, for each", statistics.median(batches) / len(batch) * 1000, "ms")
    if kind is EngineIndex.FLAT:
        wrong = sum(not _same(hits, naive) for hits, naive in zip(found, expected, strict=True))
        bar = f"0 of {len(probes)} lists of {LIMIT} differ from float64, ties included"
        yield Figure(f"{kind}: lists that differ", wrong, "lists", bar, wrong == 0, COMMAND)
        return
    met = [
        len({hit.subject_id for hit in hits} & {who for who, _ in naive})
        for hits, naive in zip(found, expected, strict=True)
    ]
    yield _figure(f"{kind}: recall at {LIMIT}", sum(met) / (LIMIT * len(met)), "")
    full = sum(len(hits) == LIMIT for hits in found)
    bar = f"all lists have {LIMIT} subjects"
    yield Figure(f"{kind}: lists that are full", full, "lists", bar, full == len(found), COMMAND)


def _writes(kind: EngineIndex, index: MilvusIndex, people: Gallery) -> Iterator[Figure]:
    rows = [
        SearchRow(SubjectId(f"new{n}"), SearchProfile(), (TemplateRow(TemplateId(f"t{n}"), people.vectors[n]),))
        for n in range(20)
    ]
    puts = [_seconds(lambda row=row: index.apply([Put(row)])) for row in rows]  # type: ignore[misc]  # a default binds it
    yield _figure(f"{kind}: one enrolment, p50", statistics.median(puts) * 1000, "ms")
    gone = [_seconds(lambda row=row: index.apply([Removal(row.subject_id)])) for row in rows]  # type: ignore[misc]
    yield _figure(f"{kind}: one removal, p50", statistics.median(gone) * 1000, "ms")


def _load(index: MilvusIndex, people: Gallery) -> None:
    for batch in people.batches():
        index.load(batch)


def _probes(people: Gallery, count: int) -> list[Embedding]:
    rng = np.random.default_rng(8)
    near = people.vectors[rng.integers(0, len(people.vectors), count)].astype(np.float32)
    return [Embedding.from_raw(row + rng.normal(scale=0.05, size=DIMENSIONS), MODEL) for row in near]


def _same(hits: Sequence[Hit], expected: Sequence[tuple[str, float]]) -> bool:
    return [hit.subject_id for hit in hits] == [who for who, _ in expected] and np.allclose(
        [hit.score for hit in hits], [score for _, score in expected], atol=1e-12
    )


def _seconds(act: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    act()
    return time.perf_counter() - began_s


def _figure(name: str, value: float, unit: str) -> Figure:
    return Figure(f"milvus-lite {name}", value, unit, "", None, COMMAND)


def main() -> int:
    """Measure and print; nothing is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few templates")
    quick = parser.parse_args().quick
    figures = list(measure(1000 if quick else 10_000, 16 if quick else 100))
    return report("gallery-milvus", figures, [__doc__.split("\n\n")[-1] if __doc__ else ""], keep=False)


if __name__ == "__main__":
    sys.exit(main())
