"""Tracklets joined again across gaps by appearance: identity F1 with and without it.

    TESSERA_DATA=DIR make bench-person ARGS="relinking"

Persons are found by NanoDet and joined by the product's tracker from boxes alone. Gaps are planted: of every
`PERIOD_S` seconds the last `GAP_S` are lost, as where a camera's connection drops, so that every tracklet ends there,
and nobody is judged in frames that nobody saw. Both clips have gaps of their own besides: people hide each other, and
walk out and come back.

With appearance, a tracklet that begins takes the identity that looks most like it among those that are not in the
picture at the time, if the score reaches the threshold of a target FMR of the shipped calibration.

A tracklet is compared as the gallery does it: by the mean of its embeddings, not brought to length 1, so that a product
is the mean of all comparisons of single pictures, which is what the calibration states rates of. This was put right
after a look at the clips: the cosine of two means, which was compared first, is higher also of two people, and at the
same rate it had joined everybody of one clip. What is held against the bar is at the rate that collections of persons
have, which is the one that was written down first; stricter ones are reported beside it.

Beside it stands what a rule without appearance can do: whoever begins within `NEAR_SIZES` of where somebody was lost is
that person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import numpy.typing as npt

from benchmarks.cameras.face_truth import ClipTruth
from benchmarks.cameras.tracking_scores import ScoredFrame, TrackingScore, score
from benchmarks.figures import Figure
from benchmarks.person.channels import ENCODER, OURS, Channel, channels
from benchmarks.person.clip_crops import sides_of
from benchmarks.person.detected import Detected, detections_of, frames_of
from benchmarks.person.plan import Context, figure
from benchmarks.person.truth import person_truths
from camera_ingest.tracker import BEGIN_PROBABILITY, Tracker
from siamese_lab.persons.data import CON_REID_TAR
from siamese_lab.persons.export import calibration_people
from tessera.domain.artifact import load_calibration_for
from tessera.domain.calibration import PERSON_TARGET_FMR
from tessera.domain.error_rates import threshold_at_fmr
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box, Observation, Quality
from tessera.imaging.person import crop_person

PERIOD_S, GAP_S = 8.0, 3.0
FMRS = (PERSON_TARGET_FMR, 1e-3, 1e-4)
"""The first is what collections of persons decide by, and what is held against the bar."""
LEAD_BAR = 0.10
MIN_IOU = 0.5
SURE = 0.5
"""NanoDet's own measure of a person who may begin a tracklet; its numbers are lower than a face detector's."""
NEAR_SIZES = 1.0
LOOKS = 8
"""Pictures of a tracklet that speak for it: its largest, spread over its time."""
_START = datetime(2026, 1, 1, tzinfo=UTC)
_NO_LANDMARKS = np.empty((0, 2), np.float32)
_PLAIN = Quality(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)

Vector = npt.NDArray[np.float32]


@dataclass(slots=True)
class Piece:
    """One tracklet of the tracker."""

    name: str
    rows: dict[int, Box] = field(default_factory=dict)
    """Its box by frame."""

    @property
    def first(self) -> int:
        """Its first frame."""
        return min(self.rows)

    @property
    def last(self) -> int:
        """Its last frame."""
        return max(self.rows)


def run(context: Context) -> Sequence[Figure]:
    """Both clips, without appearance and by each channel."""
    ways = channels()
    thresholds = {way.name: thresholds_of(way, context) for way in ways}
    scores: dict[str, list[TrackingScore]] = {}
    figures: list[Figure] = []
    for truth in person_truths():
        pieces = pieces_of(truth, detections_of(truth.clip))
        looks = looks_of(pieces, context, truth)
        joined = {
            "without appearance": {piece.name: piece.name for piece in pieces},
            "by place alone": by_place(pieces),
        }
        for way in ways:
            vectors = embedded(way, looks)
            joined |= {
                f"by {way.name} at FMR {fmr:g}": by_appearance(pieces, vectors, threshold)
                for fmr, threshold in thresholds[way.name].items()
            }
        for name, identity in joined.items():
            told = score(scored_frames(truth, pieces, identity), MIN_IOU)
            scores.setdefault(name, []).append(told)
            figures.append(figure(f"IDF1, {truth.clip}, {name}", round(told.idf1, 4), "share"))
            figures.append(figure(f"identities told, {truth.clip}, {name}", len(set(identity.values())), "identities"))
        people = len({track.person for track in truth.tracks})
        context.note(f"relinking: {truth.clip} shows {people} people in {len(pieces)} tracklets.")
    return [*_lead_figures(scores), *figures]


def pieces_of(truth: ClipTruth, found: Sequence[Sequence[Detected]]) -> list[Piece]:
    """The tracker's tracklets, from boxes alone, of the frames that were seen."""
    numbers = count(1)
    tracker, pieces = Tracker(lambda: TrackletId(f"t{next(numbers)}")), dict[str, Piece]()
    for number, persons in enumerate(found):
        if not is_seen(number, truth.rate_hz):
            continue
        step = tracker.update([_observed(one) for one in persons], _START + timedelta(seconds=number / truth.rate_hz))
        for tracklet, observation in step.seen:
            name = str(tracklet.tracklet_id)
            pieces.setdefault(name, Piece(name)).rows[number] = observation.box
    return sorted(pieces.values(), key=lambda piece: piece.first)


def is_seen(frame: int, rate_hz: float) -> bool:
    """Whether a frame comes through; the others are lost in a planted gap."""
    return (frame / rate_hz) % PERIOD_S < PERIOD_S - GAP_S


