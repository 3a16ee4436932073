"""Files on their way to and from a gallery: written whole or not at all, and how far they are on the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from tessera.cli.failure import Failure


class Counted:
    """A file whose bytes move a bar as they pass.

    Args:
        file: read from or written to.
        progress: has the bar.
        task: of the bar.
    """

    def __init__(self, file: BinaryIO, progress: Progress, task: TaskID) -> None:
        self._file = file
        self._progress = progress
        self._task = task

    def read(self, size: int, /) -> bytes:
        """Read, and count."""
        data = self._file.read(size)
        self._progress.advance(self._task, len(data))
        return data

    def write(self, data: bytes, /) -> int:
        """Write, and count."""
        written = self._file.write(data)
        self._progress.advance(self._task, written)
        return written


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Progress]:
    """Bars for bytes, on standard error; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=hidden or not console.is_terminal) as progress:
        yield progress


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A new file, for its owner alone, that has its name only when all of it is on the disk.

    Raises:
        Failure: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> Failure:
    why = error.strerror or str(error)
    return Failure(f"{path} cannot be written: {why}", field="FILE", value=str(path), allowed="a place to write to")
