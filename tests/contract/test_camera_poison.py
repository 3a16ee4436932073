"""A picture that kills the encoder: tried twice, then held back, by every worker that comes after."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import simplejpeg

from benchmarks.cameras.listening import Record, listening
from tessera.chassis.ports import free_port
from tessera.v1 import biometrics_pb2, camera_pb2
from tests.camera_workers import LIMIT_S, Worker, eventually
from tests.valkey import forcing_server

POISON = b"poison"
_MORTAL_ENCODER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
import grpc
from benchmarks.cameras.listening import ListeningEncoder, Record
from tessera.v1 import encoder_pb2_grpc

server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
die = lambda picture: picture.endswith(sys.argv[2].encode()) and os._exit(42)
encoder_pb2_grpc.add_EncoderServiceServicer_to_server(ListeningEncoder(Record(), die), server)
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
"""


@dataclass
class MortalEncoder:
    """An encoder process that dies of one picture and is started again, as a supervisor would."""

    port: int = field(default_factory=free_port)
    deaths: int = 0
    _child: subprocess.Popen[bytes] | None = None
    _ending: bool = False

    def run(self) -> None:
        while not self._ending:
            command = [sys.executable, "-c", _MORTAL_ENCODER, str(self.port), POISON.decode()]
            self._child = subprocess.Popen(command)
            if self._child.wait() == 42:
                self.deaths += 1

    def end(self) -> None:
        self._ending = True
        if self._child is not None:
            self._child.kill()


@contextmanager
def mortal_encoder() -> Iterator[MortalEncoder]:
    encoder = MortalEncoder()
    thread = threading.Thread(target=encoder.run)
    thread.start()
    try:
        yield encoder
    finally:
        encoder.end()
        thread.join(LIMIT_S)


def folder_of(path: Path, *, pictures: int, poison: int | None = None) -> str:
    """A looped camera's pictures; one of them may be poison: a good JPEG with a tail."""
    path.mkdir()
    chance = np.random.default_rng(pictures)
    for number in range(pictures):
        jpeg = simplejpeg.encode_jpeg(chance.integers(0, 255, (48, 64, 3), np.uint8), 90, "BGR")
        (path / f"{number}.jpg").write_bytes(jpeg + (POISON if number == poison else b""))
    return f"folder:{path}"


def test_a_picture_that_kills_the_encoder_is_tried_twice_and_never_again(tmp_path: Path) -> None:
    """It is held back, counted and told, after a restart too; a picture that was there by chance is not."""
    with ExitStack() as stack:
        store = stack.enter_context(forcing_server(tmp_path / "valkey"))
        _, gallery = stack.enter_context(listening(Record()))
        encoder = stack.enter_context(mortal_encoder())
        environ = {
            "TESSERA_INGEST_METRICS_PORT": "0",
            "TESSERA_INGEST_STORE_URL": store.url,
            "TESSERA_INGEST_ENCODER_ADDRESS": f"127.0.0.1:{encoder.port}",
            "TESSERA_INGEST_GALLERY_ADDRESS": gallery,
            "TESSERA_INGEST_LEASE_S": "2",
            "TESSERA_INGEST_DRAIN_S": "0.5",
        }
        worker = Worker(environ, tmp_path / "log", stack)
        stack.callback(worker.end)
        worker.start()
        eventually(lambda: worker.listed() == {})
        urls = {
            "shown": folder_of(tmp_path / "shown", pictures=3, poison=1),
            "still": folder_of(tmp_path / "still", pictures=1),
        }
        for camera_id, url in urls.items():
            camera = camera_pb2.Camera(
                camera_id=camera_id, url=url, loop=True, motion_gate=False, sample_rate_hz=10, watch_scene=False
            )
            worker.stub.AddCamera(camera_pb2.AddCameraRequest(camera=camera), timeout=10)

        eventually(lambda: held_back(worker) > 2)
        now = worker.listed()
        assert encoder.deaths == 2
        assert (now["shown"].quarantined_pictures, now["still"].quarantined_pictures) == (1, 0)
        encoded = {key: status.frames_encoded for key, status in now.items()}
        eventually(lambda: all(status.frames_encoded > encoded[key] + 5 for key, status in worker.listed().items()))
        ended = now["shown"].frames_encoded + now["shown"].frames_skipped + now["shown"].frames_expired
        assert now["shown"].frames_sampled == ended + now["shown"].frames_failed + now["shown"].frames_in_flight

        worker.end()
        worker.start()
        eventually(lambda: held_back(worker) > 2)
        assert worker.listed()["shown"].quarantined_pictures == 1
        assert encoder.deaths == 2

        worker.stub.RemoveCamera(camera_pb2.RemoveCameraRequest(camera_id="shown"), timeout=10)
        again = camera_pb2.Camera(camera_id="shown", url=urls["shown"], loop=True, enabled=False)
        worker.stub.AddCamera(camera_pb2.AddCameraRequest(camera=again), timeout=10)
        assert worker.listed()["shown"].quarantined_pictures == 0


def held_back(worker: Worker) -> int:
    """Frames of the camera that were skipped as QUARANTINED."""
    counts = worker.listed()["shown"].skip_counts
    return sum(count.frames for count in counts if count.reason == biometrics_pb2.REASON_QUARANTINED)
