"""Differences between groups: one that is planted is found, and none is claimed where labels mean nothing.

A fivefold FMR is planted by drawing the embeddings of one group towards a common direction until its own FMR at the
threshold is five times what it was. People are made up like those in the wild (most have one or two pictures, some are
more alike to everybody than others), and are those of LFW, whose thresholds are set on all of them. Labels are drawn by
lot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import Indices, faces, has_data
from benchmarks.decisions.plan import SEED, Plan, Story
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import wilson_interval
from tessera.domain.group_findings import ErrorKind, Finding, GroupDifference, GroupReport
from tessera.domain.groups import compare_groups, tallies_at
from tessera.domain.measurement import Comparisons, compare_all_pairs

FMRS = (1e-2, 1e-3)
FACTOR = 5.0
EACH = 150
"""Subjects of each of three groups."""
NAMES = ("a", "b", "c")
PLANTINGS, LABELLINGS = 100, 400
FOUND_BAR, CLAIMED_BAR = 0.95, 0.05
_DIMENSIONS = 48
_PERMUTATIONS = 199
_REPLICATES = 100


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Some people, each with a group."""

    vectors: Vectors
    owner: Indices
    groups: list[str]

    def report(self, thresholds: tuple[float, ...], seed: int) -> GroupReport:
        """What is said of their groups."""
        comparisons = compare_all_pairs(self.vectors, self.owner, keep_fmr=0.5)
        tallies = [tallies_at(comparisons, threshold) for threshold in thresholds]
        rng = np.random.default_rng(seed)
        return compare_groups(tallies, self.groups, rng, permutations=_PERMUTATIONS, replicates=_REPLICATES)

    def planted(self, threshold: float, rng: np.random.Generator) -> Sampled:
        """The first group's own FMR is five times what it was."""
        mine = np.array([self.groups[at] == NAMES[0] for at in self.owner])
        direction = _unit(rng.normal(size=(1, self.vectors.shape[1])))
        vectors = self.vectors.copy()
        vectors[mine] = _drawn(self.vectors[mine], self.owner[mine], threshold, direction)
        return Sampled(vectors, self.owner, self.groups)


def groups(plan: Plan) -> Story:
    """Made-up people, and those of LFW where they are at hand."""
    story = Story()
    _tell(story, plan, "made-up people", _made_up)
    if not has_data():
        story.note("groups: TESSERA_DATA is not set (docs/evaluation.md); the figures on LFW are left out.")
        return story
    people = faces()
    comparisons = compare_all_pairs(people.vectors, people.subjects, keep_fmr=0.02)
    thresholds = tuple(_threshold(comparisons, fmr) for fmr in FMRS)

    def of_lfw(rng: np.random.Generator) -> tuple[Sampled, tuple[float, ...]]:
        chosen = rng.choice(comparisons.samples_by_subject.size, EACH * len(NAMES), replace=False)
        rows = np.flatnonzero(np.isin(people.subjects, chosen))
        owner = np.unique(people.subjects[rows], return_inverse=True)[1].astype(np.intp)
        return Sampled(people.vectors[rows], owner, _by_lot(rng)), thresholds

    _tell(story, plan, "LFW", of_lfw)
    return story


Draw = Callable[[np.random.Generator], tuple[Sampled, tuple[float, ...]]]


