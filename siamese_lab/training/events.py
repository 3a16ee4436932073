"""The history of a run as TensorBoard reads it. Holds figures and no picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard.writer import SummaryWriter


class EventLog:
    """Writes events into a run's folder.

    Args:
        folder: of the run.
        first_epoch: where this life begins; what a life before it wrote of later epochs no longer counts.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def __enter__(self) -> EventLog:
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
