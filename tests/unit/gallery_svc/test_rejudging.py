"""Persons judged anew: what a camera shows of everybody is taken away, once it has shown several people."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gallery_svc.persons.looks import Looks
from gallery_svc.persons.rejudging import Rejudging
from gallery_svc.rows import half
from gallery_svc.store.collection_records import CollectionRecord, PolicyRecord
from gallery_svc.store.person_records import PersonLook
from tessera.domain.embedding import Modality
from tessera.domain.ids import CameraId, CollectionId, TrackletId
from tessera.domain.observation import Box
from tests.body_world import BODY_MODEL, PERSONS, THRESHOLDS

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
RECORD = CollectionRecord(
    CollectionId(PERSONS), Modality.PERSON, BODY_MODEL, START, policy=PolicyRecord(min_tracklet_frames=2)
)
CAMERAS = {"door": 30, "hall": 31}
"""Each adds a direction of its own, and more of it than of the person."""


def look(person: int, camera: str, at_s: float, person_id: str, *, for_s: float = 5.0) -> PersonLook:
    """Somebody before a camera whose light is in every look; two people score 0.8 there."""
    vector = np.zeros(32, np.float32)
    vector[person], vector[CAMERAS[camera]] = np.sqrt(0.2), np.sqrt(0.8)
    seen = START + timedelta(seconds=at_s)
    return PersonLook(
        collection_id=CollectionId(PERSONS),
        tracklet_id=TrackletId(f"{person}-{camera}"),
        camera_id=CameraId(camera),
        person_id=person_id,
        person_since=seen,
        model_id=BODY_MODEL,
        first_seen=seen,
        last_seen=seen + timedelta(seconds=for_s),
        seen_at=seen + timedelta(seconds=for_s),
        vector=half(vector),
        box=Box(0, 0, 1, 1),
    )


def judged(*those: PersonLook) -> dict[str, str]:
    """The anonymous id of each tracklet after they were judged anew, again and again until nothing changes."""
    looks = Looks(BODY_MODEL)
    for one in those:
        looks.put(one.tracklet_id, one)
    for _ in range(len(those)):
        for one in Rejudging(THRESHOLDS).changed(looks, RECORD):
            looks.put(one.tracklet_id, one)
    assert Rejudging(THRESHOLDS).changed(looks, RECORD) == []
    return {one.tracklet_id: one.person_id for one in looks.all()}


def passing(people: int) -> list[PersonLook]:
    """People pass the door and then the hall; whoever came first and second were taken for one."""
    at_door = [look(n, "door", 100.0 * n, f"p{max(n, 1)}") for n in range(people)]
    return at_door + [look(n, "hall", 100.0 * n + 30, f"q{max(n, 1)}") for n in range(people)]


def test_two_who_were_one_are_two_and_each_is_one_on_both_cameras() -> None:
    """Although two people at one camera are more alike than one person at two."""
    ids = judged(*passing(5))
    for number in range(5):
        assert ids[f"{number}-door"] == ids[f"{number}-hall"]
    assert len(set(ids.values())) == 5


def test_too_few_people_leave_everything_as_it_is() -> None:
    """The mean of two is no camera's light."""
    few = passing(2)
    assert judged(*few) == {one.tracklet_id: one.person_id for one in few}


def test_two_whom_one_camera_saw_at_once_stay_two() -> None:
    """However alike; and an id that is right stays the same id."""
    first = passing(4)
    twin = replace(look(3, "door", 300.0, "twin"), tracklet_id=TrackletId("twin-door"))
    ids = judged(*first, twin)
    assert ids["twin-door"] != ids["3-door"]
    assert ids["2-door"] == "p2"


@pytest.mark.parametrize("people", [3, 6])
def test_the_same_again_changes_nothing(people: int) -> None:
    """Whatever was judged once stands until somebody passes: `judged` asks once more and gets no change."""
    assert len(judged(*passing(people))) == 2 * people
