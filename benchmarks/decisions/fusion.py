"""What joining the frames of a tracklet is worth, at equal FMR: means, the best frame, joined scores, single frames.

The threshold of each kind is set on non-mated comparisons of that kind: a sequence of one person, joined in that way,
against one picture of everybody else in LFW. FNMR counts frames in which a face was found; how many have none is told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import ENCODER, LabelledFaces, faces
from benchmarks.decisions.plan import SEED, Plan, Story
from benchmarks.decisions.sequences import (
    CLIP_SEVERITY,
    DegradedSequence,
    EmbeddedFrames,
    Kind,
    clip_people,
    embedded_sequences,
    plan_sequences,
)
from benchmarks.decisions.trials import REPLICATES, Indices, Trials, fmr_at, fnmr_at_equal_fmr, trials
from siamese_lab.degradation import Severity
from siamese_lab.verification import Estimate
from tessera.domain.artifact import load_calibration_for
from tessera.domain.embedding import Embedding, Vector, Vectors
from tessera.domain.fusion import FrameFusion, ScoreFusion, join_frames, join_scores
from tessera.domain.ids import ModelId

FMRS = (1e-3, 1e-4)
ASKED_RATIO = 2.0
SINGLE = "single frames"
CHOSEN = "quality-weighted mean"

PROBES = {
    CHOSEN: FrameFusion.QUALITY_WEIGHTED_MEAN,
    "plain mean": FrameFusion.MEAN,
    "median embedding": FrameFusion.MEDIAN,
    "best frame": FrameFusion.BEST_FRAME,
}
SCORES = {"mean score": ScoreFusion.MEAN, "highest score": ScoreFusion.MAX, "median score": ScoreFusion.MEDIAN}

Table = npt.NDArray[np.floating]


class Sequences:
    """Every sequence, compared with its own person's enrolled picture and with one picture of everybody else."""

    def __init__(self, lfw: LabelledFaces, planned: Sequence[DegradedSequence], frames: EmbeddedFrames) -> None:
        self.planned = planned
        self.frames = frames
        self.model_id = lfw.model_id
        index = {name: at for at, name in enumerate(lfw.names)}
        person = dict(zip(lfw.people, lfw.subjects.tolist(), strict=True))
        self.people = len(set(lfw.people))
        self.owner = np.array([person[one.person] for one in planned], np.intp)
        self.enrolled = lfw.vectors[[index[one.enrolled] for one in planned]]
        first = {int(subject): at for at, subject in reversed(list(enumerate(lfw.subjects)))}
        first |= {person[one.person]: index[one.enrolled] for one in reversed(planned)}
        self.gallery = lfw.vectors[[first[subject] for subject in range(self.people)]]

    def rows(self, sequence: int, most: int | None = None) -> Indices:
        """The frames of a sequence in which a face was found; of its first frames alone where `most` is given."""
        own = np.flatnonzero(self.frames.sequence == sequence)[:most]
        return own[self.frames.found[own]]

    def of(self, kind: Kind, severity: Severity | None = None) -> Indices:
        """The sequences of a kind, of every severity or of one."""
        return np.array(
            [at for at, one in enumerate(self.planned) if one.kind is kind and severity in {None, one.severity}],
            np.intp,
        )

    def with_faces(self, sequences: Indices, most: int | None = None) -> Indices:
        """Those that have a face in at least one frame, or in one of their first frames."""
        return np.array([at for at in sequences if self.rows(at, most).size], np.intp)

    def probe(self, rows: Indices, how: FrameFusion) -> Vector:
        """Frames joined into one probe."""
        joined = [Embedding(self.frames.vectors[row], self.model_id) for row in rows]
        return join_frames(joined, self.frames.quality[rows], how).vector

    def probes(self, chosen: Indices, how: FrameFusion, most: int | None = None) -> Trials:
        """One probe a sequence."""
        vectors = np.stack([self.probe(self.rows(at, most), how) for at in chosen])
        mated = np.einsum("nd,nd->n", vectors, self.enrolled[chosen])
        return self._trials(vectors @ self.gallery.T, self.owner[chosen], mated)

    def single(self, chosen: Indices) -> Trials:
        """Every frame a probe of its own."""
        rows = [self.rows(at) for at in chosen]
        at = np.repeat(chosen, [part.size for part in rows])
        vectors = self.frames.vectors[np.concatenate(rows)]
        mated = np.einsum("nd,nd->n", vectors, self.enrolled[at])
        return self._trials(vectors @ self.gallery.T, self.owner[at], mated)

    def scores(self, chosen: Indices, how: ScoreFusion) -> Trials:
        """One joined score a sequence and template."""
        table, mated = [], []
        for at in chosen:
            vectors = self.frames.vectors[self.rows(at)]
            table.append(join_scores(self.gallery @ vectors.T, how).astype(np.float32))
            mated.append(float(join_scores(vectors @ self.enrolled[at], how)))
        return self._trials(np.stack(table), self.owner[chosen], np.array(mated))

    def _trials(self, table: Table, owner: Indices, mated: npt.NDArray[np.floating]) -> Trials:
        return trials(
            table,
            probe_subject=owner,
            template_subject=np.arange(self.people),
            mated_scores=mated,
            mated_subject=owner,
            subjects=self.people,
        )

    def kinds(self, chosen: Indices) -> dict[str, Trials]:
        """Every way of joining."""
        made = {SINGLE: self.single(chosen)}
        made |= {name: self.probes(chosen, how) for name, how in PROBES.items()}
        return made | {name: self.scores(chosen, how) for name, how in SCORES.items()}


