"""A score against what is usual for the two samples that were compared: z-, t-, s- and adaptive s-norm.

Between the comparison and the threshold, and off unless somebody turns it on: whether it helps an encoder is measured,
and a calibration of raw scores says nothing about normalised ones. The cohort is a set of embeddings of people who are
in none of the comparisons; nothing here checks that, since an embedding has no name.

Source: Auckenthaler, Carey and Lloyd-Thomas, "Score normalization for text-independent speaker verification systems",
Digital Signal Processing 10 (2000), for z and t; Kenny, Odyssey 2010, for s; Matejka et al., "Analysis of score
normalization in multilingual speaker recognition", Interspeech 2017, for adaptive s (their s-norm1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError

Floats = npt.NDArray[np.float64]

DEFAULT_NEAREST = 100
"""Cohort members that adaptive s-norm takes; Matejka et al. use 200 to 500 of some thousands."""

_ROWS_PER_BLOCK = 1024
_LEAST_DEVIATION = 1e-6  # the rounding of float32 scores, and less than any two people differ by


class Normalisation(StrEnum):
    """Which of the two samples is held against the cohort."""

    NONE = "NONE"
    Z = "Z"
    """The template."""
    T = "T"
    """The probe."""
    S = "S"
    """Both, and the mean of the two."""
    ADAPTIVE_S = "ADAPTIVE_S"
    """As S, each against the cohort's members that are most like it."""


@dataclass(frozen=True, slots=True, eq=False)
class CohortStatistics:
    """How alike each sample finds people who it is not."""

    mean: Floats
    """Shape (n,)."""
    deviation: Floats
    """Shape (n,), above 0."""


def against_cohort(vectors: Vectors, cohort: Vectors, nearest: int | None = None) -> CohortStatistics:
    """Mean and deviation of each sample's scores with a cohort.

    Args:
        vectors: shape (n, d), unit rows.
        cohort: shape (c, d), unit rows of one model with them; two or more, of people who are not compared.
        nearest: only this many highest scores count, 2 to c; None: all.

    Raises:
        InvalidInputError: the shapes do not fit, `nearest` does not, or the cohort finds somebody equally alike.
    """
    if vectors.ndim != 2 or cohort.ndim != 2 or vectors.shape[1] != cohort.shape[1]:
        raise InvalidInputError("cohort", cohort.shape, f"rows of as many numbers as the samples' {vectors.shape}")
    taken = cohort.shape[0] if nearest is None else nearest
    if not 2 <= taken <= cohort.shape[0]:
        raise InvalidInputError("nearest", taken, f"2 to the cohort's {cohort.shape[0]} members")
    blocks = [
        _highest((vectors[start : start + _ROWS_PER_BLOCK] @ cohort.T).astype(np.float64), taken)
        for start in range(0, len(vectors), _ROWS_PER_BLOCK)
    ]
    mean = np.concatenate([block.mean(axis=1) for block in blocks]) if blocks else np.zeros(0)
    deviation = np.concatenate([block.std(axis=1) for block in blocks]) if blocks else np.zeros(0)
    if bool((deviation <= _LEAST_DEVIATION).any()):
        raise InvalidInputError("cohort", f"{cohort.shape[0]} members", "people who differ from each other")
    return CohortStatistics(mean, deviation)


def _highest(scores: Floats, taken: int) -> Floats:
    if taken == scores.shape[1]:
        return scores
    return np.partition(scores, scores.shape[1] - taken, axis=1)[:, -taken:]


def normalise(
    scores: npt.ArrayLike, templates: CohortStatistics, probes: CohortStatistics, kind: Normalisation
) -> Floats:
    """Scores in deviations from what is usual.

    Args:
        scores: shape (templates, probes); raw.
        templates: of the rows.
        probes: of the columns.
        kind: for ADAPTIVE_S both must have been made with `nearest`: the formula is that of S.

    Returns:
        The same shape; higher = more alike, on a scale of its own.

    Raises:
        InvalidInputError: the shapes do not fit.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.shape != (templates.mean.size, probes.mean.size):
        raise InvalidInputError("scores", table.shape, f"({templates.mean.size}, {probes.mean.size})")
    if kind is Normalisation.NONE:
        return table
    by_template = (table - templates.mean[:, None]) / templates.deviation[:, None]
    if kind is Normalisation.Z:
        return by_template
    by_probe = (table - probes.mean[None, :]) / probes.deviation[None, :]
    return by_probe if kind is Normalisation.T else (by_template + by_probe) / 2.0
