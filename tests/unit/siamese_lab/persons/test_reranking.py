"""k-reciprocal re-ranking against the paper's formulas over whole matrices, and for what it is for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from siamese_lab.persons.reranking import Reranking, rerank
from tessera.domain.errors import InvalidInputError

Floats = npt.NDArray[np.float64]


def _unit(rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
    vectors = rng.normal(size=(count, 6))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _over_whole_matrices(probes: npt.NDArray[np.float32], everything: Floats, how: Reranking) -> Floats:
    """The method as its authors wrote it down: every picture a row of a square matrix."""
    count = len(everything)
    distances = np.maximum(2.0 - 2.0 * everything @ everything.T, 0.0)
    distances = distances / distances.max(1, keepdims=True)
    ranks = np.argsort(distances, axis=1, kind="stable")

    def reciprocal(at: int, k: int) -> set[int]:
        return {int(one) for one in ranks[at, : k + 1] if at in ranks[one, : k + 1]}

    votes = np.zeros((count, count))
    for at in range(count):
        own = reciprocal(at, how.neighbours)
        expanded = set(own)
        for one in own:
            theirs = reciprocal(one, round(how.neighbours / 2))
            if len(theirs & own) > 2 / 3 * len(theirs):
                expanded |= theirs
        chosen = sorted(expanded)
        weights = np.exp(-distances[at, chosen])
        votes[at, chosen] = weights / weights.sum()
    votes = np.stack([votes[ranks[at, : how.expanded]].mean(0) for at in range(count)])
    shared = np.stack([np.minimum(votes[at], votes).sum(1) for at in range(len(probes))])
    jaccard = 1.0 - shared / (2.0 - shared)
    final: Floats = jaccard * (1.0 - how.kept) + distances[: len(probes)] * how.kept
    return final[:, len(probes) :]


@pytest.mark.parametrize("how", [Reranking(6, 3), Reranking(5, 1, 0.1)], ids=["expanded", "not-expanded"])
def test_as_the_formulas_over_whole_matrices(how: Reranking) -> None:
    """Neighbours alone give the same distances as square matrices."""
    rng = np.random.default_rng(4)
    probes, gallery = _unit(rng, 5), _unit(rng, 40)
    whole = _over_whole_matrices(probes, np.concatenate([probes, gallery]).astype(np.float64), how)
    np.testing.assert_allclose(-rerank(probes, gallery, how), whole, atol=1e-9)


def test_friends_of_friends_come_forward() -> None:
    """A mate that is a little further than a stranger, and has the same neighbours as the probe, overtakes it."""

    def at(*degrees: float) -> npt.NDArray[np.float32]:
        angles = np.radians(np.array(degrees))
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    probes, gallery = at(0.0), at(3.0, 4.0, 5.0, 6.0, 9.0, -8.0, -9.0, -10.0, -11.0, -12.0)
    mate, stranger = 4, 5
    assert (probes @ gallery.T)[0, mate] < (probes @ gallery.T)[0, stranger]
    scores = rerank(probes, gallery, Reranking(4, 2))[0]
    assert scores[mate] > scores[stranger]


def test_too_few_pictures_are_refused() -> None:
    """Twenty neighbours cannot be had of ten pictures."""
    rng = np.random.default_rng(1)
    with pytest.raises(InvalidInputError, match="more than 20"):
        rerank(_unit(rng, 2), _unit(rng, 8))
