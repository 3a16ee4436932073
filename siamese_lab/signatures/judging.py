"""How good a signature encoder is: equal error rates by number of references, against skilled and random forgeries.

One threshold for all writers. Intervals resample writers: their signatures are no independent trials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from siamese_lab.verification import Estimate
from tessera.domain.error_rates import Interval, equal_error_rate
from tessera.domain.errors import InvalidInputError
from tessera.domain.logistic import Weighing, fit_logistic

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class Fusion(StrEnum):
    """How the scores of a probe against several references become one."""

    MEAN = "mean"
    MAX = "max"
    MEAN_EMBEDDING = "mean_embedding"
    """The cosine to the mean of the references' unit vectors."""
    TRAINED = "trained"
    """A weighted sum of `features`, learned by `fit_fusion` on other writers."""


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Scored comparisons of probes with the references of one writer."""

    scores: Floats
    """(n,), higher = more alike."""
    kind: npt.NDArray[np.int8]
    """(n,): 0 mated, 1 skilled, 2 random."""
    writer: npt.NDArray[np.int64]
    """(n,): whose references they were."""


def make_trials(
    vectors: Vectors,
    writer: npt.NDArray[np.int64],
    forged: npt.NDArray[np.bool_],
    references: int,
    fusion: Fusion,
    *,
    rng: np.random.Generator,
    draws: int = 5,
    random_probes: int = 4,
    weighing: Weighing | None = None,
) -> Trials:
    """Draw references of each writer, and compare the rest, the forgeries, and others' genuine signatures with them.

    Args:
        vectors: float32 (n, d), unit length.
        writer: (n,).
        forged: (n,).
        references: of each writer, fewer than the genuine signatures that it has.
        fusion: how several references count.
        rng: draws.
        draws: how often references are drawn anew.
        random_probes: genuine signatures of each other writer.
        weighing: of the fusion that was trained; the others need none.

    Raises:
        InvalidInputError: no writer has enough signatures.
    """
    parts: list[tuple[Floats, npt.NDArray[np.int8], npt.NDArray[np.int64]]] = []
    for one in np.unique(writer):
        genuine = np.flatnonzero((writer == one) & ~forged)
        skilled = np.flatnonzero((writer == one) & forged)
        others = np.flatnonzero((writer != one) & ~forged)
        if genuine.size <= references:
            continue
        for _ in range(draws):
            order = rng.permutation(genuine)
            chosen, rest = order[:references], order[references:]
            strangers = _some_of_each(others, writer, random_probes, rng)
            probes = np.concatenate((rest, skilled, strangers))
            kind = np.repeat(np.array([0, 1, 2], np.int8), (rest.size, skilled.size, strangers.size))
            scores = fused(features(vectors[chosen], vectors[probes]), fusion, weighing)
            parts.append((scores, kind, np.full(probes.size, one, np.int64)))
    if not parts:
        raise InvalidInputError("references", references, "fewer than the genuine signatures of some writer")
    scores, kind, whose = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Trials(scores, kind, whose)


FEATURES = (Fusion.MEAN, Fusion.MAX, Fusion.MEAN_EMBEDDING, "min", "agreement")


def features(chosen: Vectors, probes: Vectors) -> Floats:
    """What a trained fusion sees of probes and references.

    Args:
        chosen: float32 (r, d), unit vectors of the references.
        probes: float32 (n, d), likewise.

    Returns:
        float64 (n, 5), as `FEATURES` names them; agreement is the mean cosine of the references with each other, 1 of
        a single one.
    """
    cosines = (probes @ chosen.T).astype(np.float64)
    middle = chosen.mean(0)
    to_middle = probes @ (middle / max(float(np.linalg.norm(middle)), 1e-12))
    count = len(chosen)
    mutual = (float((chosen @ chosen.T).sum()) - count) / (count * (count - 1)) if count > 1 else 1.0
    columns = (cosines.mean(1), cosines.max(1), to_middle, cosines.min(1), np.full(len(probes), mutual))
    return np.column_stack(columns).astype(np.float64)


def fused(seen: Floats, fusion: Fusion, weighing: Weighing | None = None) -> Floats:
    """(n, 5) features -> (n,): one score for each probe.

    Raises:
        InvalidInputError: a trained fusion without its weights.
    """
    if fusion is Fusion.TRAINED:
        if weighing is None:
            raise InvalidInputError("weighing", weighing, "what fit_fusion gives")
        return weighing.llr(seen)
    scores: Floats = seen[:, FEATURES.index(fusion)]
    return scores


def fit_fusion(
    vectors: Vectors,
    writer: npt.NDArray[np.int64],
    forged: npt.NDArray[np.bool_],
    references: int,
    rng: np.random.Generator,
) -> Weighing:
    """Learn to fuse: logistic regression of mated against skilled and random, the two kinds of forgery alike.

    Args:
        vectors: as for `make_trials`; of writers that nothing is judged on.
        writer: likewise.
        forged: likewise.
        references: of each writer.
        rng: draws.
    """
    mated: list[Floats] = []
    non_mated: list[Floats] = []
    for one in np.unique(writer):
        genuine = np.flatnonzero((writer == one) & ~forged)
        skilled = np.flatnonzero((writer == one) & forged)
        for _ in range(5):
            order = rng.permutation(genuine)
            chosen, rest = vectors[order[:references]], order[references:]
            strangers = rng.choice(np.flatnonzero((writer != one) & ~forged), skilled.size)
            mated.append(features(chosen, vectors[rest]))
            non_mated.append(features(chosen, vectors[np.concatenate((skilled, strangers))]))
    return fit_logistic(np.concatenate(mated), np.concatenate(non_mated))


def skilled_and_random(trials: Trials, rng: np.random.Generator, replicates: int = 300) -> Mapping[str, Estimate]:
    """EER against skilled and against random forgeries, each at its own threshold, with writer-bootstrap intervals."""
    found: dict[str, Estimate] = {}
    for name, kind in (("skilled", 1), ("random", 2)):
        by_writer = [
            (t := trials.writer == one, trials.scores[t & (trials.kind == 0)], trials.scores[t & (trials.kind == kind)])
            for one in np.unique(trials.writer)
        ]
        by_writer = [entry for entry in by_writer if entry[1].size and entry[2].size]

        def measure(chosen: npt.NDArray[np.int64], entries: list[tuple[object, Floats, Floats]] = by_writer) -> float:
            mated = np.concatenate([entries[at][1] for at in chosen])
            return equal_error_rate(mated, np.concatenate([entries[at][2] for at in chosen]))[0]

        everybody = np.arange(len(by_writer))
        drawn = [measure(rng.integers(0, everybody.size, everybody.size)) for _ in range(replicates)]
        low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (0.0, 1.0)
        found[name] = Estimate(measure(everybody), Interval(float(low), float(high)))
    return found


def _some_of_each(
    others: npt.NDArray[np.intp], writer: npt.NDArray[np.int64], count: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    shuffled = rng.permutation(others)
    order = np.argsort(writer[shuffled], kind="stable")
    ranked = shuffled[order]
    owners = writer[ranked]
    rank = np.arange(ranked.size) - np.searchsorted(owners, owners, side="left")
    some: npt.NDArray[np.intp] = ranked[rank < count]
    return some
