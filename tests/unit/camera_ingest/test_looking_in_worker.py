"""What is looked at, in a whole camera over real gRPC: each frame left out is counted under its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from ingest_fakes import Rig, eventually

from camera_ingest.camera import Camera, CameraStatus, Zone
from camera_ingest.looking.scene import SceneState
from camera_ingest.worker import CameraWorker
from tessera.domain.ids import CameraId
from tessera.domain.reasons import Reason
from tessera.imaging.decode import decode

HALL = CameraId("hall")


def balanced(status: CameraStatus) -> bool:
    ended = status.frames_encoded + status.frames_skipped + status.frames_expired + status.frames_failed
    return status.frames_sampled == ended + status.frames_in_flight


@pytest.fixture
def still_folder(tmp_path: Path) -> Path:
    """One picture, which is all that a looped camera shows."""
    picture = np.random.default_rng(4).integers(80, 200, (24, 32, 3)).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    (tmp_path / "still.jpg").write_bytes(simplejpeg.encode_jpeg(picture, 90, "BGR"))
    return tmp_path


async def watch(rig: Rig, camera: Camera) -> CameraWorker:
    await rig.ingest.fleet.add(camera)
    return rig.ingest.fleet.worker(camera.camera_id)


async def test_a_still_scene_is_hardly_encoded(rig: Rig, still_folder: Path) -> None:
    """Frames in which nothing moves are skipped as NO_MOTION; the account holds; some go through all the same."""
    rig.encoder.faces = False
    worker = await watch(
        rig, Camera(HALL, f"folder:{still_folder}", sample_rate_hz=20.0, loop=True, expires_after_s=8.0)
    )
    await eventually(lambda: worker.status().skip_counts.get(Reason.NO_MOTION, 0) >= 60, "frames without motion")
    await eventually(lambda: worker.status().frames_encoded >= 2, "the frame that goes through in any case")
    status = worker.status()
    assert balanced(status)
    assert status.frames_encoded < status.skip_counts[Reason.NO_MOTION]
    labels = {"camera": HALL, "outcome": "SKIPPED", "reason": "NO_MOTION"}
    assert rig.counted("tessera_ingest_frames_total", **labels) >= 60


async def test_while_somebody_is_followed_every_frame_goes_on(rig: Rig, still_folder: Path) -> None:
    """A person who stands still is not lost: the gate is open while the tracklet lives."""
    worker = await watch(
        rig, Camera(HALL, f"folder:{still_folder}", sample_rate_hz=4.0, loop=True, expires_after_s=8.0)
    )
    await eventually(lambda: worker.status().active_tracklets == 1, "the tracklet")
    before = worker.status()
    await eventually(lambda: worker.status().frames_encoded >= before.frames_encoded + 8, "its frames")
    after = worker.status()
    assert after.skip_counts.get(Reason.NO_MOTION, 0) - before.skip_counts.get(Reason.NO_MOTION, 0) <= 1


async def test_without_the_gate_a_still_scene_is_encoded(rig: Rig, still_folder: Path) -> None:
    """`motion_gate` off: nothing is left out for want of motion."""
    rig.encoder.faces = False
    camera = Camera(HALL, f"folder:{still_folder}", loop=True, expires_after_s=8.0, motion_gate=False)
    worker = await watch(rig, camera)
    await eventually(lambda: worker.status().frames_encoded >= 8, "frames")
    assert Reason.NO_MOTION not in worker.status().skip_counts


async def test_a_mask_is_black_before_the_encoder_and_in_a_snapshot(rig: Rig, still_folder: Path) -> None:
    """What lies in a mask leaves the worker in no picture."""
    corner = Zone("", ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)), True)
    camera = Camera(HALL, f"folder:{still_folder}", loop=True, expires_after_s=8.0, zones=(corner,))
    worker = await watch(rig, camera)
    await eventually(lambda: len(rig.encoder.frames) >= 1, "a frame")
    snapshot, _ = await worker.snapshot()
    for jpeg in (rig.encoder.frames[0].image.data, snapshot):
        picture = decode(jpeg)
        assert picture[:232, :312].max() <= 12
        assert picture[256:, 336:].mean() > 60


async def test_an_encoder_without_room_slows_the_camera_down(rig: Rig, picture_folder: Path) -> None:
    """Starved of credits fewer frames are looked at, evenly, counted as RATE_REDUCED; with room the rate comes back."""
    rig.encoder.may_answer.clear()
    worker = await watch(
        rig, Camera(HALL, f"folder:{picture_folder}", sample_rate_hz=15.0, loop=True, expires_after_s=5.0)
    )
    await eventually(lambda: worker.status().skip_counts.get(Reason.RATE_REDUCED, 0) >= 5, "frames left out")
    slow = worker.status()
    assert balanced(slow)
    assert 1.0 <= slow.sample_rate_hz < 15.0
    await eventually(
        lambda: 1.0 <= rig.counted("tessera_ingest_sample_rate_hertz", camera=HALL) < 15.0, "the rate as a metric"
    )
    rig.encoder.may_answer.set()
    await eventually(lambda: worker.status().sample_rate_hz > slow.sample_rate_hz, "a higher rate")
    assert balanced(worker.status())


@pytest.fixture
def covered_folder(tmp_path: Path) -> Path:
    """At ten pictures a second: a room for 4 s, a bag over the camera for 4 s, the room again."""
    chance = np.random.default_rng(5)
    room = chance.integers(40, 220, (18, 32, 3)).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    for number in range(160):
        picture = np.full_like(room, 20) if 40 <= number < 80 else room
        noisy = np.clip(picture + chance.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
        (tmp_path / f"{number:03}.jpg").write_bytes(simplejpeg.encode_jpeg(noisy, 90, "BGR"))
    return tmp_path


async def test_a_covered_camera_is_told_and_that_it_is_over(rig: Rig, covered_folder: Path) -> None:
    """COVERED reaches the gallery with its place and how clear it is, then SCENE_CLEAR; the status says both."""
    rig.encoder.faces = False
    worker = await watch(rig, Camera(HALL, f"folder:{covered_folder}", sample_rate_hz=10.0, expires_after_s=8.0))
    await eventually(lambda: "COVERED" in rig.gallery.kinds(), "the cover")
    covered = next(event.event for event in rig.gallery.events if event.event.probability)
    assert [(box.width_px, box.height_px) for box in covered.regions] == [(640, 360)]
    assert 0.5 < covered.probability <= 1.0
    await eventually(lambda: "SCENE_CLEAR" in rig.gallery.kinds(), "its end")
    assert worker.status().scene is SceneState.CLEAR
    told = [kind for kind in rig.gallery.kinds() if kind not in {"ONLINE", "ENDED"}]
    assert told == ["COVERED", "SCENE_CLEAR"]
    assert balanced(worker.status())


async def test_a_camera_that_watches_no_scene_says_so(rig: Rig, still_folder: Path) -> None:
    """`watch_scene` off: nothing is compared, and the status says that nobody looks."""
    worker = await watch(rig, Camera(HALL, f"folder:{still_folder}", loop=True, watch_scene=False))
    await eventually(lambda: worker.status().frames_sampled >= 3, "frames")
    assert worker.status().scene is SceneState.UNWATCHED


async def test_an_accepted_scene_is_known_when_the_camera_is_watched_again(rig: Rig, still_folder: Path) -> None:
    """What a person accepted is kept on disk, and is there before the first look."""
    url = f"folder:{still_folder}"
    camera = Camera(HALL, url, sample_rate_hz=20.0, loop=True, expires_after_s=8.0)
    worker = await watch(rig, camera)
    await eventually(lambda: worker.status().scene is SceneState.CLEAR, "the scene")
    worker.accept_scene()
    await eventually(lambda: worker.status().scene is SceneState.LEARNING, "the scene to be learned anew")
    await eventually(lambda: worker.status().scene is SceneState.CLEAR, "the accepted scene")
    await rig.ingest.fleet.change(HALL, lambda before: replace(before, enabled=False))
    await rig.ingest.fleet.change(HALL, lambda before: replace(before, enabled=True, watch_scene=True))
    again = rig.ingest.fleet.worker(HALL)
    assert again is not worker
    scene = again._scene
    assert scene is not None
    await eventually(lambda: not scene.album.is_empty, "its album")
