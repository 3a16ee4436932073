"""From labelled embeddings or scores to a report: fits the calibration, and measures what stands beside it.

The calibration is `tessera.domain.fitting`'s, the very one that would decide; here come histograms, searches by gallery
size with those who are not found, and groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tessera.domain.calibration import DEFAULT_TARGET_FMR, DEFAULT_TARGET_FPIR, Calibration
from tessera.domain.dependence import subject_adjusted_wilson
from tessera.domain.embedding import Vectors
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError
from tessera.domain.fitting import SEED, LabelledScores, Provenance, calibrate_embeddings, calibrate_scores
from tessera.domain.group_findings import GroupReport
from tessera.domain.group_tallies import ListedMatchTally, MissTally
from tessera.domain.groups import ErrorTallies, compare_groups, tallies_at
from tessera.domain.measurement import compare_all_pairs
from tessera.report.values import CalibrationReport, EnrolmentFailures, ScoreHistogram, SearchRow

GALLERY_SIZES = (100, 1_000, 5_000, 10_000, 100_000)
_BINS = 100
_ROWS_PER_BLOCK = 512
_LOOSER = 100.0
"""Groups are compared at the target FMR and at one so many times looser, where errors are frequent enough to tell."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a report is to show."""

    written: str
    """Date of the report, ISO 8601."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """A label for each subject, by its name; empty: none are known."""
    enrolment: EnrolmentFailures | None = None
    target_fmr: float = DEFAULT_TARGET_FMR
    target_fpir: float = DEFAULT_TARGET_FPIR
    gallery_sizes: Sequence[int] = GALLERY_SIZES
    extrapolate: bool = False
    """Also state thresholds beyond the data, marked as such."""
    seed: int = SEED
    """Draws permutations and resamples."""

    def with_enrolment(self, enrolment: EnrolmentFailures | None) -> ReportOptions:
        """The same, with samples that could not be used."""
        return replace(self, enrolment=enrolment)


def report_on_embeddings(
    vectors: Vectors, subjects: Sequence[str], provenance: Provenance, options: ReportOptions
) -> CalibrationReport:
    """Compare all samples with each other, and tell.

    Args:
        vectors: shape (n, d), unit rows of one model.
        subjects: shape (n,): whose each row is.
        provenance: what the calibration is called, and what the samples are.
        options: what to show.

    Raises:
        InvalidInputError: the two differ in length, no two samples are of one subject, or all; or one group.
        CalibrationTooSmallError: there is too little for any rate.
    """
    calibration = calibrate_embeddings(vectors, subjects, provenance, seed=options.seed)
    place = {name: at for at, name in enumerate(dict.fromkeys(subjects))}
    owner = np.array([place[subject] for subject in subjects], dtype=np.intp)
    comparisons = compare_all_pairs(vectors, owner)
    mated = (comparisons.mated_scores, comparisons.mated_subject)
    tallies = [tallies_at(comparisons, threshold) for threshold in _group_thresholds(calibration, options)]
    return CalibrationReport(
        calibration=calibration,
        written=options.written,
        histogram=_histogram_of_pairs(vectors, owner),
        searches=_searches(calibration, mated, options),
        enrolment=options.enrolment,
        groups=_groups(tallies, list(place), options),
        target_fmr=options.target_fmr,
        target_fpir=options.target_fpir,
    )


def report_on_scores(
    scores: LabelledScores,
    names: Sequence[str],
    provenance: Provenance,
    options: ReportOptions,
    *,
    independent: bool = False,
) -> CalibrationReport:
    """Tell of comparisons that were made elsewhere.

    Args:
        scores: with the subjects of each comparison.
        names: of the subjects, by their numbers; empty: they have none, and no groups.
        provenance: what the calibration is called, and what the samples are.
        options: what to show.
        independent: whoever gave the scores said that no two share a subject.

    Raises:
        InvalidInputError: scores and subjects do not go together; or fewer than two groups.
        CalibrationTooSmallError: there is too little for any rate.
    """
    calibration = calibrate_scores(scores, provenance)
    thresholds = _group_thresholds(calibration, options) if names else []
    tallies = [_listed_tallies(scores, len(names), threshold) for threshold in thresholds]
    mated = (np.asarray(scores.mated, np.float64), np.asarray(scores.mated_subjects, np.intp))
    return CalibrationReport(
        calibration=calibration,
        written=options.written,
        histogram=histogram_of_scores(scores.mated, scores.non_mated),
        searches=_searches(calibration, mated, options),
        enrolment=options.enrolment,
        groups=_groups(tallies, names, options),
        target_fmr=options.target_fmr,
        target_fpir=options.target_fpir,
        independent_pairs=independent,
    )


# ---- scores


def histogram_of_scores(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> ScoreHistogram:
    """How scores are spread, in a hundred equal steps from the lowest to the highest."""
    same, others = np.asarray(mated, np.float64), np.asarray(non_mated, np.float64)
    low, high = float(min(same.min(), others.min())), float(max(same.max(), others.max()))
    edges = np.linspace(low, high if high > low else low + 1e-6, _BINS + 1)
    counts = [np.histogram(scores, edges)[0].tolist() for scores in (same, others)]
    return ScoreHistogram(tuple(edges.tolist()), tuple(counts[0]), tuple(counts[1]))


def _histogram_of_pairs(vectors: Vectors, owner: Indices) -> ScoreHistogram:
    """The same of all pairs of unit rows, whose scores lie in [-1, 1], without keeping them."""
    edges = np.linspace(-1.0, 1.0, 2 * _BINS + 1)
    mated, non_mated = np.zeros(2 * _BINS, np.int64), np.zeros(2 * _BINS, np.int64)
    for start in range(0, owner.size, _ROWS_PER_BLOCK):
        scores = np.clip(vectors[start : start + _ROWS_PER_BLOCK] @ vectors[start:].T, -1.0, 1.0)
        later = np.triu(np.ones(scores.shape, np.bool_), 1)
        same = owner[start : start + len(scores), None] == owner[None, start:]
        mated += np.histogram(scores[later & same], edges)[0]
        non_mated += np.histogram(scores[later & ~same], edges)[0]
    return ScoreHistogram(tuple(edges.tolist()), tuple(mated.tolist()), tuple(non_mated.tolist()))


# ---- searches


def _searches(calibration: Calibration, mated: tuple[Floats, Indices], options: ReportOptions) -> tuple[SearchRow, ...]:
    largest = max((point.gallery_size for point in calibration.searches), default=0)
    return tuple(_search_row(calibration, mated, size, size > largest, options) for size in options.gallery_sizes)


def _search_row(
    calibration: Calibration, mated: tuple[Floats, Indices], size: int, beyond: bool, options: ReportOptions
) -> SearchRow:
    try:
        threshold = calibration.threshold_for_fpir(options.target_fpir, size, allow_extrapolation=options.extrapolate)
    except CalibrationTooSmallError as error:
        return SearchRow(size, None, None, None, None, None, needed=error.comparisons_needed)
    scores, subject = mated
    tried = np.bincount(subject)
    missed = np.bincount(subject[scores < threshold.score], minlength=tried.size)
    return SearchRow(
        gallery_size=size,
        threshold=threshold.score,
        fpir=threshold.fpir,
        fpir_interval=threshold.fpir_interval,
        fnir=float(missed.sum()) / scores.size,
        fnir_interval=subject_adjusted_wilson(missed, tried),
        extrapolated=beyond or threshold.extrapolated,
    )


# ---- groups


def _group_thresholds(calibration: Calibration, options: ReportOptions) -> list[float]:
    """Of the target FMR and of a looser one; only what the data can carry, and at least the loosest point."""
    if not options.groups:
        return []
    found: list[float] = []
    for fmr in (min(options.target_fmr * _LOOSER, 0.05), options.target_fmr):
        try:
            found.append(calibration.threshold_for_fmr(fmr).score)
        except CalibrationTooSmallError:
            continue
    return list(dict.fromkeys(found)) or [calibration.points[0].threshold]


def _listed_tallies(scores: LabelledScores, subjects: int, threshold: float) -> ErrorTallies:
    matched = np.asarray(scores.non_mated, np.float64) >= threshold
    first, second = np.asarray(scores.first_subjects, np.intp), np.asarray(scores.second_subjects, np.intp)
    owner = np.asarray(scores.mated_subjects, np.intp)
    missed = owner[np.asarray(scores.mated, np.float64) < threshold]
    misses = MissTally(
        np.bincount(missed, minlength=subjects).astype(np.float64),
        np.bincount(owner, minlength=subjects).astype(np.float64),
    )
    return ErrorTallies(threshold, ListedMatchTally.of(first, second, matched, subjects), misses)


def _groups(tallies: Sequence[ErrorTallies], names: Sequence[str], options: ReportOptions) -> GroupReport | None:
    if not options.groups:
        return None
    if not names:
        raise InvalidInputError("groups", f"{len(options.groups)} labels", "scores that name the subjects of each pair")
    labels = [options.groups.get(name) for name in names]
    return compare_groups(tallies, labels, np.random.default_rng(options.seed))
