"""Our tracker beside those of a library, on the same detections of the same clips.

    pip install --no-deps trackers==2.6.1 supervision==0.31.2 pydeprecate==0.10.0 defusedxml
    TESSERA_DATA=DIR python -m benchmarks.cameras.tracker_race

For the decision in ADR 0024 only: the library is no dependency, and for its opencv-python it is to be installed without
its own dependencies, in an environment that may be thrown away. Each of its trackers begins a tracklet at the first
sure detection, as ours does, and bridges a second; the rest is its default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib import import_module
from itertools import count
from typing import Any

import numpy as np

from benchmarks.cameras.face_truth import load_all
from benchmarks.cameras.tracking import MIN_IOU, OPTIONS, RATE_HZ, plain_pipeline, sampled
from benchmarks.cameras.tracking_scores import ScoredFrame, score
from benchmarks.services import data_folder
from camera_ingest.tracker import BEGIN_PROBABILITY, FOLLOW_PROBABILITY, Tracker
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box, Observation

Seen = tuple[int, datetime, tuple[Observation, ...]]
Told = Iterator[tuple[int, Mapping[str, Box]]]
Way = Callable[[Sequence[Seen], float], Told]


def ours(frames: Sequence[Seen], _: float, least: float = FOLLOW_PROBABILITY) -> Told:
    """Our tracker; with `least` at `BEGIN_PROBABILITY` it has no unsure detections to follow."""
    numbers = count(1)
    tracker = Tracker(lambda: TrackletId(f"t{next(numbers)}"))
    for number, capture_time, observations in frames:
        step = tracker.update([o for o in observations if o.detection_probability >= least], capture_time)
        yield number, {str(tracklet.tracklet_id): seen.box for tracklet, seen in step.seen}


def theirs(name: str, options: Mapping[str, Any], frames: Sequence[Seen], rate_hz: float) -> Told:
    """A tracker of the library."""
    tracker = getattr(import_module("trackers"), name)(
        minimum_consecutive_frames=1, frame_rate=rate_hz, lost_track_buffer=30, **options
    )
    detections = import_module("supervision").Detections
    for number, _, observations in frames:
        found = tracker.update(
            detections(
                xyxy=np.array([_corners(o.box) for o in observations], dtype=float).reshape(-1, 4),
                confidence=np.array([o.detection_probability for o in observations]),
                class_id=np.zeros(len(observations), dtype=int),
            )
        )
        yield (
            number,
            {f"t{key}": _box(corners) for key, corners in zip(found.tracker_id, found.xyxy, strict=True) if key >= 0},
        )


_SURE: Mapping[str, Any] = {
    "track_activation_threshold": BEGIN_PROBABILITY,
    "high_conf_det_threshold": BEGIN_PROBABILITY,
}
WAYS: Mapping[str, Way] = {
    "ours": ours,
    "ours, sure detections": partial(ours, least=BEGIN_PROBABILITY),
    "SORT": partial(theirs, "SORTTracker", {"track_activation_threshold": BEGIN_PROBABILITY}),
    "ByteTrack": partial(theirs, "ByteTrackTracker", _SURE),
    "OC-SORT": partial(theirs, "OCSORTTracker", {"high_conf_det_threshold": BEGIN_PROBABILITY}),
    "C-BIoU": partial(theirs, "CBIoUTracker", _SURE),
}


def main() -> int:
    """Print a table: clip, rate, tracker, and its scores."""
    pipeline = plain_pipeline()
    for truth in load_all():
        for rate_hz in (RATE_HZ, truth.rate_hz):
            path = data_folder() / "videos" / truth.clip
            frames = [(n, at, pipeline.run(jpeg, OPTIONS).observations) for n, at, jpeg in sampled(path, rate_hz)]
            for name, way in WAYS.items():
                told = ((number, boxes) for number, boxes in way(frames, rate_hz) if truth.is_judged(number))
                found = score([ScoredFrame(truth.boxes_at(number), boxes) for number, boxes in told], MIN_IOU)
                print(
                    f"{truth.clip[:28]:28} {rate_hz:4.1f}/s {name:22} switches {found.id_switches:2} "
                    f"IDF1 {found.idf1:.2f} MOTA {found.mota:.2f} HOTA {found.hota:.2f} "
                    f"tracklets {list(found.tracklets_of.values())}"
                )
    return 0


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.x_px, box.y_px, box.x_px + box.width_px, box.y_px + box.height_px


def _box(corners: Iterable[float]) -> Box:
    left, top, right, bottom = (float(value) for value in corners)
    return Box(left, top, right - left, bottom - top)


if __name__ == "__main__":
    sys.exit(main())
