"""Folds, and what a figure is over them: by item where classes are fixed, by class where others will come.

Above training and measuring, which it calls and knows nothing of. Folds share most of their training data, so that
their spread understates how far another data set would be off: the interval is widened for it, and is no proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.evaluation.estimates import Indices
from siamese_lab.evaluation.neighbours import Labels
from siamese_lab.verification import Estimate
from tessera.domain.dependence import student_quantile
from tessera.domain.error_rates import Interval
from tessera.domain.errors import InvalidInputError

Folds = npt.NDArray[np.int64]
"""int64 (n,): the fold of each item, from 0."""


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """One figure over all folds."""

    values: tuple[float, ...]
    """Of each fold, when it was held out."""
    mean: Estimate
    """With an interval that may leave the figure's own range."""


def folds_by_item(labels: Labels, count: int, rng: np.random.Generator) -> Folds:
    """Every class spread evenly over all folds.

    Args:
        labels: int64 (n,).
        count: folds, 2 to n.
        rng: draws.

    Returns:
        Folds whose sizes differ by 1 at most, and so do each class's shares in them.
    """
    _check(count, labels.size, "items")
    order = rng.permutation(labels.size)
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(labels.size, np.int64)
    # Going round class by class without a break keeps the sizes of folds equal too.
    folds[order] = np.arange(labels.size) % count
    return folds


def folds_by_class(labels: Labels, count: int, rng: np.random.Generator) -> Folds:
    """Every class whole in one fold: a held-out fold has classes that training never saw.

    Args:
        labels: int64 (n,).
        count: folds, 2 to the number of classes.
        rng: draws.

    Returns:
        Folds that differ by 1 class at most.
    """
    classes, where = np.unique(labels, return_inverse=True)
    _check(count, classes.size, "classes")
    fold_of_class = rng.permutation(np.arange(classes.size) % count)
    return np.asarray(fold_of_class[where], np.int64)


def _check(count: int, most: int, what: str) -> None:
    if not 2 <= count <= most:
        raise InvalidInputError("count", count, f"2 to {most}, the number of {what}")


def cross_validate(folds: Folds, measure: Callable[[Indices, Indices], float]) -> CrossValidation:
    """Hold each fold out in turn.

    Args:
        folds: of each item.
        measure: takes the indices to train on and those to judge, and gives the figure.

    Returns:
        The figure of every fold, and their mean with the interval of the corrected resampled t.

    Source: Nadeau and Bengio, Machine Learning 52 (2003), for the variance times 1/k + 1/(k - 1) in place of 1/k.
    """
    names = np.unique(folds)
    _check(names.size, folds.size, "items")
    values = [measure(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in names]
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1))
    half = student_quantile(names.size - 1) * deviation * math.sqrt(1.0 / names.size + 1.0 / (names.size - 1))
    return CrossValidation(tuple(map(float, values)), Estimate(mean, Interval(mean - half, mean + half)))
