"""The history of a run as TensorBoard reads it. Holds figures and no picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter

_FILES = "events.out.tfevents.*"


class EventLog:
    """Writes events into a run's folder.

    A life that goes on with a run writes the epochs before it anew, in place of the files of earlier lives: those may
    tell of epochs after the last checkpoint, and TensorBoard reads several files by name, which is not by age when two
    are of the same second.

    Args:
        folder: of the run.
        history: lines of `history.jsonl` up to here.
    """

    def __init__(self, folder: Path, history: Iterable[Mapping[str, Any]] = ()) -> None:
        self._folder = folder
        self._history = tuple(history)

    def __enter__(self) -> EventLog:
        earlier = list(self._folder.glob(_FILES))
        self._writer = SummaryWriter(str(self._folder))
        for row in self._history:
            self.add(row)
        for file in earlier:
            file.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the figures of one epoch: a line of `history.jsonl`."""
        for name, value in row.items():
            if isinstance(value, int | float) and name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()