def fusion(plan: Plan) -> Story:
    """FNMR of every way of joining frames at equal FMR; bar: the quality-weighted mean halves that of single frames."""
    lfw, replicates = faces(), plan.count(REPLICATES, 20)
    planned = plan_sequences(lfw)
    world = Sequences(lfw, planned, embedded_sequences(lfw, planned))
    story = Story()
    several = world.with_faces(world.of(Kind.SEVERAL_PICTURES))
    kinds = world.kinds(several)
    _tell_kinds(story, kinds, replicates)
    _tell_lengths(story, world, several, replicates)
    _tell_parts(story, world, replicates)
    _tell_shipped_threshold(story, kinds, replicates)
    _tell_clips(story, world, {name: kind.threshold(FMRS[0]) for name, kind in kinds.items()})
    people = {one.person for one in planned}
    story.note(
        f"Sequences: {len(planned)} of {len(people)} people with 4 or more pictures, {len(world.frames.found)} frames; "
        f"per kind up to {several.size} sequences x {world.people - 1} other people."
    )
    return story


def _tell_kinds(story: Story, kinds: dict[str, Trials], replicates: int) -> None:
    for fmr in FMRS:
        told = fnmr_at_equal_fmr(kinds, fmr, np.random.default_rng(SEED), replicates)
        for name in kinds:
            _tell(story, f"{name}: FNMR at FMR {fmr:g}", told.estimate(name), "share")
        for name in (name for name in kinds if name != SINGLE):
            asked = ASKED_RATIO if name == CHOSEN else None
            _tell(story, f"{SINGLE} / {name}: FNMR at FMR {fmr:g}", told.ratio(SINGLE, name), "times", asked)
        _tell(story, f"best frame / {CHOSEN}: FNMR at FMR {fmr:g}", told.ratio("best frame", CHOSEN), "times")
        _tell(story, f"plain mean / {CHOSEN}: FNMR at FMR {fmr:g}", told.ratio("plain mean", CHOSEN), "times")


def _tell_lengths(story: Story, world: Sequences, chosen: Indices, replicates: int) -> None:
    for most in (1, 2, 3, 5):
        seen = world.with_faces(chosen, most)
        kind = {str(most): world.probes(seen, FrameFusion.QUALITY_WEIGHTED_MEAN, most)}
        told = fnmr_at_equal_fmr(kind, FMRS[0], np.random.default_rng(SEED), replicates)
        _tell(story, f"{CHOSEN} of the first {most}: FNMR at FMR {FMRS[0]:g}", told.estimate(str(most)), "share")


