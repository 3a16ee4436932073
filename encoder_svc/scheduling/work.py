"""The words of the scheduler: classes of work, stages, and one piece of work in a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class WorkClass(StrEnum):
    """Who waits for the answer; the order is the order of precedence."""

    INTERACTIVE = "interactive"
    """Somebody stands at a door."""
    ENROLMENT = "enrolment"
    """Somebody enrols people."""
    STREAM = "stream"
    """A camera looks on."""
    EXPLANATION = "explanation"
    """Somebody looks into a score: hundreds of embeddings, none of which anybody else may wait for. Nobody can ask for
    it but `Explain`, and no share is reserved for it."""


ASKED_FOR = (WorkClass.INTERACTIVE, WorkClass.ENROLMENT, WorkClass.STREAM)
"""What a caller may name for a picture, in the order of the contracts."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One step of the way of a picture through one encoder: what may share a batch."""

    name: str
    """Such as `decode`, `detect` or `embed`."""
    encoder: str
    """The encoder's name, for metrics."""
    order: int
    """Later stages go first within a class: what has begun is finished before something new begins."""
    max_items: int
    """The largest batch that it was warmed up for."""
    run: Callable[[Any], Any]
    """A sequence of payloads of one bucket in, a sequence of one output each, in their order."""
    priority: int = 0
    """Among encoders, within a class: lower goes first."""
    patience_s: float = math.inf
    """What has waited longer goes before all others of its class, so that even the last is not put off for ever."""
    network: bool = True
    """Whether it runs a network, which only the device's lanes do; else it is done with the picture beside them."""
    teaches: bool = True
    """Whether what its batches take says how fast the device is."""

    def cost_key(self, bucket: Hashable) -> Hashable:
        """What its batches of one shape are known by: names, so that a version that was unloaded leaves nothing."""
        return (self.encoder, self.name, bucket)


@dataclass(frozen=True, slots=True)
class Want:
    """One item that somebody wants a stage to run."""

    stage: Stage
    bucket: Hashable
    """Items of one shape share a batch."""
    payload: Any
    """What `stage.run` gets."""


@dataclass(frozen=True, slots=True, eq=False)
class Asker:
    """For whom work is done."""

    work_class: WorkClass
    source: str = ""
    """The stream that it comes from; empty: none."""
    expires_at_s: float | None = None
    """On the clock's monotonic time; later it is not begun."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a stage gave for one item, and at what price."""

    output: Any
    run_s: float
    """Wall time of the batch that it was in."""
    items: int
    """Items in that batch."""
    started_s: float
    """When the batch began, on the clock's monotonic time."""


def run_ms(done: Sequence[Done]) -> float:
    """How long some of the batches ran; what ran on two lanes at a time counts once."""
    seconds, until_s = 0.0, 0.0
    for begin_s, end_s in sorted((one.started_s, one.started_s + one.run_s) for one in done):
        seconds += max(0.0, end_s - max(begin_s, until_s))
        until_s = max(until_s, end_s)
    return seconds * 1e3


@dataclass(slots=True, eq=False)
class Work:
    """One item that waits for a stage."""

    stage: Stage
    bucket: Hashable
    payload: Any
    asker: Asker
    """One for each picture; a batch takes only so many pictures of one source."""
    submitted_s: float
    future: Future[Done] = field(default_factory=Future)

    @property
    def group(self) -> tuple[Stage, Hashable]:
        """What it may share a batch with."""
        return (self.stage, self.bucket)

    def expired(self, now_s: float) -> bool:
        """Whether its time has run out."""
        return self.asker.expires_at_s is not None and now_s >= self.asker.expires_at_s


class Release(StrEnum):
    """Why a batch went as it was."""

    ALL = "all"
    """It took all that waited; the usual case of a device that is not busy."""
    FULL = "full"
    """The stage's largest batch."""
    SLICE = "slice"
    """One more item would have kept the device longer than a verify call should wait."""
    SPLIT = "split"
    """Another lane was idle, and the rest was left to it."""
    LINGERED = "lingered"
    """It had waited for more, and the time for that was over."""


@dataclass(slots=True, eq=False)
class Batch:
    """Items that run together."""

    stage: Stage
    bucket: Hashable
    works: list[Work]
    lead: WorkClass
    """Whose turn it was; others may ride along."""
    release: Release
