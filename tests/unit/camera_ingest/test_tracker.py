"""Tracklets: one person each, for as long as they are in the picture, and never two."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_ingest.tracker import Tracker
from tessera.domain.embedding import Embedding
from tessera.domain.ids import ModelId, TrackletId
from tessera.domain.observation import Box, Observation, Quality
from tessera.domain.reasons import Reason

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PERIOD_S = 0.2


def person(axis: int, noise: float = 0.0, seed: int = 0) -> Embedding:
    """An embedding of the person with this number; different people are at right angles."""
    values = np.zeros(32)
    values[axis] = 1.0
    return Embedding.from_raw(values + noise * np.random.default_rng(seed).normal(size=32), ModelId("test@1"))


def seen(
    x_px: float,
    y_px: float = 100.0,
    who: Embedding | None = None,
    *,
    faults: tuple[Reason, ...] = (),
    overall: float = 0.8,
    probability: float = 0.9,
) -> Observation:
    """A face of 100 px."""
    quality = Quality(0.8, 0.5, 0.8, 0.8, 0.9, overall, faults)
    return Observation(Box(x_px, y_px, 100, 100), np.zeros((5, 2), np.float32), probability, quality, who)


def at(frame: float) -> datetime:
    return START + timedelta(seconds=frame * PERIOD_S)


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(counting_ids())


def counting_ids() -> Callable[[], TrackletId]:
    numbers = itertools.count(1)
    return lambda: TrackletId(f"t{next(numbers)}")


def follow(tracker: Tracker, frames: Sequence[Sequence[Observation]]) -> list[list[TrackletId]]:
    """The ids of each frame's observations."""
    return [
        [tracklet.tracklet_id for tracklet, _ in tracker.update(observations, at(number)).seen]
        for number, observations in enumerate(frames)
    ]


def test_somebody_who_walks_keeps_the_id(tracker: Tracker) -> None:
    """A steady walk is one tracklet, embedded or not, and counts its frames."""
    frames = [[seen(60.0 * n, who=person(0, 0.05, n) if n % 3 == 0 else None)] for n in range(15)]
    assert set(itertools.chain.from_iterable(follow(tracker, frames))) == {"t1"}
    assert tracker.active[0].frame_count == 15
    assert tracker.active[0].sample_count == 5


def test_crossing_people_keep_their_ids(tracker: Tracker) -> None:
    """Two people who walk through each other's place come out with their own tracklets."""
    frames = [[seen(40.0 * n, who=person(0)), seen(560 - 40.0 * n, who=person(1))] for n in range(15)]
    ids = follow(tracker, frames)
    assert all(pair == ids[0] for pair in ids)


def test_motion_alone_carries_crossing_people(tracker: Tracker) -> None:
    """Without any embedding, constant velocity keeps two crossing walks apart."""
    frames = [[seen(40.0 * n, 100), seen(560 - 40.0 * n, 130)] for n in range(15)]
    ids = follow(tracker, frames)
    assert all(pair == ids[0] for pair in ids)


def test_a_short_gap_is_bridged(tracker: Tracker) -> None:
    """Three frames behind a pillar do not end a tracklet."""
    frames = [[] if 5 <= n < 8 else [seen(40.0 * n, who=person(0))] for n in range(12)]
    assert set(itertools.chain.from_iterable(follow(tracker, frames))) == {"t1"}


def test_appearance_brings_back_from_further_away(tracker: Tracker) -> None:
    """After a gap, the same face a few widths off its prediction is the same tracklet."""
    follow(tracker, [[seen(100, who=person(0))] for _ in range(3)])
    step = tracker.update([seen(480, who=person(0))], at(5))
    assert step.seen[0][0].tracklet_id == "t1"


def test_another_person_at_the_same_place_is_another_tracklet(tracker: Tracker) -> None:
    """Somebody who stands where somebody else stood a frame ago never inherits the tracklet."""
    first = follow(tracker, [[seen(100, who=person(0))] for _ in range(4)])
    then = tracker.update([seen(100, who=person(1))], at(4))
    assert first[-1] == ["t1"]
    assert then.seen[0][0].tracklet_id == "t2"


def test_a_blurred_look_at_somebody_else_is_not_taken_in_either(tracker: Tracker) -> None:
    """A contradicting embedding splits the tracklet whatever its quality."""
    follow(tracker, [[seen(100, who=person(0))] for _ in range(4)])
    then = tracker.update([seen(100, who=person(1, 0.02), faults=(Reason.LOW_SHARPNESS,))], at(4))
    assert then.seen[0][0].tracklet_id == "t2"


