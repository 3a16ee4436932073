"""A calibration keeps its promises or refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.artifact import load_calibration_for
from tessera.domain.calibration import (
    SUBJECT_BOOTSTRAP,
    Calibration,
    CalibrationData,
    OperatingPoint,
    RateKind,
    SearchPoint,
    dump_calibration,
    load_calibration,
)
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
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
    points = measure_operating_points(comparisons)
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
        assert point.fmr_interval.low < point.fmr < point.fmr_interval.high
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
    searched = replace(table(), searches=SEARCHES)
    assert load_calibration(dump_calibration(calibration), "x.json") == calibration
    assert load_calibration(dump_calibration(searched), "x.json") == searched


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


# ---- a table that is easily read: a decade of FMR for each 0.1, FPIR measured at galleries of 10 and 100


def around(rate: float) -> Interval:
    """Half of a rate to twice."""
    return Interval(rate / 2, min(1.0, rate * 2))


def table() -> Calibration:
    """FMR 1e-1 at 0.2 down to 1e-6 at 0.7, of ten million comparisons."""
    points = tuple(
        OperatingPoint(round(0.1 + 0.1 * decade, 1), 10.0**-decade, around(10.0**-decade), 0.01, around(0.01))
        for decade in range(1, 7)
    )
    data = CalibrationData("made", "0" * 64, 3000, 4500, 4000, 10_000_000)
    return Calibration(CalibrationId("cal-1"), ModelId("m@1"), Modality.FACE, "2026-11-22", data, points)


SEARCHES = tuple(
    SearchPoint(size, score, fpir, around(fpir))
    for size, scores in ((10, (0.30, 0.38)), (100, (0.40, 0.48)))
    for score, fpir in zip(scores, (1e-1, 1e-2), strict=True)
)


def test_a_measured_search_decides() -> None:
    """At a measured size the threshold is the measured one, whatever the comparisons would say, with the FMR there."""
    threshold = replace(table(), searches=SEARCHES).threshold_for_fpir(0.01, 100)
    assert (threshold.kind, threshold.score, threshold.fpir) == (RateKind.FPIR, 0.48, 0.01)
    assert threshold.fpir_interval == around(0.01)
    assert threshold.fmr == pytest.approx(10**-3.8)
    assert threshold.fmr_interval.high == pytest.approx(2 * 10**-3.8)
    assert table().threshold_for_fpir(0.01, 100).score == 0.5  # FMR 1 - 0.99^(1/100) = 1.005e-4


def test_between_two_sizes_the_threshold_lies_on_the_line_over_the_logarithm_of_the_size() -> None:
    """Halfway from 10 to 100 by factors are 31.6 subjects."""
    threshold = replace(table(), searches=SEARCHES).threshold_for_fpir(0.01, 32)
    share = math.log10(3.2)
    assert threshold.score == pytest.approx(0.38 + share * 0.10)
    assert threshold.fpir == pytest.approx(0.01)


def test_a_target_between_two_measured_ones_takes_the_stricter() -> None:
    """No rate is stated that is above the target."""
    threshold = replace(table(), searches=SEARCHES).threshold_for_fpir(0.05, 10)
    assert (threshold.score, threshold.fpir) == (0.38, 0.01)


def test_beyond_the_largest_size_a_bound_decides() -> None:
    """For a thousand subjects at most 1 - (1 - 0.01)^10, 9.6 %; of a stricter target comparisons decide."""
    searched = replace(table(), searches=SEARCHES)
    threshold = searched.threshold_for_fpir(0.0957, 1000)
    assert threshold.score == 0.48
    assert threshold.fpir == pytest.approx(1 - 0.99**10)
    assert threshold.fpir_interval is not None
    assert threshold.fpir_interval.high == pytest.approx(1 - 0.98**10)
    strict = searched.threshold_for_fpir(0.01, 1000)
    assert strict == table().threshold_for_fpir(0.01, 1000)
    assert strict.score == 0.6
    assert strict.fpir == pytest.approx(1 - (1 - 1e-5) ** 1000)


@pytest.mark.parametrize("size", [1, 5])
def test_below_the_smallest_size_comparisons_decide(size: int) -> None:
    """The table begins at 10."""
    searched = replace(table(), searches=SEARCHES)
    assert searched.threshold_for_fpir(0.05, size) == table().threshold_for_fpir(0.05, size)


@given(st.floats(1e-3, 0.2), st.integers(1, 3000), st.integers(1, 3000))
def test_a_search_of_more_subjects_is_never_looser(target: float, one: int, other: int) -> None:
    """Over the whole table that ships, through and beyond what was measured."""
    shipped = load_calibration_for("face-sface-2")
    assert shipped is not None
    smaller, larger = (shipped.threshold_for_fpir(target, size) for size in sorted((one, other)))
    assert smaller.score <= larger.score + 0.004  # neighbouring tables, each with a sample of each subject of its own
    assert smaller.fpir is not None
    assert smaller.fpir <= target * (1 + 1e-9)


def test_a_claim_of_several_templates_is_the_rate_of_them_all() -> None:
    """The best of ten comparisons at 1e-4 is a claim at 1e-3."""
    threshold = table().threshold_for_fmr(1.001e-3, templates=10)
    assert threshold.score == 0.5
    assert threshold.fmr == pytest.approx(1 - (1 - 1e-4) ** 10)
    assert threshold.fmr_interval.high == pytest.approx(1 - (1 - 2e-4) ** 10)
    assert table().threshold_for_fmr(1e-3, templates=1) == table().threshold_for_fmr(1e-3)
    with pytest.raises(InvalidInputError, match="templates"):
        table().threshold_for_fmr(1e-3, templates=0)


def test_extrapolation_is_asked_for_and_says_so() -> None:
    """Two decades beyond the data on the line that they lie on; the interval is wider than any measured."""
    with pytest.raises(CalibrationTooSmallError, match="300,000,000"):
        table().threshold_for_fmr(1e-8)
    threshold = table().threshold_for_fmr(1e-8, allow_extrapolation=True)
    assert threshold.extrapolated
    assert threshold.score == pytest.approx(0.9)
    assert (threshold.target_rate, threshold.fmr) == (1e-8, 1e-8)
    assert threshold.fmr_interval.high / threshold.fmr_interval.low > 4.0
    assert not table().threshold_for_fmr(1e-5, allow_extrapolation=True).extrapolated
    search = replace(table(), searches=SEARCHES).threshold_for_fpir(0.01, 100_000, allow_extrapolation=True)
    assert search.extrapolated
    assert search.fpir == pytest.approx(0.01)


def test_nobody_extrapolates_further_than_two_decades() -> None:
    """Whoever asks; and not through two points."""
    with pytest.raises(CalibrationTooSmallError):
        table().threshold_for_fmr(0.9e-8, allow_extrapolation=True)
    with pytest.raises(CalibrationTooSmallError):
        replace(table(), points=table().points[:2]).threshold_for_fmr(1e-3, allow_extrapolation=True)


def test_a_file_of_schema_1_is_still_read() -> None:
    """Its intervals are those of the bootstrap, and it has no searches."""
    raw = json.loads(dump_calibration(table())) | {"schema": 1}
    del raw["searches"], raw["interval_method"], raw["search_columns"]
    found = load_calibration(json.dumps(raw), "x.json")
    assert found == replace(table(), interval_method=SUBJECT_BOOTSTRAP)


@pytest.mark.parametrize(
    ("table_name", "row", "column", "value"),
    [
        ("points", 0, 1, 1.5),
        ("points", 0, 2, 0.9),
        ("points", 1, 0, float("inf")),
        ("points", 0, 4, float("nan")),
        ("searches", 0, 0, 1.5),
        ("searches", 0, 0, 1000),
        ("searches", 1, 1, 0.1),
        ("searches", 0, 2, -0.1),
    ],
)
def test_a_number_that_cannot_be_is_refused(table_name: str, row: int, column: int, value: float) -> None:
    """A rate outside of its interval or of [0, 1], half a subject, sizes or thresholds out of order."""
    raw = json.loads(dump_calibration(replace(table(), searches=SEARCHES)))
    raw[table_name][row][column] = value
    with pytest.raises(ArtifactError, match=r"x\.json"):
        load_calibration(json.dumps(raw), "x.json")


def test_a_rate_below_the_strictest_point_is_told_as_that() -> None:
    """There are comparisons enough: the message does not say that some are missing."""
    with pytest.raises(CalibrationTooSmallError, match=r"was not measured; the calibration's strictest is 0\.1"):
        replace(table(), points=table().points[:1]).threshold_for_fmr(0.01)
