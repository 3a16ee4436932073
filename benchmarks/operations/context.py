"""What every part is handed: how long to measure, and the words for what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Figure

COMMAND = "make bench-operations"


@dataclass(frozen=True, slots=True)
class Context:
    """How long to measure."""

    part: str
    """Which part asks; with the command it says how a figure is measured again."""
    quick: bool = False
    """For work on the benchmark itself: short, and nothing is kept."""

    def seconds(self, whole: float, quick: float) -> float:
        """One of two durations."""
        return quick if self.quick else whole

    def figure(self, name: str, value: float | str, unit: str, bar: str = "", *, holds: bool | None = None) -> Figure:
        """One measured number.

        Args:
            name: what it is.
            value: the number.
            unit: its unit.
            bar: what was asked for, in words.
            holds: whether it is; None: nothing was asked for.
        """
        return Figure(name, value, unit, bar, holds, f'{COMMAND} ARGS="{self.part}"')
