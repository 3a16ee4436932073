"""A camera that watches persons: who goes where, which face is on which body, and every frame accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest
from ingest_fakes import Rig, eventually

from camera_ingest.camera import Camera, CameraState, CameraStatus, dump_camera, load_camera
from camera_ingest.worker import CameraWorker
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CameraId, CollectionId
from tessera.v1 import biometrics_pb2 as pb

DOOR = CameraId("door")
BOTH = (Modality.FACE, Modality.PERSON)


async def watch(rig: Rig, url: str, modalities: tuple[Modality, ...], rate_hz: float = 10.0) -> CameraWorker:
    rig.encoder.bodies = True
    camera = Camera(DOOR, url, rate_hz, modalities=modalities, expires_after_s=8.0, loop=True)
    await rig.ingest.fleet.add(camera)
    return rig.ingest.fleet.worker(DOOR)


def is_balanced(status: CameraStatus) -> bool:
    ended = status.frames_encoded + status.frames_skipped + status.frames_expired + status.frames_failed
    return status.frames_sampled == ended + status.frames_in_flight


async def test_faces_and_bodies_go_to_their_own_collections(rig: Rig, picture_folder: Path) -> None:
    """One tracklet of each; the body's updates say which face is on it, and in how many frames."""
    worker = await watch(rig, f"folder:{picture_folder}", BOTH)

    def told_of_both() -> bool:
        return any(update.face.frames_together >= 3 for update in rig.gallery.updates)

    await eventually(told_of_both, "a body with its face")
    faces = [update for update in rig.gallery.updates if update.modality == pb.MODALITY_FACE]
    bodies = [update for update in rig.gallery.updates if update.modality == pb.MODALITY_PERSON]
    assert {update.collection_id for update in faces} == {"default"}
    assert {update.collection_id for update in bodies} == {"persons"}
    assert {update.face.tracklet_id for update in bodies if update.HasField("face")} == {faces[0].tracklet_id}
    assert bodies[0].tracklet_id != faces[0].tracklet_id
    assert not any(update.HasField("face") for update in faces)
    assert rig.encoder.opens[-1].persons.modality == pb.MODALITY_PERSON
    assert worker.status().active_tracklets == 2
    assert is_balanced(worker.status())


async def test_each_of_both_is_known_by_itself(rig: Rig, picture_folder: Path) -> None:
    """After their decisions frames carry a face and a body that need no embedding, each under its modality."""
    await watch(rig, f"folder:{picture_folder}", BOTH, rate_hz=20.0)

    def both_are_known() -> bool:
        kinds = {known.modality for frame in rig.encoder.frames for known in frame.known_tracklets}
        return kinds == {pb.MODALITY_FACE, pb.MODALITY_PERSON}

    # One face in one body: boxes that overlap are of two books, and neither hides the other.
    await eventually(both_are_known, "frames with both")


async def test_a_camera_of_persons_alone_asks_for_no_face(rig: Rig, picture_folder: Path) -> None:
    """The stream is of persons, and so is every update."""
    worker = await watch(rig, f"folder:{picture_folder}", (Modality.PERSON,))
    await eventually(lambda: len(rig.gallery.updates) >= 3, "updates")
    opened = rig.encoder.opens[-1]
    assert (opened.options.modality, opened.HasField("persons")) == (pb.MODALITY_PERSON, False)
    assert {update.modality for update in rig.gallery.updates} == {pb.MODALITY_PERSON}
    await rig.ingest.fleet.remove(DOOR)
    assert any(update.ended for update in rig.gallery.updates) or worker.status().active_tracklets == 0
    status = worker.status()
    assert is_balanced(status)
    assert status.frames_in_flight == 0


async def test_another_collection_of_persons_makes_everybody_new(rig: Rig, picture_folder: Path) -> None:
    """The stream goes on; the body begins anew in the other collection, and the face goes on as it was."""
    worker = await watch(rig, f"folder:{picture_folder}", BOTH)
    await eventually(lambda: worker.status().active_tracklets == 2, "both")
    camera = Camera(
        DOOR,
        f"folder:{picture_folder}",
        10.0,
        modalities=BOTH,
        expires_after_s=8.0,
        loop=True,
        person_collection_id=CollectionId("gate"),
    )
    assert worker.take_over(camera)
    await eventually(lambda: any(u.collection_id == "gate" for u in rig.gallery.updates), "the other collection")
    assert len(rig.encoder.opens) == 1
    assert len({u.tracklet_id for u in rig.gallery.updates if u.modality == pb.MODALITY_FACE}) == 1
    assert worker.status().state is CameraState.ONLINE


@pytest.mark.parametrize(
    "modalities", [(), (Modality.SIGNATURE,), (Modality.FACE, Modality.FACE)], ids=["none", "signature", "twice"]
)
def test_what_no_camera_can_watch_is_refused(modalities: tuple[Modality, ...]) -> None:
    """With the field, and what is allowed."""
    with pytest.raises(InvalidInputError) as refused:
        Camera(DOOR, "demo:", modalities=modalities)
    assert (refused.value.field, refused.value.allowed) == ("modalities", "FACE, PERSON, or both, each once")


def test_a_camera_of_persons_is_kept_with_what_it_watches() -> None:
    """And a camera of faces is written as before, so that an older worker reads it."""
    both = Camera(DOOR, "demo:", modalities=BOTH, person_collection_id=CollectionId("gate"))
    assert load_camera(dump_camera(both), "key") == both
    assert "person_collection_id" not in dump_camera(Camera(DOOR, "demo:"))
