"""From sealed values in the store to an index that can be searched: templates a second while a gallery comes up.

A process of its own loads as a gallery does, through `Replica`. In turn with it another one loads the same people from
rows that lie in clear, so that what the seals cost can be told apart from what reading and indexing cost.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from statistics import median
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.encoder.arithmetic import median_ratio
from benchmarks.encoder.child import follow_orders
from benchmarks.encoder.process_facts import memory_mb
from benchmarks.encoder.worker import Worker
from benchmarks.gallery import data
from benchmarks.gallery.filling import KEYS, ClearSealer, fill, fill_in_clear, keys_environ, open_store
from benchmarks.gallery.plan import Plan, Story, in_rounds, on_cores
from benchmarks.gallery.store_server import StoreServer, store_server
from gallery_svc.index.exact import ExactIndex
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import Replica
from gallery_svc.rows import HalfVectors
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.records import CollectionRecord
from tessera.chassis.clock import SystemClock
from tessera.chassis.logs import configure_logs
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId

BAR_PER_S = 250_000
ROUNDS = 5
SEALED, CLEAR = "sealed", "clear"
_SIZES = ((100_000, 1), (250_000, 1), (250_000, 3))
_LIMIT_S = 300.0


def cold_load(plan: Plan) -> Story:
    """Three sizes; the bar is on each."""
    story = Story()
    os.environ.update(keys_environ())
    for count, each in _SIZES:
        _measure(plan, story, plan.count(count, count // 10), each)
    return story


def _measure(plan: Plan, story: Story, count: int, each: int) -> None:
    rows = data.templates(count // each * each)
    with on_cores(plan.server_cores), store_server("--appendfsync", "everysec") as server:
        asyncio.run(_filled(server, rows, each))
        loaded: dict[str, list[dict[str, Any]]] = {SEALED: [], CLEAR: []}
        with Worker(__name__, [server.url, SEALED]) as sealed, Worker(__name__, [server.url, CLEAR]) as clear:
            for worker in (sealed, clear):  # the first load of a process also imports, compiles, and grows
                _load(worker, [])
            paces = in_rounds(
                [lambda: _load(sealed, loaded[SEALED]), lambda: _load(clear, loaded[CLEAR])], plan.count(ROUNDS, 2)
            )
    name = f"cold load, {len(rows) // each:,} subjects of {each}"
    per_s = median(paces[0])
    story.add(f"{name}: sealed", per_s, "templates/s", f"at least {BAR_PER_S:,}", per_s >= BAR_PER_S)
    story.add(f"{name}: sealed, slowest and fastest", f"{min(paces[0]):,.0f} to {max(paces[0]):,.0f}", "templates/s")
    story.add(f"{name}: the same in clear", median(paces[1]), "templates/s")
    story.add(f"{name}: sealed over clear", median_ratio(paces[0], paces[1]), "ratio")
    story.add(
        f"{name}: time of the processor, sealed", median(each["cpu_us"] for each in loaded[SEALED]), "us/template"
    )
    story.add(f"{name}: the process afterwards", loaded[SEALED][-1]["resident_mb"], "MB")


def _load(worker: Worker, loaded: list[dict[str, Any]]) -> float:
    worker.begin({})
    told = worker.answer(_LIMIT_S)
    loaded.append(told)
    return float(told["templates"]) / float(told["seconds"])


async def _filled(server: StoreServer, rows: HalfVectors, each: int) -> None:
    for name, write in ((SEALED, fill), (CLEAR, fill_in_clear)):
        await write(server, CollectionRecord(CollectionId(name), Modality.FACE, data.MODEL, data.AT), rows, each)


# ---- the process that loads


async def load_once(url: str, name: str) -> dict[str, Any]:
    """Load a collection into an empty index, as a gallery does when it starts.

    Returns:
        Seconds of the clock; microseconds of the processor for each template; how many there were; resident memory.
    """
    keyring = Keyring.load(KEYS)
    store = open_store(url, sealer=ClearSealer(keyring) if name == CLEAR else None)
    replica = Replica(store, ExactIndex, GalleryMetrics(CollectorRegistry()), SystemClock())
    try:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        live = await replica.collection(CollectionId(name))
        seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        found = live.index.template_count
        hits = live.index.search(data.embeddings(data.unit_rows(1, 7))[0], 1)
        assert len(hits) == 1, "nothing is found in what was loaded"
    finally:
        await replica.close()
        await store.close()
    resident_mb = memory_mb(os.getpid())
    del live, replica
    gc.collect()
    return {"seconds": seconds, "cpu_us": cpu_s / found * 1e6, "templates": found, "resident_mb": resident_mb}


def main() -> None:
    """Load whenever it is asked for."""
    url, name = sys.argv[1:]
    configure_logs("bench", level="error")  # what it says goes where the answers go
    uvloop.run(follow_orders(lambda _told, _stop: load_once(url, name)))


if __name__ == "__main__":
    main()
