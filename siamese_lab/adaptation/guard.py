"""Whether adapting helps: measured on people whom no head has seen, and said no to wherever harm is not excluded.

People are dealt into folds. For each fold in turn its people are held out, and the rest are dealt again: every
candidate is fitted on some of them and validated on the others, in turn. The one with the fewest misses there is chosen
(the encoder as it is served is one of them), fitted anew on all of the rest, and measured on the held-out people. So
every person is judged once, by a head that knew nothing of them, and choosing among candidates is judged with the rest.
The gain is FNMR before less FNMR after, at thresholds set anew for either; its interval resamples people, the same ones
before and after, since most of what makes FNMR uncertain is who is asked, and that cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.adaptation.head import Head, identity_head
from siamese_lab.adaptation.templates import LabelledTemplates
from siamese_lab.verification import Estimate, WeightedFnmr
from tessera.domain.dependence import REPLICATES
from tessera.domain.error_rates import Interval, comparisons_needed
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError
from tessera.domain.measurement import Comparisons, compare_all_pairs, subject_resamples

FOLDS = 5
TARGET_FMR = 1e-4
FMRS = (1e-3, TARGET_FMR)
AS_SERVED = "as served"
_VALIDATION_FOLDS = 3
_KEPT_TIMES = 10.0
_LEAST_KEPT = 2000

Fit = Callable[[LabelledTemplates], Head]
Candidates = Mapping[str, Fit]
Folds = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gain:
    """What a head does to FNMR at one FMR, on people whom it has not seen."""

    fmr: float
    before: float
    after: float
    gain: Estimate
    """FNMR before less FNMR after, with the interval of the paired difference; above 0: it helps."""

    @property
    def excludes_harm(self) -> bool:
        """The interval holds no loss."""
        return self.gain.interval.low >= 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured, and what it says."""

    gains: tuple[Gain, ...]
    """Of the whole way, choosing among candidates included; at the target FMR last."""
    candidates: Mapping[str, tuple[Gain, ...]]
    """Of each candidate, had it been taken everywhere: for the reader; the verdict does not look at it."""
    chosen: tuple[str, ...]
    """In each fold, by validation."""
    people: int
    mated: int
    """Comparisons of held-out people."""

    @property
    def helps(self) -> bool:
        """The gain at the target is above 0, interval and all, and at no rate is harm left open."""
        return self.gains[-1].gain.interval.low > 0.0 and all(gain.excludes_harm for gain in self.gains)


