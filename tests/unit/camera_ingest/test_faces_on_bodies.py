"""Which face is on which body, over frames: the one that lies in its box, unless something contradicts it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from camera_ingest.bodies import FacesOnBodies
from camera_ingest.tracker import Tracker, TrackerStep, Tracklet
from tessera.client.stream_values import TrackletDecision
from tessera.domain.decision import Decision, Outcome
from tessera.domain.ids import SubjectId, TrackletId
from tessera.domain.observation import Box, FaceOnBody, Observation, Quality

AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
GOOD = Quality(0.9, 0.5, 0.5, 0.9, 0.9, 0.9)


def seen(person: int | None = None) -> Observation:
    """Something that was detected; a face says in whose box."""
    return Observation(Box(0, 0, 10, 10), np.zeros((0, 2), np.float32), 0.9, GOOD, person=person)


def tracked(tracklet_id: str) -> Tracklet:
    """A tracklet of that name."""
    one = next(iter(Tracker(lambda: TrackletId(tracklet_id)).update([seen()], AT).seen))
    return one[0]


def frame(on: FacesOnBodies, faces: dict[str, int | None], bodies: list[str]) -> None:
    """One frame: faces by tracklet with the place of their body, and the bodies in the encoder's order."""
    persons = [seen() for _ in bodies]
    on.take(
        TrackerStep(tuple((tracked(name), seen(person)) for name, person in faces.items()), ()),
        TrackerStep(tuple((tracked(name), one) for name, one in zip(bodies, persons, strict=True)), ()),
        persons,
    )


def decided(on: FacesOnBodies, face: str, outcome: Outcome, subject: str | None = None) -> None:
    """The gallery says who a face is."""
    decision = Decision(outcome, (), None, None, None)
    subject_id = SubjectId(subject) if subject else None
    on.decided(TrackletDecision(TrackletId(face), 1, 1, decision, subject_id, "", None, 0.0))


def test_a_face_is_on_the_body_whose_box_holds_it() -> None:
    """Counted by frames; a face that lies in nobody's box is on none."""
    on = FacesOnBodies()
    for _ in range(3):
        frame(on, {"f1": 1, "f2": None}, ["b1", "b2"])
    assert on.on(TrackletId("b2")) == FaceOnBody(TrackletId("f1"), 3, 0)
    assert on.on(TrackletId("b1")) is None


def test_a_face_in_another_box_speaks_against() -> None:
    """Where two cross, the frames on the other body are told."""
    on = FacesOnBodies()
    for at in (0, 0, 0, 1):
        frame(on, {"f1": at}, ["b1", "b2"])
    assert on.on(TrackletId("b1")) == FaceOnBody(TrackletId("f1"), 3, 1)


def test_a_recognised_face_comes_before_a_longer_one() -> None:
    """A second tracklet of the same face on one body is no contradiction; one of somebody else is."""
    on = FacesOnBodies()
    for name, frames in (("f1", 2), ("f2", 5)):
        for _ in range(frames):
            frame(on, {name: 0}, ["b1"])
    assert on.on(TrackletId("b1")) == FaceOnBody(TrackletId("f2"), 5, 0)
    decided(on, "f1", Outcome.MATCH, "ada")
    assert on.on(TrackletId("b1")) == FaceOnBody(TrackletId("f1"), 2, 0)
    decided(on, "f2", Outcome.MATCH, "ada")
    assert on.on(TrackletId("b1")) == FaceOnBody(TrackletId("f2"), 5, 0)
    decided(on, "f2", Outcome.MATCH, "bob")
    assert on.on(TrackletId("b1")) == FaceOnBody(TrackletId("f2"), 5, 2)


def test_a_body_that_is_gone_is_forgotten() -> None:
    """Its frames count for nobody any longer."""
    on = FacesOnBodies()
    frame(on, {"f1": 0}, ["b1", "b2"])
    frame(on, {"f1": 1}, ["b1", "b2"])
    on.keep_only([TrackletId("b2")])
    assert on.on(TrackletId("b1")) is None
    assert on.on(TrackletId("b2")) == FaceOnBody(TrackletId("f1"), 1, 0)
