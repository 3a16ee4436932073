"""What a source is: an iterator of frames on a thread of its own, which ends or raises `SourceError`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""uint8 of shape (height, width, 3): blue, green, red."""

Picture = Image | bytes
"""Pixels, or the bytes of a picture file."""


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
    picture: Callable[[], Picture] = field(repr=False)
    """Makes the pixels; to be called on the source's thread, before the next frame is asked for."""


class Source(Protocol):
    """One opened camera. Used by a single thread."""

    @property
    def is_live(self) -> bool:
        """Whether it should never end, and never show the same picture for long."""
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
