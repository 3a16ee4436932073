"""10,000 cameras and 100 million templates, simulated: where does the design bend?

A discrete-event simulation with the costs of `tessera/cli/costs.json` as service times. Each camera keeps its newest
frame and gets one credit; encoders are cores that take one frame at a time; a search goes to every shard, each of which
takes up to 64 that wait together: all shards see the same searches at the same times and do alike, so that one of them
is simulated. A decision is written to one of the store's primaries. What is left out is said in docs/plan.md.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.figures import Figure
from benchmarks.operations.plan import costs_of_the_release
from benchmarks.parts import Context
from tessera.domain.capacity import Costs

CAMERAS, TEMPLATES = 10_000, 100_000_000
FPS, MOVING, FACES = 5.0, 0.3, 0.3
NETWORK_S = 0.001
BATCH = 64
STORE_WRITE_S = 0.0003
"""Processor time of the store for one write, as `make bench-gallery` has it of an enrolment (307 us). The loads that
costs are fitted on write too seldom to tell."""
SEED = 11


@dataclass(frozen=True, slots=True)
class Layout:
    """How many of what."""

    name: str
    encoder_cores: int
    shards: int
    """Galleries that hold a part of the templates each, with one core that searches it."""
    primaries: int
    """Of the store."""
    search_share: float = 1.0
    """What a search costs of an exact one: less with an engine that may miss."""


@dataclass(slots=True)
class Result:
    """What came of it."""

    took_s: list[float] = field(default_factory=list)
    """From capture to the decision written, of frames with a face."""
    offered: int = 0
    replaced: int = 0
    """Frames that a newer one took the place of."""
    busy: dict[str, float] = field(default_factory=dict)
    """Mean share of time that each kind was busy."""
    waiting: int = 0
    """Searches and writes that were not done at the end."""

    def quantile(self, share: float) -> float:
        """Of the times; infinite when nothing was decided."""
        ordered = sorted(self.took_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.inf


class Servers:
    """Some servers with one queue, each of which takes what waits, up to a number at a time."""

    def __init__(self, world: World, count: int, seconds: Callable[[int], float], batch: int = 1) -> None:
        self._world = world
        self._free = count
        self._count = count
        self._seconds = seconds
        self._batch = batch
        self._waiting: deque[Callable[[], None]] = deque()
        self.busy_s = 0.0

    def take(self, done: Callable[[], None]) -> None:
        """Queue one piece of work."""
        self._waiting.append(done)
        self._go()

    @property
    def waits(self) -> int:
        """Pieces of work that nobody has begun."""
        return len(self._waiting)

    def share(self, seconds: float) -> float:
        """Of the time that all were busy."""
        return min(1.0, self.busy_s / (seconds * self._count))

    def _go(self) -> None:
        while self._free and self._waiting:
            some = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            took_s = self._seconds(len(some))
            self._free -= 1
            self.busy_s += took_s
            self._world.after(took_s, lambda some=some: self._end(some))  # type: ignore[misc]

    def _end(self, some: list[Callable[[], None]]) -> None:
        self._free += 1
        for done in some:
            done()
        self._go()


class World:
    """The clock and what is to come."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something later."""
        self._number += 1
        heapq.heappush(self._events, (self.now_s + seconds, self._number, then))

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, then = heapq.heappop(self._events)
            then()


