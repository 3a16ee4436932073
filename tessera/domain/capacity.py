"""What a site needs, out of what one frame, one call and one template cost: linear, and honest about where that ends.

Costs are processor seconds on one machine; a plan for another kind of machine is made with costs measured there
(`make bench-operations ARGS="plan"`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from tessera.domain.errors import InvalidInputError

HALF_BYTES = 2
INDEX_OVERHEAD = 1.15
"""Of an index over its float16 vectors, at most (docs/gallery-performance.md)."""
STORE_BYTES_A_TEMPLATE = 3200
"""In the store's file and about as much in its memory, for a subject with one template (bench-gallery, enrol)."""
MB = 1e6


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor seconds on the machine that is named, but where a field says otherwise."""

    machine: str
    encoder_frame_s: float
    """One 720p frame decoded and looked through for faces."""
    encoder_face_s: float
    """One face embedded."""
    ingest_camera: float
    """Cores for one camera whose frames nobody takes: its process, and looking at the scene."""
    ingest_frame_s: float
    """One sampled frame read, looked at for motion, compressed, sent, followed."""
    gallery_frame_s: float
    """One tracklet update fused, decided and recorded, the search left out."""
    gallery_verify_s: float
    """One Verify call, the encoder left out."""
    store_frame_s: float
    """What one tracklet update costs the store."""
    store_idle: float
    """Cores that the store and the services use while nothing happens."""
    search_template_s: float
    """One template compared with one probe, many probes at once."""
    search_s: float
    """One probe, whatever is compared with it."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a cost is no number of 0 or more.
        """
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "machine" and not (isinstance(value, int | float) and value >= 0):
                raise InvalidInputError(each.name, value, "a number, 0 or more")


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a site."""

    cameras: int
    fps: float
    """Frames of each camera that are looked at in a second."""
    subjects: int
    templates_each: float = 1.0
    """Templates of a subject."""
    moving: float = 1.0
    """The share of frames in which something moves; the others are not encoded."""
    faces_a_frame: float = 0.3
    """Faces embedded for each encoded frame. Those that the tracker knows well are not embedded again."""
    verifies_hz: float = 0.0
    """Verify calls in a second."""
    dimensions: int = 128
    busy: float = 0.6
    """How busy a core may be on the mean; what is left is for bursts, restarts and one machine's death."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        for name, least in (("cameras", 0), ("fps", 0), ("subjects", 0), ("verifies_hz", 0), ("faces_a_frame", 0)):
            if getattr(self, name) < least:
                raise InvalidInputError(name, getattr(self, name), f"{least} or more")
        if self.templates_each < 1:
            raise InvalidInputError("templates_each", self.templates_each, "1 or more")
        if not 0 <= self.moving <= 1:
            raise InvalidInputError("moving", self.moving, "0 to 1")
        if not 0 < self.busy <= 1:
            raise InvalidInputError("busy", self.busy, "more than 0, at most 1")

    @property
    def frames_hz(self) -> float:
        """Frames that reach an encoder in a second."""
        return self.cameras * self.fps * self.moving

    @property
    def searches_hz(self) -> float:
        """Searches in a second: one for each embedded face, which is the most that there can be."""
        return self.frames_hz * self.faces_a_frame

    @property
    def templates(self) -> int:
        """In all."""
        return round(self.subjects * self.templates_each)


@dataclass(frozen=True, slots=True)
class Need:
    """Of one service."""

    busy_cores: float
    """Cores that it keeps busy."""
    processes: int
    memory_mb: float
    """Of all of its processes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a site needs."""

    needs: Mapping[str, Need]
    cores: int
    """To have, at the demand's share of business."""
    memory_mb: float
    remarks: tuple[str, ...]
    """Where the plan goes past what was measured, or where the design has to change."""

    @property
    def busy_cores(self) -> float:
        """Cores that all services keep busy together."""
        return sum(need.busy_cores for need in self.needs.values())


def plan(demand: Demand, costs: Costs) -> Plan:
    """What a demand needs at these costs."""
    busy = busy_cores(demand, costs)
    index_mb = demand.templates * demand.dimensions * HALF_BYTES * INDEX_OVERHEAD / MB
    encoders = max(1, math.ceil(busy["encoder"] / demand.busy / _LANES))
    galleries = max(1, math.ceil(busy["gallery"] / demand.busy / _GALLERY_CORES))
    workers = max(1, math.ceil(max(demand.cameras / _CAMERAS_A_WORKER, busy["ingest"] / demand.busy / _WORKER_CORES)))
    needs = {
        "encoder": Need(busy["encoder"], encoders, encoders * 1200.0),
        "gallery": Need(busy["gallery"], galleries, galleries * (250.0 + index_mb)),
        "ingest": Need(busy["ingest"], workers, workers * 120.0 + demand.cameras * 30.0),
        "gateway": Need(0.0, 1, 150.0),
        "store": Need(busy["store"], 1, 100.0 + 2 * demand.templates * STORE_BYTES_A_TEMPLATE / MB),
    }
    total = sum(need.busy_cores for need in needs.values())
    memory_mb = sum(need.memory_mb for need in needs.values())
    return Plan(needs, max(1, math.ceil(total / demand.busy)), memory_mb, _remarks(demand, busy, index_mb, galleries))


_LANES = 4.0
"""Cores of one encoder process: more share one interpreter's lock."""
_GALLERY_CORES = 3.0
"""One event loop, and threads that search."""
_WORKER_CORES = 4.0
_CAMERAS_A_WORKER = 64
"""`max_cameras` of a worker."""


def busy_cores(demand: Demand, costs: Costs) -> dict[str, float]:
    """Cores that each service keeps busy."""
    frames_hz, verifies_hz = demand.frames_hz, demand.verifies_hz
    searching = demand.searches_hz * (costs.search_s + demand.templates * costs.search_template_s)
    return {
        "encoder": (frames_hz + verifies_hz) * costs.encoder_frame_s
        + (frames_hz * demand.faces_a_frame + verifies_hz) * costs.encoder_face_s,
        "gallery": frames_hz * demand.faces_a_frame * costs.gallery_frame_s
        + verifies_hz * costs.gallery_verify_s
        + searching,
        "ingest": demand.cameras * (costs.ingest_camera + demand.fps * costs.ingest_frame_s),
        "store": costs.store_idle + frames_hz * demand.faces_a_frame * costs.store_frame_s,
    }


def _remarks(demand: Demand, busy: Mapping[str, float], index_mb: float, galleries: int) -> tuple[str, ...]:
    said = []
    scan_s = demand.templates * 20e-9
    if demand.templates > 2_000_000:
        said.append(
            f"{demand.templates:,} templates: one search alone takes about {scan_s:.2f} s; spread collections over "
            "shards and galleries (TESSERA_GALLERY_HOLDS), or take an engine (docs/gallery-at-scale.md)"
        )
    if index_mb > 32_000:
        said.append(f"each gallery would hold {index_mb / 1000:.0f} GB: more than one machine should")
    if busy["store"] > 0.5:
        said.append("one store is half busy or more: take a cluster, with collections of 16 shards")
    if galleries > 8:
        said.append(f"{galleries} galleries that each search everything: shards that each search a part need fewer")
    return tuple(said)
