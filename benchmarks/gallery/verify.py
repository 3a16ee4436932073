"""`Verify` by embedding at a door's pace: 50 calls a second at Poisson moments, whatever became of the earlier ones.

Each decision is in the audit log before it is told, and with `always` on the disk: the p99 is the disk's as much as
ours. So between the rounds a bare `XADD` of as many bytes is sent to the same server at the same pace.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.encoder.arithmetic import percentile, percentile_interval, poisson_arrivals
from benchmarks.encoder.orders import OK, Open
from benchmarks.gallery import data
from benchmarks.gallery.calls import Callers, together, write_requests
from benchmarks.gallery.plan import Plan, Story
from benchmarks.gallery.served import Served, served_gallery, verify_requests, wrong_verifications
from benchmarks.gallery.store_server import StoreServer

SUBJECTS = 10_000
RATE_PER_S = 50.0
BAR_MS = 5.0
_PROBES = 256
_CHECKED = 16
_ENTRY_BYTES = 600
"""About what an audit entry with its stamp has."""


def verify(plan: Plan) -> Story:
    """With `always` and with `everysec`, in turn."""
    story = Story()
    rows = data.templates(plan.count(SUBJECTS, SUBJECTS // 10))
    numbers, probes = data.mated_probes(rows, _PROBES)
    requests = verify_requests(numbers, probes)
    for fsync in ("always", "everysec"):
        with tempfile.TemporaryDirectory() as folder, served_gallery(plan, rows, fsync) as served:
            wrong = wrong_verifications(served.gallery.address, requests[:_CHECKED])
            story.add(f"verify, {fsync}: mated probes that do not match", wrong, f"of {_CHECKED}", "0", wrong == 0)
            _measure(plan, story, served, write_requests(Path(folder) / "verify", requests), fsync)
    return story


def _measure(plan: Plan, story: Story, served: Served, file: Path, fsync: str) -> None:
    parts, bare_ms = [], []
    with Callers(served.gallery.address, "Verify", file) as callers:
        for seed in range(plan.count(4, 2)):
            callers.start(Open(RATE_PER_S, plan.seconds(15, 3), 10.0, seed=seed))
            parts.append(callers.result())
            bare_ms += _bare_writes(served.store, plan.seconds(5, 1), seed)
    whole = together(parts)
    good, failed = whole.latencies_ms.get(OK, []), sum(whole.counts.values()) - whole.count()
    p99_ms, (low, high) = percentile(good, 0.99), percentile_interval(good, 0.99)
    name = f"verify by embedding at {RATE_PER_S:g}/s, {fsync}"
    story.add(f"{name}: p99", p99_ms, "ms", f"under {BAR_MS:g}", p99_ms < BAR_MS)
    story.add(f"{name}: p99, 95 % interval", f"{low:.1f} to {high:.1f}", "ms")
    story.add(f"{name}: p50", percentile(good, 0.5), "ms")
    story.add(f"{name}: calls that failed", failed, f"of {sum(whole.counts.values())}", "0", failed == 0)
    story.add(f"{name}: p99 of how late calls left", percentile(whole.late_ms, 0.99), "ms")
    story.add(f"{name}: p99 of a bare XADD", percentile(bare_ms, 0.99), "ms")
    story.add(f"{name}: p50 of a bare XADD", percentile(bare_ms, 0.5), "ms")


def _bare_writes(store: StoreServer, seconds: float, seed: int) -> list[float]:
    """Milliseconds of each XADD, one at a time, at the same moments."""
    entry = np.random.default_rng(seed).bytes(_ENTRY_BYTES)
    took_ms = []
    with store.client() as client:
        client.ping()
        started_s = time.perf_counter()
        for moment_s in poisson_arrivals(RATE_PER_S, seconds, seed):
            time.sleep(max(0.0, started_s + float(moment_s) - time.perf_counter()))
            sent_s = time.perf_counter()
            client.xadd("bench:bare", {"entry": entry})
            took_ms.append((time.perf_counter() - sent_s) * 1e3)
    return took_ms
