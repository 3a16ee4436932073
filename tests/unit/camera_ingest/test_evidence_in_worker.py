"""Best shots and clips of a whole worker: told with the sighting, fetched, and erased with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import pytest
import simplejpeg
from ingest_fakes import Call, Rig, eventually

from camera_ingest.camera import Camera, Zone
from camera_ingest.evidence.evidence import Evidence
from camera_ingest.peers import Peers
from camera_ingest.servicer import CameraServicer
from tessera.chassis.ports import free_port
from tessera.domain.errors import NotFoundError, UnavailableError
from tessera.domain.ids import CameraId
from tessera.v1 import camera_pb2 as pb
from tessera.v1 import camera_pb2_grpc

DOOR = CameraId("door")


def evidence(rig: Rig) -> Evidence:
    assert rig.ingest.evidence is not None
    return rig.ingest.evidence


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "evidence").iterdir() if path.is_file()]


async def watch(rig: Rig, folder: Path, *, loop: bool = True) -> None:
    await rig.ingest.fleet.add(Camera(DOOR, f"folder:{folder}", sample_rate_hz=10.0, loop=loop, expires_after_s=2.0))


async def told_shot(rig: Rig) -> str:
    await eventually(lambda: bool(rig.gallery.updates), "an update")
    return rig.gallery.updates[0].best_shot_id


async def test_a_sighting_names_a_shot_that_can_be_fetched(rig: Rig, picture_folder: Path, tmp_path: Path) -> None:
    """Every update of a tracklet names the same shot: a JPEG of the face and what is around it, kept sealed."""
    await watch(rig, picture_folder)
    shot_id = await told_shot(rig)
    await eventually(lambda: bool(files(tmp_path)), "a file")
    assert {update.best_shot_id for update in rig.gallery.updates} == {shot_id}
    servicer = CameraServicer(rig.ingest.fleet, rig.ingest.peers, lambda _: None, rig.ingest.evidence)
    answer = await servicer.GetShot(pb.GetShotRequest(shot_id=shot_id), Call())
    height, width, *_ = simplejpeg.decode_jpeg_header(answer.image.data)
    assert (height, width) == (46, 44)  # 20 x 24 px of a face, twice its longer side, cut at the picture's edge
    assert answer.camera_id == DOOR
    with pytest.raises(NotFoundError):
        await servicer.GetShot(pb.GetShotRequest(shot_id="0" * 32), Call())


async def test_nothing_of_the_undecided_reaches_the_disk(rig: Rig, picture_folder: Path, tmp_path: Path) -> None:
    """While the gallery has told nothing of a tracklet, its shot is in memory alone."""
    rig.gallery.may_answer.clear()
    await watch(rig, picture_folder)
    shot_id = await told_shot(rig)
    await evidence(rig).settle()
    assert files(tmp_path) == []
    assert (await evidence(rig).shot(shot_id)).jpeg
    rig.gallery.may_answer.set()
    await eventually(lambda: [path.name for path in files(tmp_path)] == [shot_id], "the file")


async def test_a_shot_is_erased_with_its_sighting(rig: Rig, picture_folder: Path, tmp_path: Path) -> None:
    """The worker asks the gallery what is gone; the file goes, and so does what it had in memory."""
    await watch(rig, picture_folder, loop=False)
    shot_id = await told_shot(rig)
    await eventually(lambda: any(update.ended for update in rig.gallery.updates), "the tracklet's end")
    await eventually(lambda: bool(files(tmp_path)), "a file")
    await eventually(lambda: bool(rig.gallery.checked), "a question")
    assert [path.name for path in files(tmp_path)] == [shot_id]
    rig.gallery.erased.update(f"sighting-{update.tracklet_id}" for update in rig.gallery.updates)
    await eventually(lambda: files(tmp_path) == [], "the erasure")
    with pytest.raises(NotFoundError):
        await evidence(rig).shot(shot_id)
    assert rig.counted("tessera_ingest_evidence_removed_total", reason="ERASED") == 1


async def test_without_the_gallery_nothing_is_taken_for_erased(rig: Rig, picture_folder: Path, tmp_path: Path) -> None:
    """Nobody can say what is gone: what is kept stays, and is erased once the gallery is back."""
    await watch(rig, picture_folder, loop=False)
    await told_shot(rig)
    await eventually(lambda: bool(rig.gallery.checked), "a question")
    await eventually(lambda: any(update.ended for update in rig.gallery.updates), "the tracklet's end")
    await rig.gallery_server.kill()
    rig.gallery.erased.update(f"sighting-{update.tracklet_id}" for update in rig.gallery.updates)
    with pytest.raises(UnavailableError):
        await evidence(rig).forget_erased()
    assert len(files(tmp_path)) == 1
    await rig.gallery_server.start()
    await eventually(lambda: files(tmp_path) == [], "the erasure")


async def test_a_lost_camera_has_a_clip_of_what_came_before(rig: Rig, picture_folder: Path) -> None:
    """Its event names the clip, which is a file of frames, and goes when a sighting in it is erased."""
    await watch(rig, picture_folder)
    await eventually(lambda: len(rig.encoder.frames) > 8, "frames")
    await eventually(lambda: bool(rig.gallery.checked), "a sighting that is kept")
    rig.ingest.fleet.worker(DOOR).on_lost("the cable was cut")
    await eventually(lambda: "LOST" in rig.gallery.kinds(), "the event")
    event = next(event for event in rig.gallery.events if event.event.clip_id)
    clip_id = event.event.clip_id
    kept = "tessera_ingest_evidence_kept_total"
    await eventually(lambda: rig.counted(kept, kind="clip") == 1, "the clip")
    servicer = CameraServicer(rig.ingest.fleet, rig.ingest.peers, lambda _: None, rig.ingest.evidence)
    pieces = [piece.data async for piece in servicer.GetClip(pb.GetClipRequest(clip_id=clip_id), Call())]
    clip = b"".join(pieces)
    assert clip[:4] == b"RIFF"
    assert clip.count(b"\xff\xd8\xff") >= 8
    with pytest.raises(NotFoundError):
        await evidence(rig).shot(clip_id)
    rig.gallery.erased.update(f"sighting-{update.tracklet_id}" for update in rig.gallery.updates)
    removed = "tessera_ingest_evidence_removed_total"
    await eventually(lambda: rig.counted(removed, reason="ERASED") >= 2, "the erasure of shot and clip")
    with pytest.raises(NotFoundError):
        await evidence(rig).clip(clip_id)


async def test_a_disk_that_takes_nothing_holds_up_no_frame(rig: Rig, picture_folder: Path, tmp_path: Path) -> None:
    """Shots are lost, and counted; the camera goes on, and its account is exact."""
    folder = tmp_path / "evidence"
    await eventually(folder.is_dir, "the folder")
    shutil.rmtree(folder)
    folder.write_text("in the way")
    await watch(rig, picture_folder)
    lost = "tessera_ingest_evidence_lost_total"
    await eventually(lambda: rig.counted(lost, kind="shot", cause="WRITE") >= 1, "a shot that was lost")
    before = len(rig.encoder.frames)
    await eventually(lambda: len(rig.encoder.frames) > before + 5, "frames that go on")
    status = rig.ingest.fleet.worker(DOOR).status()
    ended = status.frames_encoded + status.frames_skipped + status.frames_expired + status.frames_failed
    assert status.frames_sampled == ended + status.frames_in_flight


async def test_a_piece_that_another_worker_keeps_is_fetched_from_it(rig: Rig, picture_folder: Path) -> None:
    """Any worker is asked for any shot; one that nobody keeps is not found; a dead worker hides none of the others'."""
    await watch(rig, picture_folder)
    shot_id = await told_shot(rig)
    keeper = CameraServicer(rig.ingest.fleet, rig.ingest.peers, lambda _: None, rig.ingest.evidence)
    server = grpc.aio.server()
    camera_pb2_grpc.add_CameraServiceServicer_to_server(keeper, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    peers = Peers()
    try:
        addresses = {address, f"127.0.0.1:{free_port()}"}
        found = await peers.shot(addresses, pb.GetShotRequest(shot_id=shot_id))
        assert found is not None
        assert (found.camera_id, found.image.data[:2]) == (DOOR, b"\xff\xd8")
        assert await peers.shot(addresses, pb.GetShotRequest(shot_id="0" * 32)) is None
        assert [piece async for piece in peers.clip(addresses, pb.GetClipRequest(clip_id="0" * 32))] == []
    finally:
        await peers.close()
        await server.stop(None)


@pytest.mark.parametrize("rig", [{"clip_sightings": True}], indirect=True, ids=["clips of sightings"])
async def test_a_sighting_has_a_clip_where_that_is_wanted(rig: Rig, picture_folder: Path) -> None:
    """The updates after its first decision name it; another tracklet's are another's."""
    await watch(rig, picture_folder)
    await eventually(lambda: any(update.clip_id for update in rig.gallery.updates), "a clip")
    assert rig.gallery.updates[0].clip_id == ""
    (clip_id,) = {update.clip_id for update in rig.gallery.updates} - {""}
    kept = "tessera_ingest_evidence_kept_total"
    await eventually(lambda: rig.counted(kept, kind="clip") == 1, "the clip on disk")
    assert (await evidence(rig).clip(clip_id))[:4] == b"RIFF"


async def test_a_sighting_names_the_zones_that_somebody_was_in(rig: Rig, picture_folder: Path) -> None:
    """Those of the middle of the face, and no others; masks are no zones."""
    zones = (
        Zone("door", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), False),
        Zone("yard", ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)), False),
        Zone("", ((0.9, 0.9), (1.0, 0.9), (1.0, 1.0)), True),
    )
    camera = Camera(DOOR, f"folder:{picture_folder}", sample_rate_hz=10.0, loop=True, zones=zones)
    await rig.ingest.fleet.add(camera)
    await eventually(lambda: len(rig.gallery.updates) > 2, "updates")
    assert {tuple(update.zones) for update in rig.gallery.updates} == {("door",)}
