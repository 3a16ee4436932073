"""Several templates of one subject: how the FMR of the best of k grows with k, and which way of joining them is best.

The first question decides the threshold of a claim against k templates: the law 1 - (1 - FMR)^k is right where the
templates err independently, and on the safe side where they are alike. It is answered over every choice of k of a
person's templates at once, with no drawing. The second compares ways of joining at equal FMR.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import ENCODER, LabelledFaces, faces
from benchmarks.decisions.plan import SEED, Plan, Story
from benchmarks.decisions.trials import REPLICATES, Floats, Indices, Trials, fmr_at, fnmr_at_equal_fmr, trials
from siamese_lab.verification import Estimate
from tessera.domain.artifact import load_calibration_for
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import Interval, fmr_for_fpir
from tessera.domain.fusion import ScoreFusion, TrainedScoreFusion, fit_score_fusion, join_scores
from tessera.domain.measurement import subject_resamples

MOST = 8
FMRS = (1e-3, 1e-4)
JOINED = (2, 3, 5)
SINGLE, BEST, MEAN, EMBEDDING, TRAINED = "one template", "best score", "mean score", "mean embedding", "trained weights"


def templates(plan: Plan) -> Story:
    """FMR of the best of k at one threshold, and FNMR of every way of joining k templates at equal FMR."""
    lfw, story, replicates = faces(), Story(), plan.count(REPLICATES, 20)
    for fmr in (1e-2, *FMRS):
        _tell_growth(story, lfw, MOST, fmr, replicates)
    _tell_growth(story, lfw, MOST // 2, 1e-3, replicates)
    for k in JOINED:
        _tell_joined(story, lfw, k, replicates)
    return story


def shipped_threshold(fmr: float) -> float:
    """What the shipped calibration gives for one comparison."""
    calibration = load_calibration_for(ENCODER)
    assert calibration is not None
    return calibration.threshold_for_fmr(fmr).score


# ---- how the FMR grows


def chance_of_best(reached: Indices, have: int, k: int) -> Floats:
    """How often the best of k templates matches, over every choice of k of the `have` that there are.

    Args:
        reached: of any shape, how many of the `have` templates match.
        have: templates of the subject.
        k: 1 to `have`.

    Returns:
        1 - C(have - reached, k) / C(have, k), of the same shape.
    """
    missed = np.array([math.comb(have - m, k) / math.comb(have, k) for m in range(have + 1)])
    return np.asarray(1.0 - missed[reached], dtype=np.float64)


def _tell_growth(story: Story, lfw: LabelledFaces, most: int, fmr: float, replicates: int) -> None:
    threshold = shipped_threshold(fmr)
    targets = _people_with(lfw, most)
    people = int(lfw.subjects.max()) + 1
    rng = np.random.default_rng(SEED)
    by_person = np.zeros((most, people, targets.size))
    for column, target in enumerate(targets):
        own = rng.permutation(np.flatnonzero(lfw.subjects == target))[:most]
        reached = (lfw.vectors @ lfw.vectors[own].T >= threshold).sum(axis=1)
        reached[lfw.subjects == target] = 0
        for k in range(1, most + 1):
            chance = chance_of_best(reached, most, k)
            by_person[k - 1, :, column] = np.bincount(lfw.subjects, chance, people)
    pictures = np.bincount(lfw.subjects, minlength=people).astype(np.float64)
    draws = [np.ones(people), *subject_resamples(people, rng, replicates)]
    rates = np.array([_growth_rates(by_person, pictures, targets, weights) for weights in draws])
    name = f"{targets.size} people with {most} templates, threshold of FMR {fmr:g}"
    for k in range(1, most + 1):
        _tell(story, f"{name}: FMR of the best of {k}", _estimate(rates[:, k - 1]), "share")
    for k in range(2, most + 1):
        alone, law = rates[:, 0], -np.expm1(k * np.log1p(-rates[:, 0]))
        with np.errstate(invalid="ignore", divide="ignore"):
            _tell(story, f"{name}: FMR of the best of {k} / of one", _estimate(rates[:, k - 1] / alone), "times")
            _tell(story, f"{name}: FMR of the best of {k} / the law", _estimate(rates[:, k - 1] / law), "times")


def _growth_rates(by_person: Floats, pictures: Floats, targets: Indices, weights: Floats) -> Floats:
    own = weights[targets]
    comparisons = (weights @ pictures) * own.sum() - (own * own * pictures[targets]).sum()
    return np.asarray(weights @ by_person @ own / comparisons, dtype=np.float64)


def _people_with(lfw: LabelledFaces, pictures: int) -> Indices:
    return np.flatnonzero(np.bincount(lfw.subjects) >= pictures)


def _estimate(drawn: Floats) -> Estimate:
    told = drawn[1:][~np.isnan(drawn[1:])]
    low, high = np.quantile(told, [0.025, 0.975])
    return Estimate(float(drawn[0]), Interval(float(low), float(high)))


# ---- which way of joining is best


class Claims:
    """Everybody with k + 1 pictures or more as a claimed subject: k templates for others' claims, k others for own.

    People are in two blocks and only compared within them, so that weights that were fitted on one block are judged on
    the other, and every other way of joining on the very same comparisons.
    """

    def __init__(self, lfw: LabelledFaces, k: int) -> None:
        rng = np.random.default_rng(SEED + k)
        self.k = k
        self.lfw = lfw
        self.people = int(lfw.subjects.max()) + 1
        self.targets = _people_with(lfw, k + 1)
        self.block = np.zeros(self.people, np.intp)
        self.block[rng.permutation(self.people)[: self.people // 2]] = 1
        own = [rng.permutation(np.flatnonzero(lfw.subjects == target)) for target in self.targets]
        enrolled = np.stack([pictures[:k] for pictures in own])
        self.templates = lfw.vectors[enrolled]
        self.scores = np.stack([lfw.vectors @ templates.T for templates in self.templates], axis=1)
        probes, against, claimed = [], [], []
        for target, pictures in zip(self.targets, own, strict=True):
            for at, probe in enumerate(pictures):
                probes.append(probe)
                against.append(rng.choice(np.delete(pictures, at), k, replace=False))
                claimed.append(target)
        self.mated_templates = lfw.vectors[np.array(against)]
        self.mated_probes = lfw.vectors[np.array(probes)]
        self.mated_subject = np.array(claimed, np.intp)
        self.mated_scores = np.einsum("nd,nkd->nk", self.mated_probes, self.mated_templates)

    def made(self, table: npt.NDArray[np.floating], mated: npt.NDArray[np.floating]) -> Trials:
        """One kind of score."""
        return trials(
            table,
            probe_subject=self.lfw.subjects,
            template_subject=self.targets,
            mated_scores=mated,
            mated_subject=self.mated_subject,
            subjects=self.people,
            keep_fmr=0.02,
            block=self.block,
        )

    def joined(self, how: ScoreFusion) -> Trials:
        """Scores joined without training."""
        return self.made(join_scores(self.scores, how), join_scores(self.mated_scores, how))

    def mean_embedding(self) -> Trials:
        """One template, the mean of all."""
        table = self.lfw.vectors @ _mean(self.templates).T
        return self.made(table, np.einsum("nd,nd->n", self.mated_probes, _mean(self.mated_templates)))

    def trained(self) -> Trials:
        """Weights over sorted scores, each block by those of the other."""
        table, mated = np.full(self.scores.shape[:2], -np.inf), np.zeros(self.mated_subject.size)
        for block in (0, 1):
            fitted = self._fit(1 - block)
            rows, columns = self.block[self.lfw.subjects] == block, self.block[self.targets] == block
            part = self.scores[np.ix_(rows, columns)]
            table[np.ix_(rows, columns)] = fitted.llr(part.reshape(-1, self.k)).reshape(part.shape[:2])
            own = self.block[self.mated_subject] == block
            mated[own] = fitted.llr(self.mated_scores[own])
        return self.made(table, mated)

    def _fit(self, block: int) -> TrainedScoreFusion:
        rows, columns = self.block[self.lfw.subjects] == block, self.block[self.targets] == block
        strangers = self.lfw.subjects[rows][:, None] != self.targets[columns][None, :]
        non_mated = self.scores[np.ix_(rows, columns)][strangers]
        mated = self.mated_scores[self.block[self.mated_subject] == block]
        return fit_score_fusion(mated, non_mated, FMRS[0])


def _mean(several: Vectors) -> Vectors:
    summed = several.sum(axis=1)
    means: Vectors = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return means


def _tell_joined(story: Story, lfw: LabelledFaces, k: int, replicates: int) -> None:
    claims = Claims(lfw, k)
    kinds = {
        SINGLE: claims.made(claims.scores[..., 0], claims.mated_scores[:, 0]),
        BEST: claims.joined(ScoreFusion.MAX),
        MEAN: claims.joined(ScoreFusion.MEAN),
        EMBEDDING: claims.mean_embedding(),
        TRAINED: claims.trained(),
    }
    name = f"{k} templates, {claims.targets.size} people"
    for fmr in FMRS:
        told = fnmr_at_equal_fmr(kinds, fmr, np.random.default_rng(SEED), replicates)
        for kind in kinds:
            _tell(story, f"{name}; {kind}: FNMR at FMR {fmr:g}", told.estimate(kind), "share")
        for kind in (MEAN, EMBEDDING, TRAINED):
            _tell(story, f"{name}; {BEST} / {kind}: FNMR at FMR {fmr:g}", told.ratio(BEST, kind), "times")
    for fmr in FMRS:
        one, law = shipped_threshold(fmr), shipped_threshold(fmr_for_fpir(fmr, k))
        told = fmr_at(
            {**kinds, "by the law": kinds[BEST]},
            {SINGLE: one, BEST: one, MEAN: one, EMBEDDING: one, TRAINED: np.inf, "by the law": law},
            np.random.default_rng(SEED),
            replicates,
        )
        for kind in (SINGLE, BEST, MEAN, EMBEDDING):
            _tell(story, f"{name}; {kind}: FMR at the shipped threshold of FMR {fmr:g}", told.estimate(kind), "share")
        _tell(story, f"{name}; {BEST}: FMR at the law's threshold of FMR {fmr:g}", told.estimate("by the law"), "share")
        missed = float(np.mean(kinds[BEST].mated_scores < law))
        story.add(f"{name}; {BEST}: FNMR at the law's threshold of FMR {fmr:g}", missed, "share")


def _tell(story: Story, name: str, estimate: Estimate, unit: str) -> None:
    ends = {name: estimate.value, f"{name}, 95 % low": estimate.interval.low}
    for what, value in {**ends, f"{name}, 95 % high": estimate.interval.high}.items():
        # JSON has no infinity: nobody was missed by what is compared with.
        story.add(what, value if math.isfinite(value) else "infinite", unit)