def judge(
    templates: LabelledTemplates,
    candidates: Candidates,
    rng: np.random.Generator,
    *,
    fmrs: Sequence[float] = FMRS,
    folds: int = FOLDS,
    replicates: int = REPLICATES,
    told: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Measure what adapting is worth on these templates.

    Args:
        templates: the deployment's.
        candidates: ways to make a head, by name; `as served` is added.
        rng: deals people, and resamples them.
        fmrs: where FNMR is compared; the last is the target.
        folds: how often some people are held out.
        replicates: resamples of people, for the intervals.
        told: is told each fold's choice.

    Raises:
        CalibrationTooSmallError: the people of a fold are too few to carry the lowest FMR (rule of 3).
        InvalidInputError: a rate or the number of folds is out of range.
    """
    ways = {AS_SERVED: as_served, **candidates}
    dealt = deal(templates, folds, rng)
    require_enough(templates, dealt, min(fmrs))
    chosen: list[str] = []
    held: list[dict[str, LabelledTemplates]] = []
    for fold in range(folds):
        rest, asked = templates.of(dealt != fold), templates.of(dealt == fold)
        name = choose(rest, ways, rng, fmrs[-1])
        heads = {way: fit(rest) for way, fit in ways.items()}
        held.append({way: _through(head, asked) for way, head in heads.items()})
        chosen.append(name)
        told(f"fold {fold + 1} of {folds}: {name}")
    return _verdict(held, chosen, fmrs, rng, replicates)


def deal(templates: LabelledTemplates, folds: int, rng: np.random.Generator) -> Folds:
    """A fold for each person, so that each fold has as many people of each number of templates.

    Returns:
        Shape (subjects,), from 0.
    """
    counts = np.bincount(templates.subjects)
    if not 2 <= folds <= counts.size:
        raise InvalidInputError("folds", folds, f"from 2 to the number of people, {counts.size}")
    order = rng.permutation(counts.size)
    order = order[np.argsort(-counts[order], kind="stable")]
    dealt = np.empty(counts.size, np.intp)
    # Round by round in an order of its own: the fold that comes first would get the largest of each round.
    for start in range(0, counts.size, folds):
        round_of = order[start : start + folds]
        dealt[round_of] = rng.permutation(folds)[: round_of.size]
    return dealt


def choose(templates: LabelledTemplates, ways: Candidates, rng: np.random.Generator, fmr: float) -> str:
    """The way that misses least on people held back from it in turn; of equals the one named first.

    Misses are counted at the target and at ten times it, added: at the target alone, few comparisons decide.
    """
    dealt = deal(templates, _VALIDATION_FOLDS, rng)
    parts = [(templates.of(dealt != fold), templates.of(dealt == fold)) for fold in range(_VALIDATION_FOLDS)]
    counted = {name: sum(_misses(fit(learn), held, fmr) for learn, held in parts) for name, fit in ways.items()}
    return min(counted, key=lambda name: counted[name])


def _misses(head: Head, held: LabelledTemplates, fmr: float) -> float:
    measured = WeightedFnmr(compared(_through(head, held), 10.0 * fmr))
    everybody = np.ones(int(held.subjects.max()) + 1)
    return sum(measured.at(rate, everybody).missed for rate in (fmr, 10.0 * fmr))


def compared(templates: LabelledTemplates, fmr: float) -> Comparisons:
    """All pairs, with as many non-mated scores as FMRs up to `fmr` and their resamples need."""
    pairs = len(templates) ** 2 / 2.0
    keep = min(1.0, max(_KEPT_TIMES * fmr, _LEAST_KEPT / pairs))
    return compare_all_pairs(templates.vectors, templates.subjects, keep)


def require_enough(templates: LabelledTemplates, dealt: Folds, fmr: float) -> None:
    """Refuse a rate that the people of some fold cannot carry.

    Raises:
        CalibrationTooSmallError: so.
    """
    counts = np.bincount(templates.subjects)
    for fold in range(int(dealt.max()) + 1):
        samples = counts[dealt == fold].astype(np.float64)
        non_mated = round(float(samples.sum() ** 2 - (samples**2).sum()) / 2.0)
        if non_mated < comparisons_needed(fmr):
            raise CalibrationTooSmallError(fmr, comparisons_needed(fmr), non_mated)


def paired_gains(
    before: Sequence[LabelledTemplates],
    after: Sequence[LabelledTemplates],
    fmrs: Sequence[float],
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> tuple[Gain, ...]:
    """FNMR before and after, and the paired interval of the difference.

    Args:
        before: of each fold, its held-out people's templates as served.
        after: the same through a head; nobody is compared across folds, since each has its own head.
        fmrs: the rates.
        rng: resamples the people of each fold, the same ones before and after.
        replicates: how often.
    """
    folds = [
        tuple(WeightedFnmr(compared(side, max(fmrs))) for side in pair) for pair in zip(before, after, strict=True)
    ]
    people = [int(side.subjects.max()) + 1 for side in before]
    measured = _rates(folds, [np.ones(count) for count in people], fmrs)
    resamples = zip(*(subject_resamples(count, rng, replicates) for count in people), strict=True)
    drawn = np.stack([_rates(folds, weights, fmrs) for weights in resamples])
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975], axis=0)
    return tuple(
        Gain(
            fmr,
            float(measured[0, at]),
            float(measured[1, at]),
            Estimate(float(measured[0, at] - measured[1, at]), Interval(float(low[at]), float(high[at]))),
        )
        for at, fmr in enumerate(fmrs)
    )


def _rates(folds: Sequence[tuple[WeightedFnmr, ...]], weights: Sequence[Floats], fmrs: Sequence[float]) -> Floats:
    """Shape (2, rates): misses over all folds by mated comparisons over all folds, before and after."""
    missed, mated = np.zeros((2, len(fmrs))), np.zeros((2, len(fmrs)))
    for fold, drawn in zip(folds, weights, strict=True):
        for side, measured in enumerate(fold):
            for at, fmr in enumerate(fmrs):
                found = measured.at(fmr, drawn)
                missed[side, at] += found.missed
                mated[side, at] += found.mated
    return missed / mated


def _verdict(
    held: Sequence[Mapping[str, LabelledTemplates]],
    chosen: Sequence[str],
    fmrs: Sequence[float],
    rng: np.random.Generator,
    replicates: int,
) -> Verdict:
    before = [fold[AS_SERVED] for fold in held]
    seed = int(rng.integers(2**63))

    def gains(names: Sequence[str]) -> tuple[Gain, ...]:
        # The same people are drawn for every candidate.
        after = [fold[name] for fold, name in zip(held, names, strict=True)]
        return paired_gains(before, after, fmrs, np.random.default_rng(seed), replicates)

    counts = [np.bincount(fold.subjects) for fold in before]
    return Verdict(
        gains(chosen),
        {name: gains([name] * len(held)) for name in held[0]},
        tuple(chosen),
        sum(count.size for count in counts),
        sum(int((count * (count - 1) // 2).sum()) for count in counts),
    )


def as_served(templates: LabelledTemplates) -> Head:
    """The head that changes nothing."""
    return identity_head(templates.model_id, templates.vectors.shape[1])


def _through(head: Head, templates: LabelledTemplates) -> LabelledTemplates:
    return LabelledTemplates(head.apply(templates.vectors), templates.subjects, templates.model_id)
