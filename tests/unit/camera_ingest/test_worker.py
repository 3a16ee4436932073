"""One camera from source to decision, over real gRPC: every frame accounted for, whatever breaks."""

from __future__ import annotations

from pathlib import Path

from ingest_fakes import Rig, eventually

from camera_ingest.camera import Camera, CameraState, CameraStatus
from camera_ingest.worker import CameraWorker
from tessera.domain.ids import CameraId
from tessera.domain.reasons import Reason

DOOR = CameraId("door")


async def watch(rig: Rig, url: str, rate_hz: float = 20.0, **fields: object) -> CameraWorker:
    await rig.ingest.fleet.add(Camera(DOOR, url, sample_rate_hz=rate_hz, **fields))  # type: ignore[arg-type]
    return rig.ingest.fleet.worker(DOOR)


def balanced(status: CameraStatus) -> bool:
    ended = status.frames_encoded + status.frames_skipped + status.frames_expired + status.frames_failed
    return status.frames_sampled == ended + status.frames_in_flight


async def test_a_folder_is_watched_to_its_end(rig: Rig, picture_folder: Path) -> None:
    """Each picture is encoded, one tracklet is decided, ended and told, and the camera says that it ended."""
    worker = await watch(rig, f"folder:{picture_folder}", rate_hz=1.5, expires_after_s=8.0)
    await eventually(lambda: worker.status().frames_encoded == 6, "six pictures encoded")
    await eventually(lambda: worker.status().state is CameraState.ENDED, "the end")
    await eventually(lambda: any(update.ended for update in rig.gallery.updates), "the tracklet's end")
    status = worker.status()
    assert (status.frames_sampled, status.frames_in_flight, status.width_px, status.height_px) == (6, 0, 64, 48)
    assert len({update.tracklet_id for update in rig.gallery.updates}) == 1
    sequences = [update.sequence for update in rig.gallery.updates]
    assert sequences == list(range(1, len(sequences) + 1))
    await eventually(lambda: rig.gallery.kinds() == ["ONLINE", "ENDED"], "both events")
    assert rig.counted("tessera_ingest_decisions_total", camera=DOOR, outcome="UNKNOWN") == 1


async def test_a_decided_tracklet_is_not_embedded_in_each_frame(rig: Rig, picture_folder: Path) -> None:
    """After a decision and five samples frames carry the tracklet as known; once a second they do not."""
    await watch(rig, f"folder:{picture_folder}", loop=True)
    await eventually(lambda: len(rig.encoder.frames) > 45, "two seconds of frames")
    known = [bool(frame.known_tracklets) for frame in rig.encoder.frames]
    assert not any(known[:5])
    assert any(known)
    after = known[known.index(True) :]
    assert not all(after)
    assert sum(after) > len(after) / 2


async def test_without_credit_the_newest_frame_wins(rig: Rig, picture_folder: Path) -> None:
    """A slow encoder gets the newest frame; those that it pushed out are counted as NO_CREDIT."""
    rig.encoder.may_answer.clear()
    worker = await watch(rig, f"folder:{picture_folder}", loop=True, expires_after_s=60.0)
    await eventually(lambda: worker.status().skip_counts.get(Reason.NO_CREDIT, 0) >= 4, "frames that were pushed out")
    status = worker.status()
    assert balanced(status)
    assert status.frames_in_flight in {2, 3}  # one sent, one in the backlog, perhaps one that is looked at
    rig.encoder.may_answer.set()
    await eventually(lambda: worker.status().frames_encoded >= 2, "the first and the newest")
    first, second = rig.encoder.frames[:2]
    assert second.frame_id >= status.frames_sampled - 1
    assert second.dropped_since_last == second.frame_id - first.frame_id - 1 >= 4


async def test_a_frame_that_waits_too_long_expires(rig: Rig, picture_folder: Path) -> None:
    """A frame older than the camera allows is never sent."""
    rig.encoder.may_answer.clear()
    worker = await watch(rig, f"folder:{picture_folder}", rate_hz=1.0, loop=True, expires_after_s=0.3)
    await eventually(lambda: worker.status().frames_expired >= 2, "the expiry of frames that nobody takes")
    assert balanced(worker.status())
    assert len(rig.encoder.frames) <= 1


