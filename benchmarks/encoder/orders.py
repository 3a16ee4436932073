"""What a scenario tells a load process to do, and what that process tells back: plain values, JSON on a pipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

OK = "OK"
AFTER_THE_END = "OK_AFTER_THE_END"
"""Of an open loop: answered well, but when nothing was offered any more. What had gathered until then is no goodput."""


@dataclass(frozen=True, slots=True)
class Closed:
    """So many unary calls under way at any time; each answer makes room for the next call."""

    kind: ClassVar[str] = "closed"
    concurrency: int
    seconds: float
    """That count, after `warm_s`."""
    warm_s: float = 2.0
    priority: str = "INTERACTIVE"
    deadline_s: float = 30.0
    pictures: str = "720p"
    think_s: float = 0.0
    """Each of them rests so long between an answer and its next call."""


@dataclass(frozen=True, slots=True)
class Open:
    """Unary calls at Poisson moments, whatever became of the earlier ones."""

    kind: ClassVar[str] = "open"
    rate_per_s: float
    seconds: float
    deadline_s: float
    priority: str = "INTERACTIVE"
    pictures: str = "720p"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Paced:
    """One call at a time, with exponential gaps: somebody at a door now and then."""

    kind: ClassVar[str] = "paced"
    calls: int
    mean_gap_s: float
    priority: str = "INTERACTIVE"
    deadline_s: float = 10.0
    pictures: str = "720p"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Streams:
    """Camera streams that send a fresh frame for every credit they have."""

    kind: ClassVar[str] = "streams"
    streams: int
    seconds: float
    """That count, after `warm_s`."""
    warm_s: float = 2.0
    expires_after_s: float = 10.0
    pictures: str = "720p"


@dataclass(frozen=True, slots=True)
class Camera:
    """One stream that is offered frames at a fixed rate and keeps only the newest until it has a credit."""

    kind: ClassVar[str] = "camera"
    frames_per_s: float
    seconds: float
    """That count, after `warm_s`."""
    warm_s: float = 2.0
    expires_after_s: float = 1.0
    pictures: str = "240p"


@dataclass(frozen=True, slots=True)
class Chaos:
    """Calls and streams that end badly: cancelled, dropped in the middle of a frame, or with their channel."""

    kind: ClassVar[str] = "chaos"
    cancelled_calls: int
    dropped_streams: int
    closed_channels: int
    at_a_time: int = 12
    longest_s: float = 0.6
    """Each is ended after a random part of this."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Pictures:
    """Named pictures of a folder through Encode, one after the other."""

    kind: ClassVar[str] = "files"
    folder: str
    deadline_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Http:
    """POST requests to another server, so many at a time over as many connections."""

    kind: ClassVar[str] = "http"
    path: str
    concurrency: int
    seconds: float
    warm_s: float = 2.0
    form_field: str = ""
    """The name of the multipart field that holds the JPEG; empty: the body is the JPEG."""


Order = Closed | Open | Paced | Streams | Camera | Chaos | Pictures | Http
_KINDS: dict[str, type[Any]] = {
    order.kind: order for order in (Closed, Open, Paced, Streams, Camera, Chaos, Pictures, Http)
}


def order_to_json(order: Order) -> dict[str, Any]:
    """An order as JSON."""
    return {"kind": order.kind, **asdict(order)}


def order_from_json(told: dict[str, Any]) -> Order:
    """An order out of JSON."""
    fields = dict(told)
    order: Order = _KINDS[fields.pop("kind")](**fields)
    return order


@dataclass(slots=True)
class Tally:
    """What a load process saw while it counted."""

    seconds: float = 0.0
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    """By outcome: `OK`, or the name of a status code, or what became of a frame."""
    faces: int = 0
    """In all answers that were OK."""
    late_ms: list[float] = field(default_factory=list)
    """Of an open loop: how much after its planned moment each call left. Large: the load generator had no processor."""
    offered: int = 0
    """Of a camera: frames that it took."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Of files: what each was answered; `OK`, or the reason of the error."""

    def add(self, outcome: str, latency_ms: float) -> None:
        """Count one answer."""
        self.latencies_ms.setdefault(outcome, []).append(latency_ms)

    def count(self, outcome: str = OK) -> int:
        """How many ended so."""
        return len(self.latencies_ms.get(outcome, ()))

    @property
    def counts(self) -> dict[str, int]:
        """How many ended how."""
        return {outcome: len(values) for outcome, values in self.latencies_ms.items()}

    def per_s(self, outcome: str = OK) -> float:
        """How many a second ended so."""
        return self.count(outcome) / self.seconds if self.seconds else 0.0
