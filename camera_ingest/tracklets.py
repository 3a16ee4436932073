"""From tracklets to the gallery's updates: which samples speak for a person, when, and who is known by now.

Samples go on at once, since a decision that waits is late: the gallery weighs them by quality and tells nobody that it
cannot tell. Poor samples go only until a good one came, the first few and then better ones. A tracklet is known, and
need not be embedded in each frame, once it has a decision and enough samples. About once a second one frame of it is
looked at anew, so that a decision can be revised: one, however many follow before its answer is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from camera_ingest.camera import Camera
from camera_ingest.tracker import Tracker, TrackerStep, Tracklet
from tessera.chassis.tracing import current_span
from tessera.client.stream_values import (
    FrameAnswer,
    KnownTracklet,
    TrackletDecision,
    TrackletSample,
    TrackletUpdate,
)
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.ids import TrackletId
from tessera.domain.observation import FaceOnBody, Observation

KNOWN_AFTER_SAMPLES = 5
LOOK_AGAIN_AFTER_S = 1.0
LOOK_AGAIN_AFTER_FRAMES = 3
"""Fewer are seen in a second when the encoder is short of time: then it is spared, for three seconds at most."""
LOOK_AGAIN_AT_LAST_S = 3.0
POOR_SAMPLES = 3
"""Enough for a decision when nothing better comes; further ones must be better than the best of them."""
_DECIDED = frozenset({Outcome.MATCH, Outcome.UNKNOWN})


@dataclass(slots=True)
class _Story:
    """What the gallery was told of a tracklet, and what it made of it."""

    told_at: datetime | None = None
    has_good: bool = False
    poor_told: int = 0
    best_poor: float = -1.0
    decision: TrackletDecision | None = None
    asked_at: datetime | None = None
    """Of the last frame that was sent to be embedded."""
    asked_frame: int = 0
    """Frames that were seen before it."""


class TrackletBook:
    """The tracklets of one camera, and what the gallery knows of them. Used from one event loop.

    Args:
        camera: whose.
        tracker: joins observations.
        submit: takes each update for the gallery; its `sequence` is not set yet.
        modality: what is followed: faces or persons.
        face_on: the face on a body; None: of no body is one known.
    """

    def __init__(
        self,
        camera: Camera,
        tracker: Tracker,
        submit: Callable[[TrackletUpdate], None],
        modality: Modality = Modality.FACE,
        face_on: Callable[[TrackletId], FaceOnBody | None] | None = None,
    ) -> None:
        self._camera = camera
        self._tracker = tracker
        self._submit = submit
        self._modality = modality
        self._face_on = face_on
        self._stories: dict[TrackletId, _Story] = {}

    @property
    def active_count(self) -> int:
        """Tracklets that have not ended."""
        return len(self._tracker.active)

    @property
    def active_ids(self) -> tuple[TrackletId, ...]:
        """Of the same."""
        return tuple(tracklet.tracklet_id for tracklet in self._tracker.active)

    def take_over(self, camera: Camera) -> None:
        """Go on with a camera that was changed; in another collection everybody is somebody new."""
        if camera.collection_for(self._modality) != self._camera.collection_for(self._modality):
            self.end_all()
        self._camera = camera

    def take(self, answer: FrameAnswer) -> TrackerStep:
        """Take in the encoder's answer to one frame."""
        step = self.join(answer.observations, answer.capture_time)
        self.tell(step)
        return step

    def join(self, observations: Sequence[Observation], capture_time: datetime) -> TrackerStep:
        """The first half of it: what goes on which tracklet; nobody is told."""
        return self._tracker.update(observations, capture_time)

    def tell(self, step: TrackerStep) -> None:
        """The second: tell the gallery."""
        for tracklet, observation in step.seen:
            self._tell_seen(tracklet, observation)
        self._tell_ended(step.ended)

    def holds(self, tracklet_id: TrackletId) -> bool:
        """Whether it is one of this book's tracklets that have not ended."""
        return tracklet_id in self._stories

    def known(self, moment: datetime) -> tuple[KnownTracklet, ...]:
        """The tracklets that need no embedding in the frame of this moment, which goes to the encoder now."""
        known = []
        for tracklet, box in self._tracker.predicted(moment):
            story = self._stories.get(tracklet.tracklet_id)
            if story is not None and self._is_known(story, tracklet, moment):
                known.append(KnownTracklet(tracklet.tracklet_id, box, tracklet.best_quality, self._modality))
            elif story is not None:
                story.asked_at, story.asked_frame = moment, tracklet.frame_count
        return tuple(known)

    def decide(self, decision: TrackletDecision) -> bool:
        """Take in a decision; returns whether it says anything new."""
        story = self._stories.get(decision.tracklet_id)
        if story is None:
            return False
        before = story.decision
        story.decision = decision
        return before is None or before.revision != decision.revision

    def end_stale(self, moment: datetime) -> int:
        """End what was not seen for long before `moment`; returns how many."""
        return self._tell_ended(self._tracker.end_stale(moment))

    def end_all(self) -> int:
        """End every tracklet; returns how many."""
        return self._tell_ended(self._tracker.end_all())

    def _is_known(self, story: _Story, tracklet: Tracklet, moment: datetime) -> bool:
        if story.decision is None or tracklet.embedded_at is None or tracklet.sample_count < KNOWN_AFTER_SAMPLES:
            return False
        if story.decision.decision.outcome not in _DECIDED:
            return False
        asked_at = max(tracklet.embedded_at, story.asked_at or tracklet.embedded_at)
        since_s = (moment - asked_at).total_seconds()
        is_rare = tracklet.frame_count - story.asked_frame < LOOK_AGAIN_AFTER_FRAMES
        return since_s < (LOOK_AGAIN_AT_LAST_S if is_rare else LOOK_AGAIN_AFTER_S)

    def _tell_seen(self, tracklet: Tracklet, observation: Observation) -> None:
        story = self._stories.setdefault(tracklet.tracklet_id, _Story())
        samples = self._chosen(story, tracklet, observation)
        if samples or self._is_due(story, tracklet):
            self._tell(tracklet, story, samples, ended=False)

    def _chosen(self, story: _Story, tracklet: Tracklet, observation: Observation) -> tuple[TrackletSample, ...]:
        if observation.embedding is None:
            return ()
        sample = TrackletSample(tracklet.last_seen, observation.embedding, observation.quality, observation.box)
        overall = observation.quality.overall
        # Half of a body is of that body: who stands at the picture's edge would be known by a few steps alone.
        if not observation.quality.reasons or self._modality is Modality.PERSON:
            story.has_good = True
        elif story.has_good or (story.poor_told >= POOR_SAMPLES and overall <= story.best_poor):
            return ()
        else:
            story.poor_told += 1
            story.best_poor = max(story.best_poor, overall)
        return (sample,)

    def _is_due(self, story: _Story, tracklet: Tracklet) -> bool:
        if story.told_at is None:
            return False
        return (tracklet.last_seen - story.told_at).total_seconds() >= LOOK_AGAIN_AFTER_S

    def _tell_ended(self, ended: tuple[Tracklet, ...]) -> int:
        for tracklet in ended:
            story = self._stories.pop(tracklet.tracklet_id, _Story())
            # Somebody who never had a sample cannot be decided; the gallery need not hear of them.
            if story.told_at is not None:
                self._tell(tracklet, story, (), ended=True)
        return len(ended)

    def _tell(self, tracklet: Tracklet, story: _Story, samples: tuple[TrackletSample, ...], *, ended: bool) -> None:
        story.told_at = tracklet.last_seen
        self._submit(
            TrackletUpdate(
                camera_id=self._camera.camera_id,
                collection_id=self._camera.collection_for(self._modality),
                tracklet_id=tracklet.tracklet_id,
                sequence=0,
                samples=samples,
                first_seen=tracklet.first_seen,
                last_seen=tracklet.last_seen,
                box=tracklet.box,
                frame_count=tracklet.frame_count,
                ended=ended,
                modality=self._modality,
                face=self._face_on(tracklet.tracklet_id) if self._face_on is not None else None,
                traceparent=current_span().traceparent() or "",
            )
        )
