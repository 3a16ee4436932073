"""What a report shows: plain values, all measured before; nothing here computes more than a look into them."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.domain.calibration import DEFAULT_TARGET_FMR, DEFAULT_TARGET_FPIR, Calibration, OperatingPoint
from tessera.domain.error_rates import Interval, comparisons_needed
from tessera.domain.group_findings import GroupReport

TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""False match rates that the table tells of."""


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """How scores are spread."""

    edges: tuple[float, ...]
    """Rising; one more than there are bins."""
    mated: tuple[int, ...]
    non_mated: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SearchRow:
    """Searches of one gallery size at the target FPIR."""

    gallery_size: int
    """Subjects, with one sample each."""
    threshold: float | None
    """None: the data cannot carry the target."""
    fpir: float | None
    """None: not measured for this size."""
    fpir_interval: Interval | None
    fnir: float | None
    """The share of searches by enrolled people in which the person's own score stays under the threshold."""
    fnir_interval: Interval | None
    extrapolated: bool = False
    """The gallery is larger than the data, or the threshold lies beyond what was measured."""
    needed: int | None = None
    """Non-mated comparisons that this threshold would need; None: there are enough."""


@dataclass(frozen=True, slots=True)
class EnrolmentFailures:
    """Samples that could not be used: FTE."""

    samples: int
    """That were tried."""
    unusable: tuple[str, ...]
    """Names of those without a usable face (signature, person)."""

    def rate(self) -> float:
        """FTE, in [0, 1]."""
        return len(self.unusable) / self.samples if self.samples else 0.0


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target FMR, and what the data says of it."""

    target_fmr: float
    point: OperatingPoint | None
    """None: the data cannot carry it."""
    needed: int
    """Non-mated comparisons that the target needs: the rule of 3."""


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Everything that the page shows."""

    calibration: Calibration
    written: str
    """Date of the report, ISO 8601."""
    histogram: ScoreHistogram | None = None
    searches: tuple[SearchRow, ...] = ()
    enrolment: EnrolmentFailures | None = None
    """None: the data came as scores or embeddings, so that nobody knows."""
    groups: GroupReport | None = None
    """None: no labels were given."""
    target_fmr: float = DEFAULT_TARGET_FMR
    """That the summary speaks of; the loosest but one that the data carries where it cannot carry this."""
    target_fpir: float = DEFAULT_TARGET_FPIR
    independent_pairs: bool = False
    """The caller said that no two comparisons share a subject."""

    def target_rows(self) -> tuple[TargetRow, ...]:
        """The table of thresholds, from the loosest."""
        return tuple(self._row(target) for target in TARGETS)

    def summary_row(self) -> TargetRow | None:
        """The row that the summary speaks of: the target's, or the strictest that the data carries."""
        row = self._row(self.target_fmr)
        carried = [one for one in self.target_rows() if one.point is not None]
        return row if row.point is not None else carried[-1] if carried else None

    def strictest_fmr(self) -> float:
        """The lowest FMR that the data can carry: the rule of 3."""
        return min(1.0, 3.0 / max(self.calibration.data.non_mated, 1))

    def _row(self, target: float) -> TargetRow:
        needed = comparisons_needed(target)
        # A hair of room: 0.1 of a count that ten does not divide is measured as slightly less or more.
        carried = needed <= self.calibration.data.non_mated
        point = next((one for one in self.calibration.points if one.fmr <= target * (1 + 1e-9)), None)
        return TargetRow(target, point if carried else None, needed)
