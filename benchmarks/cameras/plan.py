"""What every part of the cameras' benchmark is handed, and what it hands back.

A part is a module of its own with `run(context) -> list[Figure]`, entered in `PARTS` of `__main__`. Of its context it
takes

- `context.videos()`: the folder of the clips, which TESSERA_DATA names;
- `context.instance(...)`: a whole Tessera as a user starts it (`tessera up`), which ends with the block; settings of
  its services go by their environment names; `with instance.connect() as tessera` gives a client of it;
- `context.duration_s`: how long to watch, for a part whose figures depend on that; what is shorter than the length
  that `PARTS` states is printed and not kept;
- `context.scratch`: a folder under build/, for pictures and streams that are made once and used again;
- `context.note(...)`: a sentence under the table, such as what was left out.

Figures are made by `figure(name, value, unit, bar, holds)`; the command is filled in by whoever runs the part.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import ROOT, Figure
from benchmarks.first_light import wait_serving
from benchmarks.instance import Instance, running
from benchmarks.services import data_folder

COMMAND = "make bench-cameras"
MINUTES_VARIABLE = "CAMERAS_MINUTES"
SCRATCH = ROOT / "build" / "cameras"
_UP = (sys.executable, "-m", "tessera.cli", "up", "--no-view", "--base-port", "0")


@dataclass(frozen=True, slots=True)
class Context:
    """How long to measure, on what, and where."""

    quick: bool = False
    """For work on the benchmark itself: short, and nothing is kept."""
    duration_s: float = 60.0
    """How long a part watches whose figures depend on it."""
    scratch: Path = SCRATCH
    """Made things that the next run uses again. Never committed."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the figures must know."""

    def count(self, whole: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole

    def note(self, sentence: str) -> None:
        """Something that a reader of the figures must know, such as what was left out."""
        self.notes.append(sentence)

    def videos(self) -> Path:
        """The folder of the clips.

        Raises:
            SystemExit: TESSERA_DATA names no folder.
        """
        return data_folder() / "videos"

    @contextmanager
    def instance(self, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[Instance]:
        """A whole Tessera in a data folder of its own: store, encoder, gallery and cameras, each a process.

        Args:
            options: of `tessera up`, such as `--demo`.
            environ: settings of its services, such as `{"TESSERA_INGEST_JPEG_THREADS": "2"}`.

        Yields:
            The instance, once every service takes work.
        """
        with tempfile.TemporaryDirectory() as folder:
            data_dir = Path(folder) / "data"
            command = [*_UP, "--data-dir", str(data_dir), *options]
            with running(command, ROOT, data_dir, environ or {}) as instance:
                wait_serving(instance)
                yield instance


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark."""

    run: Callable[[Context], Sequence[Figure]]
    needs_clips: bool = False
    """Left out where TESSERA_DATA is not set."""
    minutes: float | None = None
    """The length at which its figures are kept; None: it takes as long as it takes."""
    short_minutes: float = 1.0
    """How long it watches where nothing else is asked for."""


def figure(name: str, value: float | int | str, unit: str, bar: str = "", holds: bool | None = None) -> Figure:
    """A figure of this benchmark."""
    return Figure(name, value, unit, bar, holds, COMMAND)


def minutes_of(part: Part, environ: Mapping[str, str] = os.environ) -> float:
    """How long a part watches: what CAMERAS_MINUTES says, else its short length.

    Raises:
        SystemExit: the variable holds no such number.
    """
    told = environ.get(MINUTES_VARIABLE, "")
    try:
        minutes = float(told or part.short_minutes)
    except ValueError:
        minutes = 0.0
    if not 0.0 < minutes <= 24 * 60:
        raise SystemExit(f"{MINUTES_VARIABLE}={told!r}: more than 0, at most 1440 minutes")
    return minutes


def is_kept(part: Part, minutes: float, *, quick: bool) -> bool:
    """Whether the figures of such a run go into the file: only those of the whole length do."""
    return not quick and (part.minutes is None or minutes >= part.minutes)


def command_of(name: str, part: Part) -> str:
    """What measures a part again, at its whole length."""
    data = "TESSERA_DATA=DIR " if part.needs_clips else ""
    length = f"{MINUTES_VARIABLE}={part.minutes:g} " if part.minutes else ""
    return f'{data}{length}{COMMAND} ARGS="{name}"'
