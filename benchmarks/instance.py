"""A whole Tessera as a user starts it: `make run` or `tessera up`, in a process group of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tessera.client import Tessera

_FIRST = re.compile(r"first (match|unknown) after ([0-9.]+) s")


@dataclass(slots=True)
class Instance:
    """A running `tessera up`."""

    process: subprocess.Popen[str]
    data_dir: Path
    started_s: float
    lines: list[str] = field(default_factory=list)
    first_s: dict[str, float] = field(default_factory=dict)
    """Seconds from the start of the command to the first `match` and `unknown`, by our own watch."""

    def children(self) -> dict[str, dict[str, str | int]]:
        """What `instance.json` says of each child, by name."""
        told = json.loads((self.data_dir / "instance.json").read_text(encoding="utf-8"))
        return {child["name"]: child for child in told["children"]}

    def connect(self) -> Tessera:
        """A client of this instance."""
        children = self.children()
        return Tessera(
            str(children["gallery"]["address"]),
            ingest=str(children["ingest"]["address"]),
            encoder=str(children["encoder"]["address"]),
            gateway=str(children["gateway"]["address"]),
        )

    def wait_for(self, *what: str, limit_s: float) -> None:
        """Wait until each of `match`, `unknown` was seen.

        Raises:
            TimeoutError: it was not, or the command ended.
        """
        until_s = time.monotonic() + limit_s
        while not all(name in self.first_s for name in what):
            if time.monotonic() > until_s or self.process.poll() is not None:
                tail = "\n".join(self.lines[-30:])
                raise TimeoutError(f"no first {' and '.join(what)} within {limit_s:.0f} s:\n{tail}")
            time.sleep(0.05)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = _FIRST.search(line)
            if found:
                self.first_s.setdefault(found[1], time.monotonic() - self.started_s)


@contextmanager
def running(command: Sequence[str], cwd: Path, data_dir: Path, environ: Mapping[str, str]) -> Iterator[Instance]:
    """Run a command that starts `tessera up --no-view` until the block ends; then Ctrl-C, as a user would."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    instance = Instance(process, data_dir, time.monotonic())
    reader = threading.Thread(target=instance._read, daemon=True)
    reader.start()
    try:
        yield instance
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        reader.join(timeout=5)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()
