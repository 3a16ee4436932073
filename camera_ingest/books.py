"""The books of one camera: one of its faces, one of its persons, and which face is on which body.

What a camera watches says which there are; to the rest of the worker they are one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from camera_ingest.bodies import FacesOnBodies
from camera_ingest.camera import Camera
from camera_ingest.tracker import (
    BEGIN_PROBABILITY,
    FOLLOW_PROBABILITY,
    PERSON_BEGIN_PROBABILITY,
    PERSON_FOLLOW_PROBABILITY,
    PERSON_TRACKER,
    Tracker,
    TrackerStep,
)
from camera_ingest.tracklets import TrackletBook
from tessera.client.stream_values import EncodeOptions, FrameAnswer, KnownTracklet, TrackletDecision, TrackletUpdate
from tessera.domain.embedding import Modality
from tessera.domain.ids import TrackletId
from tessera.domain.observation import FaceOnBody

_NOTHING = TrackerStep((), ())


class Books:
    """The tracklets of one camera, and what the gallery knows of them. Used from one event loop.

    Args:
        camera: whose.
        new_id: makes an id that no tracklet had before.
        submit: takes each update for the gallery.
    """

    def __init__(
        self, camera: Camera, new_id: Callable[[], TrackletId], submit: Callable[[TrackletUpdate], None]
    ) -> None:
        self._on_bodies = FacesOnBodies()
        self._faces = TrackletBook(camera, Tracker(new_id), submit)
        tracker = Tracker(new_id, PERSON_TRACKER)
        self._persons = TrackletBook(camera, tracker, submit, Modality.PERSON, self._face_on)
        self._modalities = camera.modalities

    @property
    def active_count(self) -> int:
        """Tracklets that have not ended."""
        return self._faces.active_count + self._persons.active_count

    def take_over(self, camera: Camera) -> None:
        """Go on with a camera that was changed; in another collection everybody is somebody new."""
        self._faces.take_over(camera)
        self._persons.take_over(camera)

    def take(self, answer: FrameAnswer) -> TrackerStep:
        """Take in the encoder's answer to one frame; what it changed of faces and of persons."""
        if Modality.FACE not in self._modalities:
            return self._with_bodies(_NOTHING, self._persons.take(answer))
        faces = self._faces.take(answer)
        if Modality.PERSON not in self._modalities:
            return faces
        seen = answer.persons or ()
        bodies = self._persons.join(seen, answer.capture_time)
        self._on_bodies.take(faces, bodies, seen)  # before the gallery is told of the bodies
        self._persons.tell(bodies)
        return self._with_bodies(faces, bodies)

    def known(self, moment: datetime) -> tuple[KnownTracklet, ...]:
        """The tracklets that need no embedding in the frame of this moment."""
        return (*self._faces.known(moment), *self._persons.known(moment))

    def decide(self, decision: TrackletDecision) -> bool:
        """Take in a decision; returns whether it says anything new."""
        if self._faces.holds(decision.tracklet_id):
            self._on_bodies.decided(decision)
            return self._faces.decide(decision)
        return self._persons.decide(decision)

    def end_stale(self, moment: datetime) -> int:
        """End what was not seen for long before `moment`; returns how many."""
        return self._faces.end_stale(moment) + self._persons.end_stale(moment)

    def end_all(self) -> int:
        """End every tracklet; returns how many."""
        return self._faces.end_all() + self._persons.end_all()

    def _with_bodies(self, faces: TrackerStep, bodies: TrackerStep) -> TrackerStep:
        self._on_bodies.keep_only(self._persons.active_ids)
        return TrackerStep((*faces.seen, *bodies.seen), (*faces.ended, *bodies.ended))

    def _face_on(self, tracklet_id: TrackletId) -> FaceOnBody | None:
        return self._on_bodies.on(tracklet_id)


def encode_options(camera: Camera) -> EncodeOptions:
    """What the encoder is asked for."""
    faces = EncodeOptions(
        min_detection_probability=FOLLOW_PROBABILITY,
        min_side_px=camera.min_side_px,
        min_embedded_probability=BEGIN_PROBABILITY,
        persons=_PERSONS if Modality.PERSON in camera.modalities else None,
    )
    return faces if Modality.FACE in camera.modalities else _PERSONS


_PERSONS = EncodeOptions(
    modality=Modality.PERSON,
    min_detection_probability=PERSON_FOLLOW_PROBABILITY,
    min_embedded_probability=PERSON_BEGIN_PROBABILITY,
)
