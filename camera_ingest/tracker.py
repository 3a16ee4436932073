"""Joins the observations of one camera's frames into tracklets: one person's way through the picture.

Motion proposes and appearance disposes: boxes are predicted at constant velocity and paired with observations by
overlap and distance; where embeddings of some quality are there, one that contradicts a tracklet can never join it. Two
tracklets of one person cost a second look; one tracklet of two people would put the wrong name on somebody, so doubt
splits. A face too poor to tell anybody apart raises no doubt: there motion alone decides.

What the detector is less sure of carries a tracklet on and never begins one, which is the idea of ByteTrack (Zhang et
al., 2022, arXiv:2110.06864). Why this tracker and not a library's: ADR 0024.

Time is capture time throughout; nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from tessera.domain.assignment import FORBIDDEN, best_assignment
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box, Observation

BEGIN_PROBABILITY = 0.7
"""Of a detection that may begin a tracklet, and is worth an embedding: the encoder's own bar."""
FOLLOW_PROBABILITY = 0.4
"""Of a detection that may carry one on: somebody who turned away, or is half hidden."""
PERSON_BEGIN_PROBABILITY = 0.4
"""The same for bodies: what the detector of persons reports where nobody asks for less."""
PERSON_FOLLOW_PROBABILITY = 0.3


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """What may be the same person from one frame to the next."""

    begin_probability: float = BEGIN_PROBABILITY
    """Of a detection that may begin a tracklet."""
    end_after_s: float = 1.0
    """A tracklet that was not seen for so long has ended."""
    min_iou: float = 0.1
    """Overlap with the predicted box that is near enough."""
    max_speed_sizes_per_s: float = 8.0
    """How fast a face may move that was seen once, in its own sizes: 1.2 m/s is about eight face widths."""
    max_reach_sizes: float = 2.0
    """However long ago it was."""
    max_reunion_sizes: float = 5.0
    """How far appearance alone may bring it back."""
    contradiction_score: float = 0.2
    """An embedding below this cosine to the tracklet's mean is somebody else. SFace: 92 % of pairs of two people."""
    doubt_score: float = 0.3
    """The same for a good sample against a mean of several, and after a gap."""
    reunion_score: float = 0.35
    """An embedding at or above this brings a tracklet back from further away. SFace: FMR about 1e-3."""
    samples_for_doubt: int = 3
    speaking_quality: float = 0.2
    """`Quality.overall` that an embedding must have, and the best of a tracklet, before it may say that somebody is
    another. Of LFW's people, shrunk and blurred, so many fall below `contradiction_score` against their own good
    picture: half below a quality of 0.12, 18 % up to 0.2, 4 % up to 0.3, 1 to 2 % above."""


PERSON_TRACKER = TrackerConfig(
    begin_probability=PERSON_BEGIN_PROBABILITY,
    end_after_s=2.0,
    # A body is about a metre in its own size, the root of its area: 1.5 m/s is 1.5 of them.
    max_speed_sizes_per_s=3.0,
    max_reach_sizes=1.0,
    max_reunion_sizes=2.0,
    # Clothes say less than faces: only what hardly ever happens to one body parts it from itself.
    contradiction_score=0.1,
    doubt_score=0.2,
    reunion_score=0.6,
)
"""Of bodies. Somebody who is hidden behind another for two seconds goes on."""


@dataclass(frozen=True, slots=True)
class Tracklet:
    """How a tracklet stands."""

    tracklet_id: TrackletId
    first_seen: datetime
    last_seen: datetime
    box: Box
    """Where it was seen last."""
    frame_count: int
    """Frames in which it was seen."""
    sample_count: int
    """Of those, with an embedding."""
    best_quality: float
    """`Quality.overall` of its best sample with an embedding; 0 without one."""
    embedded_at: datetime | None
    """Capture time of its newest sample with an embedding."""


@dataclass(frozen=True, slots=True)
class TrackerStep:
    """What one frame changed."""

    seen: tuple[tuple[Tracklet, Observation], ...]
    """Observations with their tracklets, in the order of the observations; no tracklet twice. One that is too unsure to
    begin a tracklet and carries none on is left out."""
    ended: tuple[Tracklet, ...]


