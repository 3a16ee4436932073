"""What the cameras' benchmark makes of decisions: the plain loop's and ours, of people enrolled and not."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from benchmarks.cameras.loop import flips, steady_labels, told_of
from benchmarks.cameras.plain_loop import NOBODY, Seen
from benchmarks.cameras.tracklets import Asked, heard_of, probe_of, update_of
from tessera.client.answers import Sighting
from tessera.client.answers_wire import event_from_wire
from tessera.client.stream_values import TrackletDecision, TrackletSample
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Embedding
from tessera.domain.fusion import FrameFusion, join_frames
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TrackletId
from tessera.domain.observation import Box, Quality
from tessera.v1 import biometrics_pb2, events_pb2

MODEL = ModelId("test@1")
BEGAN = datetime(2026, 11, 23, tzinfo=UTC)


def walk(label: str, left: float, frames: range) -> list[Seen]:
    """Somebody who moves to the right by a tenth of their box in each frame."""
    return [Seen(frame, (left + 5 * frame, 40.0, 50.0, 50.0), label, 0.5) for frame in frames]


def together(*people: list[Seen]) -> list[Seen]:
    return sorted((face for person in people for face in person), key=lambda face: face.frame)


# ---- the plain loop


def test_people_are_told_apart_by_where_they_are_and_named_by_what_is_mostly_said() -> None:
    """Two who walk side by side stay two; a label of a single frame is a flip, and no third person."""
    one, other = walk("alice", 0.0, range(12)), walk(NOBODY, 200.0, range(12))
    one[4] = Seen(4, one[4].box, "bob", 0.4)
    seen = together(one, other)
    assert steady_labels(seen) == Counter({"alice": 1, NOBODY: 1})
    assert flips(seen) == 1


def test_a_face_of_two_frames_is_nobody() -> None:
    """What a detector sees for a moment does not make another person."""
    assert steady_labels(together(walk("alice", 0.0, range(9)), walk(NOBODY, 300.0, range(2)))) == Counter({"alice": 1})


# ---- our decisions


def sighting(outcome: str, subject: str = "") -> Sighting:
    """A sighting as the SDK tells it."""
    decision = biometrics_pb2.Decision(outcome=biometrics_pb2.Outcome.Value(f"OUTCOME_{outcome}"))
    wire = events_pb2.Sighting(tracklet_id="t", decision=decision, subject_id=subject)
    told = event_from_wire(events_pb2.Event(sighting=wire), replayed=False).sighting
    assert told is not None
    return told


@pytest.mark.parametrize(
    ("revisions", "label", "changes"),
    [
        ([("INCONCLUSIVE", ""), ("MATCH", "alice"), ("MATCH", "alice")], "alice", 0),
        ([("UNKNOWN", ""), ("MATCH", "alice")], "alice", 1),
        ([("MATCH", "alice"), ("UNKNOWN", ""), ("MATCH", "alice")], "alice", 2),
        ([("INCONCLUSIVE", "")], "INCONCLUSIVE", 0),
    ],
    ids=["first-label", "unknown-then-known", "to-and-fro", "never-decided"],
)
def test_a_first_label_is_no_change_and_every_other_one_is(
    revisions: list[tuple[str, str]], label: str, changes: int
) -> None:
    """An inconclusive start is not flapping; going from one person to another is."""
    told = told_of([sighting(*revision) for revision in revisions])
    assert (told.label, told.changes) == (label, changes)


# ---- tracklets


def sample(number: int, sharpness: float) -> TrackletSample:
    vector = np.random.default_rng(number).normal(size=8).astype(np.float32)
    quality = Quality(sharpness, 0.8, 0.7, 0.6, 0.9, min(sharpness, 0.6))
    embedding = Embedding(vector / np.linalg.norm(vector), MODEL)
    return TrackletSample(BEGAN + timedelta(seconds=number), embedding, quality, Box(0.0, 0.0, 50.0, 50.0))


def test_a_probe_told_frame_by_frame_is_the_mean_that_the_gallery_compares() -> None:
    """What is measured at equal FMR is what the product joins, however its samples come."""
    samples = [sample(number, 0.3 + 0.1 * number) for number in range(5)]
    joined = join_frames(
        [each.embedding for each in samples], [each.quality for each in samples], FrameFusion.QUALITY_WEIGHTED_MEAN
    )
    assert np.allclose(probe_of(samples), joined.vector, atol=1e-6)


def test_who_is_named_rightly_wrongly_and_who_should_not_have_been() -> None:
    """No answer, and an inconclusive one, name nobody: that is a miss for whoever is enrolled."""

    def asked(tracklet_id: str, person: str) -> Asked:
        return Asked(update_of(tracklet_id, CollectionId("people"), (sample(0, 0.5),)), person)

    def answer(tracklet_id: str, outcome: Outcome, subject: str | None) -> TrackletDecision:
        decision = Decision(outcome, (), None, None, MODEL)
        named = SubjectId(subject) if subject else None
        return TrackletDecision(TrackletId(tracklet_id), 1, 1, decision, named, "", None, 0.1)

    answers = [
        answer("right", Outcome.MATCH, "alice"),
        answer("wrong", Outcome.MATCH, "bob"),
        answer("unsure", Outcome.INCONCLUSIVE, None),
        answer("stranger", Outcome.MATCH, "bob"),
        answer("stranger-2", Outcome.UNKNOWN, None),
    ]
    mated = [asked(name, "alice") for name in ("right", "wrong", "unsure", "lost")]
    heard = heard_of(
        [*mated, asked("stranger", ""), asked("stranger-2", "")], {each.tracklet_id: each for each in answers}
    )
    assert (heard.mated, heard.named, heard.misnamed) == (4, 1, 1)
    assert (heard.unknown, heard.false_names) == (2, 1)
