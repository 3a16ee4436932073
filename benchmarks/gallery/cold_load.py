"""From sealed values in the store to an index that can be searched: templates a second while a gallery comes up.

A process of its own loads as a gallery does, through `Replica`. In turn with it another one loads the same people from
rows that lie in clear, so that what the seals cost can be told apart from what reading and indexing cost. At last a
whole gallery loads a million, and its memory is looked at from outside.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from benchmarks.encoder.arithmetic import median_ratio
from benchmarks.encoder.child import follow_orders
from benchmarks.encoder.process_facts import memory_mb, read_page
from benchmarks.encoder.worker import Worker
from benchmarks.gallery import data
from benchmarks.gallery.filling import KEYS, ClearSealer, fill, fill_in_clear, keys_environ, open_store
from benchmarks.gallery.plan import PREFIX, Plan, Story, in_rounds, on_cores
from benchmarks.gallery.served import PEOPLE, model, verify_requests, wrong_verifications
from benchmarks.gallery.store_server import StoreServer, store_server
from benchmarks.services import service
from gallery_svc.index.exact import ExactIndex
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import Replica
from gallery_svc.rows import HalfVectors
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.keyring import Keyring
from tessera.chassis.clock import SystemClock
from tessera.chassis.logs import configure_logs
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId

BAR_PER_S = 250_000
ROUNDS = 5
SEALED, CLEAR = "sealed", "clear"
_SIZES = ((100_000, 1), (250_000, 1), (250_000, 3))
_LIMIT_S = 300.0
MANY, BAR_MB = 1_000_000, 500


def cold_load(plan: Plan) -> Story:
    """Three sizes; the bar is on each."""
    story = Story()
    os.environ.update(keys_environ())
    for count, each in _SIZES:
        _measure(plan, story, plan.count(count, count // 10), each)
    _weigh(plan, story, plan.count(MANY, MANY // 20))
    return story


def _measure(plan: Plan, story: Story, count: int, each: int) -> None:
    rows = data.templates(count // each * each)
    with on_cores(plan.server_cores), store_server("--appendfsync", "everysec") as server:
        asyncio.run(_filled(server, rows, each))
        loaded: dict[str, list[dict[str, Any]]] = {SEALED: [], CLEAR: []}
        with Worker(__name__, [server.url, SEALED]) as sealed, Worker(__name__, [server.url, CLEAR]) as clear:
            for worker in (sealed, clear):  # the first load of a process also imports, compiles, and grows
                _load(server, worker, [])
            paces = in_rounds(
                [
                    lambda: _load(server, sealed, loaded[SEALED]),
                    lambda: _load(server, clear, loaded[CLEAR]),
                ],
                plan.count(ROUNDS, 2),
            )
    name = f"cold load, {len(rows) // each:,} subjects of {each}"
    per_s = median(paces[0])
    story.add(f"{name}: sealed", per_s, "templates/s", f"at least {BAR_PER_S:,}", per_s >= BAR_PER_S)
    story.add(f"{name}: sealed, slowest and fastest", f"{min(paces[0]):,.0f} to {max(paces[0]):,.0f}", "templates/s")
    story.add(f"{name}: the same in clear", median(paces[1]), "templates/s")
    story.add(f"{name}: sealed over clear", median_ratio(paces[0], paces[1]), "ratio")
    for who, field in (
        ("the gallery", "cpu_us"),
        ("those that open for it", "opening_cpu_us"),
        ("the store", "store_us"),
    ):
        took_us = median(each[field] for each in loaded[SEALED])
        story.add(f"{name}: time of the processor, {who}", took_us, "us/template")
    story.add(f"{name}: the process afterwards", loaded[SEALED][-1]["resident_mb"], "MB")


def _load(server: StoreServer, worker: Worker, loaded: list[dict[str, Any]]) -> float:
    before_s = _cpu_s(server.pid)
    worker.begin({})
    told = worker.answer(_LIMIT_S)
    loaded.append(told | {"store_us": (_cpu_s(server.pid) - before_s) / told["templates"] * 1e6})
    return float(told["templates"]) / float(told["seconds"])


def _weigh(plan: Plan, story: Story, count: int) -> None:
    """What a whole gallery takes, with everything that a service has, once it serves a collection."""
    common = {"KEYS": KEYS, "DURABILITY": "everysec", "LOG_LEVEL": "warning"}
    with on_cores(plan.server_cores), store_server("--appendfsync", "everysec") as server:
        rows = data.templates(count)
        asyncio.run(fill(server, CollectionRecord(PEOPLE, Modality.FACE, model(), data.AT), rows, records=False))
        numbers, probes = data.mated_probes(rows, 1)
        with service("gallery_svc", PREFIX, common | {"STORE": server.url}) as gallery:
            wrong = wrong_verifications(gallery.address, verify_requests(numbers, probes))  # it loads when it is asked
            assert not wrong, "nobody is found in what was loaded"
            load_s = read_page(gallery.metrics_port).total("tessera_gallery_load_seconds_sum")
            resident_mb, peak_mb = memory_mb(gallery.pid), memory_mb(gallery.pid, "VmHWM")
    name = f"a whole gallery with {count:,} x {data.DIMENSIONS}-d"
    story.add(f"{name}: resident", resident_mb, "MB", f"under {BAR_MB}", resident_mb < BAR_MB)
    story.add(f"{name}: at most, while it loaded", peak_mb, "MB")
    story.add(f"{name}: its first load", load_s, "s")


def _cpu_s(pid: int) -> float:
    """Seconds of the processor that a process has had."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


async def _filled(server: StoreServer, rows: HalfVectors, each: int) -> None:
    for name, write in ((SEALED, fill), (CLEAR, fill_in_clear)):
        await write(server, CollectionRecord(CollectionId(name), Modality.FACE, data.MODEL, data.AT), rows, each)


# ---- the process that loads


async def load_once(url: str, name: str) -> dict[str, Any]:
    """Load a collection into an empty index, as a gallery does when it starts.

    Returns:
        Seconds of the clock; microseconds of the processor for each template, here and in the processes that open;
        how many templates there were; resident memory.
    """
    keyring = Keyring.load(KEYS)
    store = open_store(url, sealer=ClearSealer(keyring) if name == CLEAR else None)
    replica = Replica(store, ExactIndex, GalleryMetrics(CollectorRegistry()), SystemClock())
    try:
        began_s, began_cpu_s, began_opening_s = time.perf_counter(), time.process_time(), _ended_cpu_s()
        live = await replica.collection(CollectionId(name))
        seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        opening_s, found = _ended_cpu_s() - began_opening_s, live.index.template_count
        hits = live.index.search(data.embeddings(data.unit_rows(1, 7))[0], 1)
        assert len(hits) == 1, "nothing is found in what was loaded"
    finally:
        await replica.close()
        await store.close()
    resident_mb = memory_mb(os.getpid())
    del live, replica
    gc.collect()
    return {
        "seconds": seconds,
        "cpu_us": cpu_s / found * 1e6,
        "opening_cpu_us": opening_s / found * 1e6,
        "templates": found,
        "resident_mb": resident_mb,
    }


def _ended_cpu_s() -> float:
    """Seconds of the processor that processes of ours had which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Load whenever it is asked for."""
    url, name = sys.argv[1:]
    configure_logs("bench", level="error")  # what it says goes where the answers go
    uvloop.run(follow_orders(lambda _told, _stop: load_once(url, name)))


if __name__ == "__main__":
    main()
