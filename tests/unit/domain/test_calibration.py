"""A calibration keeps its promises or refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.domain.calibration import (
    Calibration,
    CalibrationData,
    RateKind,
    dump_calibration,
    load_calibration,
)
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, CalibrationTooSmallError, InvalidInputError, ModelMismatchError
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.measurement import Comparisons, compare_all_pairs, measure_operating_points


@pytest.fixture(scope="module")
def comparisons() -> Comparisons:
    """Forty subjects of five samples each, around centres that are random directions."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(40, 16))
    vectors = np.repeat(centres, 5, axis=0) + rng.normal(scale=0.5, size=(200, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return compare_all_pairs(vectors.astype(np.float32), np.repeat(np.arange(40), 5), keep_fmr=1.0)


@pytest.fixture(scope="module")
def calibration(comparisons: Comparisons) -> Calibration:
    """What those comparisons say."""
    points = measure_operating_points(comparisons, np.random.default_rng(1), replicates=100)
    data = CalibrationData("made", "0" * 64, 40, 200, comparisons.mated_scores.size, comparisons.non_mated_total)
    return Calibration(CalibrationId("cal-1"), ModelId("m@1"), Modality.FACE, "2026-11-22", data, points)


def test_all_pairs_against_a_naive_loop() -> None:
    """The blocked comparison finds the very pairs of the double loop, over more rows than one block holds."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(700, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    owner = np.arange(700) // 3
    found = compare_all_pairs(vectors, owner, keep_fmr=1.0)
    scores = (vectors @ vectors.T).astype(np.float64)
    i, j = np.triu_indices(700, 1)
    same = owner[i] == owner[j]
    assert found.non_mated_total == int((~same).sum())
    np.testing.assert_allclose(np.sort(found.mated_scores), np.sort(scores[i, j][same]), atol=1e-6)
    np.testing.assert_allclose(found.non_mated_scores, np.sort(scores[i, j][~same])[::-1], atol=1e-6)


def test_keeping_the_top_changes_no_strict_point(comparisons: Comparisons) -> None:
    """Scores below the loosest FMR are counted and not kept; the points above it stay the same."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(40, 16))
    vectors = np.repeat(centres, 5, axis=0) + rng.normal(scale=0.5, size=(200, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    top = compare_all_pairs(vectors, np.repeat(np.arange(40), 5), keep_fmr=0.05)
    np.testing.assert_array_equal(top.non_mated_scores, comparisons.non_mated_scores[: top.non_mated_scores.size])
    assert top.non_mated_total == comparisons.non_mated_total


def test_points_state_the_rates_of_the_data(comparisons: Comparisons, calibration: Calibration) -> None:
    """Each point's FMR and FNMR are those that counting gives, and lie inside their intervals."""
    for point in calibration.points:
        assert point.fmr == pytest.approx(np.mean(comparisons.non_mated_scores >= point.threshold))
        assert point.fnmr == pytest.approx(np.mean(comparisons.mated_scores < point.threshold))
        assert point.fmr_interval.low <= point.fmr <= point.fmr_interval.high
        assert point.fnmr_interval.low <= point.fnmr <= point.fnmr_interval.high


def test_subject_intervals_are_wider_than_coin_tosses(comparisons: Comparisons, calibration: Calibration) -> None:
    """Pairs share subjects: an interval that forgets it is too narrow."""
    point = next(point for point in calibration.points if point.fmr <= 0.01)
    naive = 2 * 1.96 * np.sqrt(point.fmr * (1 - point.fmr) / comparisons.non_mated_total)
    assert point.fmr_interval.high - point.fmr_interval.low > 1.5 * naive


@pytest.mark.parametrize("target", [0.05, 0.01, 0.002])
def test_a_threshold_stays_at_or_below_its_target(calibration: Calibration, target: float) -> None:
    """The chosen point's measured FMR is never above the target."""
    threshold = calibration.threshold_for_fmr(target)
    assert threshold.fmr <= target
    assert threshold.kind is RateKind.FMR
    assert threshold.calibration_id == "cal-1"


def test_a_stricter_target_never_lowers_the_threshold(calibration: Calibration) -> None:
    """Thresholds rise as targets fall, and as galleries grow."""
    by_target = [calibration.threshold_for_fmr(target).score for target in (0.05, 0.02, 0.01, 0.002)]
    by_size = [calibration.threshold_for_fpir(0.05, size).score for size in (1, 3, 10)]
    assert by_target == sorted(by_target)
    assert by_size == sorted(by_size)


def test_a_claim_that_the_data_cannot_carry_is_refused(calibration: Calibration) -> None:
    """An FMR of 1e-6 needs three million comparisons; there are 19,500, and the error says both."""
    with pytest.raises(CalibrationTooSmallError, match="3,000,000") as raised:
        calibration.threshold_for_fmr(1e-6)
    assert raised.value.comparisons == calibration.data.non_mated


def test_another_model_is_refused(calibration: Calibration) -> None:
    """A calibration speaks for one model."""
    with pytest.raises(ModelMismatchError, match="m@2"):
        calibration.require_model(ModelId("m@2"))


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, float("nan")])
def test_a_target_that_is_no_rate_is_refused(calibration: Calibration, target: float) -> None:
    """The error names the field."""
    with pytest.raises(InvalidInputError, match="target_fmr"):
        calibration.threshold_for_fmr(target)


def test_a_file_tells_the_same(calibration: Calibration) -> None:
    """Written and read again, nothing is lost."""
    assert load_calibration(dump_calibration(calibration), "x.json") == calibration


@pytest.mark.parametrize("spoil", ['{"schema": 9}', "[]", "no json", '{"schema": 1}', "[" * 60_000])
def test_a_file_that_is_none_is_named(spoil: str) -> None:
    """The error names the file."""
    with pytest.raises(ArtifactError, match=r"x\.json"):
        load_calibration(spoil, "x.json")


def test_points_out_of_order_are_refused(calibration: Calibration) -> None:
    """A file whose thresholds fall would hand out wrong ones."""
    text = dump_calibration(calibration)
    rows = text.split('"points": [')[1].split("]\n}")[0].strip().split(",\n")
    swapped = text.replace(rows[0], "@").replace(rows[1].strip(), rows[0].strip()).replace("@", rows[1].strip())
    with pytest.raises(ArtifactError, match="loosest to the strictest"):
        load_calibration(swapped, "x.json")
