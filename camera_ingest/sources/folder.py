"""A folder of pictures as a camera: one picture after the other, by name, at a steady rate.

The files go on as they are: a broken one is the encoder's to refuse, with its reason, so that it is counted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from camera_ingest.sources.file_time import wall_time
from camera_ingest.sources.source import CapturedFrame, SourceError
from camera_ingest.sources.stream_clock import ClockKind, ClockReport
from tessera.chassis.clock import Clock

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_MAX_BYTES = 20 * 1024 * 1024


class FolderSource:
    """The pictures of one folder, not of its subfolders.

    Args:
        folder: where they are; read anew at each round.
        rate_hz: pictures a second.
        loop: start again at the end.
        clock: where capture times come from.
    """

    def __init__(self, folder: Path, rate_hz: float, loop: bool, clock: Clock) -> None:
        self._folder = folder
        self._period_s = 1.0 / rate_hz
        self._loop = loop
        self._clock = clock

    @property
    def is_live(self) -> bool:
        """A folder has an end."""
        return False

    @property
    def clock_report(self) -> ClockReport:
        """A picture is captured when it is due."""
        return ClockReport(ClockKind.FILE)

    def frames(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        """Yield the pictures.

        Raises:
            SourceError: the folder is not there, or holds no picture.
        """
        began_s, number = self._clock.monotonic_s(), 0
        while True:
            for path in self._pictures():
                due_s = began_s + number * self._period_s
                if stopped.wait(max(0.0, due_s - self._clock.monotonic_s())):
                    return
                # Captured when it was due, so that the rate is steady whatever the machine does beside.
                yield CapturedFrame(wall_time(self._clock, due_s), due_s, _PictureFile(path))
                number += 1
            if not self._loop or stopped.is_set():
                return

    def close(self) -> None:
        """Nothing is held."""

    def _pictures(self) -> list[Path]:
        try:
            found = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES)
        except OSError as error:
            raise SourceError(error.strerror or "the folder cannot be read") from None
        if not found:
            raise SourceError(f"the folder holds no picture ({', '.join(sorted(SUFFIXES))})")
        return found


class _PictureFile:
    """Reads one file when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> bytes:
        try:
            with self._path.open("rb") as stream:
                return stream.read(_MAX_BYTES + 1)
        except OSError as error:
            raise SourceError(f"{self._path.name}: {error.strerror}") from None
