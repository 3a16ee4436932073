"""Several camera workers as processes over one store: every camera is watched, by one of them, whatever dies."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from benchmarks.cameras.listening import Record, listening
from tessera.v1 import camera_pb2 as pb
from tests.camera_workers import LIMIT_S, Worker, eventually
from tests.servers import client_of
from tests.valkey import PrivateServer, forcing_server

LEASE_S = 3.0
FOUR = {f"cam-{number}" for number in range(4)}


@dataclass
class House:
    """Two workers, their store, and what the encoder and the gallery were sent."""

    first: Worker
    second: Worker
    store: PrivateServer
    record: Record

    def share(self) -> bool:
        """Whether each watches two cameras, and both say the same of all."""
        told = [
            {
                key: status.worker_address
                for key, status in worker.listed().items()
                if status.state == pb.CAMERA_STATE_ONLINE
            }
            for worker in (self.first, self.second)
        ]
        return told[0] == told[1] and sorted(told[0].values()) == sorted(2 * [self.first.address, self.second.address])

    def all_seen(self) -> bool:
        """Whether a frame of every camera has come since a moment ago."""
        return self.record.cameras_since(time.monotonic() - 1.0) == FOUR

    def assert_one_at_a_time(self) -> None:
        # Of what a worker tells the gallery late, such as the end of a tracklet, the lease's token keeps order.
        assert self.record.watched_by_two() == 0


@contextmanager
def house_in(folder: Path) -> Iterator[House]:
    pictures = folder / "pictures"
    pictures.mkdir()
    chance = np.random.default_rng(3)
    for number in range(4):
        image = chance.integers(0, 255, (48, 64, 3), np.uint8)
        (pictures / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(image, 90, "BGR"))
    record = Record()
    with (
        ExitStack() as stack,
        forcing_server(folder / "valkey") as store,
        listening(record) as (encoder, gallery),
    ):
        environ = {
            "TESSERA_INGEST_METRICS_PORT": "0",
            "TESSERA_INGEST_STORE_URL": store.url,
            "TESSERA_INGEST_ENCODER_ADDRESS": encoder,
            "TESSERA_INGEST_GALLERY_ADDRESS": gallery,
            "TESSERA_INGEST_LEASE_S": str(LEASE_S),
            "TESSERA_INGEST_DRAIN_S": "0.5",
        }
        first, second = (Worker(environ, folder / f"log-{name}", stack).start() for name in ("a", "b"))
        try:
            eventually(lambda: first.listed() == {} and second.listed() == {})
            for camera_id in sorted(FOUR):
                camera = pb.Camera(camera_id=camera_id, url=f"folder:{pictures}", loop=True, motion_gate=False)
                first.stub.AddCamera(pb.AddCameraRequest(camera=camera), timeout=10)
            house = House(first, second, store, record)
            eventually(lambda: house.share() and house.all_seen())
            yield house
        finally:
            for worker in (first, second):
                worker.end()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_in(tmp_path_factory.mktemp("house")) as house:
        yield house


def test_either_worker_answers_for_all_cameras(house: House) -> None:
    """A question about a camera of the other one is passed on to it, and a change of it is live there."""
    eventually(lambda: house.share() and house.all_seen())
    camera_id = min(house.second.own())
    status = house.first.stub.GetCameraStatus(pb.GetCameraStatusRequest(camera_id=camera_id), timeout=10).status
    assert (status.worker_address, status.state) == (house.second.address, pb.CAMERA_STATE_ONLINE)
    assert status.lease_token > 0
    snapshot = house.first.stub.GetSnapshot(pb.GetSnapshotRequest(camera_id=camera_id), timeout=10)
    assert simplejpeg.decode_jpeg_header(snapshot.image.data)[:2] == (48, 64)
    house.first.stub.AcceptScene(pb.AcceptSceneRequest(camera_id=camera_id), timeout=10)
    off = pb.UpdateCameraRequest(camera=pb.Camera(camera_id=camera_id, enabled=False))
    off.update_mask.paths.append("enabled")
    house.first.stub.UpdateCamera(off, timeout=10)
    eventually(lambda: house.second.listed()[camera_id].state == pb.CAMERA_STATE_DISABLED)
    stopped_s = time.monotonic()
    eventually(lambda: camera_id not in house.record.cameras_since(time.monotonic() - 1.5))
    off.camera.enabled = True
    house.second.stub.UpdateCamera(off, timeout=10)
    eventually(lambda: house.record.frames_of(camera_id, stopped_s + 1.5))
    house.assert_one_at_a_time()


def test_a_killed_workers_cameras_move(house: House) -> None:
    """After kill -9 the other one watches all; a new one gets its share; no frame was looked at by two."""
    eventually(house.share)
    tokens = {key: status.lease_token for key, status in house.first.listed().items()}
    own = house.second.own()
    house.second.end()
    killed_s = time.monotonic()
    eventually(lambda: house.record.cameras_since(killed_s + 1.0) == FOUR)
    now = house.first.listed()
    assert {status.worker_address for status in now.values()} == {house.first.address}
    assert all(now[key].lease_token > tokens[key] for key in own)
    assert all(now[key].lease_token == tokens[key] for key in FOUR - own)
    house.second.start()
    eventually(lambda: house.share() and house.all_seen())
    house.assert_one_at_a_time()


def test_a_worker_that_was_paused_sends_nothing_under_its_old_lease(house: House) -> None:
    """Woken after others took its cameras it knows so by its own clock, before it has heard from the store."""
    eventually(house.share)
    house.second.signal(signal.SIGSTOP)
    paused_s = time.monotonic()
    eventually(lambda: house.record.cameras_since(paused_s + 1.0) == FOUR)
    house.second.signal(signal.SIGCONT)
    eventually(lambda: house.share() and house.all_seen())
    house.assert_one_at_a_time()


def test_without_the_store_cameras_stop_say_so_and_go_on_by_themselves(house: House) -> None:
    """Frames end with the leases; the newest one is still shown; nothing needs a hand when the store is back."""
    eventually(lambda: house.share() and house.all_seen())
    house.store.kill()
    eventually(lambda: not house.record.cameras_since(time.monotonic() - 1.5))

    def waits() -> bool:
        statuses = [house.first.listed(), house.second.listed()]
        waiting = [
            [key for key, status in one.items() if status.state == pb.CAMERA_STATE_WAITING and "lease" in status.detail]
            for one in statuses
        ]
        return all(len(keys) >= 2 for keys in waiting)

    eventually(waits)
    resting = next(key for key, status in house.first.listed().items() if status.frames_sampled)
    house.first.stub.GetSnapshot(pb.GetSnapshotRequest(camera_id=resting), timeout=10)
    house.store.start()
    eventually(lambda: house.share() and house.all_seen())
    house.assert_one_at_a_time()


def test_an_entry_of_a_newer_version_ends_no_worker(house: House) -> None:
    """It is left where it is; the cameras beside it are watched as before."""
    with client_of(house.store) as client:
        client.hset("tessera:ingest:cameras", "newer", json.dumps({"schema": 9}))
        client.incr("{tessera:ingest:cameras}:revision")
        eventually(lambda: "registry.unread" in house.first.log.read_text(encoding="utf-8"))
        eventually(lambda: house.share() and house.all_seen())
        assert client.hexists("tessera:ingest:cameras", "newer")
        client.hdel("tessera:ingest:cameras", "newer")


def test_a_worker_that_is_told_to_end_hands_over_at_once(house: House) -> None:
    """SIGTERM gives the leases back: the other one need not wait until it takes the first for dead."""
    eventually(house.share)
    buried = house.first.log.read_text(encoding="utf-8").count("worker.buried")
    assert house.second.child is not None
    house.second.signal(signal.SIGTERM)
    assert house.second.child.wait(LIMIT_S) == 0
    ended_s = time.monotonic()
    eventually(lambda: house.record.cameras_since(ended_s) == FOUR)
    assert house.first.log.read_text(encoding="utf-8").count("worker.buried") == buried
    house.second.start()
    eventually(lambda: house.share() and house.all_seen())
    house.assert_one_at_a_time()