class Tracker:
    """The tracklets of one camera.

    Args:
        new_id: makes an id that no tracklet had before, on any camera or in any earlier run.
        config: what may be the same person.
    """

    def __init__(self, new_id: Callable[[], TrackletId], config: TrackerConfig | None = None) -> None:
        self._new_id = new_id
        self._config = config or TrackerConfig()
        self._tracks: list[_Track] = []
        self._last_frame: datetime | None = None

    @property
    def active(self) -> tuple[Tracklet, ...]:
        """The tracklets that have not ended."""
        return tuple(track.snapshot() for track in self._tracks)

    def update(self, observations: Sequence[Observation], capture_time: datetime) -> TrackerStep:
        """Take in the observations of one frame.

        Args:
            observations: all of one frame; embeddings may be absent.
            capture_time: of that frame, UTC; frames come in order.
        """
        ended = self.end_stale(capture_time)
        begin = self._config.begin_probability
        sure = [seen for seen in observations if seen.detection_probability >= begin]
        unsure = [seen for seen in observations if seen.detection_probability < begin]
        partner = self._paired(self._tracks, sure, capture_time)
        partner |= self._paired([t for t in self._tracks if t not in partner.values()], unsure, capture_time)
        joined = [self._join(seen, partner.get(id(seen)), capture_time) for seen in observations]
        self._last_frame = capture_time
        return TrackerStep(tuple(pair for pair in joined if pair is not None), ended)

    def end_stale(self, moment: datetime) -> tuple[Tracklet, ...]:
        """End the tracklets that were not seen for `end_after_s` before `moment`."""
        limit_s = self._config.end_after_s
        ended = [track for track in self._tracks if (moment - track.last_seen).total_seconds() > limit_s]
        self._tracks = [track for track in self._tracks if track not in ended]
        return tuple(track.snapshot() for track in ended)

    def end_all(self) -> tuple[Tracklet, ...]:
        """End every tracklet: nothing more will come."""
        ended, self._tracks = self._tracks, []
        return tuple(track.snapshot() for track in ended)

    def predicted(self, moment: datetime) -> tuple[tuple[Tracklet, Box], ...]:
        """Where the tracklets of the newest frame should be at `moment`, save those that overlap each other.

        A tracklet that was missed, or that crosses another, is left out: who is there must be looked at anew.
        """
        boxes = [(track, track.predict(moment)) for track in self._tracks]
        return tuple(
            (track.snapshot(), box)
            for track, box in boxes
            if track.last_seen == self._last_frame
            and not any(box.iou(other_box) > 0 for other, other_box in boxes if other is not track)
        )

    def _paired(
        self, tracks: Sequence[_Track], observations: Sequence[Observation], capture_time: datetime
    ) -> dict[int, _Track]:
        """The track that each observation carries on, by the observation's identity."""
        if not observations:
            return {}
        gains = [[self._gain(track, seen, capture_time) for seen in observations] for track in tracks]
        return {id(observations[column]): tracks[row] for row, column in best_assignment(gains)}

    def _join(
        self, seen: Observation, track: _Track | None, capture_time: datetime
    ) -> tuple[Tracklet, Observation] | None:
        if track is not None:
            track.see(seen, capture_time)
        elif seen.detection_probability >= self._config.begin_probability:
            track = _Track(self._new_id(), seen, capture_time)
            self._tracks.append(track)
        else:
            return None
        return track.snapshot(), seen

    def _gain(self, track: _Track, seen: Observation, capture_time: datetime) -> float:
        c = self._config
        predicted = track.predict(capture_time)
        likeness = track.likeness(seen)
        missed = track.last_seen != self._last_frame
        speaks = min(track.best_quality, seen.quality.overall) >= c.speaking_quality
        if speaks and likeness is not None and likeness < self._least_likeness(track, seen, missed):
            return FORBIDDEN
        distance = _distance_sizes(predicted, seen.box)
        overlap = predicted.iou(seen.box)
        if overlap < c.min_iou and distance > self._reach_sizes(track, capture_time):
            reunion = likeness is not None and likeness >= c.reunion_score and distance <= c.max_reunion_sizes
            if not reunion:
                return FORBIDDEN
        # More pairs before better pairs; an unknown likeness counts as one that hardly speaks for it.
        return 1.0 + overlap + 0.5 / (1.0 + distance) + (c.doubt_score if likeness is None else likeness)

    def _least_likeness(self, track: _Track, seen: Observation, missed: bool) -> float:
        c = self._config
        sure = track.good_count >= c.samples_for_doubt and not seen.quality.reasons
        return c.doubt_score if sure or missed else c.contradiction_score

    def _reach_sizes(self, track: _Track, capture_time: datetime) -> float:
        c = self._config
        since_s = max(0.0, (capture_time - track.last_seen).total_seconds())
        reach = min(c.max_reach_sizes, c.max_speed_sizes_per_s * since_s)
        # With a velocity the prediction has done most of it.
        return max(0.5, reach * (0.5 if track.frame_count > 1 else 1.0))


