"""A gallery process on a real Valkey, and a search for bytes wherever either of them may keep any."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from redis import Redis

from gallery_svc.signing import Signer
from tessera.chassis.key_files import add_key
from tessera.chassis.ports import free_port
from tessera.client import Tessera
from tessera.client.errors import TesseraCallError
from tests.valkey import PrivateServer, running_server

READY_LIMIT_S = 120.0
SCRUBBED = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"}
"""Memory is overwritten when it is freed: what is found is held by somebody. As `docs/privacy-erasure.md` advises."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PACE_S = 0.05
_BLOCK_BYTES = 1 << 24

Needles = Mapping[str, bytes]
"""What is looked for, by what it is."""


@dataclass
class CanaryWorld:
    """The processes and their files."""

    folder: Path
    valkey: PrivateServer
    gallery: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> str:
        """Where the gallery listens."""
        return f"127.0.0.1:{self.port}"

    def client(self) -> Tessera:
        """A connection of its own."""
        return Tessera(self.address)

    def redis(self) -> Redis:
        """The store, as somebody sees it who has it alone."""
        return Redis(port=self.valkey.port, protocol=2)

    def in_memory(self, needles: Needles) -> dict[str, int]:
        """How often each needle stands in the memory of the gallery's process.

        Raises:
            PermissionError: this machine does not let a process read its own child's memory.
        """
        found: dict[str, int] = {}
        for block in memory_of(self.gallery.pid):
            _count(block, needles, found)
        return found

    def in_files(self, needles: Needles, *parts: str) -> dict[str, int]:
        """The same in files of the folder, by the first part of their paths; all files without any."""
        found: dict[str, int] = {}
        for path in self.folder.rglob("*"):
            if path.is_file() and (not parts or path.relative_to(self.folder).parts[0] in parts):
                _count(path.read_bytes(), needles, found)
        return found


def memory_of(pid: int) -> Iterator[bytes]:
    """Every byte that a process holds, in blocks of whole runs of pages or large parts of them that overlap.

    Raises:
        PermissionError: it may not be read.
    """
    overlap = 4096
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in _held(pid):
            for at in range(start, end, _BLOCK_BYTES):
                memory.seek(at)
                with contextlib.suppress(OSError, ValueError, OverflowError):  # gone meanwhile, or not to be read
                    yield memory.read(min(_BLOCK_BYTES + overlap, end - at))


def _held(pid: int) -> Iterator[tuple[int, int]]:
    """Where a process's readable pages stand that are in memory or swapped out, in runs.

    A page that is neither was never touched, or is as its file has it; that is most of them. Pages that are shared
    with others are read in any case.

    Source: https://docs.kernel.org/admin-guide/mm/pagemap.html (bits 62 and 63)
    """
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pages:
        for start, end, shared in _mappings(pid):
            pages.seek(start // PAGE_BYTES * 8)
            entries = np.frombuffer(pages.read((end - start) // PAGE_BYTES * 8), dtype="<u8")
            held = np.concatenate([[0], (entries >> np.uint64(62) != 0) | shared, [0]]).astype(np.int8)
            edges = np.flatnonzero(np.diff(held))
            for first, last in edges.reshape(-1, 2).tolist():
                yield start + first * PAGE_BYTES, start + last * PAGE_BYTES


def _mappings(pid: int) -> list[tuple[int, int, bool]]:
    """(start, end, whether it is shared) of what is readable."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, rights, *_ = line.split()
        if rights.startswith("r") and "[v" not in line:  # not the kernel's own pages
            start, end = (int(number, 16) for number in place.split("-"))
            found.append((start, end, rights.endswith("s")))
    return found


def _count(content: bytes, needles: Needles, found: dict[str, int]) -> None:
    for what, needle in needles.items():
        times = content.count(needle)
        if times:
            found[what] = found.get(what, 0) + times


@contextlib.contextmanager
def running_canary_world(folder: Path) -> Iterator[CanaryWorld]:
    """A Valkey and a gallery that is ready; both end with the block."""
    add_key(folder / "kek", datetime.now(UTC))
    Signer.create(folder / "signing")
    with running_server(folder / "valkey", None, "--appendfsync", "always") as valkey, _gallery(folder, valkey) as made:
        process, port = made
        world = CanaryWorld(folder, valkey, process, port)
        until(lambda: _answers(world), READY_LIMIT_S)
        yield world


@contextlib.contextmanager
def _gallery(folder: Path, valkey: PrivateServer) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    settings = {
        "PORT": port,
        "METRICS_PORT": 0,
        "STORE": valkey.url,
        "KEYS": folder / "kek",
        "SIGNING_KEY": folder / "signing",
        "AUDIT_DIR": folder / "audit",
        "CHECKPOINT_INTERVAL_S": 0.5,
        "ERASURE_INTERVAL_S": 0.2,
        "LOG_LEVEL": "debug",
    }
    environment = os.environ | {f"TESSERA_GALLERY_{name}": str(value) for name, value in settings.items()} | SCRUBBED
    (folder / "logs").mkdir()
    with (folder / "logs" / "gallery.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "gallery_svc"], env=environment, stdout=log, stderr=log)
    try:
        yield process, port
    finally:
        process.terminate()
        process.wait(60)


def _answers(world: CanaryWorld) -> bool:
    if world.gallery.poll() is not None:
        raise AssertionError((world.folder / "logs" / "gallery.log").read_text())
    with world.client() as client:
        try:
            return any(one.collection_id == "default" for one in client.collections())
        except TesseraCallError:
            return False


def until(condition: Callable[[], bool], limit_s: float) -> None:
    """Ask until it is true.

    Raises:
        TimeoutError: it was never true within the limit.
    """
    give_up_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > give_up_s:
            raise TimeoutError("what was waited for did not come")
        time.sleep(_PACE_S)
