"""Servers that a benchmark starts and ends: real processes, and nothing of them may stay."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.process_group import members, server_group

LIMIT_S = 60.0
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[2] == "leader":
    subprocess.Popen([sys.executable, "-c", pathlib.Path(sys.argv[3]).read_text(), sys.argv[1], "worker", sys.argv[3]])
pathlib.Path(sys.argv[1], sys.argv[2]).touch()
time.sleep(600)
"""
POLITE = STUBBORN.replace("signal.signal(", "sys.argv[2] == 'leader' or signal.signal(")


def both_there(folder: Path, process: subprocess.Popen[bytes]) -> bool:
    """Wait for the leader and its worker."""
    until_s = time.monotonic() + LIMIT_S
    while not all((folder / name).exists() for name in ("leader", "worker")):
        if time.monotonic() > until_s or process.poll() is not None:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(("script", "code"), [(STUBBORN, -9), (POLITE, -15)], ids=["none ends", "only the leader ends"])
def test_nothing_of_a_server_is_left_whoever_ignores_the_request_to_end(tmp_path: Path, script: str, code: int) -> None:
    """A leader that does not end is killed, and so is a worker that its leader leaves behind."""
    (source := tmp_path / "server.py").write_text(script)
    command = [sys.executable, "-c", script, str(tmp_path), "leader", str(source)]
    with server_group("stubborn", command, {}, lambda process: both_there(tmp_path, process), 0.3) as leader:
        assert len(members(leader.pid)) == 2
    assert members(leader.pid) == []
    assert leader.returncode == code


def test_a_server_is_ended_when_what_was_measured_fails() -> None:
    """And the failure is told, not the end of the server."""
    with (
        pytest.raises(ZeroDivisionError),
        server_group("sleeper", ["sleep", "600"], {}, lambda _: True) as leader,
    ):
        raise ZeroDivisionError
    assert members(leader.pid) == []


def test_a_server_that_does_not_get_ready_is_ended_and_its_log_told() -> None:
    """Whoever runs the benchmark must see why."""
    seen: list[subprocess.Popen[bytes]] = []

    def never(process: subprocess.Popen[bytes]) -> bool:
        seen.append(process)
        process.wait(LIMIT_S)
        return False

    command = [sys.executable, "-c", "import os; print(os.environ['WHY'])"]
    with (
        pytest.raises(RuntimeError, match="no weights here"),
        server_group("mute", command, {"WHY": "no weights here"}, never),
    ):
        pytest.fail("it was never ready")
    assert members(seen[0].pid) == []
