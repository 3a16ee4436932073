"""Heads that a formula gives: centring, whitening, within-class normalisation, and the two-covariance model's.

Beside the trained heads, and often as good: with some hundred people there is less to learn than a network can fit.
All strengths shrink towards the identity: none of them is trusted to invert a covariance of few people.

Sources: Hatch, Kajarekar and Stolcke, "Within-class covariance normalization for SVM-based speaker recognition",
Interspeech 2006; Brümmer and de Villiers, "The speaker partitioning problem", Odyssey 2010, for the two-covariance
model (PLDA of full rank); Ledoit and Wolf, J. Multivariate Analysis 88 (2004), for shrinking towards a sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.adaptation.head import Head, affine_head
from siamese_lab.adaptation.templates import LabelledTemplates
from tessera.domain.errors import InvalidInputError

Floats = npt.NDArray[np.float64]

_LEAST_VARIANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Scatter:
    """How templates lie: their people's middle, and the spread of one person's and of people's means."""

    middle: Floats
    """Shape (d,): the mean over people, each counted once."""
    within: Floats
    """Shape (d, d): covariance of a person's templates, unbiased; of those who have two or more."""
    of_means: Floats
    """Shape (d, d): covariance of people's means."""
    between: Floats
    """Shape (d, d): the same without what the spread within puts into means of few templates."""


def scatter(templates: LabelledTemplates) -> Scatter:
    """Measure how templates lie.

    Raises:
        InvalidInputError: nobody has two templates.
    """
    rows, owner = templates.vectors.astype(np.float64), templates.subjects
    counts = np.bincount(owner)
    means = np.zeros((counts.size, rows.shape[1]))
    np.add.at(means, owner, rows)
    means /= counts[:, None]
    free = int((counts - 1).sum())
    if not free:
        raise InvalidInputError("people", counts.size, "some with two or more templates")
    off = rows - means[owner]
    within = off.T @ off / free
    middle = means.mean(axis=0)
    apart = means - middle
    of_means = apart.T @ apart / max(1, counts.size - 1)
    return Scatter(middle, within, of_means, of_means - within * float(np.mean(1.0 / counts)))


def centred(templates: LabelledTemplates) -> Head:
    """What all people share is taken off."""
    seen = scatter(templates)
    return affine_head("centred", templates.model_id, np.eye(seen.middle.size), seen.middle)


def whitened(templates: LabelledTemplates, strength: float) -> Head:
    """Directions in which people's means spread widely are drawn in.

    Args:
        templates: of some people.
        strength: 1: until all directions are alike; towards 0: hardly.
    """
    seen = scatter(templates)
    matrix = _power(_shrunk(seen.of_means, strength), -0.5)
    return affine_head(f"whitened, strength {strength:g}", templates.model_id, matrix, seen.middle)


def within_normalised(templates: LabelledTemplates, strength: float) -> Head:
    """Directions in which one person's templates differ are drawn in.

    Args:
        templates: of some people.
        strength: 1: until all such directions are alike; towards 0: hardly.
    """
    seen = scatter(templates)
    matrix = _power(_shrunk(seen.within, strength), -0.5)
    return affine_head(f"within-class normalised, strength {strength:g}", templates.model_id, matrix, seen.middle)


def two_covariance(templates: LabelledTemplates, strength: float) -> Head:
    """Directions count by how much more people differ in them than one person does.

    The two-covariance model's log-likelihood ratio has a cross term x'Py; in the basis in which the spread within is 1
    and that between is b, P is diagonal with b / (2 b + 1). The head is its root: cosine stands for the ratio.

    Args:
        templates: of some people.
        strength: how far the covariance within is believed, as above; that between is taken as it is.
    """
    seen = scatter(templates)
    whitening = _power(_shrunk(seen.within, strength), -0.5)
    values, directions = np.linalg.eigh(whitening @ seen.between @ whitening)
    between = np.maximum(values, _LEAST_VARIANCE)
    matrix = whitening @ directions * np.sqrt(between / (2.0 * between + 1.0))
    return affine_head(f"two-covariance, strength {strength:g}", templates.model_id, matrix, seen.middle)


def _shrunk(covariance: Floats, strength: float) -> Floats:
    if not 0.0 < strength <= 1.0:
        raise InvalidInputError("strength", strength, "above 0, at most 1")
    d = len(covariance)
    sphere = np.eye(d) * np.trace(covariance) / d
    return np.asarray(strength * covariance + (1.0 - strength) * sphere, dtype=np.float64)


def _power(covariance: Floats, power: float) -> Floats:
    values, directions = np.linalg.eigh(covariance)
    floor = max(_LEAST_VARIANCE, _LEAST_VARIANCE * float(values.max()))
    return np.asarray((directions * np.maximum(values, floor) ** power) @ directions.T, dtype=np.float64)
