"""Whether a search finds strangers as often as its threshold says, in galleries of 100, 1,000 and 5,000.

The protocol was written down before anything was measured. 100 times a random half of LFW's subjects calibrates, and
the threshold is taken for FPIR 1e-2 at the gallery's size. Of the other half so many subjects are enrolled, with one
random picture each, and the pictures of those that remain are the probes: none of them is enrolled, and none took part
in calibrating. The realised FPIR is the share of probes that find somebody; what is told is its mean over the splits,
over the target, and the middle 95 % of the splits.

For 5,000 LFW has too few: 1,000 of its subjects are enrolled, and 4,000 synthetic distractors. They are made of the
calibrating half, each from one picture of two people, blended in a random proportion and brought to length 1. Of what
was tried (normal draws of the same covariance, people with some of that around them, blends of two or three) their
scores with real probes have the tail that is closest to that of real strangers; it is told beside. Half of LFW measures
searches of up to 746 subjects, so that the thresholds of 1,000 and of 5,000 come from the bound for larger galleries.

Beside the stated threshold stand two others: of single comparisons alone, without a measured search, and of the
straight line through the FMR of 1e-3 to 1e-5, extrapolated. Wrong labels of LFW (one person under two names) are left
in everywhere; at 5,000 they are most of what the stated threshold rests on, and the line does not see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import Indices, LabelledFaces, faces
from benchmarks.decisions.plan import Plan, Story
from tessera.domain.calibration import Calibration, Threshold
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.fitting import Provenance, calibrate_embeddings
from tessera.domain.ids import CalibrationId

TARGET = 1e-2
FACTOR = 1.5
SPLITS = 100
REAL_AT_MOST = 1000
SIZES = (100, 1000, 5000)
TAIL = (1e-2, 1e-3, 1e-4, 1e-5)
"""FMR of real strangers at which synthetic ones are compared with them."""
TAILS = 10
"""Splits of which that is told."""

STATED, COMPARISONS, LINE = "stated", "by single comparisons", "by an extrapolated line"
SOURCES = (STATED, COMPARISONS, LINE)
"""Where a threshold comes from."""


@dataclass(frozen=True, slots=True)
class Half:
    """Some of the subjects."""

    vectors: Vectors
    subjects: Indices
    """Shape (n,): of each row, the data set's own numbers."""

    def one_of_each(self, rng: np.random.Generator) -> tuple[Vectors, Indices]:
        """A random picture of each subject, and who that is."""
        order = rng.permutation(self.subjects.size)
        who, at = np.unique(self.subjects[order], return_index=True)
        return self.vectors[order[at]], who


