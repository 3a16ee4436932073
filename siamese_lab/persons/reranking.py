"""k-reciprocal re-ranking: probes and gallery vote for each other as neighbours, and the gallery is ranked anew.

It looks at the whole gallery and at all probes at once, so its numbers say what a batch over a closed set could reach
and not what a search answers; they are always stated apart. Only neighbours are kept, so that the memory grows with the
number of pictures and not with its square.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Reranking:
    """The constants of the method, as in the paper."""

    neighbours: int = 20
    """k1."""
    expanded: int = 6
    """k2: how many neighbours' votes are averaged; 1: its own alone."""
    kept: float = 0.3
    """lambda: the share of the first distance in the new one."""


def rerank(probes: Vectors, gallery: Vectors, how: Reranking = Reranking()) -> Floats:
    """New scores of a gallery.

    Args:
        probes: (p, d), of length 1.
        gallery: (g, d), of length 1.
        how: the constants.

    Returns:
        (p, g), higher = more alike; comparable within a row alone.

    Raises:
        InvalidInputError: there are fewer pictures than neighbours.
    """
    everything = np.concatenate([probes, gallery])
    if len(everything) <= how.neighbours:
        raise InvalidInputError("gallery", len(everything), f"more than {how.neighbours} pictures, probes included")
    near, furthest = _nearest(everything, how.neighbours + 1)
    votes = _averaged([_votes(at, near, everything, furthest, how) for at in range(len(everything))], near, how)
    holders = _holders(votes)
    scores = np.empty((len(probes), len(gallery)))
    for at in range(len(probes)):
        shared = _shared(votes[at], holders, len(everything))[len(probes) :]
        first = _distances(everything[at : at + 1], gallery)[0] / furthest[at]
        scores[at] = -((1.0 - how.kept) * (1.0 - shared / (2.0 - shared)) + how.kept * first)
    return scores


def _distances(some: Vectors, all_of: Vectors) -> Floats:
    """Squared Euclidean, of unit vectors."""
    squared: Floats = np.maximum(2.0 - 2.0 * (some.astype(np.float64) @ all_of.T.astype(np.float64)), 0.0)
    return squared


def _nearest(vectors: Vectors, count: int) -> tuple[Places, Floats]:
    """(n, count) nearest, itself included, and (n,) distances of the furthest, by which rows are scaled."""
    near, furthest = [], []
    for start in range(0, len(vectors), _CHUNK):
        distances = _distances(vectors[start : start + _CHUNK], vectors)
        near.append(np.argsort(distances, axis=1, kind="stable")[:, :count])
        furthest.append(np.maximum(distances.max(1), 1e-12))
    return np.concatenate(near), np.concatenate(furthest)


Votes = tuple[Places, Floats]
"""For whom, ascending, and how strongly; they sum to 1."""


def _reciprocal(at: int, near: Places, count: int) -> Places:
    """Those among the `count` nearest (and itself) that have it among theirs; eq. 3."""
    mine = near[at, : count + 1]
    returned: Places = mine[(near[mine, : count + 1] == at).any(1)]
    return returned


def _votes(at: int, near: Places, vectors: Vectors, furthest: Floats, how: Reranking) -> Votes:
    own = _reciprocal(at, near, how.neighbours)
    chosen = own
    for one in own:
        others = _reciprocal(int(one), near, round(how.neighbours / 2))
        if len(np.intersect1d(others, own)) > 2 / 3 * len(others):  # eq. 5
            chosen = np.concatenate([chosen, others])
    chosen = np.unique(chosen)
    weights = np.exp(-_distances(vectors[at : at + 1], vectors[chosen])[0] / furthest[at])
    return chosen, weights / weights.sum()


def _averaged(votes: list[Votes], near: Places, how: Reranking) -> list[Votes]:
    """Eq. 11: those of the nearest few, itself included."""
    if how.expanded == 1:
        return votes
    averaged = []
    for row in near[:, : how.expanded]:
        chosen, place = np.unique(np.concatenate([votes[one][0] for one in row]), return_inverse=True)
        weights = np.bincount(place, np.concatenate([votes[one][1] for one in row])) / len(row)
        averaged.append((chosen, weights))
    return averaged


def _holders(votes: list[Votes]) -> list[Votes]:
    """Turned round: for each picture who votes for it, and how strongly."""
    voter = np.repeat(np.arange(len(votes)), [len(chosen) for chosen, _ in votes])
    chosen, weights = np.concatenate([one for one, _ in votes]), np.concatenate([one for _, one in votes])
    order = np.argsort(chosen, kind="stable")
    ends = np.searchsorted(chosen[order], np.arange(len(votes) + 1))
    voter, weights = voter[order], weights[order]
    return [(voter[a:b], weights[a:b]) for a, b in pairwise(ends)]


def _shared(votes: Votes, holders: list[Votes], count: int) -> Floats:
    """(n,): the sum of the smaller of both votes; the numerator of eq. 10."""
    shared = np.zeros(count)
    for one, weight in zip(*votes, strict=True):
        voters, theirs = holders[one]
        shared[voters] += np.minimum(weight, theirs)
    return shared
