"""Drift of mated scores against what a calibration measured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tessera.domain.artifact import load_calibrations_for
from tessera.domain.calibration import Calibration, Impostors
from tessera.domain.drift import LEAST_SCORES, MatedBins, mated_bins

ALARM = 0.05
"""What the rule ScoreDrift holds it against."""


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return next(one for one in load_calibrations_for("face-sface-2") if one.impostors is Impostors.RANDOM)


def draw(calibration: Calibration, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Mated scores as the calibration measured them."""
    below = np.array([0.0, *(point.fnmr for point in calibration.points), 1.0])
    scores = np.array([-0.1, *(point.threshold for point in calibration.points), 1.0])
    return np.interp(rng.random(count), below, scores)


def test_shares_are_those_that_were_measured(calibration: Calibration) -> None:
    """Each bin's share is what the FNMR column says of its edges, of all at or above the threshold."""
    threshold = calibration.threshold_for_fmr(1e-4).score
    bins = mated_bins(calibration, threshold)
    assert bins is not None
    scores = draw(calibration, 400_000, np.random.default_rng(1))
    above = scores[scores >= threshold]
    naive = [
        np.mean((above >= low) & (above < high)) for low, high in zip(bins.edges, [*bins.edges[1:], 2.0], strict=True)
    ]
    assert bins.edges[0] == threshold
    assert bins.shares.sum() == pytest.approx(1.0)
    assert bins.shares == pytest.approx(naive, abs=0.004)
    assert min(bins.shares) >= 0.049


def test_psi_is_the_sum_over_bins() -> None:
    """Against a naive loop over counts that were smoothed by a half."""
    bins = MatedBins(np.array([0.0, 0.5, 0.8]), np.array([0.2, 0.5, 0.3]))
    scores = [0.1] * 30 + [0.6] * 40 + [0.9] * 30 + [-1.0] * 5
    expected = 0.0
    for share, count in zip((0.2, 0.5, 0.3), (30, 40, 30), strict=True):
        seen = (count + 0.5) / 101.5
        expected += (seen - share) * np.log(seen / share)
    assert bins.psi(scores) == pytest.approx(expected)


def test_no_drift_raises_no_alarm_and_a_third_of_sigma_does(calibration: Calibration) -> None:
    """With the least scores that are looked at: fewer than 1 of 200 windows without drift reach the alarm's height, and
    more than 9 of 10 with 0.3 sigma do, up or down."""
    rng, threshold = np.random.default_rng(20261123), calibration.threshold_for_fmr(1e-4).score
    bins = mated_bins(calibration, threshold)
    assert bins is not None
    sigma = draw(calibration, 100_000, rng).std()

    def alarms(shift: float) -> float:
        windows = (draw(calibration, 2 * LEAST_SCORES, rng) + shift for _ in range(400))
        return float(np.mean([bins.psi(some[some >= threshold][:LEAST_SCORES]) > ALARM for some in windows]))

    assert alarms(0.0) < 0.005
    assert alarms(-0.3 * sigma) > 0.9
    assert alarms(0.3 * sigma) > 0.9


def test_a_calibration_that_knows_no_mated_scores_has_no_bins(calibration: Calibration) -> None:
    """Above its strictest point there is one bin alone, which says nothing."""
    assert mated_bins(calibration, calibration.points[-1].threshold + 0.01) is None
