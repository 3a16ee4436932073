"""Who may speak for a camera: the newest lease, and workers of a version without leases."""

from __future__ import annotations

import pytest

from gallery_svc.fencing import Fences
from tessera.domain.errors import LeaseSupersededError
from tessera.domain.ids import CameraId

DOOR, HALL = CameraId("door"), CameraId("hall")


def test_an_older_lease_is_refused_and_told_the_newest() -> None:
    """The same and newer ones are heard; each camera has its own."""
    fences = Fences()
    for token in (5, 5, 9):
        fences.require(DOOR, token)
    with pytest.raises(LeaseSupersededError) as raised:
        fences.require(DOOR, 8)
    assert (raised.value.token, raised.value.newest) == (8, 9)
    fences.require(HALL, 8)
    fences.require(DOOR, 9)


def test_a_worker_without_leases_is_heard() -> None:
    """It raises nothing and is refused nothing."""
    fences = Fences()
    fences.require(DOOR, 9)
    fences.require(DOOR, 0)
    fences.require(DOOR, 9)


def test_what_is_remembered_is_bounded() -> None:
    """The camera that was silent for longest is forgotten first."""
    fences = Fences()
    for number in range(10_001):
        fences.require(CameraId(f"cam-{number}"), 2)
    fences.require(CameraId("cam-0"), 1)
    with pytest.raises(LeaseSupersededError):
        fences.require(CameraId("cam-10000"), 1)
