"""Whether the scores of people who were recognised are still spread as they were when the threshold was measured.

The population stability index over bins whose edges are points of the calibration itself, so that the share that each
should have was measured and not modelled. Its size is noise below some hundred scores: without any drift it reaches
0.044 with 500 scores in one window of a thousand (docs/adr/0030-what-is-watched-and-what-pages.md).
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.calibration import Calibration
from tessera.domain.rate_lines import share_of_way

LEAST_SCORES = 500
"""With fewer nothing is told."""
LEAST_SHARE = 0.05
"""A bin has at least this much of what is looked at."""
_EACH = 0.5
"""Added to each bin's count, so that an empty one has a logarithm."""


@dataclass(frozen=True, slots=True, eq=False)
class MatedBins:
    """How mated scores at or above a score are spread, as a calibration measured it."""

    edges: npt.NDArray[np.float64]
    """Shape (k,): where each bin begins, rising; the last one has no end."""
    shares: npt.NDArray[np.float64]
    """Shape (k,): of the scores at or above the first edge, the part in each; they add up to 1."""

    def psi(self, scores: Sequence[float] | npt.NDArray[np.float64]) -> float:
        """The population stability index: sum of (seen - expected) ln(seen / expected) over the bins.

        Args:
            scores: shape (n,); those below the first edge are left out.

        Source:
            Siddiqi, Credit Risk Scorecards (2006); it is the symmetrised Kullback-Leibler divergence of two histograms.
        """
        counts, _ = np.histogram(np.asarray(scores, np.float64), np.append(self.edges, np.inf))
        seen = (counts + _EACH) / (counts.sum() + _EACH * len(counts))
        return float(((seen - self.shares) * np.log(seen / self.shares)).sum())


def mated_bins(calibration: Calibration, cut: float) -> MatedBins | None:
    """The bins of mated scores at or above `cut`; None: too little is known of them to have two.

    Args:
        calibration: its FNMR column is the distribution of mated scores.
        cut: the highest threshold that the scores had to reach.
    """
    if not calibration.data.mated:
        return None
    below = _share_below(calibration, cut)
    edges, missed = [cut], [below]
    least = LEAST_SHARE * (1.0 - below)
    for point in calibration.points:
        if point.threshold > cut and point.fnmr - missed[-1] >= least and 1.0 - point.fnmr >= least:
            edges.append(point.threshold)
            missed.append(point.fnmr)
    if len(edges) < 2:
        return None
    shares = np.diff(np.array([*missed, 1.0])) / (1.0 - below)
    return MatedBins(np.array(edges), shares)


def _share_below(calibration: Calibration, score: float) -> float:
    """FNMR at a score, on the straight line between two measured points."""
    points = calibration.points
    at = bisect.bisect_left(points, score, key=lambda point: point.threshold)
    before, after = points[max(at - 1, 0)], points[min(at, len(points) - 1)]
    way = share_of_way(before.threshold, after.threshold, score)
    return before.fnmr + way * (after.fnmr - before.fnmr)
