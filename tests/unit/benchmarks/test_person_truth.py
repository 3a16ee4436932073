"""The hand-made truth of the persons' clips holds together."""

from __future__ import annotations

import pytest

from benchmarks.cameras.face_truth import ClipTruth
from benchmarks.person.truth import person_truths

TRUTHS = {truth.clip: truth for truth in person_truths()}


@pytest.mark.parametrize("clip", sorted(TRUTHS))
def test_nobody_is_in_two_places_at_once(clip: str) -> None:
    """In each judged frame a person has one box, within the picture and of a person's shape."""
    truth: ClipTruth = TRUTHS[clip]
    assert len({track.person for track in truth.tracks}) == len(truth.tracks)
    for frame in range(truth.frames):
        if truth.is_judged(frame):
            for name, box in truth.boxes_at(frame).items():
                assert -40 < box.x_px < 800, (name, frame)
                assert 20 < box.height_px < 480, (name, frame)
                assert 0.1 * box.height_px < box.width_px < 1.6 * box.height_px, (name, frame)


def test_people_come_back() -> None:
    """What the clip with several people is there for: half of them have more than one span."""
    returning = [track.person for track in TRUTHS["vtest.avi"].tracks if len(track.spans) > 1]
    assert len(returning) >= 5
