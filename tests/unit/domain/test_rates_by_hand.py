"""Error rates against files that were worked out by hand; each has its working beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain import error_rates as er

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "golden" / "rates_by_hand.json").read_text())
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])

scores = st.lists(st.integers(-30, 30).map(lambda x: x / 10), min_size=1, max_size=40)


@each_case
def test_the_curve_by_hand(case: dict[str, Any]) -> None:
    """FMR and FNMR at every threshold of the DET curve are those of the hand's working."""
    for threshold, fmr, fnmr in case["det"]:
        assert er.false_match_rate(case["non_mated"], threshold) == pytest.approx(fmr, abs=1e-12)
        assert er.false_non_match_rate(case["mated"], threshold) == pytest.approx(fnmr, abs=1e-12)


@each_case
def test_equal_error_rate_by_hand(case: dict[str, Any]) -> None:
    """The EER and where it lies are those of the hand's working."""
    rate, threshold = er.equal_error_rate(case["mated"], case["non_mated"])
    assert rate == pytest.approx(case["eer"], abs=1e-12)
    assert threshold == case["eer_threshold"]


@each_case
def test_fnmr_at_fmr_by_hand(case: dict[str, Any]) -> None:
    """A threshold set for an FMR misses the mates that the hand found below it."""
    for fmr, fnmr in case["fnmr_at_fmr"]:
        threshold = er.threshold_at_fmr(case["non_mated"], fmr)
        assert er.false_match_rate(case["non_mated"], threshold) <= fmr
        assert er.false_non_match_rate(case["mated"], threshold) == pytest.approx(fnmr, abs=1e-12)


@given(scores, scores, st.floats(-4, 4), st.floats(0, 4))
def test_rates_are_monotone_in_the_threshold(
    mated: list[float], non_mated: list[float], low: float, step: float
) -> None:
    """A stricter threshold never raises the FMR and never lowers the FNMR."""
    assert er.false_match_rate(non_mated, low + step) <= er.false_match_rate(non_mated, low)
    assert er.false_non_match_rate(mated, low + step) >= er.false_non_match_rate(mated, low)


@given(scores, scores)
def test_the_curve_ignores_the_scale_of_scores(mated: list[float], non_mated: list[float]) -> None:
    """A strictly rising map of the scores moves thresholds, and leaves the DET curve and the EER where they are."""
    for threshold in sorted({*mated, *non_mated}):
        moved = float(np.exp(threshold / 3))
        assert er.false_match_rate(np.exp(np.array(non_mated) / 3), moved) == er.false_match_rate(non_mated, threshold)
        assert er.false_non_match_rate(np.exp(np.array(mated) / 3), moved) == er.false_non_match_rate(mated, threshold)
    moved_rate, _ = er.equal_error_rate(np.exp(np.array(mated) / 3), np.exp(np.array(non_mated) / 3))
    assert moved_rate == er.equal_error_rate(mated, non_mated)[0]