def halves(people: LabelledFaces, rng: np.random.Generator) -> tuple[Half, Half]:
    """All pictures of each half of the subjects."""
    subjects = int(people.subjects.max()) + 1
    chosen = np.zeros(subjects, np.bool_)
    chosen[rng.permutation(subjects)[: subjects // 2]] = True
    own = chosen[people.subjects]
    return Half(people.vectors[own], people.subjects[own]), Half(people.vectors[~own], people.subjects[~own])


def blends(of: Half, count: int, rng: np.random.Generator) -> Vectors:
    """People that do not exist: two of those that do, in a random proportion."""
    pictures, _ = of.one_of_each(rng)
    pairs = np.array([rng.choice(len(pictures), 2, replace=False) for _ in range(count)])
    share = rng.random((count, 1), np.float32)
    blended = share * pictures[pairs[:, 0]] + (1 - share) * pictures[pairs[:, 1]]
    return np.asarray(blended / np.linalg.norm(blended, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Gallery:
    """The best score of each probe that is not enrolled."""

    best: npt.NDArray[np.float32]

    def finds(self, threshold: float) -> float:
        """FPIR: the share of probes that find somebody."""
        return float((self.best >= threshold).mean())


def draw(others: Half, distractors: Vectors, size: int, rng: np.random.Generator) -> Gallery:
    """So many subjects enrolled, filled up with distractors; all pictures of the remaining subjects are probes."""
    pictures, who = others.one_of_each(rng)
    enrolled = rng.choice(who.size, min(size, REAL_AT_MOST), replace=False)
    gallery = np.concatenate([pictures[enrolled], distractors[: size - enrolled.size]])
    probes = others.vectors[~np.isin(others.subjects, who[enrolled])]
    return Gallery((probes @ gallery.T).max(axis=1))


def tail(others: Half, distractors: Vectors, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """How much more often probes reach distractors than real strangers, at the scores of some FMR of these."""
    pictures, who = others.one_of_each(rng)
    strangers = (others.vectors @ pictures.T)[others.subjects[:, None] != who[None, :]]
    reached = np.sort((others.vectors @ distractors.T).ravel())
    scores = np.quantile(strangers, 1.0 - np.array(TAIL))
    return np.asarray((1.0 - np.searchsorted(reached, scores) / reached.size) / np.array(TAIL), dtype=np.float64)


def calibrate(own: Half, people: LabelledFaces) -> Calibration:
    """What half of the subjects say."""
    provenance = Provenance(CalibrationId("half"), people.model_id, Modality.FACE, "2026-11-22", "half of LFW", "")
    return calibrate_embeddings(own.vectors, own.subjects, provenance)


def along_the_line(calibration: Calibration) -> Calibration:
    """The same, as if nothing stricter than FMR 1e-5 had been measured: what lies beyond is extrapolated."""
    points = tuple(point for point in calibration.points if point.fmr >= 1e-5)
    return replace(calibration, points=points, searches=(), data=replace(calibration.data, non_mated=300_000))


def fpir(plan: Plan) -> Story:
    """Realised FPIR over the target, by size of the gallery and by where the threshold comes from."""
    people, story, rng = faces(), Story(), plan.rng()
    splits = plan.count(SPLITS, 6)
    found: dict[tuple[int, str], list[float]] = {(size, source): [] for size in SIZES for source in SOURCES}
    stated: dict[int, list[Threshold]] = {size: [] for size in SIZES}
    tails: list[npt.NDArray[np.float64]] = []
    for split in range(splits):
        own, others = halves(people, rng)
        calibration, distractors = calibrate(own, people), blends(own, max(SIZES) - REAL_AT_MOST, rng)
        if split < TAILS:
            tails.append(tail(others, distractors, rng))
        for size in SIZES:
            thresholds = {
                STATED: calibration.threshold_for_fpir(TARGET, size),
                COMPARISONS: replace(calibration, searches=()).threshold_for_fpir(TARGET, size),
                LINE: along_the_line(calibration).threshold_for_fpir(TARGET, size, allow_extrapolation=True),
            }
            stated[size].append(thresholds[STATED])
            gallery = draw(others, distractors, size, rng)
            for source, threshold in thresholds.items():
                found[size, source].append(gallery.finds(threshold.score) / TARGET)
    for size in SIZES:
        _tell(story, size, {source: np.array(found[size, source]) for source in SOURCES}, stated[size])
    for rate, ratio in zip(TAIL, np.mean(tails, axis=0), strict=True):
        story.add(f"fpir: synthetic distractors reached over real strangers, at FMR {rate:.0e}", float(ratio), "ratio")
    return story


def _tell(story: Story, size: int, ratios: Mapping[str, npt.NDArray[np.float64]], stated: Sequence[Threshold]) -> None:
    made = "" if size <= REAL_AT_MOST else f" ({size - REAL_AT_MOST:,} synthetic)"
    name, mean = f"fpir: {size:,} enrolled{made}", float(ratios[STATED].mean())
    holds = 1 / FACTOR <= mean <= FACTOR
    story.add(f"{name}, realised over target", mean, "ratio", f"within a factor of {FACTOR}", holds=holds)
    # The splits share people: an error as if they did not would be too small, so what is told is their spread.
    for at, value in zip(("2.5 %", "median", "97.5 %"), np.quantile(ratios[STATED], [0.025, 0.5, 0.975]), strict=True):
        story.add(f"{name}, {at} of the splits", float(value), "ratio")
    intervals = [threshold.fpir_interval for threshold in stated if threshold.fpir_interval]
    story.add(f"{name}, stated interval, low", float(np.median([i.low for i in intervals])) / TARGET, "ratio, median")
    story.add(f"{name}, stated interval, high", float(np.median([i.high for i in intervals])) / TARGET, "ratio, median")
    story.add(f"{name}, spread of the threshold", float(np.std([t.score for t in stated])), "standard deviation")
    for source in (COMPARISONS, LINE):
        story.add(f"{name}, {source}", float(ratios[source].mean()), "ratio")