def _tell_parts(story: Story, world: Sequences, replicates: int) -> None:
    """Each severity with thresholds of its own, and sequences of one picture."""
    parts = [(Kind.SEVERAL_PICTURES, severity) for severity in Severity] + [(Kind.ONE_PICTURE, Severity.MODERATE)]
    for kind, severity in parts:
        name = f"{severity.lower()}, {kind}"
        wanted = world.of(kind, severity)
        chosen = world.with_faces(wanted)
        made = {SINGLE: world.single(chosen), CHOSEN: world.probes(chosen, FrameFusion.QUALITY_WEIGHTED_MEAN)}
        for fmr in FMRS:
            told = fnmr_at_equal_fmr(made, fmr, np.random.default_rng(SEED), replicates)
            for what in made:
                _tell(story, f"{name}; {what}: FNMR at FMR {fmr:g}", told.estimate(what), "share")
            _tell(story, f"{name}; {SINGLE} / {CHOSEN}: FNMR at FMR {fmr:g}", told.ratio(SINGLE, CHOSEN), "times")
        found = world.frames.found[np.isin(world.frames.sequence, wanted)]
        story.add(f"{name}: frames without a face", float(1 - found.mean()), "share")
        story.add(f"{name}: sequences without any face", wanted.size - chosen.size, f"of {wanted.size}")


def _tell_shipped_threshold(story: Story, kinds: dict[str, Trials], replicates: int) -> None:
    """What FMR each kind really has at the threshold of one comparison of two good pictures."""
    calibration = load_calibration_for(ENCODER)
    assert calibration is not None
    shipped = calibration.threshold_for_fmr(FMRS[0]).score
    told = fmr_at(kinds, dict.fromkeys(kinds, shipped), np.random.default_rng(SEED), replicates)
    for name in kinds:
        _tell(story, f"{name}: FMR at the shipped threshold of FMR {FMRS[0]:g}", told.estimate(name), "share")


def _tell_clips(story: Story, world: Sequences, thresholds: dict[str, float]) -> None:
    """Real frames of few people: counts, and no rate."""
    people = missed_frames = frames = missed = sequences = 0
    for person in clip_people():
        people += 1
        seen = [np.flatnonzero((person.frames.sequence == at) & person.frames.found) for at in range(8)]
        for rows in (rows for rows in seen if rows.size):
            own = person.frames.vectors[rows] @ person.enrolled
            frames, missed_frames = frames + rows.size, missed_frames + int((own < thresholds[SINGLE]).sum())
            joined = _joined(person.frames, rows, world.model_id)
            sequences, missed = sequences + 1, missed + int(joined @ person.enrolled < thresholds[CHOSEN])
    story.add(f"clips, {CLIP_SEVERITY.lower()}: single frames missed", missed_frames, f"of {frames}, {people} people")
    story.add(f"clips, {CLIP_SEVERITY.lower()}: sequences missed", missed, f"of {sequences}, {people} people")


def _joined(frames: EmbeddedFrames, rows: Indices, model_id: ModelId) -> Vectors:
    embeddings = [Embedding(frames.vectors[row], model_id) for row in rows]
    return join_frames(embeddings, frames.quality[rows], FrameFusion.QUALITY_WEIGHTED_MEAN).vector


def _tell(story: Story, name: str, estimate: Estimate, unit: str, asked: float | None = None) -> None:
    bar = f"at least {asked:g}" if asked is not None else ""
    story.add(name, _shown(estimate.value), unit, bar, estimate.value >= asked if asked is not None else None)
    story.add(f"{name}, 95 % low", _shown(estimate.interval.low), unit)
    story.add(f"{name}, 95 % high", _shown(estimate.interval.high), unit)


def _shown(value: float) -> float | str:
    """JSON has no infinity: nobody was missed by what is compared with."""
    return value if np.isfinite(value) else "infinite"
