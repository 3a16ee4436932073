"""A store whose disk is full: cameras stop in time, say so on the metrics page, and go on when there is room again."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
import simplejpeg
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.cameras.listening import Record, listening
from tessera.chassis.ports import free_port
from tessera.chassis.status import detail_of
from tessera.v1 import camera_pb2 as pb
from tests.camera_workers import Worker, eventually
from tests.valkey import PrivateServer, valkey_binary

_WITHOUT_SIGNAL = (
    "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
)


class NarrowServer(PrivateServer):
    """A store whose files may be held to a size: what is over it fails as on a full disk."""

    def command(self) -> list[str]:
        """Its command line; it shall get an error and not a signal."""
        return [sys.executable, "-c", _WITHOUT_SIGNAL, *super().command()]

    def fill(self) -> None:
        """Let no file grow."""
        newest = max((self.folder / "appendonlydir").iterdir(), key=lambda file: file.stat().st_mtime)
        self._limit(newest.stat().st_size)

    def make_room(self) -> None:
        """Let them grow again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, file_bytes: int) -> None:
        assert self.process is not None
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))


def metric(port: int, name: str, **labels: str) -> float:
    """One value of a worker's metrics page."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    samples = (sample for family in families for sample in family.samples)
    return next((one.value for one in samples if one.name == name and one.labels == labels), 0.0)


def test_cameras_outlast_a_full_disk_of_the_store(tmp_path: Path) -> None:
    """No lease can be renewed and no camera added; with room again all is as before, without a hand."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    image = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)
    (pictures / "0.jpg").write_bytes(simplejpeg.encode_jpeg(image, 90, "BGR"))
    record, metrics_port = Record(), free_port()
    store = NarrowServer(valkey_binary(), tmp_path / "valkey", free_port(), ("--appendfsync", "everysec"))
    with ExitStack() as stack:
        stack.callback(store.stop)
        store.start()
        encoder, gallery = stack.enter_context(listening(record))
        environ = {
            "TESSERA_INGEST_METRICS_PORT": str(metrics_port),
            "TESSERA_INGEST_STORE_URL": store.url,
            "TESSERA_INGEST_ENCODER_ADDRESS": encoder,
            "TESSERA_INGEST_GALLERY_ADDRESS": gallery,
            "TESSERA_INGEST_LEASE_S": "3",
        }
        worker = Worker(environ, tmp_path / "log", stack)
        stack.callback(worker.end)
        worker.start()
        eventually(lambda: worker.listed() == {})
        door = pb.Camera(camera_id="door", url=f"folder:{pictures}", loop=True, motion_gate=False)
        worker.stub.AddCamera(pb.AddCameraRequest(camera=door), timeout=10)
        eventually(lambda: record.frames_of("door"))
        eventually(lambda: metric(metrics_port, "tessera_ingest_leases_held") == 1)

        store.fill()
        eventually(lambda: worker.listed()["door"].state == pb.CAMERA_STATE_WAITING)
        silent_s = time.monotonic()
        hall = pb.Camera(camera_id="hall", url="demo:", enabled=False)
        with pytest.raises(grpc.RpcError) as raised:
            worker.stub.AddCamera(pb.AddCameraRequest(camera=hall), timeout=10)
        assert detail_of(raised.value).reason == "STORE_UNAVAILABLE"
        assert worker.stub.GetSnapshot(pb.GetSnapshotRequest(camera_id="door"), timeout=10).image.data
        eventually(lambda: metric(metrics_port, "tessera_ingest_leases_held") == 0)
        assert metric(metrics_port, "tessera_ingest_camera_up", camera="door") == 0
        assert metric(metrics_port, "tessera_ingest_lease_renewals_failed_total") > 0
        assert record.frames_of("door", silent_s + 0.5) == []

        store.make_room()
        eventually(lambda: record.frames_of("door", silent_s + 0.5))
        eventually(lambda: worker.listed()["door"].state == pb.CAMERA_STATE_ONLINE)
        worker.stub.AddCamera(pb.AddCameraRequest(camera=hall), timeout=10)
