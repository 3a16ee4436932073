"""What a source is: an iterator of frames in a reader process, which ends or raises `SourceError`.

A reader loads no numpy unless its source draws, so that pixels are plain bytes here until the parent has them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

from camera_ingest.sources.stream_clock import ClockReport

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_PIXELS = 50_000_000
"""Larger frames are refused."""

Image: TypeAlias = "npt.NDArray[np.uint8]"
"""uint8 of shape (height, width, 3): blue, green, red."""

Picture: TypeAlias = "Image | bytes"
"""Pixels, or the bytes of a picture file."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels as a decoder leaves them: rows of blue, green, red, each followed by what its alignment needs."""

    width_px: int
    height_px: int
    stride_bytes: int
    """From one row to the next."""
    rows: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How long a source may take."""

    open_s: float = 8.0
    """To connect, and to learn what the stream holds."""
    read_s: float = 4.0
    """For the next packet."""


class SourceError(Exception):
    """A source cannot be opened or read any further.

    Args:
        detail: what happened, in words that hold no credentials.
    """

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame that was captured; its pixels are only made when somebody wants them."""

    capture_time: datetime
    """UTC."""
    monotonic_s: float
    """When it was captured, on the clock of deadlines."""
    picture: Callable[[], Pixels | bytes] = field(repr=False)
    """Makes the pixels, or the bytes of a picture file."""


class Source(Protocol):
    """One opened camera, in a reader."""

    @property
    def is_live(self) -> bool:
        """Whether it should never end, and never show the same picture for long."""
        ...

    @property
    def clock_report(self) -> ClockReport:
        """Where its capture times come from, and how well."""
        ...

    def frames(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        """Yield frames as they are captured, until the end or until `stopped` is set.

        Raises:
            SourceError: it was lost.
        """
        ...

    def close(self) -> None:
        """Let go of it; may be called twice."""
        ...
