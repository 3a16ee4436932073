"""What a part reads of a running Tessera from outside: each camera's status, memory, and who else uses the machine."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]  # ships no types

from benchmarks.cameras.arithmetic import unaccounted
from benchmarks.instance import Instance
from tessera.client.answers import CameraStatus
from tessera.client.errors import TesseraCallError


def statuses(instance: Instance) -> dict[str, CameraStatus]:
    """How every camera does, by its id."""
    with instance.connect() as tessera:
        return {camera.camera_id: camera.status for camera in tessera.cameras() if camera.status is not None}


def pss_mb(pid: int) -> float:
    """The proportional share of memory of a process and all that it started: shared pages are counted once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                total += process.memory_full_info().pss
    return total / 2**20


def processor_s(pid: int) -> float:
    """Processor seconds that a process and all that it started have used; those that have ended, too."""
    used_s = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            used_s += sum(process.cpu_times()[:4])
    return used_s


def machine_busy_s() -> float:
    """Processor seconds that the whole machine has used."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


@dataclass(slots=True)
class Watch:
    """Reads statuses and memory now and then while a block runs.

    Args:
        instance: whose cameras.
        every_s: how often.
    """

    instance: Instance
    every_s: float = 2.0
    minutes: list[float] = field(default_factory=list)
    ingest_mb: list[float] = field(default_factory=list)
    encoder_mb: list[float] = field(default_factory=list)
    readings: int = 0
    """Of one camera at one moment."""
    wrong: list[str] = field(default_factory=list)
    """Readings whose frames do not add up, in words."""
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        began_s = time.monotonic()
        while not self._done.wait(self.every_s):
            children = self.instance.children()
            self.ingest_mb.append(pss_mb(int(children["ingest"]["pid"])))
            self.encoder_mb.append(pss_mb(int(children["encoder"]["pid"])))
            self.minutes.append((time.monotonic() - began_s) / 60)
            with suppress(TesseraCallError):
                self._check(statuses(self.instance))

    def _check(self, told: dict[str, CameraStatus]) -> None:
        for camera_id, status in told.items():
            self.readings += 1
            if unaccounted(status):
                self.wrong.append(f"{camera_id}: {unaccounted(status)} of {status.frames_sampled} frames")
