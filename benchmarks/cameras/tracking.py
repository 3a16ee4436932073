"""How well tracklets follow the people of the clips, against the truth that was made by hand.

    TESSERA_DATA=DIR make bench-cameras ARGS="tracking"

The product's own path, without transport: each frame as a JPEG through the encoder's pipeline with the options and the
known tracklets that a camera worker sends, then through its tracklet book. Every frame is looked at, so that nothing
depends on how fast this machine is. The gallery is stood in for by one that knows nobody and says so at once.

`FOLLOW_PROBABILITY` of the tracker was chosen with these clips in view, between 0.4, 0.5, 0.6 and 0.7; nothing else
was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from statistics import mean

import av
import numpy as np

from benchmarks.cameras.face_truth import ClipTruth, load_all
from benchmarks.cameras.plan import Context, figure
from benchmarks.cameras.tracking_scores import ScoredFrame, TrackingScore, score
from benchmarks.figures import Figure
from camera_ingest.camera import Camera
from camera_ingest.pictures import to_file
from camera_ingest.sampling import Sampler
from camera_ingest.tracker import BEGIN_PROBABILITY, FOLLOW_PROBABILITY, Tracker
from camera_ingest.tracklets import TrackletBook
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodeOptions
from encoder_svc.loading import load_face_pipeline
from encoder_svc.settings import DeviceChoice, EncoderSettings, RuntimeChoice
from tessera.client.stream_values import FrameAnswer, FrameOutcome, TrackletDecision, TrackletUpdate
from tessera.domain.decision import Decision, Outcome
from tessera.domain.ids import CameraId, TrackletId

RATE_HZ = 5.0
"""At which a camera is sampled unless its owner says otherwise."""
MIN_IOU = 0.3
"""Half a face wide off is off; boxes of a face of 10 px that was outlined by hand overlap no better."""
SMALL_FACES = frozenset({"vtest.avi"})
_START = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = EncodeOptions(min_detection_probability=FOLLOW_PROBABILITY, min_embedded_probability=BEGIN_PROBABILITY)


@dataclass(frozen=True, slots=True)
class Followed:
    """A clip at one rate, scored."""

    truth: ClipTruth
    rate_hz: float
    score: TrackingScore


def run(context: Context) -> Sequence[Figure]:
    """Follow the people of every clip, at the usual rate and at the clip's own."""
    pipeline = plain_pipeline()
    folder = context.videos()
    found = [followed(pipeline, folder, truth, rate_hz) for truth in load_all() for rate_hz in (RATE_HZ, truth.rate_hz)]
    usual = [one for one in found if one.rate_hz == RATE_HZ]
    return [
        _norm("faces of 25 px and more", [one for one in usual if one.truth.clip not in SMALL_FACES]),
        _norm("faces of 10 px", [one for one in usual if one.truth.clip in SMALL_FACES]),
        *(row for one in found for row in _figures(one)),
    ]


def plain_pipeline() -> FacePipeline:
    """The encoder's pipeline, uncompiled and on one thread: nothing here is timed."""
    return load_face_pipeline(EncoderSettings(device=DeviceChoice.CPU, runtime=RuntimeChoice.EAGER, threads=1))


def followed(pipeline: FacePipeline, folder: Path, truth: ClipTruth, rate_hz: float) -> Followed:
    """Follow the people of one clip.

    Args:
        pipeline: of the encoder.
        folder: of the clips.
        truth: of the clip.
        rate_hz: frames a second that are looked at.
    """
    follower = _Follower()
    frames = []
    for number, capture_time, jpeg in sampled(folder / truth.clip, rate_hz):
        encoded = pipeline.run(jpeg, OPTIONS, follower.book.known(capture_time))
        answer = FrameAnswer(number + 1, capture_time, FrameOutcome.ENCODED, encoded.observations)
        step = follower.book.take(answer)
        if truth.is_judged(number):
            told = {str(tracklet.tracklet_id): seen.box for tracklet, seen in step.seen}
            frames.append(ScoredFrame(truth.boxes_at(number), told))
    return Followed(truth, rate_hz, score(frames, MIN_IOU))


def sampled(clip: Path, rate_hz: float) -> Iterator[tuple[int, datetime, bytes]]:
    """The frames of a clip that a camera worker would take: number, capture time, JPEG."""
    sampler = Sampler(rate_hz)
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            capture_time = _START + timedelta(seconds=frame.time or 0.0)
            if sampler.wants(capture_time):
                yield number, capture_time, to_file(np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8))


class _Follower:
    """A tracklet book whose gallery knows nobody, and says so before the next frame."""

    def __init__(self) -> None:
        numbers = count(1)
        tracker = Tracker(lambda: TrackletId(f"t{next(numbers)}"))
        self.book = TrackletBook(Camera(CameraId("clip"), "demo:"), tracker, self._decide)

    def _decide(self, update: TrackletUpdate) -> None:
        decision = (
            Decision(Outcome.UNKNOWN, (), None, None, update.samples[0].embedding.model_id) if update.samples else None
        )
        if decision is not None:
            self.book.decide(TrackletDecision(update.tracklet_id, 1, 1, decision, None, "", None, 0.0))


def _norm(which: str, found: Sequence[Followed]) -> Figure:
    people = [tracklets for one in found for tracklets in one.score.followed]
    single = sum(tracklets == 1 for tracklets in people)
    value = f"{single} of {len(people)}, mean {mean(people):.2f}" if people else "nobody was followed"
    bar = "one tracklet per person as the norm" if people else ""
    return figure(
        f"people followed by one tracklet, {which}, 5 frames/s", value, "people", bar, single * 2 > len(people)
    )


def _figures(one: Followed) -> Iterator[Figure]:
    found, at = one.score, f"{one.truth.clip}, {one.rate_hz:g} frames/s"
    yield figure(f"ID switches, {at}", found.id_switches, f"of {len(found.tracklets_of)} people")
    yield figure(f"fragmentations, {at}", found.fragmentations, f"of {found.truth_boxes} boxes")
    yield figure(f"IDF1, {at}", round(found.idf1, 3), "share")
    yield figure(f"MOTA, {at}", round(found.mota, 3), "share")
    yield figure(f"HOTA, {at}", round(found.hota, 3), "share")
    yield figure(f"boxes missed and false, {at}", f"{found.misses} and {found.false_boxes}", f"of {found.truth_boxes}")
