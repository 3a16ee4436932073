"""How often a search of so many subjects finds somebody who is not there: FPIR, measured over all galleries at once.

Every sample is a probe of somebody who is not enrolled, and of every other subject one sample could be. Of the m others
a probe reaches k at some threshold; a gallery of n of them, drawn at random, holds none of these k with the probability
C(m - k, n) / C(m, n). The mean over probes is the FPIR of all galleries of n subjects together, exact, without drawing
any. It does not take the comparisons of a search for independent, as 1 - (1 - FMR)^n does: people who look like many
others make many of the false matches, and a search errs once however many it finds.

No gallery is larger than half of the subjects: beyond that all galleries are nearly the same one.
`tessera.domain.calibration` says what follows for larger ones.

Sources: ISO/IEC 19795-1:2021 for FPIR; Doddington et al., "Sheep, goats, lambs and wolves", ICSLP (1998), for why
subjects differ; Efron and Stein, Annals of Statistics 9 (1981), for the interval's jackknife.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.calibration import SearchPoint
from tessera.domain.dependence import Spread, jackknife_spread
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import RULE_OF_THREE, Interval
from tessera.domain.errors import InvalidInputError

LOOSEST_FPIR = 0.1
POINTS_PER_DECADE = 10
_KEPT_FMR = 0.02
_MOST_KEPT = 2_000_000
_ROWS_PER_BLOCK = 512

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """Whom each probe reaches among one sample of every other subject."""

    scores: Floats
    """Shape (k,): the highest scores of all probes together, in falling order."""
    probe: Indices
    """Shape (k,): the probe of each."""
    reached: Indices
    """Shape (k,): the subject that it is a score with."""
    probe_subject: Indices
    """Shape (probes,): whose each probe is."""
    subjects: int

    @property
    def largest_gallery(self) -> int:
        """Half of the others of a probe."""
        return (self.subjects - 1) // 2

    def above(self, threshold: float) -> int:
        """How many of the scores reach a threshold."""
        return int(np.searchsorted(-self.scores, -threshold, side="right"))


def compare_searches(vectors: Vectors, subjects: npt.ArrayLike, rng: np.random.Generator) -> Searches:
    """Search every sample among one sample of every other subject.

    Args:
        vectors: shape (n, d), unit rows.
        subjects: shape (n,), integers from 0 without gaps: whose each row is.
        rng: draws the sample of each subject that could be enrolled.

    Raises:
        InvalidInputError: the two differ in length, or there are fewer than four subjects.
    """
    owner = np.asarray(subjects, dtype=np.intp)
    if owner.shape != vectors.shape[:1] or owner.size == 0 or owner.max() < 3:
        raise InvalidInputError("subjects", owner.shape, f"four or more, one for each of {vectors.shape[0]} vectors")
    enrolled = vectors[_one_of_each(owner, rng)]
    keep = min(int(owner.size * owner.max() * _KEPT_FMR) + 1, _MOST_KEPT)
    scores, probe, reached = np.empty(0, np.float32), np.empty(0, np.intp), np.empty(0, np.intp)
    for start in range(0, owner.size, _ROWS_PER_BLOCK):
        block = vectors[start : start + _ROWS_PER_BLOCK] @ enrolled.T
        block[np.arange(len(block)), owner[start : start + len(block)]] = -np.inf
        row, column = np.nonzero(block > (scores.min() if scores.size == keep else -np.inf))
        scores = np.concatenate([scores, block[row, column]])
        probe, reached = np.concatenate([probe, row + start]), np.concatenate([reached, column])
        if scores.size > keep:
            best = np.argpartition(-scores, keep - 1)[:keep]
            scores, probe, reached = scores[best], probe[best], reached[best]
    order = np.argsort(-scores, kind="stable")
    return Searches(scores[order].astype(np.float64), probe[order], reached[order], owner, int(owner.max()) + 1)


def _one_of_each(owner: Indices, rng: np.random.Generator) -> Indices:
    shuffled = rng.permutation(owner.size)
    return shuffled[np.unique(owner[shuffled], return_index=True)[1]].astype(np.intp)


def holds_one(others: int, gallery_size: int, reached: int) -> Floats:
    """The probability that a random gallery holds at least one of those whom a probe reaches.

    Args:
        others: subjects that could be enrolled.
        gallery_size: subjects that are, at most `others`.
        reached: the largest number to tell of.

    Returns:
        Shape (reached + 1,): 1 - C(others - k, gallery_size) / C(others, gallery_size) for k = 0, 1, ...
    """
    k = np.arange(reached)
    missed = np.cumprod(np.maximum(others - gallery_size - k, 0) / np.maximum(others - k, 1))
    return np.concatenate([[0.0], 1.0 - missed])


def search_curve(searches: Searches, gallery_size: int) -> Floats:
    """FPIR when the threshold lies just below each of the scores in turn.

    Args:
        searches: from `compare_searches`.
        gallery_size: subjects searched, 1 to all others of a probe.

    Returns:
        Shape (k,): as many as scores, rising.

    Raises:
        InvalidInputError: a gallery of more subjects than there are.
    """
    _check_size(gallery_size, searches.subjects - 1)
    rank = _rank_within(searches.probe)
    chance = holds_one(searches.subjects - 1, gallery_size, int(rank.max(initial=-1)) + 1)
    return np.asarray(np.cumsum(np.diff(chance)[rank]) / searches.probe_subject.size, dtype=np.float64)


def _check_size(gallery_size: int, most: int) -> None:
    if not 1 <= gallery_size <= most:
        raise InvalidInputError("gallery_size", gallery_size, f"1 to {most}")


def _rank_within(probe: Indices) -> Indices:
    """For each score, how many higher ones its probe has."""
    order = np.argsort(probe, kind="stable")
    ordered = probe[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if probe.size else probe
    rank = np.empty(probe.size, np.intp)
    rank[order] = np.arange(probe.size) - np.repeat(begins, np.diff(np.append(begins, probe.size)))
    return rank


def false_positive_rate(searches: Searches, threshold: float, gallery_size: int) -> Spread:
    """FPIR at a threshold, and how far it would have come out differently with other subjects.

    Each subject is left out in turn, as a probe and as a candidate. What two subjects have with each other is counted
    twice by that, and taken off once.

    Args:
        searches: from `compare_searches`.
        threshold: not below the lowest score that was kept.
        gallery_size: subjects searched; all others of a probe but one, at most.

    Raises:
        InvalidInputError: the threshold is below the scores that were kept, or there are too few subjects.
    """
    s, others = searches, searches.subjects - 1
    _check_size(gallery_size, others - 1)
    above = s.above(threshold)
    if above == s.scores.size:
        raise InvalidInputError("threshold", threshold, "above the lowest score that was kept")
    probe, reached = s.probe[:above], s.reached[:above]
    found = np.bincount(probe, minlength=s.probe_subject.size)
    rate = float(holds_one(others, gallery_size, int(found.max(initial=0)))[found].mean())
    fewer = holds_one(others - 1, gallery_size, int(found.max(initial=0)))
    chance, share = fewer[found], np.diff(fewer, prepend=0.0)[found[probe]]
    lost = np.bincount(s.probe_subject, chance, s.subjects) + np.bincount(reached, share, s.subjects)
    without = (chance.sum() - lost) / (s.probe_subject.size - np.bincount(s.probe_subject, minlength=s.subjects))
    single = _squares_by_pair(s.probe_subject[probe], reached, share, s.subjects) / s.probe_subject.size**2
    return jackknife_spread(without, rate, s.probe_subject.size * others, single, single)


def _squares_by_pair(first: Indices, second: Indices, share: Floats, subjects: int) -> float:
    key = np.minimum(first, second) * subjects + np.maximum(first, second)
    pair = np.unique(key, return_inverse=True)[1]
    return float((np.bincount(pair, share) ** 2).sum())


def measure_search_points(searches: Searches) -> tuple[SearchPoint, ...]:
    """Measured FPIR of galleries of 10, 20, 50, 100 ... subjects up to half of those at hand, ten thresholds a decade.

    The strictest FPIR is what as many searches as there are probes can carry (rule of 3). Stricter ones, and galleries
    of fewer than ten, are close to `1 - (1 - FMR)^n`, which needs no search.

    Returns:
        By size, then by threshold; none without two scores.
    """
    sizes = [base * 10**power for power in range(1, 7) for base in (1, 2, 5)]
    inner = [size for size in sizes if size < searches.largest_gallery]
    return tuple(point for size in (*inner, searches.largest_gallery) for point in _points(searches, size))


def _points(searches: Searches, size: int) -> list[SearchPoint]:
    curve = search_curve(searches, size)
    strictest = RULE_OF_THREE / searches.probe_subject.size
    steps = int(np.floor(np.log10(LOOSEST_FPIR / strictest) * POINTS_PER_DECADE + 1e-9))
    targets = LOOSEST_FPIR * 10.0 ** (-np.arange(max(steps + 1, 0)) / POINTS_PER_DECADE)
    points: list[SearchPoint] = []
    for may_reach in np.searchsorted(curve, targets * (1 + 1e-12), side="right"):
        if may_reach >= curve.size - 1:
            continue
        threshold = float(np.nextafter(searches.scores[may_reach], np.inf))
        spread = false_positive_rate(searches, threshold, size)
        # The first candidate that must not be found counts for the upper end: the threshold was chosen by it.
        upper = false_positive_rate(searches, float(searches.scores[may_reach]), size)
        interval = Interval(spread.interval.low, upper.interval.high)
        if spread.rate > 0.0 and (not points or spread.rate < points[-1].fpir):
            points.append(SearchPoint(size, threshold, spread.rate, interval))
    return points
