"""What every part of the persons' benchmark is handed, and what it hands back.

A part is a module of its own with `run(context) -> list[Figure]`, entered in `PARTS` of `__main__`. It takes the
pictures from `context.data()`, makes its figures by `figure(...)` and leaves a sentence by `context.note(...)` for
whatever a reader of the figures must know. The command is filled in by whoever runs the part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.services import data_folder

COMMAND = "make bench-person"


@dataclass(frozen=True, slots=True)
class Context:
    """How much to measure, and on what."""

    quick: bool = False
    """For work on the benchmark itself: less, and nothing is kept."""
    notes: list[str] = field(default_factory=list)

    def count(self, whole: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole

    def note(self, sentence: str) -> None:
        """Something that a reader of the figures must know, such as what was left out."""
        self.notes.append(sentence)

    def data(self) -> Path:
        """The folder of the data.

        Raises:
            SystemExit: TESSERA_DATA names no folder.
        """
        return data_folder()

    def videos(self) -> Path:
        """The folder of the clips; as `data`."""
        return data_folder() / "videos"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the benchmark."""

    run: Callable[[Context], Sequence[Figure]]
    needs_data: bool = True
    """Left out where TESSERA_DATA is not set."""


def figure(name: str, value: float | int | str, unit: str, bar: str = "", holds: bool | None = None) -> Figure:
    """A figure of this benchmark."""
    return Figure(name, value, unit, bar, holds, COMMAND)
