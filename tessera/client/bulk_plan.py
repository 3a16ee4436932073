"""Whom a bulk enrolment is about, and what is told when that cannot be read.

A plan holds names and not one byte of a picture. `bulk_sources` makes one; whether a picture can be used,
`bulk_pictures` and then the gallery say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tessera.domain.errors import TesseraError

MAX_PICTURES = 16


@dataclass(frozen=True, slots=True)
class PlannedSubject:
    """One person to be enrolled."""

    subject_id: str
    pictures: tuple[str, ...]
    """Paths from the plan's root, 1 to 16, in the order of the source."""
    display_name: str = ""
    external_id: str = ""
    labels: tuple[str, ...] = ()
    consent_reference: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everybody to be enrolled."""

    source: Path
    root: Path
    """The folder that every picture lies in; absolute, without links."""
    subjects: tuple[PlannedSubject, ...]
    left_out: tuple[str, ...] = ()
    """What lies in the folder and is no picture by its name."""


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """One thing that must be put right before anything is sent."""

    where: str
    """Such as `people.csv, line 3, column valid_from`, or a folder's name."""
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}; allowed: {self.allowed}"


class PlanError(TesseraError):
    """A source cannot be enrolled as it stands.

    Args:
        problems: all that was found, in the order of the source.
    """

    def __init__(self, problems: Sequence[PlanProblem]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")
