"""What things cost on this machine, and whether a plan made of that foretells loads that it was not made of.

Processor time of each process is read over a load, so that what else runs on the machine hardly matters. Costs are
fitted on some loads (`FITTED`), written to `tessera/cli/costs.json`, and held against others (`FORETOLD`).
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]  # ships no types
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.cameras.scenes import h264_file
from benchmarks.cameras.watching import processor_s
from benchmarks.figures import ROOT, Figure, machine
from benchmarks.gallery import data
from benchmarks.operations.calling import calling
from benchmarks.operations.restarts import prepared_calls
from benchmarks.operations.site import Site, running_site
from benchmarks.parts import Context
from gallery_svc.index.exact import ExactIndex
from tessera.client import Tessera
from tessera.domain.capacity import Costs, Demand, busy_cores

COSTS_FILE = ROOT / "tessera" / "cli" / "costs.json"
Column = npt.NDArray[np.float64]
SCENES = ROOT / "build" / "cameras"
NEAR = 0.25
_SERVICES = ("encoder", "gallery", "ingest", "store")
_SETTLE_S = 6.0


@dataclass(frozen=True, slots=True)
class Load:
    """Cameras, and verify calls beside them."""

    cameras: int
    fps: float
    verifies_hz: float = 0.0

    def __str__(self) -> str:
        """For people."""
        verifies = f" and {self.verifies_hz:g} verify calls/s" if self.verifies_hz else ""
        return f"{self.cameras} cameras at {self.fps:g} frames/s{verifies}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What happened under a load, each second."""

    load: Load
    cores: Mapping[str, float]
    frames_hz: float
    """Encoded, of cameras."""
    faces_hz: float
    """Embedded, of cameras and calls."""
    verifies_hz: float

    @property
    def demand(self) -> Demand:
        """The load in the words of a plan, with the scene's own share of motion and of faces."""
        sampled = self.load.cameras * self.load.fps
        faces = max(0.0, self.faces_hz - self.verifies_hz) / self.frames_hz if self.frames_hz else 0.0
        moving = min(1.0, self.frames_hz / sampled) if sampled else 1.0
        return Demand(self.load.cameras, self.load.fps, 1, 1.0, moving, faces, self.verifies_hz)


FITTED = (Load(0, 0.0), Load(1, 1.0), Load(3, 2.0), Load(1, 5.0), Load(0, 0.0, 4.0))
FORETOLD = (Load(2, 3.0), Load(4, 1.0, 2.0), Load(2, 5.0, 1.0))
SEARCHED, FORETOLD_SEARCH = (50_000, 200_000), 500_000


def run(context: Context) -> list[Figure]:
    """Measure, fit, write the costs, and foretell."""
    seconds = context.seconds(25, 6)
    with running_site(1) as site, site.connect() as tessera:
        calls = prepared_calls(tessera)
        fitted = [_measure(site, tessera, calls[0], load, seconds) for load in FITTED]
        foretold = [_measure(site, tessera, calls[0], load, seconds) for load in FORETOLD]
    costs = fit(fitted, [_search_s(count) for count in SEARCHED])
    if not context.quick:
        COSTS_FILE.write_text(json.dumps(asdict(costs), indent=1) + "\n", encoding="utf-8")
    rows = [context.figure(f"cost: {name}", value, "s") for name, value in asdict(costs).items() if name != "machine"]
    return [*rows, *(_judged(context, seen, costs) for seen in foretold), _judged_search(context, costs)]


def fit(seen: Sequence[Seen], searches: Sequence[tuple[int, float]]) -> Costs:
    """Costs out of loads, by least squares of what is 0 or more, each service by itself.

    Args:
        seen: the loads.
        searches: templates, and processor seconds of one probe among many.
    """
    cameras = np.array([float(one.load.cameras) for one in seen])
    sampled = cameras * np.array([one.load.fps for one in seen])
    frames, faces = np.array([one.frames_hz for one in seen]), np.array([one.faces_hz for one in seen])
    verifies = np.array([one.verifies_hz for one in seen])
    cores = {name: np.array([one.cores[name] for one in seen]) for name in _SERVICES}
    tracked = np.maximum(0.0, faces - verifies)
    ones = np.ones(len(seen))
    encoder = _least_squares([frames + verifies, faces, ones], cores["encoder"])
    ingest = _least_squares([cameras, sampled, ones], cores["ingest"])
    gallery = _least_squares([tracked, verifies, ones], cores["gallery"])
    store = _least_squares([tracked, ones], cores["store"])
    fixed_s, template_s = line(searches)
    return Costs(
        machine=machine(),
        encoder_frame_s=float(encoder[0]),
        encoder_face_s=float(encoder[1]),
        ingest_camera=float(ingest[0]),
        ingest_frame_s=float(ingest[1]),
        gallery_frame_s=float(gallery[0]),
        gallery_verify_s=float(gallery[1]),
        store_frame_s=float(store[0]),
        store_idle=float(encoder[2] + ingest[2] + gallery[2] + store[1]),
        search_template_s=template_s,
        search_s=fixed_s,
    )