class _Track:
    """One tracklet as it grows."""

    def __init__(self, tracklet_id: TrackletId, seen: Observation, capture_time: datetime) -> None:
        self.tracklet_id = tracklet_id
        self.first_seen = capture_time
        self.last_seen = capture_time
        self.frame_count = 1
        self.good_count = 0
        self._sample_count = 0
        self.best_quality = 0.0
        self._embedded_at: datetime | None = None
        self._box = seen.box
        self._velocity_px_s = (0.0, 0.0)
        self._good_sum: npt.NDArray[np.float64] | None = None
        self._any_sum: npt.NDArray[np.float64] | None = None
        self._remember(seen)

    def see(self, seen: Observation, capture_time: datetime) -> None:
        """It was seen again."""
        since_s = (capture_time - self.last_seen).total_seconds()
        if since_s > 0:
            self._learn_velocity(seen.box, since_s)
        self._box = seen.box
        self.last_seen = max(self.last_seen, capture_time)
        self.frame_count += 1
        self._remember(seen)

    def predict(self, moment: datetime) -> Box:
        """Where it should be, at constant velocity."""
        since_s = max(0.0, (moment - self.last_seen).total_seconds())
        vx, vy = self._velocity_px_s
        b = self._box
        return Box(b.x_px + vx * since_s, b.y_px + vy * since_s, b.width_px, b.height_px)

    def likeness(self, seen: Observation) -> float | None:
        """Cosine of an observation to the mean of the samples, in [-1, 1]; None where one has no embedding."""
        mean = self._good_sum if self._good_sum is not None else self._any_sum
        if mean is None or seen.embedding is None or mean.shape != seen.embedding.vector.shape:
            return None
        length = float(np.linalg.norm(mean))
        return float(mean @ seen.embedding.vector) / length if length > 0 else None

    def snapshot(self) -> Tracklet:
        return Tracklet(
            tracklet_id=self.tracklet_id,
            first_seen=self.first_seen,
            last_seen=self.last_seen,
            box=self._box,
            frame_count=self.frame_count,
            sample_count=self._sample_count,
            best_quality=self.best_quality,
            embedded_at=self._embedded_at,
        )

    def _learn_velocity(self, box: Box, since_s: float) -> None:
        (x, y), (old_x, old_y) = _centre(box), _centre(self._box)
        seen = ((x - old_x) / since_s, (y - old_y) / since_s)
        if self.frame_count == 1:
            self._velocity_px_s = seen
            return
        vx, vy = self._velocity_px_s
        self._velocity_px_s = (0.4 * vx + 0.6 * seen[0], 0.4 * vy + 0.6 * seen[1])

    def _remember(self, seen: Observation) -> None:
        if seen.embedding is None:
            return
        self._sample_count += 1
        self._embedded_at = self.last_seen
        self.best_quality = max(self.best_quality, seen.quality.overall)
        weighted = seen.embedding.vector.astype(np.float64) * max(seen.quality.overall, 1e-3)
        self._any_sum = weighted if self._any_sum is None else self._any_sum + weighted
        if not seen.quality.reasons:
            self.good_count += 1
            self._good_sum = weighted if self._good_sum is None else self._good_sum + weighted


def _centre(box: Box) -> tuple[float, float]:
    return box.x_px + box.width_px / 2, box.y_px + box.height_px / 2


def _distance_sizes(a: Box, b: Box) -> float:
    """Between centres, in mean box sizes; boxes of very different sizes are far apart."""
    (ax, ay), (bx, by) = _centre(a), _centre(b)
    size_a, size_b = math.sqrt(max(a.area_px, 1.0)), math.sqrt(max(b.area_px, 1.0))
    apart = math.hypot(ax - bx, ay - by) / ((size_a + size_b) / 2)
    return apart + 2.0 * max(0.0, abs(math.log(size_a / size_b)) - math.log(1.6))
