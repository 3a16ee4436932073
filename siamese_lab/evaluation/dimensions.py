"""What single dimensions of an embedding do: permutation importance for a figure, Shapley values for one answer.

After the embedding; knows no picture. Dimensions of an embedding that was never told to keep them apart mean nothing by
themselves: turn the space and every distance stays, but not these. They tell whether few dimensions carry the work.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.evaluation.embedding import Embeddings
from siamese_lab.evaluation.estimates import Bools, Floats, mean_difference
from siamese_lab.evaluation.neighbours import Labels, nearest, vote
from siamese_lab.verification import Estimate
from tessera.domain.errors import InvalidInputError

MOST_ENUMERATED = 14
"""Dimensions whose 2^d coalitions are all asked."""
REPEATS = 5

Answers = Callable[[Floats], Floats]
"""Embeddings (n, d) to one number each, (n,)."""
Right = Callable[[Embeddings], npt.NDArray[np.float64]]
"""Queries (n, d) to how right each answer is, (n,)."""


# ---- for a figure


@dataclass(frozen=True, slots=True)
class Importance:
    """What a figure loses when one dimension says nothing."""

    dimension: int
    fall: Estimate
    """Of the mean over queries; the interval is over queries, the shuffles averaged."""


def permutation_importance(
    queries: Embeddings, right: Right, rng: np.random.Generator, repeats: int = REPEATS
) -> tuple[Importance, ...]:
    """Shuffle each dimension among the queries in turn and see what is lost.

    Args:
        queries: float32 (n, d).
        right: how right each query is answered, such as 1 where the vote is right.
        rng: shuffles.
        repeats: shuffles of each dimension.

    Returns:
        One for each dimension, the largest fall first. Two dimensions that say the same hide each other.

    Source: Breiman, Machine Learning 45 (2001); Fisher, Rudin and Dominici, JMLR 20 (2019).
    """
    whole = right(queries)
    found = []
    for at in range(queries.shape[1]):
        after = np.mean([right(_shuffled(queries, at, rng)) for _ in range(repeats)], axis=0)
        found.append(Importance(at, mean_difference(whole, after)))
    return tuple(sorted(found, key=lambda one: -one.fall.value))


def _shuffled(queries: Embeddings, dimension: int, rng: np.random.Generator) -> Embeddings:
    changed = queries.copy()
    changed[:, dimension] = rng.permutation(changed[:, dimension])
    return changed


def right_votes(gallery: Embeddings, gallery_labels: Labels, labels: Labels, k: int = 1) -> Right:
    """1 for each query whose k nearest vote for its class, else 0."""
    classes = int(max(gallery_labels.max(), labels.max())) + 1

    def right(queries: Embeddings) -> npt.NDArray[np.float64]:
        places, _ = nearest(gallery, queries, k)
        return np.asarray(vote(gallery_labels[places], classes) == labels, np.float64)

    return right


# ---- for one answer


def linear_shapley(weights: npt.ArrayLike, x: npt.ArrayLike, background: npt.ArrayLike) -> Floats:
    """Exact Shapley values of a weighted sum: w_i (x_i - mean of the background's i).

    Args:
        weights: (d,).
        x: (d,).
        background: (n, d): what stands for a dimension that is not known.

    Source: Štrumbelj and Kononenko, Knowledge and Information Systems 41 (2014).
    """
    centre = np.asarray(background, np.float64).mean(axis=0)
    return np.asarray(np.asarray(weights, np.float64) * (np.asarray(x, np.float64) - centre), np.float64)


def squared_distance_shapley(x: npt.ArrayLike, template: npt.ArrayLike, background: npt.ArrayLike) -> Floats:
    """Exact Shapley values of minus the squared distance to a template, which adds up over dimensions.

    Returns:
        (d,): positive brings the two nearer than the background is; they sum to the score less the background's mean.
    """
    far = (np.asarray(x, np.float64) - np.asarray(template, np.float64)) ** 2
    usual = (np.asarray(background, np.float64) - np.asarray(template, np.float64)) ** 2
    return np.asarray(usual.mean(axis=0) - far, np.float64)


def exact_shapley(answers: Answers, x: npt.ArrayLike, background: npt.ArrayLike) -> Floats:
    """Shapley values by asking every coalition of dimensions.

    Args:
        answers: any function of embeddings.
        x: (d,), d at most 14.
        background: (n, d): what stands for a dimension that is not known.

    Returns:
        (d,): they sum to the answer of x less the mean answer of the background.

    Source: Shapley, Contributions to the theory of games 2 (1953).
    """
    own, usual = np.asarray(x, np.float64), np.asarray(background, np.float64)
    d = own.size
    if d > MOST_ENUMERATED:
        raise InvalidInputError("dimensions", d, f"at most {MOST_ENUMERATED}")
    known = np.array(list(itertools.product((False, True), repeat=d)), np.bool_)
    worth = coalition_worth(answers, own, usual, known)
    sizes = known.sum(axis=1)
    share = np.array([math.factorial(s) * math.factorial(d - s - 1) / math.factorial(d) for s in range(d)])
    place = 1 << np.arange(d)[::-1]
    values = []
    for at in range(d):
        without = np.flatnonzero(~known[:, at])
        values.append(float((share[sizes[without]] * (worth[without + place[at]] - worth[without])).sum()))
    return np.array(values)


def coalition_worth(answers: Answers, x: Floats, background: Floats, known: Bools) -> Floats:
    """The mean answer with some dimensions of x and all others of the background: (m, d) gives (m,)."""
    return np.array([float(np.mean(answers(np.where(row, x, background)))) for row in known])


def sampled_shapley(
    answers: Answers, x: npt.ArrayLike, background: npt.ArrayLike, rng: np.random.Generator, orders: int = 200
) -> Floats:
    """Shapley values of more dimensions than can be enumerated, from drawn orders, each walked both ways.

    Args:
        answers: any function of embeddings.
        x: (d,).
        background: (n, d).
        rng: draws orders and, for each, one row of the background.
        orders: how many.

    Returns:
        (d,): unbiased; their sum hangs on the rows that were drawn.

    Source: Castro, Gómez and Tejada, Computers and Operations Research 36 (2009); Mitchell et al., JMLR 23 (2022), for
    the way back.
    """
    own, usual = np.asarray(x, np.float64), np.asarray(background, np.float64)
    total = np.zeros(own.size)
    for _ in range(orders):
        order, row = rng.permutation(own.size), usual[rng.integers(len(usual))]
        for walk in (order, order[::-1]):
            steps = np.tile(row, (own.size + 1, 1))
            for position, at in enumerate(walk, start=1):
                steps[position:, at] = own[at]
            total[walk] += np.diff(answers(steps))
    return total / (2 * orders)


def shapley_values(answers: Answers, x: npt.ArrayLike, background: npt.ArrayLike, seed: int = 0) -> Floats:
    """Shapley values by whatever there is: every coalition where few, else shap, else drawn orders.

    Args:
        answers: any function of embeddings.
        x: (d,).
        background: (n, d).
        seed: of what is drawn.

    Source: Lundberg and Lee, NeurIPS 2017, for shap's permutation explainer.
    """
    own, usual = np.asarray(x, np.float64), np.asarray(background, np.float64)
    if own.size <= MOST_ENUMERATED:
        return exact_shapley(answers, own, usual)
    try:
        import shap  # noqa: PLC0415 - an extra that takes seconds to import
    except ImportError:
        return sampled_shapley(answers, own, usual, np.random.default_rng(seed))
    explainer = shap.explainers.Permutation(answers, shap.maskers.Independent(usual, len(usual)), seed=seed)
    explained = explainer(own[None], max_evals=20 * (2 * own.size + 1), silent=True)
    return np.asarray(explained.values[0], np.float64)


def own_class_share(gallery: Embeddings, gallery_labels: Labels, label: int, k: int) -> Answers:
    """The share of the k nearest that are of a class: the answer of a nearest-neighbour head, to be explained."""

    def answers(vectors: Floats) -> Floats:
        places, _ = nearest(gallery, vectors.astype(np.float32), k)
        return np.asarray((gallery_labels[places] == label).mean(axis=1), np.float64)

    return answers
