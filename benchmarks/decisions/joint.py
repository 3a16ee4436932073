"""What two modalities are worth together, and whether the stated FMR of their sum is kept.

There is no data set with two modalities of the same people here, so that the people are synthetic and their overlap is
set: each has a centre in each modality, drawn alone of everybody else's, and samples that lie around it; how far, was
chosen once so that a face is missed one time in ten at FMR 1e-3 and a signature one time in four. Scores are cosines
in 64 dimensions. What this shows is how the rule behaves where its assumption holds, and where it is broken; it says
nothing of how real faces and signatures err.

Ten times: 600 people calibrate both modalities, as a deployment would (`calibrate_embeddings`), and the threshold of
the sum is taken from the two tables alone (`joint_threshold`). 500 other people are judged: one template and two probes
each, every probe claimed as everybody. Nothing of the judged people, and no joint data, went into a threshold. Then
four times the same with people whose centres in the two modalities hang together, which breaks what the stated FMR
assumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.decisions.plan import Plan, Story
from benchmarks.decisions.trials import Floats, Indices
from tessera.domain.calibration import Calibration
from tessera.domain.dependence import student_quantile
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.fitting import Provenance, calibrate_embeddings
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.joint import JointThreshold, Piece, ScoreEvidence, evidence_of, joint_threshold

DIMENSIONS = 64
NOISE = {Modality.FACE: 1.0, Modality.SIGNATURE: 1.12}
"""Of a sample, against the spread of the centres."""
WORLDS = 10
TIED_WORLDS = 4
CALIBRATING, JUDGED = 600, 500
SAMPLES = 3
TARGETS = (1e-3, 1e-4)
TIED = (0.3, 0.6)
"""Correlation of a person's centres in the two modalities, where independence is broken."""

FACE, SIGNATURE, JOINT, BOUND = "face alone", "signature alone", "together", "together, threshold log(1 / FMR)"


@dataclass(frozen=True, slots=True)
class People:
    """Samples of the same people in both modalities, person by person."""

    vectors: dict[Modality, Vectors]
    subjects: Indices


@dataclass(frozen=True, slots=True)
class Claims:
    """The evidence of every claim: probes in rows, claimed people in columns."""

    llrs: dict[Modality, Floats]
    owner: Indices
    """Shape (probes,): whose each is."""

    @property
    def mated(self) -> tuple[Indices, Indices]:
        """Where the mated claims are."""
        return np.arange(self.owner.size), self.owner

    def rates(self, evidence: Floats, threshold: float) -> tuple[float, float]:
        """(FMR, FNMR) of deciding by this evidence."""
        reached = evidence >= threshold
        own = reached[self.mated]
        others = reached.size - own.size
        return float(reached.sum() - own.sum()) / others, 1.0 - float(own.mean())


def draw(count: int, tied: float, rng: np.random.Generator) -> People:
    """So many people, with the correlation of their centres."""
    face = rng.normal(size=(count, 1, DIMENSIONS))
    centres = {
        Modality.FACE: face,
        Modality.SIGNATURE: tied * face + math.sqrt(1.0 - tied**2) * rng.normal(size=(count, 1, DIMENSIONS)),
    }
    vectors = {name: _samples(centre, NOISE[name], rng) for name, centre in centres.items()}
    return People(vectors, np.repeat(np.arange(count), SAMPLES))


def _samples(centres: Floats, noise: float, rng: np.random.Generator) -> Vectors:
    drawn = centres + noise * rng.normal(size=(len(centres), SAMPLES, DIMENSIONS))
    rows = drawn.reshape(-1, DIMENSIONS)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def calibrate(people: People, modality: Modality) -> Calibration:
    """One modality by itself, as a deployment does it."""
    model_id = ModelId(f"{modality.lower()}-synthetic@0")
    provenance = Provenance(CalibrationId(modality.lower()), model_id, modality, "2026-11-22", "synthetic", "0" * 64)
    return calibrate_embeddings(people.vectors[modality], people.subjects, provenance)


