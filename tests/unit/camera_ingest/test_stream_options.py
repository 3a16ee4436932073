"""What is said of how a stream is read: kept, shown without credentials, and done; and how lost cameras come back."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest
from ingest_fakes import Rig, eventually

from camera_ingest import wire
from camera_ingest.backoff import Backoff
from camera_ingest.camera import Camera, CameraState, dump_camera, load_camera
from camera_ingest.settings import IngestSettings
from camera_ingest.sources.options import StreamOptions, Transport
from camera_ingest.sources.stream_clock import ClockKind
from camera_ingest.worker_parts import WorkerSettings
from tessera.chassis.settings import load_settings
from tessera.client import answers, answers_wire
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CameraId
from tessera.v1 import camera_pb2 as pb

DOOR = CameraId("door")
ALL = StreamOptions(Transport.UDP, True, "rtsp://user:s3cret@10.0.0.1/small", True, False)


def test_options_are_kept() -> None:
    """What is put into the store is what comes out; a camera of before has the options of before."""
    camera = Camera(DOOR, "rtsp://10.0.0.1/main", stream=ALL)
    assert load_camera(dump_camera(camera), "key") == camera
    before = load_camera(dump_camera(Camera(DOOR, "rtsp://10.0.0.1/main")), "key")
    assert before.stream == StreamOptions()


def test_options_come_over_and_show_no_credentials() -> None:
    """As a message and back; the smaller stream's URL is shown as the main one's is."""
    message = pb.Camera(camera_id=DOOR, url="rtsp://10.0.0.1/main")
    message.stream.CopyFrom(
        answers_wire.stream_to_wire(answers.StreamOptions(answers.Transport.UDP, True, ALL.sub_stream_url, True, False))
    )
    camera = wire.camera_from_wire(message)
    assert camera.stream == ALL
    shown = wire.camera_to_wire(camera)
    assert shown.stream.sub_stream_url == "rtsp://***@10.0.0.1/small"
    assert "s3cret" not in f"{shown}{camera}"
    assert answers_wire.camera_from_wire(shown).stream.transport is answers.Transport.UDP


def test_an_update_keeps_what_is_shown_without_credentials() -> None:
    """Options given back as they were shown leave the smaller stream's password as it is."""
    before = Camera(DOOR, "rtsp://10.0.0.1/main", stream=ALL)
    request = pb.UpdateCameraRequest(camera=wire.camera_to_wire(before))
    request.camera.stream.key_frames_only = False
    request.update_mask.paths.append("stream")
    after = wire.camera_changes(request)(before)
    assert after.stream.sub_stream_url == ALL.sub_stream_url
    assert not after.stream.key_frames_only


@pytest.mark.parametrize("url", ["gopher://user:s3cret@host/", "rtsp://", "rtsp://host:99999/"])
def test_a_wrong_smaller_stream_is_named(url: str) -> None:
    """The error names the field, and no credentials."""
    with pytest.raises(InvalidInputError) as raised:
        Camera(DOOR, "rtsp://10.0.0.1/main", stream=StreamOptions(sub_stream_url=url))
    assert raised.value.field == "stream.sub_stream_url"
    assert "s3cret" not in str(raised.value)


def test_only_files_are_read_fast() -> None:
    """A live stream has one speed; the error names the option."""
    with pytest.raises(InvalidInputError) as raised:
        Camera(DOOR, "rtsp://10.0.0.1/main", stream=StreamOptions(as_fast_as_possible=True))
    assert raised.value.field == "stream.as_fast_as_possible"


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALLOWED_SCHEMES", "rtsp,ftp"), ("ALLOWED_NETWORKS", "10.0.0.0/8,fridge"), ("ALLOWED_NETWORKS", "10.0.0.1/8")],
)
def test_a_wrong_rule_is_a_wrong_setting(name: str, value: str) -> None:
    """The process does not start, and names the variable."""
    with pytest.raises(InvalidInputError) as raised:
        load_settings(IngestSettings, "TESSERA_INGEST_", {f"TESSERA_INGEST_{name}": value})
    assert raised.value.field == f"TESSERA_INGEST_{name}"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six seconds of ten frames a second, no two alike."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(60):
            image = np.full((48, 64, 3), 20 + 3 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


async def test_a_recording_is_read_as_fast_as_it_is_taken(rig: Rig, clip: Path) -> None:
    """Every sampled frame is encoded, none pushes another out, and their capture times are the recording's own."""
    camera = Camera(
        DOOR,
        str(clip),
        sample_rate_hz=5.0,
        expires_after_s=60.0,
        motion_gate=False,
        stream=StreamOptions(as_fast_as_possible=True),
    )
    await rig.ingest.fleet.add(camera)
    await eventually(lambda: rig.ingest.fleet.worker(DOOR) is not None, "its worker")
    worker = rig.ingest.fleet.worker(DOOR)
    await eventually(lambda: worker.status().state is CameraState.ENDED, "the end")
    await eventually(lambda: worker.status().frames_in_flight == 0, "the last answer")
    status = worker.status()
    assert (status.frames_encoded, status.frames_skipped, status.frames_expired) == (status.frames_sampled, 0, 0)
    assert 29 <= status.frames_sampled <= 31
    assert status.clock is not None
    assert status.clock.kind is ClockKind.FILE
    times = [frame.capture_time.ToDatetime() for frame in rig.encoder.frames]
    assert (times[-1] - times[0]).total_seconds() == pytest.approx(5.8, abs=0.3)


def test_fifty_lost_cameras_do_not_come_back_in_step() -> None:
    """Lost together and away for long, their attempts spread: no half second sees more than a few of them."""
    s = WorkerSettings()
    chance = random.Random(8)
    waits = [
        Backoff(s.reconnect_first_s, s.reconnect_longest_s, s.reconnect_least_s, random.Random(chance.random()))
        for _ in range(50)
    ]
    moments: list[float] = []
    for backoff in waits:
        at_s = 0.0
        while at_s < 300.0:
            wait_s = backoff.next_s()
            assert 0.5 <= wait_s <= 30.0
            at_s += wait_s
            moments.append(at_s)
    late = np.histogram([at_s for at_s in moments if at_s >= 30.0], bins=np.arange(30.0, 300.0, 0.5))[0]
    # Each camera tries about each 15 s: 50 of them give a mean of 1.7 in half a second.
    assert late.mean() < 2.5
    assert late.max() <= 10
