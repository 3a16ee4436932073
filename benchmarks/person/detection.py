"""Persons that are found, against OpenCV's HOG detector, on frames whose boxes were drawn by hand.

    TESSERA_DATA=DIR make bench-person ARGS="detection"

The product's own way of a picture: its size for the detector, its threshold. Nothing of it was chosen on these frames.
HOG is given what suits it best on these very frames: the better of two scales, and the threshold of its highest F1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.figures import Figure
from benchmarks.person.detected import frames_of
from benchmarks.person.plan import Context, figure
from benchmarks.person.product import load_eager
from encoder_svc.frames import EncodeOptions
from encoder_svc.persons.pipeline import PersonPipeline
from tessera.domain.observation import Box
from tessera.imaging.decode import Image

DRAWN = Path(__file__).parent / "drawn_boxes.json"
SAME_IOU = 0.5
_ALL = EncodeOptions(max_observations=64, with_embedding=False)
_HOG_SCALES = (1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Found:
    """A box that a detector gives, and how sure it is, on a scale of its own."""

    box: Box
    sure: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What a detector found on all frames."""

    persons: int
    """Drawn by hand."""
    right: int
    """Of them found, one box each."""
    boxes: int
    """Given."""

    @property
    def recall(self) -> float:
        """Of the persons, how many were found."""
        return self.right / self.persons if self.persons else 0.0

    @property
    def precision(self) -> float:
        """Of the boxes, how many are a person's."""
        return self.right / self.boxes if self.boxes else 1.0

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.persons + self.boxes
        return 2 * self.right / both if both else 0.0


Frames = Mapping[tuple[str, int], Sequence[Found]]
"""What was found, by clip and frame."""


def drawn_boxes() -> dict[tuple[str, int], list[Box]]:
    """The persons of each frame, by clip and frame."""
    told = json.loads(DRAWN.read_text(encoding="utf-8"))["clips"]
    return {
        (clip, int(frame)): [Box(*map(float, row)) for row in rows]
        for clip, frames in told.items()
        for frame, rows in frames.items()
    }


def tally(drawn: Mapping[tuple[str, int], Sequence[Box]], found: Frames, at_least: float) -> Tally:
    """Count what a detector finds above a threshold; the surest box takes its person first."""
    right = boxes = 0
    for place, persons in drawn.items():
        sure = sorted((one for one in found[place] if one.sure > at_least), key=lambda one: -one.sure)
        boxes += len(sure)
        right += _matched(persons, [one.box for one in sure])
    return Tally(sum(map(len, drawn.values())), right, boxes)


def best(drawn: Mapping[tuple[str, int], Sequence[Box]], ways: Iterable[Frames]) -> Tally:
    """The tally of the highest F1 over several ways to detect and all their thresholds."""
    tallies = [
        tally(drawn, found, threshold - 1e-9)
        for found in ways
        for threshold in sorted({one.sure for frame in found.values() for one in frame})
    ]
    return max(tallies, key=lambda one: one.f1)


def _matched(persons: Sequence[Box], boxes: Sequence[Box]) -> int:
    left = list(persons)
    for box in boxes:
        nearest = max(left, key=box.iou, default=None)
        if nearest is not None and box.iou(nearest) >= SAME_IOU:
            left.remove(nearest)
    return len(persons) - len(left)


def _ours(pipeline: PersonPipeline, image: Image) -> list[Found]:
    data = cv2.imencode(".png", image)[1].tobytes()
    return [Found(one.box, one.detection_probability) for one in pipeline.run(data, _ALL).observations]


def _hog(image: Image, scale: float) -> list[Found]:
    """As OpenCV's sample `peopledetect` does it, which also shrinks the boxes: its window has a margin."""
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    seen = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    boxes, weights = hog.detectMultiScale(seen, 0.0, winStride=(8, 8), padding=(32, 32), scale=1.05)
    return [
        Found(Box(x + 0.1 * w, y + 0.07 * h, 0.8 * w, 0.8 * h).scaled(1.0 / scale), float(weight))
        for (x, y, w, h), weight in zip(boxes, weights, strict=True)
    ]


def _pictures(context: Context, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Image]:
    wanted = set(places)
    return {
        (clip, at): image
        for clip in {clip for clip, _ in wanted}
        for at, image in enumerate(frames_of(context.videos() / clip))
        if (clip, at) in wanted
    }


def run(context: Context) -> list[Figure]:
    """Recall and precision of both, with their counts."""
    drawn = drawn_boxes()
    pictures = _pictures(context, drawn)
    pipeline = load_eager()
    ours = tally(drawn, {place: _ours(pipeline, image) for place, image in pictures.items()}, 0.0)
    hog = best(drawn, [{place: _hog(image, scale) for place, image in pictures.items()} for scale in _HOG_SCALES])
    where = f"{ours.persons} persons in {len(drawn)} frames"
    context.note(f"detection: {where}; HOG is at the scale and threshold that suit it best there.")
    return [
        figure("detection: recall at IoU 0.5, NanoDet", round(ours.recall, 3), _counts(ours.right, ours.persons)),
        figure("detection: precision at IoU 0.5, NanoDet", round(ours.precision, 3), _counts(ours.right, ours.boxes)),
        figure("detection: recall at IoU 0.5, HOG", round(hog.recall, 3), _counts(hog.right, hog.persons)),
        figure("detection: precision at IoU 0.5, HOG", round(hog.precision, 3), _counts(hog.right, hog.boxes)),
    ]


def _counts(right: int, of: int) -> str:
    return f"{right} of {of}"
