"""From labelled samples to a calibration, and what they cannot carry."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.domain.calibration import dump_calibration, load_calibration
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError
from tessera.domain.fitting import (
    LabelledScores,
    Provenance,
    calibrate_embeddings,
    calibrate_scores,
    independent_scores,
)
from tessera.domain.ids import CalibrationId, ModelId
from tests.unit.domain.test_search_rates import people

PROVENANCE = Provenance(CalibrationId("cal-1"), ModelId("m@1"), Modality.FACE, "2026-11-22", "made", "0" * 64)


def all_pairs(vectors: np.ndarray, owner: np.ndarray) -> LabelledScores:
    """The same comparisons as those of embeddings, told as scores."""
    first, second = np.triu_indices(owner.size, 1)
    scores = (vectors @ vectors.T).astype(np.float64)[first, second]
    same = owner[first] == owner[second]
    return LabelledScores(
        scores[same], owner[first][same], scores[~same], owner[first][~same], owner[second][~same], owner.size
    )


def test_embeddings_give_comparisons_and_searches() -> None:
    """What was compared is counted, and what was measured survives its file."""
    vectors, owner = people(60, 4, seed=1)
    calibration = calibrate_embeddings(vectors, owner, PROVENANCE)
    data = calibration.data
    assert (data.subjects, data.samples, data.mated, data.non_mated) == (60, 240, 60 * 6, 240 * 239 // 2 - 60 * 6)
    assert max(point.gallery_size for point in calibration.searches) == 29
    assert load_calibration(dump_calibration(calibration), "x.json") == calibration


def test_the_names_of_subjects_do_not_matter() -> None:
    """Numbers or words, whatever order they sort in."""
    vectors, owner = people(30, 3, seed=1)
    names = [f"subject {97 * number % 31}" for number in owner]
    assert calibrate_embeddings(vectors, names, PROVENANCE) == calibrate_embeddings(vectors, owner, PROVENANCE)


def test_scores_of_the_same_comparisons_give_the_same_points() -> None:
    """Intervals too, since the subjects are told; searches cannot be known from scores."""
    vectors, owner = people(40, 3, seed=2)
    of_embeddings = calibrate_embeddings(vectors, owner, PROVENANCE)
    of_scores = calibrate_scores(all_pairs(vectors, owner), PROVENANCE)
    assert of_scores.data == of_embeddings.data
    assert of_scores.searches == ()
    for one, other in zip(of_scores.points, of_embeddings.points, strict=True):
        assert one.fmr == pytest.approx(other.fmr, rel=0.02)
        assert one.threshold == pytest.approx(other.threshold, abs=1e-6)
        assert (one.fmr_interval.low, one.fmr_interval.high) == pytest.approx(
            (other.fmr_interval.low, other.fmr_interval.high), rel=0.05
        )
        assert (one.fnmr_interval.low, one.fnmr_interval.high) == pytest.approx(
            (other.fnmr_interval.low, other.fnmr_interval.high), rel=0.05
        )


def test_scores_that_share_nobody_are_coin_tosses() -> None:
    """Told to be independent, each counts in full; told whose they are, they may count for less."""
    vectors, owner = people(40, 3, seed=2)
    shared = all_pairs(vectors, owner)
    told = calibrate_scores(shared, PROVENANCE)
    coins = calibrate_scores(independent_scores(shared.mated, shared.non_mated), PROVENANCE)
    assert [point.fmr for point in coins.points] == [point.fmr for point in told.points]
    loosest, coin = told.points[0].fmr_interval, coins.points[0].fmr_interval
    assert loosest.high - loosest.low > 1.2 * (coin.high - coin.low)


def test_few_people_are_not_searched() -> None:
    """A gallery of half of ten people says nothing about galleries."""
    assert calibrate_embeddings(*people(10, 4, seed=2), PROVENANCE).searches == ()


def test_a_claim_that_the_data_cannot_carry_is_refused() -> None:
    """With how many comparisons it would need."""
    vectors, owner = people(20, 2, seed=2)
    with pytest.raises(CalibrationTooSmallError, match="30,000") as raised:
        calibrate_embeddings(vectors, owner, PROVENANCE, strictest_fmr=1e-4)
    assert raised.value.comparisons == 40 * 39 // 2 - 20
    with pytest.raises(CalibrationTooSmallError):
        calibrate_scores(all_pairs(vectors, owner), PROVENANCE, strictest_fmr=1e-4)
    with pytest.raises(CalibrationTooSmallError, match="rule of 3"):
        calibrate_scores(independent_scores([0.9], [0.1] * 29), PROVENANCE)
    assert calibrate_embeddings(vectors, owner, PROVENANCE, strictest_fmr=1e-2).points


def test_data_that_say_nothing_are_refused() -> None:
    """One person, fewer names than samples, scores that are all alike."""
    vectors, owner = people(20, 2, seed=2)
    for subjects in (np.zeros(40, int), owner[:39]):
        with pytest.raises(InvalidInputError, match="subjects"):
            calibrate_embeddings(vectors, subjects, PROVENANCE)
    with pytest.raises(InvalidInputError, match="not all alike"):
        calibrate_scores(independent_scores([0.9], [0.1] * 100), PROVENANCE)


def test_samples_of_forty_people_say_nothing_of_the_same_person() -> None:
    """Without two samples of anybody the FMR is measured, and the FNMR may be anything."""
    vectors, _ = people(40, 1, seed=2)
    made = calibrate_embeddings(vectors, np.arange(40), PROVENANCE)
    assert made.data.mated == 0
    assert {(point.fnmr, point.fnmr_interval) for point in made.points} == {(1.0, Interval(0.0, 1.0))}
    assert made.points[0].fmr > made.points[-1].fmr


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"mated": np.array([np.nan])}, "mated"),
        ({"non_mated": np.empty(0)}, "non_mated"),
        ({"first_subjects": np.arange(3)}, "non_mated_subjects"),
        ({"mated_subjects": np.array([-1])}, "mated_subjects"),
        ({"second_subjects": np.arange(100)}, "pairs"),
    ],
)
def test_scores_that_do_not_go_with_their_subjects_are_refused(changed: dict[str, np.ndarray], field: str) -> None:
    """The error names the field."""
    good = {
        "mated": np.array([0.9]),
        "mated_subjects": np.array([0]),
        "non_mated": np.linspace(0, 1, 100),
        "first_subjects": np.arange(100),
        "second_subjects": np.arange(100) + 1,
    }
    with pytest.raises(InvalidInputError) as raised:
        calibrate_scores(LabelledScores(**{**good, **changed}), PROVENANCE)
    assert raised.value.field == field
