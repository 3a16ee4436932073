"""A site of several: two of each service over one Valkey, as processes that keep their ports over restarts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import ROOT
from benchmarks.process_group import end_group
from benchmarks.services import wait_ready
from tessera.chassis.ports import HOST, free_port
from tessera.cli.instance_keys import prepare_gallery_keys
from tessera.cli.valkey import prepare_valkey, valkey_spec
from tessera.client import Tessera

_MODULES = {"encoder": "encoder_svc", "gallery": "gallery_svc", "ingest": "camera_ingest", "gateway": "gateway_svc"}
READY_S = 120.0


@dataclass(slots=True)
class Member:
    """One process of the site."""

    kind: str
    number: int
    port: int
    environ: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind}-{self.number}"

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    @property
    def metrics_port(self) -> int:
        """Of its page of metrics."""
        return int(self.environ[f"TESSERA_{self.kind.upper()}_METRICS_PORT"])

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> float:
        """Start it and wait until it is ready; the seconds that took.

        Raises:
            RuntimeError: it did not get ready.
        """
        began_s = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULES[self.kind]],
                env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not wait_ready(self.address, self.process, READY_S):
            raise RuntimeError(f"{self.name} did not get ready:\n{self.log.read_text()[-3000:]}")
        return time.monotonic() - began_s

    def stop(self) -> None:
        """SIGTERM, and wait until it has ended by itself."""
        if self.process is not None:
            end_group(self.process, grace_s=40.0)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


@dataclass(slots=True)
class Site:
    """All of them."""

    members: list[Member] = field(default_factory=list)
    start_s: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from the start of a process to its readiness, by kind."""
    store_pid: int = 0

    def of(self, kind: str) -> list[Member]:
        """Those of one kind."""
        return [member for member in self.members if member.kind == kind]

    def address(self, kind: str) -> str:
        """What a client is told: all of one kind."""
        return ",".join(member.address for member in self.of(kind))

    def connect(self) -> Tessera:
        """A client as a user has it."""
        return Tessera(
            self.address("gallery"),
            ingest=self.address("ingest"),
            encoder=self.address("encoder"),
            gateway=self.address("gateway"),
        )

    def start(self, member: Member) -> None:
        """Start one and keep how long it took."""
        self.start_s.setdefault(member.kind, []).append(member.start())


@contextmanager
def running_site(count: int = 2, encoder_settings: Mapping[str, str] | None = None) -> Iterator[Site]:
    """So many of each service; all end with the block."""
    site = Site()
    with tempfile.TemporaryDirectory(prefix="tessera-site-") as folder, ExitStack() as stack:
        home = Path(folder)
        store, site.store_pid = _store(home, stack)
        prepare_gallery_keys(home)
        ports = {(kind, number): free_port() for kind in _MODULES for number in range(count)}
        for (kind, number), port in ports.items():
            address = {one: ",".join(f"{HOST}:{ports[one, n]}" for n in range(count)) for one in _MODULES}
            environ = _environ(kind, number, port, address=address, store=store, home=home)
            if kind == "encoder":
                environ |= encoder_settings or {}
            site.members.append(Member(kind, number, port, environ, home / f"{kind}-{number}.log"))
        for member in site.members:
            stack.callback(member.stop)
            site.start(member)
        yield site


def _store(home: Path, stack: ExitStack) -> tuple[str, int]:
    valkey = prepare_valkey(home, free_port())
    spec = valkey_spec(valkey, home / "valkey.log")
    with spec.log_path.open("ab") as log:
        process = subprocess.Popen(spec.command, stdout=log, stderr=log, start_new_session=True)
    stack.callback(end_group, process)
    give_up_s = time.monotonic() + READY_S
    while not valkey.is_ready():
        if time.monotonic() > give_up_s or process.poll() is not None:
            raise RuntimeError(f"the store did not get ready:\n{spec.log_path.read_text()[-2000:]}")
        time.sleep(0.02)
    return valkey.url, process.pid


def _environ(
    kind: str, number: int, port: int, *, address: Mapping[str, str], store: str, home: Path
) -> dict[str, str]:
    settings = {
        "encoder": {"SIGNATURE_ENCODER": "", "LANES": "1"},
        "gallery": {
            "ENCODER": address["encoder"],
            "STORE": store,
            "KEYS": str(home / "keys" / "kek"),
            "SIGNING_KEY": str(home / "keys" / "signing"),
            "AUDIT_DIR": str(home / "audit"),
            "MIGRATE": "auto",
        },
        "ingest": {
            "ENCODER_ADDRESS": address["encoder"],
            "GALLERY_ADDRESS": address["gallery"],
            "STORE_URL": store,
            "WORKER_ID": f"ingest-{number}",
        },
        "gateway": {"GALLERY_ADDRESS": address["gallery"], "INGEST_ADDRESS": address["ingest"], "STORE_URL": store},
    }[kind]
    listening = {"HOST": HOST, "PORT": str(port), "METRICS_PORT": str(free_port())}
    return {f"TESSERA_{kind.upper()}_{name}": value for name, value in {**listening, **settings}.items()}