def line(searches: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The seconds of a search that do not depend on the templates, and those for each: a line through two points."""
    (few, few_s), (many, many_s) = searches
    slope = max(0.0, (many_s - few_s) / (many - few))
    return max(0.0, few_s - few * slope), slope


def _least_squares(columns: Sequence[Column], wanted: Column) -> Column:
    """Coefficients of 0 or more, by coordinate descent: a handful of numbers needs no library."""
    matrix = np.stack(columns, axis=1)
    found = np.zeros(matrix.shape[1])
    for _ in range(20_000):
        for column in range(matrix.shape[1]):
            along = matrix[:, column]
            rest = wanted - matrix @ found + along * found[column]
            found[column] = max(0.0, float(along @ rest) / max(1e-12, float(along @ along)))
    return found


def _judged(context: Context, seen: Seen, costs: Costs) -> Figure:
    told, was = sum(busy_cores(seen.demand, costs).values()), sum(seen.cores.values())
    off = told / was - 1
    label = f"plan for {seen.load}: {told:.2f} cores foretold, {was:.2f} measured; off by"
    return context.figure(label, 100 * off, "%", "within 25 %", holds=abs(off) <= NEAR)


def _judged_search(context: Context, costs: Costs) -> Figure:
    templates, was = _search_s(FORETOLD_SEARCH)
    told = costs.search_s + templates * costs.search_template_s
    off = told / was - 1
    words = f"{1e3 * told:.2f} ms foretold, {1e3 * was:.2f} measured"
    label = f"plan for searching {templates:,} templates: {words}; off by"
    return context.figure(label, 100 * off, "%", "within 25 %", holds=abs(off) <= NEAR)


def _search_s(count: int) -> tuple[int, float]:
    """Templates, and processor seconds of one probe of 64 that are searched together."""
    rows = data.templates(count)
    index = ExactIndex(data.MODEL)
    for batch in data.batches(rows):
        index.load(batch)
    probes = data.embeddings(rows[:64].astype(np.float32))
    index.search_many(probes, 10)
    times = []
    for _ in range(5):
        began_s = time.process_time()
        index.search_many(probes, 10)
        times.append(time.process_time() - began_s)
    return count, float(np.median(times)) / len(probes)


def _measure(site: Site, tessera: Tessera, verify: object, load: Load, seconds: float) -> Seen:
    names = [f"camera-{number}" for number in range(load.cameras)]
    for number, name in enumerate(names):
        file = h264_file(SCENES, number, with_faces=True)
        tessera.add_camera(name, str(file), sample_rate_hz=load.fps, loop=True)
    calls = [verify] if load.verifies_hz else []
    try:
        with calling(calls, load.verifies_hz) if calls else nullcontext():  # type: ignore[arg-type]
            time.sleep(_SETTLE_S)
            before, began_s = _reading(site), time.monotonic()
            time.sleep(seconds)
            after, took_s = _reading(site), time.monotonic() - began_s
    finally:
        for name in names:
            tessera.remove_camera(name)
    rate = {name: (after[name] - before[name]) / took_s for name in after}
    cores = {name: rate[name] for name in _SERVICES}
    return Seen(load, cores, rate["frames"], rate["faces"], rate["verifies"])


def _reading(site: Site) -> dict[str, float]:
    told = {kind: sum(processor_s(member.pid) for member in site.of(kind)) for kind in ("encoder", "gallery", "ingest")}
    told["store"] = _cpu_s(site.store_pid)
    pages = {kind: _page(site, kind) for kind in ("encoder", "gallery")}
    encoder = pages["encoder"]
    told["frames"] = _sum(encoder, "tessera_encoder_frames_total", work_class="stream", outcome="encoded")
    told["verifies"] = _sum(encoder, "tessera_encoder_frames_total", work_class="interactive", outcome="encoded")
    told["faces"] = _sum(encoder, "tessera_encoder_faces_total", embedded="yes")
    return told


def _page(site: Site, kind: str) -> str:
    (member,) = site.of(kind)
    with urllib.request.urlopen(f"http://127.0.0.1:{member.metrics_port}/metrics", timeout=5) as page:
        return str(page.read().decode())


def _sum(page: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and all(sample.labels.get(key, "").lower() == value for key, value in labels.items())
    )


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def costs_of_the_release(path: Path = COSTS_FILE) -> Costs:
    """Those that are committed."""
    return Costs(**json.loads(path.read_text(encoding="utf-8")))