@pytest.mark.parametrize("poor_first", [True, False])
def test_a_face_too_poor_to_tell_apart_raises_no_doubt(tracker: Tracker, poor_first: bool) -> None:
    """An embedding of next to no quality contradicts nobody, and nobody is contradicted on its word: motion decides."""
    good, poor = seen(100, who=person(0)), seen(110, who=person(1), faults=(Reason.LOW_SHARPNESS,), overall=0.05)
    frames = [poor, good] if poor_first else [good, poor]
    assert follow(tracker, [[frame] for frame in frames]) == [["t1"], ["t1"]]


def test_an_unsure_detection_carries_on_whoever_turned_away(tracker: Tracker) -> None:
    """Faces that the detector hardly believes in go on with a tracklet for as long as they follow its way."""
    frames = [[seen(40.0 * n, who=person(0)) if n < 4 else seen(40.0 * n, probability=0.45)] for n in range(14)]
    assert set(itertools.chain.from_iterable(follow(tracker, frames))) == {"t1"}
    assert tracker.active[0].frame_count == 14


def test_an_unsure_detection_begins_nothing(tracker: Tracker) -> None:
    """A poster, a bag or the back of a head below the bar is nobody, however long it stays."""
    assert follow(tracker, [[seen(100, probability=0.6)] for _ in range(10)]) == [[]] * 10
    assert tracker.active == ()


def test_a_sure_detection_is_paired_before_an_unsure_one(tracker: Tracker) -> None:
    """Of two faces near a tracklet the sure one carries it on, though the other lies nearer."""
    tracker.update([seen(100)], at(0))
    step = tracker.update([seen(100, probability=0.5), seen(130)], at(1))
    assert [(tracklet.tracklet_id, face.box.x_px) for tracklet, face in step.seen] == [("t1", 130)]


def test_a_tracklet_ends_after_a_time_and_not_after_frames(tracker: Tracker) -> None:
    """One second without a look ends it, at any frame rate, and it is told once."""
    tracker.update([seen(100, who=person(0))], START)
    assert tracker.end_stale(START + timedelta(seconds=1.0)) == ()
    ended = tracker.end_stale(START + timedelta(seconds=1.01))
    assert [tracklet.tracklet_id for tracklet in ended] == ["t1"]
    assert tracker.end_stale(START + timedelta(seconds=9)) == ()


def test_whoever_comes_back_late_is_a_new_tracklet(tracker: Tracker) -> None:
    """After its end a tracklet never returns, even for the same face."""
    tracker.update([seen(100, who=person(0))], START)
    step = tracker.update([seen(100, who=person(0))], START + timedelta(seconds=3))
    assert [tracklet.tracklet_id for tracklet in step.ended] == ["t1"]
    assert step.seen[0][0].tracklet_id == "t2"


def test_crossing_people_are_looked_at_anew(tracker: Tracker) -> None:
    """While two predicted boxes overlap, neither is reported as predictable."""
    follow(tracker, [[seen(40.0 * n, who=person(0)), seen(300 - 40.0 * n, who=person(1))] for n in range(3)])
    assert len(tracker.predicted(at(2))) == 2
    assert tracker.predicted(at(3.5)) == ()


def test_somebody_who_was_missed_is_looked_at_anew(tracker: Tracker) -> None:
    """A tracklet that the newest frame did not show is not predictable: another may stand there by now."""
    follow(tracker, [[seen(100, who=person(0))], []])
    assert tracker.predicted(at(2)) == ()


faces = st.lists(
    st.tuples(st.integers(0, 900), st.integers(0, 400), st.integers(0, 3), st.booleans()), min_size=0, max_size=4
)


@given(st.lists(faces, min_size=1, max_size=12))
def test_no_id_twice_in_a_frame_and_no_tracklet_of_two_people(frames: list[list[tuple[int, int, int, bool]]]) -> None:
    """Wherever people are: a frame has each id once, an ended id never returns, no tracklet holds two people."""
    tracker = Tracker(counting_ids())
    people: dict[TrackletId, set[int]] = {}
    over: set[TrackletId] = set()
    for number, frame in enumerate(frames):
        observations = [seen(x, y, person(who) if embedded else None) for x, y, who, embedded in frame]
        step = tracker.update(observations, at(number))
        ids = [tracklet.tracklet_id for tracklet, _ in step.seen]
        over |= {tracklet.tracklet_id for tracklet in step.ended}
        assert len(set(ids)) == len(ids) == len(frame)
        assert not over & set(ids)
        for tracklet_id, (_, _, who, embedded) in zip(ids, frame, strict=True):
            if embedded:
                people.setdefault(tracklet_id, set()).add(who)
    assert all(len(who) == 1 for who in people.values())
