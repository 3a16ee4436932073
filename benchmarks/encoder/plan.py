"""What every scenario is handed, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.figures import Figure

COMMAND = "make bench-encoder"
PREFIX = "TESSERA_ENCODER_"


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure, and on what."""

    quick: bool = False
    """For work on the benchmark itself: short, and nothing is kept."""
    device: str = "cpu"
    """Where the service and the bare pipeline run."""

    def seconds(self, whole: float, quick: float) -> float:
        """One of two durations."""
        return quick if self.quick else whole

    def count(self, whole: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole

    def settings(self, **changed: str) -> Mapping[str, str]:
        """Of the service: as it ships, on this device, with the few that a scenario is about."""
        return {"DEVICE": self.device, "LOG_LEVEL": "warning", **changed}


@dataclass(slots=True)
class Story:
    """What a scenario has to tell."""

    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float | int | str, unit: str, bar: str = "", holds: bool | None = None) -> None:
        """One more figure."""
        self.figures.append(Figure(name, value, unit, bar, holds, COMMAND))

    def note(self, sentence: str) -> None:
        """Something that a reader of the figures must know, such as what was left out."""
        self.notes.append(sentence)
