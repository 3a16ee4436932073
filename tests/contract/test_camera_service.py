"""CameraService as a process: answers and errors over gRPC, and cameras that outlive kill -9 and an absent store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
import simplejpeg
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.chassis.channel import open_channel
from tessera.chassis.ports import free_port
from tessera.chassis.status import StatusDetail, detail_of
from tessera.v1 import camera_pb2 as pb
from tessera.v1.camera_pb2_grpc import CameraServiceStub
from tests.eventually import eventually
from tests.valkey import PrivateServer, forcing_server

LIMIT_S = 60.0


class Process:
    """One camera_ingest process on a port of its own."""

    def __init__(self, store_url: str, log: Path) -> None:
        self.port = free_port()
        self._log = log
        self._environ = {
            **os.environ,
            "TESSERA_INGEST_PORT": str(self.port),
            "TESSERA_INGEST_METRICS_PORT": "0",
            "TESSERA_INGEST_STORE_URL": store_url,
            "TESSERA_INGEST_ENCODER_ADDRESS": f"127.0.0.1:{free_port()}",
            "TESSERA_INGEST_GALLERY_ADDRESS": f"127.0.0.1:{free_port()}",
            "TESSERA_INGEST_DRAIN_S": "0.5",
        }
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "camera_ingest"], env=self._environ, stderr=log, stdout=log
            )

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.wait(LIMIT_S)

    def terminate(self) -> int:
        assert self.child is not None
        self.child.terminate()
        return self.child.wait(LIMIT_S)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")


@contextmanager
def running(store_url: str, log: Path) -> Iterator[Process]:
    process = Process(store_url, log)
    process.start()
    try:
        yield process
    finally:
        if process.child is not None and process.child.poll() is None:
            process.kill()


@asynccontextmanager
async def connected(process: Process) -> AsyncIterator[CameraServiceStub]:
    async with open_channel(f"127.0.0.1:{process.port}") as channel:
        await eventually(lambda: serves(channel), LIMIT_S)
        yield CameraServiceStub(channel)


async def serves(channel: grpc.aio.Channel) -> bool:
    with suppress(grpc.aio.AioRpcError):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False


@pytest.fixture(scope="module")
def memory_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running("memory", tmp_path_factory.mktemp("ingest") / "log") as process:
        yield process


@pytest.fixture
async def cameras(memory_process: Process) -> AsyncIterator[CameraServiceStub]:
    async with connected(memory_process) as stub:
        yield stub


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        image = np.full((48, 64, 3), 60 * number, np.uint8)
        (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(image, 90, "BGR"))
    return folder


def add(camera_id: str, url: str, **fields: object) -> pb.AddCameraRequest:
    return pb.AddCameraRequest(camera=pb.Camera(camera_id=camera_id, url=url, **fields))  # type: ignore[arg-type]


async def refused(call: grpc.aio.UnaryUnaryCall[object, object]) -> StatusDetail:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return detail_of(raised.value)


async def status_of(cameras: CameraServiceStub, camera_id: str) -> pb.CameraStatus:
    return (await cameras.GetCameraStatus(pb.GetCameraStatusRequest(camera_id=camera_id))).status


async def test_a_camera_is_added_with_the_contracts_defaults(cameras: CameraServiceStub, pictures: Path) -> None:
    """Unset fields come back as the contract says they are."""
    camera = (await cameras.AddCamera(add("defaults", f"folder:{pictures}"))).camera
    assert (camera.sample_rate_hz, camera.collection_id, camera.enabled) == (5.0, "default", True)
    assert camera.expires_after == Duration(seconds=1)


async def test_adding_the_same_camera_again_changes_nothing(cameras: CameraServiceStub, pictures: Path) -> None:
    """The same content is the same camera; other content under its id is refused."""
    first = await cameras.AddCamera(add("again", f"folder:{pictures}"))
    assert await cameras.AddCamera(add("again", f"folder:{pictures}")) == first
    detail = await refused(cameras.AddCamera(add("again", f"folder:{pictures}", sample_rate_hz=2)))
    assert (detail.code, detail.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CAMERA_EXISTS")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (add("", "demo:"), "camera_id"),
        (add("a b", "demo:"), "camera_id"),
        (add("bad", ""), "url"),
        (add("bad", "gopher://user:s3cret@host/"), "url"),
        (add("bad", "demo:", sample_rate_hz=31), "sample_rate_hz"),
        (add("bad", "demo:", sample_rate_hz=-1), "sample_rate_hz"),
        (add("bad", "demo:", expires_after=Duration(seconds=61)), "expires_after"),
        (add("bad", "demo:", expires_after=Duration()), "expires_after"),
        (add("bad", "demo:", modalities=[2]), "modalities"),
        (add("bad", "demo:", collection_id="a/b"), "collection_id"),
    ],
)
async def test_a_wrong_field_is_named(cameras: CameraServiceStub, request_: pb.AddCameraRequest, field: str) -> None:
    """The error carries the field, what it held without credentials, and what is allowed."""
    detail = await refused(cameras.AddCamera(request_))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert detail.metadata["field"] == field
    assert detail.metadata["allowed"]
    assert "s3cret" not in f"{detail.message} {detail.metadata}"


async def test_a_url_that_does_not_answer_is_a_status_and_no_error(
    cameras: CameraServiceStub, memory_process: Process
) -> None:
    """AddCamera answers at once; the status then says LOST and why; credentials are shown and logged nowhere."""
    url = f"rtsp://admin:s3cret@127.0.0.1:{free_port()}/x"
    shown = (await cameras.AddCamera(add("unreachable", url))).camera.url
    assert "s3cret" not in shown
    assert shown.startswith("rtsp://***@127.0.0.1")

    async def is_lost() -> bool:
        return (await status_of(cameras, "unreachable")).state == pb.CAMERA_STATE_LOST

    await eventually(is_lost, LIMIT_S)
    assert (await status_of(cameras, "unreachable")).detail == "Connection refused"
    assert "s3cret" not in str(await cameras.ListCameras(pb.ListCamerasRequest()))
    assert "s3cret" not in memory_process.log


async def test_a_snapshot_is_the_newest_frame_as_jpeg(cameras: CameraServiceStub, pictures: Path) -> None:
    """Before a frame came it is UNAVAILABLE; then it is a JPEG with its capture time."""
    await cameras.AddCamera(add("blind", f"folder:{pictures}-missing"))
    detail = await refused(cameras.GetSnapshot(pb.GetSnapshotRequest(camera_id="blind")))
    assert (detail.code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "FRAME_UNAVAILABLE")
    await cameras.AddCamera(add("seeing", f"folder:{pictures}", loop=True))

    async def has_frame() -> bool:
        return (await status_of(cameras, "seeing")).frames_sampled > 0

    await eventually(has_frame, LIMIT_S)
    answer = await cameras.GetSnapshot(pb.GetSnapshotRequest(camera_id="seeing"))
    height_px, width_px, *_ = simplejpeg.decode_jpeg_header(answer.image.data)
    assert (width_px, height_px) == (64, 48)
    assert answer.HasField("capture_time")


async def test_a_scene_is_accepted_where_it_is_watched(cameras: CameraServiceStub, pictures: Path) -> None:
    """Elsewhere there is nothing to accept, and a camera that is not there is told as such."""
    await cameras.AddCamera(add("watched", f"folder:{pictures}", loop=True))
    await cameras.AcceptScene(pb.AcceptSceneRequest(camera_id="watched"))
    await cameras.AddCamera(add("unwatched", f"folder:{pictures}", loop=True, watch_scene=False))
    detail = await refused(cameras.AcceptScene(pb.AcceptSceneRequest(camera_id="unwatched")))
    assert (detail.code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SCENE_UNWATCHED")
    detail = await refused(cameras.AcceptScene(pb.AcceptSceneRequest(camera_id="nobody")))
    assert (detail.code, detail.reason) == (grpc.StatusCode.NOT_FOUND, "CAMERA_NOT_FOUND")


async def test_without_an_encoder_frames_are_still_accounted_for(cameras: CameraServiceStub, pictures: Path) -> None:
    """With the encoder away each sampled frame is skipped, expired or waits, and the reason is told."""
    await cameras.AddCamera(add("alone", f"folder:{pictures}", loop=True, sample_rate_hz=20))

    async def has_skips() -> pb.CameraStatus | None:
        status = await status_of(cameras, "alone")
        return status if status.frames_skipped > 3 else None

    status = await eventually(has_skips, LIMIT_S)
    assert status is not None
    ended = status.frames_encoded + status.frames_skipped + status.frames_expired + status.frames_failed
    assert status.frames_sampled == ended + status.frames_in_flight
    assert sum(count.frames for count in status.skip_counts) == status.frames_skipped


async def test_cameras_are_listed_by_pages(cameras: CameraServiceStub) -> None:
    """Pages follow each other by id without a gap or a repetition."""
    for number in range(5):
        await cameras.AddCamera(add(f"page-{number}", "demo:", enabled=False))
    found, token = [], ""
    while True:
        page = await cameras.ListCameras(pb.ListCamerasRequest(page_size=2, page_token=token))
        found += [entry.camera.camera_id for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(set(found))
    assert {f"page-{number}" for number in range(5)} <= set(found)


async def test_a_removed_camera_is_gone(cameras: CameraServiceStub) -> None:
    """Removing it says that it was there; again, that it was not; asking for it is NOT_FOUND."""
    await cameras.AddCamera(add("gone", "demo:", enabled=False))
    assert (await cameras.RemoveCamera(pb.RemoveCameraRequest(camera_id="gone"))).removed
    assert not (await cameras.RemoveCamera(pb.RemoveCameraRequest(camera_id="gone"))).removed
    for call in (
        cameras.GetCameraStatus(pb.GetCameraStatusRequest(camera_id="gone")),
        cameras.GetSnapshot(pb.GetSnapshotRequest(camera_id="gone")),
    ):
        detail = await refused(call)
        assert (detail.code, detail.reason) == (grpc.StatusCode.NOT_FOUND, "CAMERA_NOT_FOUND")


def update(camera: pb.Camera, *paths: str) -> pb.UpdateCameraRequest:
    return pb.UpdateCameraRequest(camera=camera, update_mask=FieldMask(paths=paths))


async def sampled(cameras: CameraServiceStub, camera_id: str, more_than: int = 0) -> pb.CameraStatus:
    async def has_frames() -> pb.CameraStatus | None:
        status = await status_of(cameras, camera_id)
        return status if status.frames_sampled > more_than else None

    status = await eventually(has_frames, LIMIT_S)
    assert status is not None
    return status


async def test_an_update_changes_what_its_mask_names(cameras: CameraServiceStub, pictures: Path) -> None:
    """Named fields change, those that are unset take their default, all others stay; what goes on is still counted."""
    await cameras.AddCamera(add("door", f"folder:{pictures}", loop=True, labels={"site": "north"}, min_side_px=40))
    before = await sampled(cameras, "door", more_than=1)
    wanted = pb.Camera(camera_id="door", collection_id="staff", sample_rate_hz=30)
    changed = (await cameras.UpdateCamera(update(wanted, "collection_id", "min_side_px"))).camera
    assert (changed.collection_id, changed.min_side_px, changed.sample_rate_hz) == ("staff", 0, 5.0)
    assert (changed.labels, changed.loop) == ({"site": "north"}, True)
    assert (await status_of(cameras, "door")).frames_sampled >= before.frames_sampled
    listed = [entry.camera for entry in (await list_all(cameras)).entries if entry.camera.camera_id == "door"]
    assert listed == [changed]


async def test_a_camera_is_disabled_and_enabled_again(cameras: CameraServiceStub, pictures: Path) -> None:
    """Disabled it is kept and shows no frame; enabled it is watched as before."""
    await cameras.AddCamera(add("switched", f"folder:{pictures}", loop=True))
    await sampled(cameras, "switched")
    await cameras.UpdateCamera(update(pb.Camera(camera_id="switched", enabled=False), "enabled"))
    assert (await status_of(cameras, "switched")).state == pb.CAMERA_STATE_DISABLED
    detail = await refused(cameras.GetSnapshot(pb.GetSnapshotRequest(camera_id="switched")))
    assert detail.reason == "FRAME_UNAVAILABLE"
    await cameras.UpdateCamera(update(pb.Camera(camera_id="switched", enabled=True), "enabled"))
    assert (await sampled(cameras, "switched")).state == pb.CAMERA_STATE_ONLINE


async def test_a_url_as_it_is_shown_keeps_its_credentials(cameras: CameraServiceStub, memory_process: Process) -> None:
    """Who reads a camera and writes it back loses no password; a shown URL that is not its own is refused."""
    url = f"rtsp://admin:s3cret@127.0.0.1:{free_port()}/x"
    shown = (await cameras.AddCamera(add("secret", url))).camera
    shown.labels["site"] = "south"
    assert (await cameras.UpdateCamera(update(shown, "url", "labels"))).camera == shown
    assert await cameras.AddCamera(add("secret", url, labels={"site": "south"}))
    other = pb.Camera(camera_id="secret", url="rtsp://***@127.0.0.1/y")
    assert (await refused(cameras.UpdateCamera(update(other, "url")))).metadata["field"] == "url"
    assert "s3cret" not in memory_process.log


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (update(pb.Camera(camera_id="nobody", loop=True), "loop"), "CAMERA_NOT_FOUND", "camera_id"),
        (update(pb.Camera(camera_id="nobody")), "INVALID_FIELD", "update_mask"),
        (update(pb.Camera(camera_id="nobody"), "camera_id"), "INVALID_FIELD", "update_mask"),
        (update(pb.Camera(camera_id="nobody"), "labels.site"), "INVALID_FIELD", "update_mask"),
        (update(pb.Camera(), "loop"), "INVALID_FIELD", "camera.camera_id"),
    ],
    ids=["no camera", "no mask", "its id", "a path into a field", "no id"],
)
async def test_an_update_that_cannot_be_is_refused(
    cameras: CameraServiceStub, request_: pb.UpdateCameraRequest, reason: str, field: str
) -> None:
    """The error names what was wrong."""
    detail = await refused(cameras.UpdateCamera(request_))
    assert (detail.reason, detail.metadata["field"]) == (reason, field)


async def test_an_update_to_what_no_camera_can_be_changes_nothing(cameras: CameraServiceStub) -> None:
    """A wrong value is told, and the camera stays as it was."""
    before = (await cameras.AddCamera(add("firm", "demo:", enabled=False))).camera
    wanted = pb.Camera(camera_id="firm", sample_rate_hz=31, loop=True)
    detail = await refused(cameras.UpdateCamera(update(wanted, "sample_rate_hz", "loop")))
    assert detail.metadata["field"] == "sample_rate_hz"
    listed = [entry.camera for entry in (await list_all(cameras)).entries if entry.camera.camera_id == "firm"]
    assert listed == [before]


async def test_cameras_outlive_kill_9_and_the_store_too(tmp_path: Path, pictures: Path) -> None:
    """Started again before its store is back it is not ready; then its cameras are there, credentials and all."""
    url = f"rtsp://admin:s3cret@127.0.0.1:{free_port()}/x"
    with forcing_server(tmp_path / "valkey") as store, running(store.url, tmp_path / "log") as process:
        async with connected(process) as stub:
            await stub.AddCamera(add("kept", f"folder:{pictures}", loop=True, labels={"site": "south"}))
            await stub.UpdateCamera(update(pb.Camera(camera_id="kept", labels={"site": "north"}), "labels"))
            before = (await stub.AddCamera(add("kept-too", url))).camera
        process.kill()
        store.kill()
        process.start()
        await asyncio.to_thread(_answer_without_store, process, store)
        async with connected(process) as stub:
            listed = {entry.camera.camera_id: entry.camera for entry in (await list_all(stub)).entries}
            assert listed["kept"].labels == {"site": "north"}
            assert listed["kept-too"] == before
            assert await stub.AddCamera(add("kept-too", url))
        assert process.terminate() == 0
    assert "s3cret" not in process.log


def _answer_without_store(process: Process, store: PrivateServer) -> None:
    """The process answers and is not ready while its store is away; then the store comes back."""

    async def ask() -> None:
        async with open_channel(f"127.0.0.1:{process.port}") as channel:

            async def is_waiting() -> bool:
                with suppress(grpc.aio.AioRpcError):
                    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
                    return bool(answer.status == health_pb2.HealthCheckResponse.NOT_SERVING)
                return False

            await eventually(is_waiting, LIMIT_S)
            detail = await refused(CameraServiceStub(channel).AddCamera(add("new", "demo:"), timeout=30))
            assert (detail.code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")

    asyncio.run(ask())
    store.start()


async def list_all(stub: CameraServiceStub) -> pb.ListCamerasResponse:
    return await stub.ListCameras(pb.ListCamerasRequest())


def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path) -> None:
    """The process ends with 3 and names the variable, the value and what is allowed."""
    environ = {**os.environ, "TESSERA_INGEST_STORE_URL": "mysql://x"}
    command = [sys.executable, "-m", "camera_ingest"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 3
    assert "TESSERA_INGEST_STORE_URL" in done.stderr
    assert "redis://" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("camera", "field"),
    [
        (pb.Camera(camera_id="far", url="rtsp://user:s3cret@169.254.169.254/x"), "url"),
        (
            pb.Camera(
                camera_id="far",
                url="rtsp://10.0.0.1/x",
                stream=pb.StreamOptions(sub_stream_url="http://user:s3cret@8.8.8.8/x"),
            ),
            "stream.sub_stream_url",
        ),
    ],
    ids=["url", "smaller stream"],
)
async def test_an_address_that_is_not_allowed_is_refused(
    cameras: CameraServiceStub, camera: pb.Camera, field: str
) -> None:
    """By default cameras are near; the error names the field, the URL without credentials, and the setting."""
    detail = await refused(cameras.AddCamera(pb.AddCameraRequest(camera=camera)))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert detail.metadata["field"] == field
    assert "TESSERA_INGEST_ALLOWED_NETWORKS" in detail.metadata["allowed"]
    assert "s3cret" not in f"{detail.message} {detail.metadata}"