def _tell(story: Story, plan: Plan, name: str, draw: Draw) -> None:
    plantings, labellings = plan.count(PLANTINGS, 10), plan.count(LABELLINGS, 40)
    for at, fmr in enumerate(FMRS):
        found = [_planting(draw, at, seed) for seed in range(plantings)]
        share = sum(one.finding is Finding.DIFFERENCE for one in found) / plantings
        what = f"groups: planted fivefold FMR is found, {name}, FMR {fmr:.0e}"
        bar = f"found: at least {FOUND_BAR:.0%}"
        story.add(what, share, f"of {plantings} plantings", bar, holds=share >= FOUND_BAR)
        named = sum(_alone(one) for one in found) / plantings
        story.add(f"{what}, and it alone stands out", named, f"of {plantings} plantings")
        ratios = [one.max_over_min.value for one in found if one.max_over_min.value is not None]
        story.add(f"{what}, max over min", float(np.median(ratios)), "median ratio")
    reports = [_labelling(draw, seed) for seed in range(labellings)]
    claims = sum(any(one.finding is Finding.DIFFERENCE for one in report.differences) for report in reports)
    interval = wilson_interval(claims, labellings)
    what = f"groups: a difference is claimed where labels mean nothing, {name}"
    share = claims / labellings
    story.add(what, share, f"of {labellings} labellings", f"at most {CLAIMED_BAR:.0%}", holds=share <= CLAIMED_BAR)
    story.add(f"{what}, 95 % low", interval.low, "share")
    story.add(f"{what}, 95 % high", interval.high, "share")
    intervals = [one.max_over_min.interval for report in reports for one in report.differences]
    stated = [one for one in intervals if one is not None]
    holds_one = sum(one.low <= 1.0 for one in stated) / max(len(stated), 1)
    story.add(f"groups: the interval of max over min holds 1 where labels mean nothing, {name}", holds_one, "share")


def _planting(draw: Draw, at: int, seed: int) -> GroupDifference:
    rng = np.random.default_rng((SEED, seed))
    people, thresholds = draw(rng)
    report = people.planted(thresholds[at], rng).report((thresholds[at],), seed)
    return next(one for one in report.differences if one.kind is ErrorKind.FMR)


def _alone(difference: GroupDifference) -> bool:
    return [one.group for one in difference.groups if one.stands_out] == [NAMES[0]]


def _labelling(draw: Draw, seed: int) -> GroupReport:
    people, thresholds = draw(np.random.default_rng((SEED, 1, seed)))
    return people.report(thresholds, seed)


# ---- people


def _made_up(rng: np.random.Generator) -> tuple[Sampled, tuple[float, ...]]:
    people = EACH * len(NAMES)
    samples = np.minimum(rng.geometric(0.6, people), 12)
    owner = np.repeat(np.arange(people), samples)
    noise = np.repeat(rng.uniform(0.4, 0.9, people), samples)[:, None]
    centres = np.repeat(rng.normal(size=(people, _DIMENSIONS)), samples, axis=0)
    vectors = _unit(centres + noise * rng.normal(size=centres.shape))
    comparisons = compare_all_pairs(vectors, owner, keep_fmr=0.02)
    return Sampled(vectors, owner, _by_lot(rng)), tuple(_threshold(comparisons, fmr) for fmr in FMRS)


def _by_lot(rng: np.random.Generator) -> list[str]:
    return [NAMES[at] for at in rng.permutation(EACH * len(NAMES)) % len(NAMES)]


def _threshold(comparisons: Comparisons, fmr: float) -> float:
    may_match = int(fmr * comparisons.non_mated_total)
    return float(np.nextafter(comparisons.non_mated_scores[may_match], np.inf))


def _drawn(vectors: Vectors, owner: Indices, threshold: float, direction: Vectors) -> Vectors:
    """As far towards a direction as makes the FMR five times what it was, by halving."""
    target, low, high = FACTOR * _fmr(vectors, owner, threshold), 0.0, 1.0
    drawn = vectors
    for _ in range(25):
        share = (low + high) / 2.0
        drawn = _unit((1.0 - share) * vectors + share * direction)
        low, high = (share, high) if _fmr(drawn, owner, threshold) < target else (low, share)
    return drawn


def _fmr(vectors: Vectors, owner: Indices, threshold: float) -> float:
    apart = owner[:, None] != owner[None, :]
    return float(np.mean((vectors @ vectors.T)[apart] >= threshold))


def _unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found
