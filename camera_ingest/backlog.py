"""The one-slot backlog between a source and the encoder: the newest frame wins.

A frame that is pushed out was not lost by chance: whoever puts learns which frame it replaced, and counts it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from camera_ingest.sources.source import Picture


@dataclass(frozen=True, slots=True, eq=False)
class SampledFrame:
    """A frame on its way to the encoder."""

    frame_id: int
    capture_time: datetime
    captured_s: float
    """When it was captured, on the clock of deadlines."""
    picture: Picture = field(repr=False)


class Backlog:
    """Holds at most one frame. Used from one event loop."""

    def __init__(self) -> None:
        self._frame: SampledFrame | None = None
        self._filled = asyncio.Event()

    def put(self, frame: SampledFrame) -> SampledFrame | None:
        """Keep `frame`; returns the older one that it replaces, if any."""
        replaced, self._frame = self._frame, frame
        self._filled.set()
        return replaced

    def peek(self) -> SampledFrame | None:
        """The frame, which stays."""
        return self._frame

    def take(self) -> SampledFrame | None:
        """Take the frame out, if there is one."""
        taken, self._frame = self._frame, None
        self._filled.clear()
        return taken

    async def wait(self) -> None:
        """Wait until there is a frame; it stays."""
        await self._filled.wait()