async def test_a_killed_encoder_is_found_again(rig: Rig, picture_folder: Path) -> None:
    """Frames under way when it dies are skipped as ENCODER_UNAVAILABLE; when it is back, encoding goes on."""
    worker = await watch(rig, f"folder:{picture_folder}", loop=True)
    await eventually(lambda: worker.status().frames_encoded >= 3, "some frames")
    rig.encoder.may_answer.clear()
    await eventually(lambda: worker.status().frames_in_flight >= 1, "a frame under way")
    await rig.encoder_server.kill()
    await eventually(
        lambda: worker.status().skip_counts.get(Reason.ENCODER_UNAVAILABLE, 0) >= 3, "frames that nobody took"
    )
    assert balanced(worker.status())
    before = worker.status().frames_encoded
    rig.encoder.may_answer.set()
    await rig.encoder_server.start()
    await eventually(lambda: worker.status().frames_encoded > before + 3, "frames after the return")
    assert balanced(worker.status())
    assert rig.encoder.opens[-1].resume_after_frame_id > 0
    ids = [frame.frame_id for frame in rig.encoder.frames]
    assert ids == sorted(set(ids))


async def test_a_killed_gallery_learns_how_things_stand(rig: Rig, picture_folder: Path) -> None:
    """While it is away updates fold into one for each tracklet; nothing is renumbered, and decisions go on."""
    await watch(rig, f"folder:{picture_folder}", loop=True)
    await eventually(lambda: len(rig.gallery.updates) >= 3, "some updates")
    await rig.gallery_server.kill()
    seen = len(rig.encoder.frames)
    await eventually(lambda: len(rig.encoder.frames) > seen + 20, "frames without a gallery")
    assert rig.ingest.matcher.open_count <= 2
    before = len(rig.gallery.updates)
    await rig.gallery_server.start()
    await eventually(lambda: len(rig.gallery.updates) > before + 2, "updates after the return")
    for tracklet in {update.tracklet_id for update in rig.gallery.updates}:  # a busy machine makes two of one visit
        numbers = [update.sequence for update in rig.gallery.updates if update.tracklet_id == tracklet]
        assert numbers == sorted(numbers)
    assert max(len(update.samples) for update in rig.gallery.updates) <= 8


async def test_a_broken_picture_is_counted_as_failed(rig: Rig, picture_folder: Path) -> None:
    """A file that is no picture goes its way, and comes back with the encoder's reason."""
    (picture_folder / "3.jpg").write_bytes(b"no picture at all")
    worker = await watch(rig, f"folder:{picture_folder}", rate_hz=1.5, expires_after_s=8.0)
    await eventually(lambda: worker.status().frames_failed == 1, "the failure")
    await eventually(lambda: worker.status().frames_encoded == 5, "the others")
    labels = {"camera": DOOR, "outcome": "FAILED", "reason": "NOT_AN_IMAGE"}
    assert rig.counted("tessera_ingest_frames_total", **labels) == 1


async def test_a_camera_that_is_not_there_is_tried_again(rig: Rig, picture_folder: Path) -> None:
    """It is LOST with what is wrong, blocks nothing, and comes online by itself."""
    missing = picture_folder.with_name("later")
    worker = await watch(rig, f"folder:{missing}", loop=True)
    await eventually(lambda: worker.status().state is CameraState.LOST, "the loss")
    assert worker.status().detail == "No such file or directory"
    picture_folder.rename(missing)  # noqa: ASYNC240 - one call on a local disk
    await eventually(lambda: worker.status().state is CameraState.ONLINE, "the return")
    assert worker.status().reconnects >= 1
    assert worker.status().detail == ""
    await eventually(lambda: rig.gallery.kinds() == ["LOST", "ONLINE"], "both events")


async def test_stopping_counts_what_is_left(rig: Rig, picture_folder: Path) -> None:
    """At the end nothing is under way: what the encoder does not answer in time is skipped as SHUTTING_DOWN."""
    rig.encoder.may_answer.clear()
    worker = await watch(rig, f"folder:{picture_folder}", loop=True, expires_after_s=60.0)
    await eventually(lambda: worker.status().frames_sampled > 3, "some frames")
    await rig.ingest.fleet.stop()
    status = worker.status()
    assert balanced(status)
    assert status.frames_in_flight == 0
    assert status.skip_counts[Reason.SHUTTING_DOWN] in {2, 3}  # perhaps one that was being looked at


async def test_a_disabled_camera_is_kept_and_not_watched(rig: Rig, picture_folder: Path) -> None:
    """It has no frames and says why."""
    camera = Camera(DOOR, f"folder:{picture_folder}", enabled=False)
    await rig.ingest.fleet.add(camera)
    status = rig.ingest.fleet.status(await rig.ingest.fleet.camera(DOOR))
    assert status.state is CameraState.DISABLED
    assert status.frames_sampled == 0
