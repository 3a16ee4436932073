"""How a training went: the figures of each epoch, read back from a run folder's `history.jsonl`.

Before the page. Takes whatever numbers the lines hold, under the names that they have; judges none of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from tessera.domain.errors import InvalidInputError

EPOCH = "epoch"


@dataclass(frozen=True, slots=True)
class Series:
    """One figure over the epochs."""

    name: str
    """As the lines have it: `training_loss`."""
    values: tuple[float | None, ...]
    """One for each epoch; None where it was not measured or not finite."""


@dataclass(frozen=True, slots=True)
class History:
    """The epochs of one run."""

    epochs: tuple[int, ...]
    series: tuple[Series, ...]

    def about(self, word: str) -> tuple[Series, ...]:
        """The series whose name holds a word, such as `loss` or `accuracy`."""
        return tuple(one for one in self.series if word in one.name)


def read_history(path: Path) -> History:
    """Read the lines of a run, each a JSON object with an `epoch`; of an epoch that comes again, the last counts.

    Raises:
        InvalidInputError: a line is no such object.
    """
    rows = dict(_row(line) for line in path.read_text("utf-8").splitlines() if line.strip())
    names = dict.fromkeys(name for row in rows.values() for name in row if name != EPOCH)
    epochs = tuple(sorted(rows))
    every = [Series(name, tuple(_number(rows[at].get(name)) for at in epochs)) for name in names]
    return History(epochs, tuple(one for one in every if any(value is not None for value in one.values)))


def _row(line: str) -> tuple[int, dict[str, object]]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    epoch = row.get(EPOCH) if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(epoch, int):
        raise InvalidInputError("history", line, "one JSON object a line, with a whole number as its epoch")
    return epoch, row


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
