"""Probes against a gallery, in one kind of score: FNMR at equal FMR, with intervals by resampling subjects.

Several kinds of scores of the same people are resampled together, so that a ratio of two of them has an interval of its
own. The threshold is set anew in each resample, on non-mated comparisons of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siamese_lab.verification import Estimate
from tessera.domain.error_rates import Interval
from tessera.domain.errors import InvalidInputError
from tessera.domain.measurement import subject_resamples

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

REPLICATES = 400
KEEP_FMR = 0.01
"""Share of non-mated scores, from the top, that are kept: a resample may count one pair several times."""


@dataclass(frozen=True, slots=True, eq=False)
class Trials:
    """Every comparison of one kind."""

    mated_scores: Floats
    """Shape (m,), rising."""
    mated_subject: Indices
    """Shape (m,)."""
    top_scores: Floats
    """Shape (k,): the highest non-mated scores, falling."""
    top_probe: Indices
    """Shape (k,): whose the probe is."""
    top_template: Indices
    """Shape (k,): whose the template is."""
    probes: Floats
    """Shape (subjects,): how many probes each has."""
    templates: Floats
    """Shape (subjects,): how many times each is enrolled."""
    block: Indices
    """Shape (subjects,): only people of one block are compared."""

    def non_mated(self, weights: Floats) -> float:
        """How many non-mated comparisons there are, each subject weighted."""
        probes, templates = weights * self.probes, weights * self.templates
        pairs = np.bincount(self.block, probes) * np.bincount(self.block, templates)
        return float(pairs.sum() - (probes * templates).sum())

    def threshold_index(self, fmr: float, weights: Floats) -> int:
        """The first of the highest scores that must not match."""
        reached = np.cumsum(weights[self.top_probe] * weights[self.top_template])
        first = int(np.searchsorted(reached, fmr * self.non_mated(weights) * (1 + 1e-12), side="right"))
        if first == reached.size:
            raise InvalidInputError("fmr", fmr, "a rate below the share of non-mated scores that were kept")
        return first

    def threshold(self, fmr: float) -> float:
        """Just above the first score that must not match."""
        return float(np.nextafter(self.top_scores[self.threshold_index(fmr, np.ones(self.probes.size))], np.inf))

    def fnmr(self, fmr: float, weights: Floats) -> float:
        """FNMR at the threshold of this FMR, each subject weighted."""
        mated = weights[self.mated_subject]
        refused = self.top_scores[self.threshold_index(fmr, weights)]
        missed = int(np.searchsorted(self.mated_scores, refused, side="right"))
        return float(mated[:missed].sum() / mated.sum())

    def fmr(self, threshold: float, weights: Floats) -> float:
        """FMR at a threshold, each subject weighted; up to the share that was kept."""
        above = int(np.searchsorted(-self.top_scores, -threshold, side="right"))
        if above == self.top_scores.size:
            raise InvalidInputError("threshold", threshold, "a score among those that were kept")
        return float((weights[self.top_probe[:above]] * weights[self.top_template[:above]]).sum()) / self.non_mated(
            weights
        )


def trials(
    table: npt.NDArray[np.floating],
    *,
    probe_subject: Indices,
    template_subject: Indices,
    mated_scores: npt.ArrayLike,
    mated_subject: Indices,
    subjects: int,
    keep_fmr: float = KEEP_FMR,
    block: Indices | None = None,
) -> Trials:
    """Gather a table of scores.

    Args:
        table: shape (probes, templates). Pairs of one subject in it are left out: mated comparisons come apart.
        probe_subject: shape (probes,), from 0.
        template_subject: shape (templates,).
        mated_scores: shape (m,).
        mated_subject: shape (m,).
        subjects: how many there are in all.
        keep_fmr: see `KEEP_FMR`.
        block: shape (subjects,); pairs of people of two blocks are left out. None: all are of one.
    """
    within = np.zeros(subjects, np.intp) if block is None else block
    compared = within[probe_subject][:, None] == within[template_subject][None, :]
    compared &= probe_subject[:, None] != template_subject[None, :]
    flat = np.where(compared, table, -np.inf).ravel()
    keep = min(int(np.isfinite(flat).sum()), int(np.ceil(flat.size * keep_fmr)) + 1)
    chosen = np.argpartition(-flat, keep - 1)[:keep]
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")]
    mated = np.asarray(mated_scores, dtype=np.float64)
    order = np.argsort(mated, kind="stable")
    return Trials(
        mated_scores=mated[order],
        mated_subject=mated_subject[order],
        top_scores=flat[chosen].astype(np.float64),
        top_probe=probe_subject[chosen // table.shape[1]],
        top_template=template_subject[chosen % table.shape[1]],
        probes=np.bincount(probe_subject, minlength=subjects).astype(np.float64),
        templates=np.bincount(template_subject, minlength=subjects).astype(np.float64),
        block=within,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A rate of several kinds: as measured, and in each resample, the same people for all kinds."""

    measured: dict[str, float]
    drawn: dict[str, Floats]

    def estimate(self, kind: str) -> Estimate:
        """A kind's rate."""
        return _estimate(self.measured[kind], self.drawn[kind])

    def ratio(self, kind: str, to: str) -> Estimate:
        """How many times a kind's rate is another's; a resample in which the other is 0 counts as infinitely many."""
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = self.drawn[kind] / self.drawn[to]
            measured = np.float64(self.measured[kind]) / np.float64(self.measured[to])
        return _estimate(float(measured), drawn[~np.isnan(drawn)])


def _estimate(value: float, drawn: Floats) -> Estimate:
    # Not interpolated: between a number and infinity there is no mean.
    low, high = np.quantile(drawn, [0.025, 0.975], method="closest_observation")
    return Estimate(value, Interval(float(low), float(high)))


def fnmr_at_equal_fmr(
    kinds: Mapping[str, Trials], fmr: float, rng: np.random.Generator, replicates: int = REPLICATES
) -> Resampled:
    """FNMR of every kind at the threshold that gives it this FMR.

    Args:
        kinds: all of the same subjects.
        fmr: in (0, 1), far below `KEEP_FMR`.
        rng: draws the subjects of each resample.
        replicates: resamples.
    """
    subjects = next(iter(kinds.values())).probes.size
    draws = list(subject_resamples(subjects, rng, replicates))
    return Resampled(
        {name: kind.fnmr(fmr, np.ones(subjects)) for name, kind in kinds.items()},
        {name: np.array([kind.fnmr(fmr, weights) for weights in draws]) for name, kind in kinds.items()},
    )


def fmr_at(
    kinds: Mapping[str, Trials],
    thresholds: Mapping[str, float],
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> Resampled:
    """FMR of every kind at a threshold of its own."""
    subjects = next(iter(kinds.values())).probes.size
    draws = list(subject_resamples(subjects, rng, replicates))
    return Resampled(
        {name: kind.fmr(thresholds[name], np.ones(subjects)) for name, kind in kinds.items()},
        {name: np.array([kind.fmr(thresholds[name], weights) for weights in draws]) for name, kind in kinds.items()},
    )