def _observed(one: Detected) -> Observation:
    # The tracker's bars are a face detector's; what NanoDet is sure of may begin a tracklet.
    probability = BEGIN_PROBABILITY if one.probability >= SURE else one.probability
    return Observation(
        box=one.box, landmarks=_NO_LANDMARKS, detection_probability=probability, quality=_PLAIN, embedding=None
    )


def looks_of(pieces: Sequence[Piece], context: Context, truth: ClipTruth) -> dict[str, npt.NDArray[np.uint8]]:
    """The crops that speak for each tracklet: (LOOKS or fewer, 128, 64, 3)."""
    wanted: dict[int, list[tuple[str, Box]]] = {}
    for piece in pieces:
        frames = sorted(piece.rows)
        for frame in sorted({frames[round(at)] for at in np.linspace(0, len(frames) - 1, LOOKS)}):
            wanted.setdefault(frame, []).append((piece.name, piece.rows[frame]))
    crops: dict[str, list[npt.NDArray[np.uint8]]] = {piece.name: [] for piece in pieces}
    for number, image in enumerate(frames_of(context.videos() / truth.clip)):
        for name, box in wanted.get(number, ()):
            crops[name].append(crop_person(image, sides_of(box)))
    return {name: np.stack(some) for name, some in crops.items()}


def embedded(way: Channel, looks: Mapping[str, npt.NDArray[np.uint8]]) -> dict[str, Vector]:
    """The mean of each tracklet's unit vectors, as long as it is."""
    return {name: way.embed(crops).mean(0) for name, crops in looks.items()}


def thresholds_of(way: Channel, context: Context) -> dict[float, float]:
    """By FMR: of the shipped calibration, or on the same people for what has none."""
    if way.name == OURS:
        calibration = load_calibration_for(ENCODER)
        if calibration is None:
            raise SystemExit("the shipped person encoder has no calibration")
        return {fmr: calibration.threshold_for_fmr(fmr).score for fmr in FMRS}
    people = calibration_people(context.data() / CON_REID_TAR)
    vectors = way.embed(people.crops)
    others = people.person[:, None] != people.person[None, :]
    scores = (vectors @ vectors.T)[others]
    return {fmr: threshold_at_fmr(scores, fmr) for fmr in FMRS}


def by_appearance(pieces: Sequence[Piece], vectors: Mapping[str, Vector], threshold: float) -> dict[str, str]:
    """An identity for each tracklet, in the order in which they begin; nothing is corrected afterwards."""

    def likeness(piece: Piece, earlier: Sequence[Piece]) -> float:
        return max(float(vectors[piece.name] @ vectors[one.name]) for one in earlier)

    return _joined(pieces, likeness, threshold)


def by_place(pieces: Sequence[Piece]) -> dict[str, str]:
    """The same by where somebody was lost: -1 x the distance in box sizes."""

    def nearness(piece: Piece, earlier: Sequence[Piece]) -> float:
        last = max(earlier, key=lambda one: one.last)
        return -_apart(last.rows[last.last], piece.rows[piece.first])

    return _joined(pieces, nearness, -NEAR_SIZES)


def _joined(
    pieces: Sequence[Piece], score_of: Callable[[Piece, Sequence[Piece]], float], threshold: float
) -> dict[str, str]:
    members: dict[str, list[Piece]] = {}
    identity: dict[str, str] = {}
    for piece in pieces:
        free = {name: some for name, some in members.items() if all(one.last < piece.first for one in some)}
        best = max(free, key=lambda name: score_of(piece, free[name]), default=None)
        chosen = best if best is not None and score_of(piece, free[best]) >= threshold else piece.name
        members.setdefault(chosen, []).append(piece)
        identity[piece.name] = chosen
    return identity


def _apart(first: Box, second: Box) -> float:
    (x0, y0), (x1, y1) = ((one.x_px + one.width_px / 2, one.y_px + one.height_px / 2) for one in (first, second))
    size = np.sqrt(max((first.area_px + second.area_px) / 2, 1.0))
    return float(np.hypot(x1 - x0, y1 - y0) / size)


def scored_frames(truth: ClipTruth, pieces: Sequence[Piece], identity: Mapping[str, str]) -> list[ScoredFrame]:
    """The judged frames that came through, by person and by told identity."""
    person_of = {track.name: track.person for track in truth.tracks}
    frames = []
    for number in range(truth.frames):
        if truth.is_judged(number) and is_seen(number, truth.rate_hz):
            people = {person_of[name]: box for name, box in truth.boxes_at(number).items()}
            told = {identity[piece.name]: piece.rows[number] for piece in pieces if number in piece.rows}
            frames.append(ScoredFrame(people, told))
    return frames


def _lead_figures(scores: Mapping[str, Sequence[TrackingScore]]) -> Iterator[Figure]:
    """The mean over the clips, so that the longer or fuller one does not decide alone."""
    means = {name: float(np.mean([one.idf1 for one in told])) for name, told in scores.items()}
    lead = means[f"by {OURS} at FMR {FMRS[0]:g}"] - means["without appearance"]
    yield figure(
        "IDF1 by appearance above IDF1 without, mean of the clips", round(lead, 4), "share", f"at least {LEAD_BAR}",
        lead >= LEAD_BAR,
    )  # fmt: skip
    for name, mean in means.items():
        yield figure(f"IDF1, mean of the clips, {name}", round(mean, 4), "share")
