"""What a report measures is what a naive look at the same data finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tessera.domain.embedding import Modality, Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.fitting import LabelledScores, Provenance, independent_scores
from tessera.domain.group_findings import ErrorKind
from tessera.domain.ids import CalibrationId, ModelId
from tessera.report import CalibrationReport, render
from tessera.report.measuring import ReportOptions, histogram_of_scores, report_on_embeddings, report_on_scores

PROVENANCE = Provenance(CalibrationId("made"), ModelId("m@1"), Modality.FACE, "2026-11-22", "made up", "0" * 64)
OPTIONS = ReportOptions("2026-11-23", gallery_sizes=(10, 50, 100_000))


def people(count: int = 120, each: int = 3) -> tuple[Vectors, list[str]]:
    """Samples around random centres."""
    rng = np.random.default_rng(5)
    vectors = np.repeat(rng.normal(size=(count, 24)), each, axis=0) + 0.7 * rng.normal(size=(count * each, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"p{at}" for at in range(count) for _ in range(each)]


@pytest.fixture(scope="module")
def report() -> CalibrationReport:
    """Of embeddings, with groups."""
    vectors, subjects = people()
    groups = {name: "even" if int(name[1:]) % 2 == 0 else "odd" for name in subjects if name != "p7"}
    return report_on_embeddings(vectors, subjects, PROVENANCE, replace(OPTIONS, groups=groups))


def all_scores() -> LabelledScores:
    """The same comparisons, listed one by one."""
    vectors, subjects = people()
    owner = np.array([int(name[1:]) for name in subjects])
    i, j = np.triu_indices(owner.size, 1)
    scores, same = (vectors @ vectors.T).astype(np.float64)[i, j], owner[i] == owner[j]
    return LabelledScores(scores[same], owner[i][same], scores[~same], owner[i][~same], owner[j][~same], owner.size)


def test_the_histogram_counts_every_pair_once(report: CalibrationReport) -> None:
    """As many as there are pairs, in the bins where numpy puts them."""
    assert report.histogram is not None
    scores = all_scores()
    assert sum(report.histogram.mated) == report.calibration.data.mated == scores.mated.size
    assert sum(report.histogram.non_mated) == report.calibration.data.non_mated == scores.non_mated.size
    expected = np.histogram(scores.non_mated, np.array(report.histogram.edges))[0]
    assert np.abs(np.array(report.histogram.non_mated) - expected).sum() <= 4  # rounding at an edge moves a score


def test_scores_and_embeddings_say_the_same(report: CalibrationReport) -> None:
    """Points and groups of the same comparisons, computed by pair lists and by products of samples."""
    groups = {f"p{at}": "even" if at % 2 == 0 else "odd" for at in range(120) if at != 7}
    names = [f"p{at}" for at in range(120)]
    listed = report_on_scores(all_scores(), names, PROVENANCE, replace(OPTIONS, groups=groups))
    assert [p.fnmr for p in listed.calibration.points] == [p.fnmr for p in report.calibration.points]
    assert listed.groups is not None
    assert report.groups is not None
    assert listed.groups.unlabelled == report.groups.unlabelled == 1
    for one, other in zip(listed.groups.differences, report.groups.differences, strict=True):
        assert [rate.errors for rate in one.groups] == [rate.errors for rate in other.groups]
        assert [rate.comparisons for rate in one.groups] == [rate.comparisons for rate in other.groups]
        assert one.finding == other.finding


def test_who_is_not_found_is_who_scores_below_the_threshold(report: CalibrationReport) -> None:
    """FNIR by gallery size is the share of mated scores below each threshold, and rises with the gallery."""
    scores = all_scores()
    stated = [row for row in report.searches if row.threshold is not None]
    assert len(stated) >= 2
    for row in stated:
        assert row.threshold is not None
        assert row.fnir == pytest.approx(float(np.mean(scores.mated < row.threshold)), abs=2e-3)
        assert row.fnir_interval is not None
        assert row.fnir is not None
        assert row.fnir_interval.low <= row.fnir <= row.fnir_interval.high
    assert [row.threshold for row in stated] == sorted(row.threshold for row in stated if row.threshold is not None)


def test_a_gallery_beyond_the_data_says_what_it_needs(report: CalibrationReport) -> None:
    """100,000 people from 120: no threshold, and how many comparisons there would have to be."""
    row = report.searches[-1]
    assert row.threshold is None
    assert row.needed is not None
    assert row.needed > report.calibration.data.non_mated


def test_both_rates_are_looked_at_in_groups(report: CalibrationReport) -> None:
    """FMR and FNMR at each threshold."""
    assert report.groups is not None
    assert {one.kind for one in report.groups.differences} == set(ErrorKind)


def test_labels_without_names_are_refused() -> None:
    """Independent pairs have no subjects to label."""
    scores = independent_scores(np.linspace(0.2, 0.9, 50), np.linspace(-0.4, 0.4, 400))
    with pytest.raises(InvalidInputError, match="name the subjects"):
        report_on_scores(scores, [], PROVENANCE, replace(OPTIONS, groups={"a": "x", "b": "y"}), independent=True)
    told = report_on_scores(scores, [], PROVENANCE, OPTIONS, independent=True)
    assert "Whether its comparisons are independent." in render(told)


def test_scores_that_are_all_alike_have_a_histogram() -> None:
    """One bin holds them all."""
    histogram = histogram_of_scores([0.5, 0.5], [0.5])
    assert (sum(histogram.mated), sum(histogram.non_mated)) == (2, 1)