def simulate(
    layout: Layout, costs: Costs, seconds: float, cameras: int = CAMERAS, templates: int = TEMPLATES
) -> Result:
    """Let cameras run into a layout.

    Args:
        layout: how many of what.
        costs: service times.
        seconds: simulated.
        cameras: how many.
        templates: in all.
    """
    chance, world, result = random.Random(SEED), World(), Result()
    encode_s = costs.encoder_frame_s + FACES * costs.encoder_face_s
    shard_s = (costs.search_s + costs.search_template_s * templates / layout.shards) * layout.search_share
    encoders = Servers(world, layout.encoder_cores, lambda _: chance.expovariate(1 / encode_s))
    # A shard's rows are read once for all probes of a batch: one alone costs what a third of a batch does.
    shard = Servers(world, 1, lambda n: shard_s * max(n, BATCH / 3), BATCH)
    primaries = [Servers(world, 1, lambda _: max(costs.store_frame_s, STORE_WRITE_S)) for _ in range(layout.primaries)]
    slots: list[float | None] = [None] * cameras
    sent = [False] * cameras

    def capture(camera: int) -> None:
        world.after(1 / FPS, lambda: capture(camera))
        if chance.random() >= MOVING:
            return
        result.offered += 1
        result.replaced += slots[camera] is not None
        slots[camera] = world.now_s
        send(camera)

    def send(camera: int) -> None:
        captured_s = slots[camera]
        if sent[camera] or captured_s is None:
            return
        slots[camera], sent[camera] = None, True
        encoders.take(lambda: encoded(camera, captured_s))

    def encoded(camera: int, captured_s: float) -> None:
        sent[camera] = False
        send(camera)
        if chance.random() < FACES:
            world.after(2 * NETWORK_S, lambda: search(captured_s))

    def search(captured_s: float) -> None:
        shard.take(lambda: found(captured_s))

    def found(captured_s: float) -> None:
        world.after(NETWORK_S, lambda: chance.choice(primaries).take(lambda: written(captured_s)))

    def written(captured_s: float) -> None:
        result.took_s.append(world.now_s - captured_s)

    for camera in range(cameras):
        world.after(chance.random() / FPS, lambda camera=camera: capture(camera))  # type: ignore[misc]
    world.run(seconds)
    result.busy = {
        "encoders": encoders.share(seconds),
        "shards": shard.share(seconds),
        "store": sum(primary.share(seconds) for primary in primaries) / len(primaries),
    }
    result.waiting = shard.waits + sum(primary.waits for primary in primaries)
    return result


def layouts(costs: Costs) -> list[Layout]:
    """From what the plan says by itself to what it takes."""
    frames_hz = CAMERAS * FPS * MOVING
    searches_hz = frames_hz * FACES
    cores = math.ceil(frames_hz * (costs.encoder_frame_s + FACES * costs.encoder_face_s) / 0.7)
    exact = math.ceil(searches_hz * TEMPLATES * costs.search_template_s / 0.7)
    fits = 32
    return [
        Layout("half of the encoders", cores // 2, exact, 6),
        Layout(f"exact search on {fits} shards, what their memory needs", cores, fits, 6),
        Layout("one store, exact search on as many shards as it takes", cores, exact, 1),
        Layout("six primaries, exact search on as many shards as it takes", cores, exact, 6),
        Layout(f"an engine at a hundredth of the cost, {fits} shards", cores, fits, 6, search_share=0.01),
    ]


def run(context: Context) -> list[Figure]:
    """Each layout for some seconds."""
    costs, rows = costs_of_the_release(), []
    seconds = context.seconds(4.0, 1.0)
    cameras = CAMERAS if not context.quick else CAMERAS // 20
    templates = TEMPLATES if not context.quick else TEMPLATES // 20
    for layout in layouts(costs):
        size = layout if not context.quick else _smaller(layout)
        result = simulate(size, costs, seconds, cameras, templates)
        label = f"simulated, {CAMERAS:,} cameras, {TEMPLATES:,} templates, {layout.name}: "
        have = f"{layout.encoder_cores} encoder cores, {layout.shards} shards, {layout.primaries} primaries"
        busy = ", ".join(f"{name} {share:.0%}" for name, share in result.busy.items())
        decided = 1 - result.replaced / result.offered
        rows += [
            context.figure(f"{label}{have}; busy", busy, ""),
            context.figure(f"{label}capture to decision, p50", result.quantile(0.5), "s"),
            context.figure(f"{label}capture to decision, p95", result.quantile(0.95), "s"),
            context.figure(f"{label}frames that no newer one replaced", decided, "share"),
            context.figure(f"{label}searches and writes left waiting after {seconds:g} s", result.waiting, "pieces"),
        ]
    return rows


def _smaller(layout: Layout) -> Layout:
    return Layout(
        layout.name,
        max(1, layout.encoder_cores // 20),
        max(1, layout.shards // 20),
        max(1, layout.primaries // 2),
        layout.search_share,
    )
