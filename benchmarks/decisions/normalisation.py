"""Whether holding scores against a cohort lowers the FNMR, and what probabilities made of scores cost on other people.

One picture of each person of LFW's folds is enrolled, the others are probes; the cohort is LFW's 900 people with one
picture, none of them in a fold. Evidence is fitted on one half of the people and judged on the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import faces
from benchmarks.decisions.plan import SEED, Plan, Story
from benchmarks.decisions.trials import REPLICATES, Floats, Indices, Trials, fnmr_at_equal_fmr, trials
from siamese_lab.lfw import COHORT_TAR, read_pictures
from siamese_lab.verification import Estimate
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import Interval
from tessera.domain.evidence import (
    IsotonicScaling,
    PlattScaling,
    cllr,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    min_cllr,
    reliability,
)
from tessera.domain.measurement import subject_resamples
from tessera.domain.normalisation import DEFAULT_NEAREST, Normalisation, against_cohort, normalise

FMRS = (1e-3, 1e-4)
NEAREST = (20, DEFAULT_NEAREST, 300)
RAW = "raw"
STRICT_PRIOR = 1e-3
"""Where a threshold of FMR 1e-3 lies."""

Scaling = PlattScaling | IsotonicScaling
Bools = npt.NDArray[np.bool_]


class Verifications:
    """Probes against one template of each person of the folds."""

    def __init__(self) -> None:
        lfw = faces()
        alone = {picture.person for picture in read_pictures(Path(os.environ["TESSERA_DATA"]) / COHORT_TAR)}
        in_cohort = np.array([person in alone for person in lfw.people])
        self.cohort: Vectors = lfw.vectors[in_cohort]
        vectors = lfw.vectors[~in_cohort]
        _, first, self.subject = np.unique(lfw.subjects[~in_cohort], return_index=True, return_inverse=True)
        self.people = int(first.size)
        self.enrolled: Vectors = vectors[first]
        probes = np.setdiff1d(np.arange(self.subject.size), first)
        self.probes: Vectors = vectors[probes]
        self.owner: Indices = self.subject[probes].astype(np.intp)
        self.raw = (self.probes @ self.enrolled.T).astype(np.float64)

    def trials(self, table: Floats) -> Trials:
        """A table of probes against templates as one kind of score."""
        return trials(
            table,
            probe_subject=self.owner,
            template_subject=np.arange(self.people),
            mated_scores=table[np.arange(self.owner.size), self.owner],
            mated_subject=self.owner,
            subjects=self.people,
        )

    def normalised(self, kind: Normalisation, nearest: int | None = None) -> Floats:
        """The table, held against the cohort."""
        of_templates = against_cohort(self.enrolled, self.cohort, nearest)
        of_probes = against_cohort(self.probes, self.cohort, nearest)
        return normalise(self.raw.T, of_templates, of_probes, kind).T


def normalisation(plan: Plan) -> Story:
    """FNMR of raw and normalised scores at equal FMR; Cllr of two calibrations on people they were not fitted on."""
    world, story, replicates = Verifications(), Story(), plan.count(REPLICATES, 20)
    kinds = {RAW: world.trials(world.raw)}
    for norm in (Normalisation.Z, Normalisation.T, Normalisation.S):
        kinds[f"{norm.lower()}-norm"] = world.trials(world.normalised(norm))
    for nearest in NEAREST:
        kinds[f"adaptive s-norm, {nearest} nearest"] = world.trials(world.normalised(Normalisation.ADAPTIVE_S, nearest))
    for fmr in FMRS:
        told = fnmr_at_equal_fmr(kinds, fmr, np.random.default_rng(SEED), replicates)
        for name in kinds:
            _tell(story, f"{name}: FNMR at FMR {fmr:g}", told.estimate(name), "share")
        for name in (name for name in kinds if name != RAW):
            _tell(story, f"{RAW} / {name}: FNMR at FMR {fmr:g}", told.ratio(RAW, name), "times")
    _tell_evidence(story, world, RAW, world.raw, replicates)
    adaptive = world.normalised(Normalisation.ADAPTIVE_S, DEFAULT_NEAREST)
    _tell_evidence(story, world, "adaptive s-norm", adaptive, replicates)
    story.note(f"{world.owner.size} probes against {world.people} people; cohort of {len(world.cohort)}.")
    return story


def _tell_evidence(story: Story, world: Verifications, name: str, table: Floats, replicates: int) -> None:
    half = np.random.default_rng(SEED).permutation(world.people) % 2
    fits: dict[str, Callable[[Floats, Floats], Scaling]] = {
        "Platt": fit_platt,
        f"Platt at prior {STRICT_PRIOR:g}": partial(fit_platt, prior=STRICT_PRIOR),
        "isotonic": fit_isotonic,
    }
    least = np.mean([min_cllr(*_scores(world, table, half == side)) for side in (0, 1)])
    story.add(f"{name}: minCllr, mean of two halves", float(least), "bits")
    for fit, make in fits.items():
        judged = [(side, make(*_scores(world, table, half != side))) for side in (0, 1)]
        costs = np.mean([_costs(world, table, half == side, made, replicates) for side, made in judged], axis=0)
        low, high = np.quantile(costs[1:], [0.025, 0.975])
        _tell(story, f"{name}, {fit}: Cllr on the other half", Estimate(costs[0], Interval(low, high)), "bits")
        told = [[made.llr(part) for part in _scores(world, table, half == side)] for side, made in judged]
        errors = [expected_calibration_error(reliability(mated, others)) for mated, others in told]
        story.add(f"{name}, {fit}: expected calibration error at prior 0.5", float(np.mean(errors)), "share")
        bound = -np.log(STRICT_PRIOR)
        reached = [float(np.mean(others >= bound)) for _, others in told]
        missed = [float(np.mean(mated < bound)) for mated, _ in told]
        story.add(
            f"{name}, {fit}: FMR where the evidence is {1 / STRICT_PRIOR:g} to 1", float(np.mean(reached)), "share"
        )
        story.add(f"{name}, {fit}: FNMR there", float(np.mean(missed)), "share")


def _scores(world: Verifications, table: Floats, people: Bools) -> list[Floats]:
    """Mated and non-mated scores among some people."""
    rows = people[world.owner]
    owner = world.owner[rows]
    part = table[np.ix_(rows, people)]
    column = (np.cumsum(people) - 1)[owner]
    strangers = np.ones(part.shape, bool)
    strangers[np.arange(owner.size), column] = False
    return [part[np.arange(owner.size), column], part[strangers]]


def _costs(
    world: Verifications,
    table: Floats,
    people: Bools,
    made: Scaling,
    replicates: int,
) -> Floats:
    """Cllr as measured, then with each person weighted as often as drawn."""
    mated, others = (made.llr(part) for part in _scores(world, table, people))
    owner = (np.cumsum(people) - 1)[world.owner[people[world.owner]]]
    for_mates, count = np.logaddexp(0.0, -mated), int(people.sum())
    for_others = np.zeros((owner.size, count))
    strangers = np.ones(for_others.shape, bool)
    strangers[np.arange(owner.size), owner] = False
    for_others[strangers] = np.logaddexp(0.0, others)
    costs = []
    for weights in [np.ones(count), *subject_resamples(count, np.random.default_rng(SEED), replicates)]:
        probes = weights[owner]
        pairs = probes.sum() * weights.sum() - (probes * weights[owner]).sum()
        costs.append(probes @ for_mates / probes.sum() + probes @ for_others @ weights / pairs)
    found: Floats = np.array(costs) / (2 * np.log(2))
    assert abs(found[0] - cllr(mated, others)) < 1e-9
    return found


def _tell(story: Story, name: str, estimate: Estimate, unit: str) -> None:
    story.add(name, float(estimate.value), unit)
    story.add(f"{name}, 95 % low", float(estimate.interval.low), unit)
    story.add(f"{name}, 95 % high", float(estimate.interval.high), unit)
