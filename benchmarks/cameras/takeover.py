"""Kill -9 on one of two camera workers: how long until every camera is watched again, and was a frame looked at twice?

Two `camera_ingest` processes share six cameras over a real store, at the settings that they have by default. The
encoder and the gallery are stand-ins that remember who sent what when (`listening`): what is judged is their record,
and not what workers say of themselves. A round kills a worker, waits until a frame of each of its cameras has come
from the other one, starts a new one, and waits until it has its share.

On one machine the kernel tells that a process is dead. A worker whose machine is lost only falls silent: for that, the
process with its readers is stopped (SIGSTOP) and killed once its cameras are watched again.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from benchmarks.cameras.listening import Record, listening
from benchmarks.cameras.plan import Context, figure
from benchmarks.figures import Figure
from benchmarks.gallery.store_server import store_server
from benchmarks.services import Service, service
from tessera.client import Tessera
from tessera.client.answers import CameraState
from tessera.demo.portraits import fetch_portraits

CAMERAS, ROUNDS, SILENT_ROUNDS = 6, 5, 3
BAR_S = 10.0
_LIMIT_S = 60.0
_PACE_S = 0.02


@dataclass(frozen=True, slots=True)
class Round:
    """One death and one birth."""

    how: signal.Signals
    """SIGKILL: dead; SIGSTOP: silent."""
    taken_over_s: float
    """From the signal to the first frame of the last of the dead worker's cameras."""
    shared_s: float
    """From the new worker's readiness until both have the same number of cameras, and frames of all of them came."""
    moved: int
    """Cameras that another worker has after the birth."""


def run(context: Context) -> Sequence[Figure]:
    """Kill one worker after the other."""
    record = Record()
    rounds: list[Round] = []
    with ExitStack() as stack:
        store = stack.enter_context(store_server())
        encoder, gallery = stack.enter_context(listening(record))
        settings = {"STORE_URL": store.url, "ENCODER_ADDRESS": encoder, "GALLERY_ADDRESS": gallery}
        names = count()

        def worker() -> Service:
            named = {**settings, "WORKER_ID": f"worker-{next(names)}"}
            return stack.enter_context(service("camera_ingest", "TESSERA_INGEST_", named))

        dying, staying = worker(), worker()
        _add_cameras(staying, _pictures(context.scratch / "takeover"))
        _until(lambda: _is_shared(staying) and len(record.cameras_since(time.monotonic() - 1.0)) == CAMERAS)
        deaths = [signal.SIGKILL] * context.count(ROUNDS, 1) + [signal.SIGSTOP] * context.count(SILENT_ROUNDS, 1)
        for how in deaths:
            one, newcomer = _round(record, how, (dying, staying), worker)
            rounds.append(one)
            dying, staying = staying, newcomer
    return _figures(rounds, record)


def _round(
    record: Record, how: signal.Signals, workers: tuple[Service, Service], start: Callable[[], Service]
) -> tuple[Round, Service]:
    dying, staying = workers
    theirs = [camera_id for camera_id, address in _watched_at(staying).items() if address == dying.address]
    dead = record.frames_of(theirs[0])[-1].peer
    killed_s = time.monotonic()
    if how is signal.SIGSTOP:  # of a lost machine nothing goes on
        os.killpg(dying.pid, how)
    else:
        dying.process.send_signal(how)

    def first_again() -> list[float]:
        frames = ([frame.at_s for frame in record.frames_of(key, killed_s) if frame.peer != dead] for key in theirs)
        return [at_s[0] for at_s in frames if at_s]

    _until(lambda: len(first_again()) == len(theirs))
    taken_over_s = max(first_again()) - killed_s
    dying.process.kill()
    dying.process.wait()
    newcomer = start()
    born_s = time.monotonic()
    before = _watched_at(staying)
    _until(lambda: _is_shared(staying) and record.cameras_since(time.monotonic() - 1.0) >= before.keys())
    shared_s = time.monotonic() - born_s
    after = _watched_at(staying)
    return Round(how, taken_over_s, shared_s, sum(after[key] != before[key] for key in before)), newcomer


def _figures(rounds: Sequence[Round], record: Record) -> list[Figure]:
    dead = [one.taken_over_s for one in rounds if one.how is signal.SIGKILL]
    silent = [one.taken_over_s for one in rounds if one.how is signal.SIGSTOP]
    twice = record.watched_by_two()
    moved = max(one.moved for one in rounds)
    return [
        *_taken(f"kill -9 of one of two workers with {CAMERAS} cameras", dead),
        *_taken(f"one of two workers with {CAMERAS} cameras falls silent", silent),
        figure("workers die: frames that two of them looked at", twice, "frames", "0", twice == 0),
        figure("a new worker has its share, worst", max(one.shared_s for one in rounds), "s"),
        figure(
            "cameras that moved for a new worker, most", moved, f"of {CAMERAS}", "half of them", moved == CAMERAS // 2
        ),
        figure("frames in the encoder's record", len(record.frames), "frames"),
    ]


def _taken(name: str, seconds: Sequence[float]) -> list[Figure]:
    worst = max(seconds)
    return [
        figure(f"{name}: all watched again, worst", worst, "s", "<= 10 s", worst <= BAR_S),
        figure(f"{name}: all watched again, median of {len(seconds)}", statistics.median(seconds), "s"),
    ]


def _pictures(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in fetch_portraits().items():
        (folder / name).write_bytes(path.read_bytes())
    return folder


def _add_cameras(worker: Service, pictures: Path) -> None:
    with _connected(worker) as tessera:
        for number in range(CAMERAS):
            tessera.add_camera(f"camera-{number}", f"folder:{pictures}", loop=True, motion_gate=False)


def _watched_at(worker: Service) -> dict[str, str]:
    """The worker's address of each camera, as one of them says."""
    with _connected(worker) as tessera:
        statuses = [entry.status for entry in tessera.cameras()]
    return {
        status.camera_id: status.worker_address
        for status in statuses
        if status is not None and status.state is CameraState.ONLINE
    }


def _is_shared(worker: Service) -> bool:
    addresses = list(_watched_at(worker).values())
    return len(addresses) == CAMERAS and {addresses.count(one) for one in addresses} == {CAMERAS // 2}


def _connected(worker: Service) -> Tessera:
    return Tessera(worker.address, ingest=worker.address, encoder=worker.address)


def _until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _LIMIT_S
    while not condition():
        if time.monotonic() > until_s:
            raise TimeoutError(f"the workers did not come to that within {_LIMIT_S:g} s")
        time.sleep(_PACE_S)