def claims(people: People, evidence: dict[Modality, ScoreEvidence]) -> Claims:
    """Every probe against everybody's template, which is each person's first sample."""
    is_template = np.arange(people.subjects.size) % SAMPLES == 0
    llrs: dict[Modality, Floats] = {}
    for modality, scored in evidence.items():
        vectors = people.vectors[modality]
        scores = (vectors[~is_template] @ vectors[is_template].T).astype(np.float64)
        llrs[modality] = scored.llrs[np.searchsorted(scored.edges, scores, side="right")]
    return Claims(llrs, people.subjects[~is_template])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one world says of one target."""

    fmr: dict[str, float]
    fnmr: dict[str, float]
    threshold: JointThreshold


def world(tied: float, rng: np.random.Generator) -> dict[float, Outcome]:
    """Calibrate on some, judge others, at each target."""
    calibrating, judged = draw(CALIBRATING, tied, rng), draw(JUDGED, tied, rng)
    evidence = {modality: evidence_of(calibrate(calibrating, modality)) for modality in NOISE}
    made = claims(judged, evidence)
    return {target: _judged(made, evidence, target) for target in TARGETS}


def _judged(made: Claims, evidence: dict[Modality, ScoreEvidence], target: float) -> Outcome:
    face, signature = (Piece(evidence[modality]) for modality in (Modality.FACE, Modality.SIGNATURE))
    together = joint_threshold([face, signature], target)
    total = made.llrs[Modality.FACE] + made.llrs[Modality.SIGNATURE]
    rates = {
        FACE: made.rates(made.llrs[Modality.FACE], joint_threshold([face], target).llr),
        SIGNATURE: made.rates(made.llrs[Modality.SIGNATURE], joint_threshold([signature], target).llr),
        JOINT: made.rates(total, together.llr),
        BOUND: made.rates(total, -math.log(target)),
    }
    return Outcome(
        {name: fmr for name, (fmr, _) in rates.items()}, {name: fnmr for name, (_, fnmr) in rates.items()}, together
    )


def joint(plan: Plan) -> Story:
    """FNMR of each modality alone and of both, and realised against stated FMR."""
    story, rng, count = Story(), plan.rng(), plan.count(WORLDS, 2)
    apart = [world(0.0, rng) for _ in range(count)]
    for target in TARGETS:
        for name in (FACE, SIGNATURE, JOINT, BOUND):
            _tell(story, f"{name}: FNMR at FMR {target:g}", [one[target].fnmr[name] for one in apart], "share")
        for name in (JOINT, BOUND):
            of_target = [one[target].fmr[name] / target for one in apart]
            _tell(story, f"{name}: realised FMR / {target:g}", of_target, "times", 1.0 if name == JOINT else None)
    for tied in TIED:
        worlds = [world(tied, rng) for _ in range(plan.count(TIED_WORLDS, 2))]
        for target in TARGETS:
            name = f"{JOINT}, centres correlated {tied:g}: realised FMR / {target:g}"
            _tell(story, name, [one[target].fmr[JOINT] / target for one in worlds], "times")
            kept = all(one[target].fmr[JOINT] <= one[target].threshold.fmr_any_dependence for one in worlds)
            bound = float(np.mean([one[target].threshold.fmr_any_dependence / target for one in worlds]))
            told = f"{JOINT}, centres correlated {tied:g}: bound for any dependence / {target:g}"
            story.add(told, bound, "times", "above every realised FMR", kept)
    story.note(
        f"Synthetic people: {count} worlds, {CALIBRATING} calibrate and {JUDGED} others are judged "
        f"({2 * JUDGED * (JUDGED - 1):,} non-mated claims each). Intervals: 95 %, of the mean over worlds."
    )
    return story


def _tell(story: Story, name: str, drawn: list[float], unit: str, at_most: float | None = None) -> None:
    """A mean over worlds, which are drawn apart, with Student's interval; `at_most` must not lie below it."""
    mean, error = float(np.mean(drawn)), float(np.std(drawn, ddof=1)) / math.sqrt(len(drawn))
    wide = student_quantile(len(drawn) - 1) * error
    if at_most is None:
        story.add(name, mean, unit)
    else:
        story.add(name, mean, unit, f"at most {at_most:g}, but for the interval", mean - wide <= at_most)
    story.add(f"{name}, 95 % low", max(0.0, mean - wide), unit)
    story.add(f"{name}, 95 % high", mean + wide, unit)
