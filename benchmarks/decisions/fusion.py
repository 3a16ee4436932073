"""What joining the frames of a tracklet is worth, at equal FMR: means, the best frame, joined scores, single frames.

The threshold of each kind is set on non-mated comparisons of that kind: a sequence of one person, joined in that way,
against one picture of everybody else in LFW. FNMR counts frames in which a face was found; how many have none is told.
The weights of frames were fitted on half of the people with sequences: everything is judged on the other half, but for
the cross-validation, in which all people are judged by weights that were fitted on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.decisions.data import ENCODER, LabelledFaces, faces
from benchmarks.decisions.frame_weights import FittingSet, Weigh, agreement, chance_alone, fit_exponents, power_product
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
from tessera.domain.embedding import Embedding, Vector, Vectors, fuse
from tessera.domain.fusion import (
    FRAME_EXPONENTS,
    LEAST_MEASURE,
    FrameFusion,
    ScoreFusion,
    join_frames,
    join_scores,
    weighed_measures,
)
from tessera.domain.ids import ModelId

FMRS = (1e-3, 1e-4)
ASKED_RATIO = 2.0
SINGLE = "single frames"
CHOSEN = "quality-weighted mean"
BEFORE = "mean weighed by overall quality"
"""As tracklets were joined before their weights were fitted."""
FOLDS = 5

PROBES = {
    CHOSEN: FrameFusion.QUALITY_WEIGHTED_MEAN,
    "plain mean": FrameFusion.MEAN,
    "median embedding": FrameFusion.MEDIAN,
    "best frame": FrameFusion.BEST_FRAME,
}
SCORES = {"mean score": ScoreFusion.MEAN, "highest score": ScoreFusion.MAX, "median score": ScoreFusion.MEDIAN}

Table = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]


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

    def part(self, sequences: Indices, parts: int, part: int) -> Indices:
        """Those of every so manieth person, by name."""
        turn = {person: at for at, person in enumerate(sorted({one.person for one in self.planned}))}
        return np.array([at for at in sequences if turn[self.planned[at].person] % parts == part], np.intp)

    def probe(self, rows: Indices, how: FrameFusion) -> Vector:
        """Frames joined into one probe."""
        joined = [Embedding(self.frames.vectors[row], self.model_id) for row in rows]
        return join_frames(joined, self.frames.qualities(rows), how).vector

    def weighed_probe(self, rows: Indices, log_weights: Floats) -> Vector:
        """Frames joined by weights of one's own."""
        joined = [Embedding(self.frames.vectors[row], self.model_id) for row in rows]
        return fuse(joined, np.exp(np.maximum(-20.0, log_weights[rows] - log_weights[rows].max())).tolist()).vector

    def probes(self, chosen: Indices, how: FrameFusion, most: int | None = None) -> Trials:
        """One probe a sequence."""
        return self.compared(chosen, np.stack([self.probe(self.rows(at, most), how) for at in chosen]))

    def weighed(self, chosen: Indices, log_weights: Floats) -> Trials:
        """One probe a sequence, by weights of one's own; shape (all frames,)."""
        return self.compared(chosen, np.stack([self.weighed_probe(self.rows(at), log_weights) for at in chosen]))

    def compared(self, chosen: Indices, vectors: Vectors) -> Trials:
        """Probes that were made of sequences."""
        mated = np.einsum("nd,nd->n", vectors, self.enrolled[chosen])
        return self._trials(vectors @ self.gallery.T, self.owner[chosen], mated)

    def fitting_set(self, chosen: Indices) -> FittingSet:
        """These sequences, and a gallery without anybody else who has one."""
        rows = [self.rows(at) for at in chosen]
        at = np.concatenate(rows)
        shown = np.setdiff1d(np.arange(self.people), np.setdiff1d(self.owner, self.owner[chosen]))
        return FittingSet(
            rows=at,
            sequence=np.repeat(np.arange(len(rows)), [part.size for part in rows]),
            vectors=self.frames.vectors[at],
            enrolled=self.enrolled[chosen],
            gallery=self.gallery[shown],
            owner=np.searchsorted(shown, self.owner[chosen]).astype(np.intp),
        )

    def log_measures(self) -> Floats:
        """Shape (all frames, measures): logarithms of what a frame is weighed by."""
        every = self.frames.qualities(np.arange(len(self.frames.found)))
        return np.log([weighed_measures(quality) for quality in every])

    def log_overall(self) -> Floats:
        """Shape (all frames, 1)."""
        return np.log(np.maximum(LEAST_MEASURE, self.frames.overall()))[:, None]

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
        made[BEFORE] = self.weighed(chosen, self.log_overall()[:, 0])
        return made | {name: self.scores(chosen, how) for name, how in SCORES.items()}


