"""A server as a process group of its own: it is ended whole, and what stays behind is an error.

Other servers load their networks in workers and keep helpers beside them. One that stayed would take processor time
from whatever is measured next, and no figure would show it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.figures import ROOT

GRACE_S, KILL_LIMIT_S = 15.0, 10.0


class GroupRemainsError(Exception):
    """Processes of a server still run although they were killed."""

    def __init__(self, group: int, pids: Sequence[int]) -> None:
        super().__init__(f"of process group {group} still run: {', '.join(map(str, pids))}")
        self.group = group
        self.pids = pids


@contextmanager
def server_group(
    name: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    ready: Callable[[subprocess.Popen[bytes]], bool],
    grace_s: float = GRACE_S,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    Args:
        name: for people.
        command: what to run.
        environ: on top of ours.
        ready: waits until it serves; False when it ended or took too long.
        grace_s: how long it may take to end after SIGTERM.

    Yields:
        The leader of its group.

    Raises:
        RuntimeError: it did not get ready; with the end of its log.
        GroupRemainsError: something of it could not be ended.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environ}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            if not ready(process):
                log.seek(0)
                raise RuntimeError(f"{name} did not get ready:\n{log.read().decode()[-3000:]}")
            yield process
        finally:
            end_group(process, grace_s)


def end_group(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """Ask the leader to end, kill what is left of its group, and wait until there is nothing.

    Raises:
        GroupRemainsError: something is left all the same.
    """
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    until_s = time.monotonic() + KILL_LIMIT_S
    while process.poll() is None or members(process.pid):
        if time.monotonic() > until_s:
            raise GroupRemainsError(process.pid, members(process.pid))
        time.sleep(0.02)


def members(group: int) -> list[int]:
    """Process ids of a group that still run; not of zombies, which hold no more than their number.

    Source: proc(5), /proc/pid/stat.
    """
    running: list[int] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            state, _parent, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                running.append(int(folder.name))
    return running
