"""From labelled samples to a calibration: one way for shipped encoders, for a deployment's own gallery and for the lab.

What is fitted is a table of measured rates. Embeddings give all of it; scores that were measured elsewhere give the
rates of comparisons alone, since nobody can tell from them whom a search would have found. Data without two people are
refused, and so is a claim that they cannot carry.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.calibration import Calibration, CalibrationData, Impostors
from tessera.domain.dependence import ListedPairs
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.error_rates import comparisons_needed
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.measurement import (
    LOOSEST_FMR,
    Comparisons,
    compare_all_pairs,
    measure_operating_points,
    scores_kept,
)
from tessera.domain.search_rates import compare_searches, measure_search_points

LEAST_SUBJECTS_SEARCHED = 20
"""With fewer no search is measured: a gallery of half of them says nothing about larger ones."""
SEED = 20261122


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a calibration is called, and what it is measured on."""

    calibration_id: CalibrationId
    model_id: ModelId
    modality: Modality
    created: str
    """Date, ISO 8601."""
    data_name: str
    data_digest: str
    """sha256 over the samples that are compared."""
    impostors: Impostors = Impostors.RANDOM
    """Who the non-mated comparisons are with."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledScores:
    """Scores of comparisons, and whose they are: subjects are whole numbers from 0."""

    mated: npt.NDArray[np.float64]
    """Shape (m,): of two samples of one subject each."""
    mated_subjects: npt.NDArray[np.intp]
    """Shape (m,): that subject."""
    non_mated: npt.NDArray[np.float64]
    """Shape (k,): of two samples of two subjects each."""
    first_subjects: npt.NDArray[np.intp]
    """Shape (k,): one of them."""
    second_subjects: npt.NDArray[np.intp]
    """Shape (k,): the other."""
    samples: int = 0
    """Samples that were compared; 0: nobody knows."""


def independent_scores(mated: npt.ArrayLike, non_mated: npt.ArrayLike) -> LabelledScores:
    """Scores of comparisons no two of which share a subject, as whoever measured them has to know.

    Args:
        mated: shape (m,).
        non_mated: shape (k,).
    """
    same, others = np.asarray(mated, np.float64), np.asarray(non_mated, np.float64)
    strangers = same.size + np.arange(2 * others.size)
    samples = 2 * (same.size + others.size)
    return LabelledScores(same, np.arange(same.size), others, strangers[::2], strangers[1::2], samples)


def calibrate_embeddings(
    vectors: Vectors,
    subjects: Sequence[Hashable] | npt.NDArray[np.intp],
    provenance: Provenance,
    *,
    strictest_fmr: float | None = None,
    seed: int = SEED,
) -> Calibration:
    """Compare all samples with each other, search each among the others, and state what was measured.

    Args:
        vectors: shape (n, d), unit rows of one model.
        subjects: shape (n,): whose each row is, by any name.
        provenance: what the calibration is called, and what the samples are.
        strictest_fmr: a rate that the data must carry; None: whatever they carry.
        seed: draws which sample of each subject is enrolled, where searches are measured.

    Returns:
        The same for the same arguments, whatever the names of the subjects.

    Raises:
        InvalidInputError: the two differ in length, or all samples are of one subject.
        CalibrationTooSmallError: `strictest_fmr` needs more comparisons than there are; 0.1 needs thirty.
    """
    numbers = {subject: at for at, subject in enumerate(dict.fromkeys(subjects))}
    owner = np.array([numbers[subject] for subject in subjects], dtype=np.intp)
    comparisons = compare_all_pairs(vectors, owner)
    _require(strictest_fmr, comparisons.non_mated_total)
    enough = len(numbers) >= LEAST_SUBJECTS_SEARCHED
    searched = compare_searches(vectors, owner, np.random.default_rng(seed)) if enough else None
    data = _data(provenance, comparisons, len(numbers), owner.size)
    return Calibration(
        calibration_id=provenance.calibration_id,
        model_id=provenance.model_id,
        modality=provenance.modality,
        impostors=provenance.impostors,
        created=provenance.created,
        data=data,
        points=measure_operating_points(comparisons),
        searches=measure_search_points(searched) if searched else (),
    )


def calibrate_scores(
    scores: LabelledScores, provenance: Provenance, *, strictest_fmr: float | None = None
) -> Calibration:
    """State what was measured by comparisons that were made elsewhere.

    Args:
        scores: with the subjects of each comparison; `independent_scores` where no two share one.
        provenance: what the calibration is called, and what the samples are.
        strictest_fmr: a rate that the data must carry; None: whatever they carry.

    Raises:
        InvalidInputError: no mated or no non-mated score, one that is no number, or subjects that do not go with them.
        CalibrationTooSmallError: `strictest_fmr` needs more comparisons than there are; 0.1 needs thirty.
    """
    comparisons = _listed(scores)
    _require(strictest_fmr, comparisons.non_mated_total)
    subjects = np.concatenate([scores.mated_subjects, scores.first_subjects, scores.second_subjects])
    return Calibration(
        calibration_id=provenance.calibration_id,
        model_id=provenance.model_id,
        modality=provenance.modality,
        impostors=provenance.impostors,
        created=provenance.created,
        data=_data(provenance, comparisons, int(np.unique(subjects).size), scores.samples),
        points=measure_operating_points(comparisons),
    )


def _listed(scores: LabelledScores) -> Comparisons:
    mated, mated_subjects = _checked("mated", scores.mated, scores.mated_subjects)
    non_mated, first = _checked("non_mated", scores.non_mated, scores.first_subjects)
    second = _checked("non_mated", scores.non_mated, scores.second_subjects)[1]
    order = np.argsort(-non_mated, kind="stable")[: scores_kept(non_mated.size)]
    subjects = int(max(mated_subjects.max(), first.max(), second.max())) + 1
    return Comparisons(
        mated_scores=mated,
        mated_subject=mated_subjects,
        non_mated_scores=non_mated[order],
        non_mated_first=first[order],
        non_mated_second=second[order],
        non_mated_total=non_mated.size,
        samples_by_subject=np.zeros(subjects, np.intp),
        non_mated_trials=ListedPairs(first, second),
    )


def _checked(
    name: str, scores: npt.ArrayLike, subjects: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    values, owners = np.asarray(scores, np.float64), np.asarray(subjects, np.intp)
    if values.ndim != 1 or values.size == 0 or not bool(np.isfinite(values).all()):
        raise InvalidInputError(name, f"shape {values.shape}", "one row of one or more finite scores")
    if owners.shape != values.shape or bool((owners < 0).any()):
        raise InvalidInputError(f"{name}_subjects", f"shape {owners.shape}", f"{values.size} numbers from 0")
    return values, owners


def _require(strictest_fmr: float | None, non_mated: int) -> None:
    rate = LOOSEST_FMR if strictest_fmr is None else strictest_fmr
    if (needed := comparisons_needed(rate)) > non_mated:
        raise CalibrationTooSmallError(rate, needed, non_mated)


def _data(provenance: Provenance, comparisons: Comparisons, subjects: int, samples: int) -> CalibrationData:
    return CalibrationData(
        name=provenance.data_name,
        digest=provenance.data_digest,
        subjects=subjects,
        samples=samples,
        mated=int(comparisons.mated_scores.size),
        non_mated=comparisons.non_mated_total,
    )