def fusion(plan: Plan) -> Story:
    """FNMR of every way of joining frames at equal FMR; bar: the quality-weighted mean halves that of single frames.

    Judged on people whom the weights were not fitted on.
    """
    lfw, replicates = faces(), plan.count(REPLICATES, 20)
    planned = plan_sequences(lfw)
    world = Sequences(lfw, planned, embedded_sequences(lfw, planned))
    story = Story()
    everybody = world.with_faces(world.of(Kind.SEVERAL_PICTURES))
    several = world.part(everybody, 2, 1)
    kinds = world.kinds(several)
    _tell_kinds(story, kinds, replicates)
    _tell_lengths(story, world, several, replicates)
    _tell_parts(story, world, replicates)
    _tell_shipped_threshold(story, kinds, replicates)
    _tell_clips(story, world, {name: kind.threshold(FMRS[0]) for name, kind in kinds.items()})
    _tell_fit(story, world, world.part(everybody, 2, 0))
    _tell_cross_validated(story, world, everybody, replicates)
    people, judged = {one.person for one in planned}, {planned[at].person for at in several}
    story.note(
        f"Sequences: {len(planned)} of {len(people)} people with 4 or more pictures, {len(world.frames.found)} frames; "
        f"judged: {len(judged)} of them, up to {several.size} sequences x {world.people - 1} other people a kind."
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
        _tell(story, f"{BEFORE} / {CHOSEN}: FNMR at FMR {fmr:g}", told.ratio(BEFORE, CHOSEN), "times")


def _tell_fit(story: Story, world: Sequences, chosen: Indices) -> None:
    """The exponents anew, from the half that is not judged: those that ship were got in this way."""
    fitted = fit_exponents(world.log_measures(), world.fitting_set(chosen))
    for measure, exponent in zip(FRAME_EXPONENTS, fitted.tolist(), strict=True):
        story.add(f"fitted on the half that is not judged: exponent of {measure}", exponent, "")


def _tell_cross_validated(story: Story, world: Sequences, everybody: Indices, replicates: int) -> None:
    """Every person judged by weights that were fitted on four fifths of the others."""
    kinds = {SINGLE: world.single(everybody)}
    kinds |= {name: _cross_validated(world, everybody, weigh) for name, weigh in _candidates(world).items()}
    calibration = load_calibration_for(ENCODER)
    assert calibration is not None
    shipped = dict.fromkeys(kinds, calibration.threshold_for_fmr(FMRS[0]).score)
    for fmr in FMRS:
        told = fnmr_at_equal_fmr(kinds, fmr, np.random.default_rng(SEED), replicates)
        for name in kinds:
            what = f"cross-validated, {name}: FNMR at FMR {fmr:g}"
            asked = ASKED_RATIO if name == CHOSEN else None
            _tell(story, what, told.estimate(name), "share")
            _tell(story, f"{what}, single frames / this", told.ratio(SINGLE, name), "times", asked)
            _tell(story, f"{what}, {BEFORE} / this", told.ratio(BEFORE, name), "times")
    told = fmr_at(kinds, shipped, np.random.default_rng(SEED), replicates)
    for name in kinds:
        what = f"cross-validated, {name}: FMR at the shipped threshold of FMR {FMRS[0]:g}"
        _tell(story, what, told.estimate(name), "share")
        _tell(story, f"{what}, this / {BEFORE}", told.ratio(name, BEFORE), "times")


def _candidates(world: Sequences) -> Mapping[str, Weigh]:
    measures, overall = world.log_measures(), world.log_overall()
    agreed = agreement(world.frames.vectors, np.exp(overall[:, 0]), world.frames.sequence)
    levels = np.exp(np.column_stack([measures, overall]))
    return {
        BEFORE: _fixed(overall[:, 0]),
        "overall quality squared": _fixed(2 * overall[:, 0]),
        "overall quality cubed": _fixed(3 * overall[:, 0]),
        "overall quality x agreement with the other frames": _fixed(overall[:, 0] + np.log(np.maximum(0.05, agreed))),
        "overall quality to a fitted power": power_product(overall),
        "the same x exp(fitted x agreement)": power_product(np.column_stack([overall, agreed])),
        CHOSEN: power_product(measures),
        "the same x overall quality to a power": power_product(np.column_stack([measures, overall])),
        "the same x exp(fitted x measures and squares)": power_product(
            np.column_stack([measures, overall, levels, levels**2])
        ),
        "chance that the frame alone reaches": chance_alone(np.column_stack([measures, overall])),
    }


def _fixed(log_weights: Floats) -> Weigh:
    return lambda _: log_weights


def _cross_validated(world: Sequences, everybody: Indices, weigh: Weigh) -> Trials:
    probes: dict[int, Vector] = {}
    for fold in range(FOLDS):
        judged = world.part(everybody, FOLDS, fold)
        log_weights = weigh(world.fitting_set(np.setdiff1d(everybody, judged)))
        probes |= {int(at): world.weighed_probe(world.rows(at), log_weights) for at in judged}
    return world.compared(everybody, np.stack([probes[int(at)] for at in everybody]))


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
        wanted = world.part(world.of(kind, severity), 2, 1)
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
    return join_frames(embeddings, frames.qualities(rows), FrameFusion.QUALITY_WEIGHTED_MEAN).vector


def _tell(story: Story, name: str, estimate: Estimate, unit: str, asked: float | None = None) -> None:
    bar = f"at least {asked:g}" if asked is not None else ""
    story.add(name, _shown(estimate.value), unit, bar, estimate.value >= asked if asked is not None else None)
    story.add(f"{name}, 95 % low", _shown(estimate.interval.low), unit)
    story.add(f"{name}, 95 % high", _shown(estimate.interval.high), unit)


def _shown(value: float) -> float | str:
    """JSON has no infinity: nobody was missed by what is compared with."""
    return value if np.isfinite(value) else "infinite"
