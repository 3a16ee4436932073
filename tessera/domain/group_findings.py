"""What is told of groups of subjects: their error rates, and which differences are claimed. `groups` finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tessera.domain.error_rates import Interval


class ErrorKind(StrEnum):
    """Which error a rate counts."""

    FMR = "FMR"
    FNMR = "FNMR"


class Finding(StrEnum):
    """What the data says of groups."""

    DIFFERENCE = "DIFFERENCE"
    """They differ, at 5 % after correction."""
    NO_DIFFERENCE_FOUND = "NO_DIFFERENCE_FOUND"
    """None was found; the ratio's interval says how large one could still be."""
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"
    """Fewer than two groups have the comparisons that a fivefold rate would need to be seen."""


@dataclass(frozen=True, slots=True)
class GroupRate:
    """One group's error rate at one threshold."""

    group: str
    subjects: int
    comparisons: int
    errors: int
    rate: float | None
    """None: no comparison."""
    interval: Interval | None
    """95 %, with what comparisons share taken into account."""
    needed: int | None
    """About so many comparisons would be needed before anything is said of differences; None: it has enough."""
    stands_out: bool = False
    """Differs from more than half of the other groups, at 5 % after correction."""


@dataclass(frozen=True, slots=True)
class Disparity:
    """A ratio between groups' rates; groups with too few comparisons are left out of it."""

    value: float | None
    """None: no ratio can be stated, for want of groups or because a group shows no error."""
    interval: Interval | None
    """95 %, by resampling subjects; never under 1, which is no difference."""
    at_least: float | None = None
    """Where a group shows no error: the ratio to the highest rate that it may still have, by the other's lowest."""


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """All groups at one threshold, by one error rate."""

    kind: ErrorKind
    threshold: float
    groups: tuple[GroupRate, ...]
    """In alphabetical order."""
    finding: Finding
    p_value: float | None
    """Of the permutation test, after correction; None: it was not made."""
    max_over_min: Disparity
    max_over_geometric_mean: Disparity


@dataclass(frozen=True, slots=True)
class CrossRate:
    """FMR of comparisons between two groups."""

    first: str
    second: str
    threshold: float
    comparisons: int
    errors: int
    rate: float | None
    """None: no comparison."""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """What was measured of groups."""

    differences: tuple[GroupDifference, ...]
    """By threshold as they were given, FMR before FNMR."""
    across: tuple[CrossRate, ...]
    """Of pairs of different groups; empty unless asked for."""
    unlabelled: int
    """Subjects that have no group, and are left out."""
    tests: int
    """So many looks, at thresholds and kinds of error, share the 5 %."""
