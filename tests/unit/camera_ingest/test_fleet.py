"""The fleet between people, leases and workers; and the channels to other workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingest_fakes import Rig, eventually

from camera_ingest.camera import Camera, CameraState
from camera_ingest.peers import Peers, is_passed_on
from camera_ingest.worker import CameraWorker
from tessera.domain.errors import NotFoundError, OverloadedError, UnavailableError
from tessera.domain.ids import CameraId

DOOR, HALL = CameraId("door"), CameraId("hall")


async def watch_both(rig: Rig, folder: Path) -> None:
    for camera_id in (DOOR, HALL):
        await rig.ingest.fleet.add(Camera(camera_id, f"folder:{folder}", loop=True, motion_gate=False))


async def test_a_worker_that_fails_to_stop_holds_up_no_other(
    rig: Rig, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are stopped and their leases given back all the same."""
    await watch_both(rig, picture_folder)
    hall = rig.ingest.fleet.worker(HALL)
    await eventually(lambda: hall.status().frames_sampled > 1, "some frames")
    stop = CameraWorker.stop

    async def failing(self: CameraWorker) -> None:
        await stop(self)
        if self.camera.camera_id == DOOR:
            raise LookupError("a defect")

    monkeypatch.setattr(CameraWorker, "stop", failing)
    await rig.ingest.fleet.stop()
    assert hall.status().frames_in_flight == 0
    assert rig.ingest.keeper.held() == {}


async def test_after_its_end_a_fleet_takes_nothing_again(rig: Rig, picture_folder: Path) -> None:
    """A beat that comes late must not take back what was let go of for others."""
    await watch_both(rig, picture_folder)
    await rig.ingest.fleet.stop()
    await rig.ingest.keeper.beat()
    await rig.ingest.fleet.follow()
    assert rig.ingest.keeper.held() == {}
    with pytest.raises(NotFoundError):
        rig.ingest.fleet.worker(DOOR)


async def test_a_camera_whose_lease_ended_rests_with_its_newest_frame(
    rig: Rig, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it waits and why, its age grows on the metrics page, and its lease starts it again."""
    await watch_both(rig, picture_folder)
    worker = rig.ingest.fleet.worker(DOOR)
    await eventually(lambda: worker.status().frames_sampled > 1, "some frames")
    camera = await rig.ingest.fleet.camera(DOOR)
    with monkeypatch.context() as patched:
        patched.setattr(rig.ingest.keeper, "_good_until_s", 0.0)
        await rig.ingest.fleet.follow()
        status = rig.ingest.fleet.status(camera)
        assert (status.state, status.worker_address, status.frames_in_flight) == (CameraState.WAITING, "", 0)
        assert "lease" in status.detail
        assert (await rig.ingest.fleet.snapshot(camera))[0].startswith(b"\xff\xd8")
        labels = {"camera": DOOR}
        assert rig.counted("tessera_ingest_camera_up", **labels) == 0
        before = rig.counted("tessera_ingest_last_frame_age_seconds", **labels)
        await rig.ingest.fleet.follow()
        assert rig.counted("tessera_ingest_last_frame_age_seconds", **labels) > before
    await rig.ingest.fleet.follow()
    again = rig.ingest.fleet.worker(DOOR)
    assert again is not worker
    await eventually(lambda: again.status().state is CameraState.ONLINE, "the return")


async def test_a_camera_that_cannot_be_watched_keeps_no_other_from_it(
    rig: Rig, picture_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits and says so, the others are watched, and it is tried again."""
    start = CameraWorker.start

    def failing(self: CameraWorker) -> None:
        if self.camera.camera_id == DOOR:
            raise LookupError("a defect")
        start(self)

    with monkeypatch.context() as patched:
        patched.setattr(CameraWorker, "start", failing)
        await watch_both(rig, picture_folder)
        assert rig.ingest.fleet.worker(HALL).status().state is not CameraState.WAITING
        status = rig.ingest.fleet.status(await rig.ingest.fleet.camera(DOOR))
        assert (status.state, status.detail) == (CameraState.WAITING, "internal error; the log has it")
    await rig.ingest.fleet.follow()
    worker = rig.ingest.fleet.worker(DOOR)
    await eventually(lambda: worker.status().frames_sampled > 0, "frames")


async def test_there_are_no_more_cameras_than_room(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused with the number that all workers together may watch; the same one again is not."""
    monkeypatch.setattr(type(rig.ingest.keeper), "total_capacity", 1)
    camera = Camera(DOOR, "demo:", enabled=False)
    await rig.ingest.fleet.add(camera)
    await rig.ingest.fleet.add(camera)
    with pytest.raises(OverloadedError) as raised:
        await rig.ingest.fleet.add(Camera(HALL, "demo:", enabled=False))
    assert raised.value.limit == 1


async def test_a_worker_that_does_not_answer_is_named() -> None:
    """Its address stands in the error; channels to workers that are gone are closed."""
    peers = Peers()
    address = "127.0.0.1:1"
    with pytest.raises(UnavailableError, match=address):
        await peers.snapshot(address, DOOR)
    channel = peers._channels[address]
    await peers.keep_only({address})
    assert peers._channels == {address: channel}
    await peers.keep_only({"127.0.0.1:2"})
    assert peers._channels == {}
    await peers.close()


def test_a_call_in_anothers_name_is_known_by_its_metadata() -> None:
    """So that two workers that each take the other for the holder do not ask each other for ever."""
    assert is_passed_on((("user-agent", "x"), ("tessera-passed-on", "1")))
    assert not is_passed_on((("user-agent", "x"),))
    assert not is_passed_on(None)
