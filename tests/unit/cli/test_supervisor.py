"""Supervision of real child processes: started again, stopped in order, never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from unit.cli.waiting import wait_until

from tessera.chassis.clock import ManualClock, SystemClock
from tessera.cli.child import Backoff, Child, ChildReport, ChildSpec, ChildState
from tessera.cli.supervisor import Supervisor

_WAITS = "import threading; threading.Event().wait()"
_IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {_WAITS}"


class Farm:
    """A supervisor and what it told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.news: list[str] = []
        self.supervisor = Supervisor(SystemClock(), self.news.append)

    def add(self, name: str, code: str, stop_limit_s: float = 5.0, is_ready: Callable[[], bool] | None = None) -> None:
        """Run a child that is a line of Python."""
        self.supervisor.add(_spec(self.folder, name, code, stop_limit_s, is_ready))

    def report(self, name: str) -> ChildReport:
        """How a child does."""
        return next(report for report in self.supervisor.reports() if report.name == name)

    def wait_ready(self, *names: str) -> None:
        """Wait until each is ready."""
        wait_until(lambda: not self.supervisor.not_ready(names), what=f"{names} ready")


def _spec(
    folder: Path, name: str, code: str, stop_limit_s: float = 5.0, is_ready: Callable[[], bool] | None = None
) -> ChildSpec:
    return ChildSpec(
        name=name,
        command=(sys.executable, "-S", "-c", code),
        log_path=folder / f"{name}.log",
        is_ready=is_ready or (lambda: True),
        stop_limit_s=stop_limit_s,
    )


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """A running supervisor without children."""
    farm = Farm(tmp_path)
    farm.supervisor.start()
    yield farm
    farm.supervisor.kill()
    farm.supervisor.stop()


def test_a_child_that_is_killed_is_started_again(farm: Farm) -> None:
    """kill -9 costs a fraction of a second; the restart is counted and told."""
    farm.add("worker", _WAITS)
    farm.wait_ready("worker")
    first = farm.report("worker").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: farm.report("worker").pid not in {0, first}, what="a new process")
    assert farm.report("worker").restarts == 1
    assert farm.news[0] == "worker ended by SIGKILL; started again in 0.2 s"
    wait_until(lambda: "worker ready again (restart 1)" in farm.news)


def test_one_that_ends_again_and_again_is_never_given_up(farm: Farm) -> None:
    """Its exit code and its last words are told each time, and the pause grows."""
    farm.add("worker", "import sys; print('no luck'); sys.exit(7)", is_ready=lambda: False)
    wait_until(lambda: len(farm.news) >= 3, what="three ends")
    assert farm.news[:3] == [
        f"worker ended with exit code 7 (no luck); started again in {s} s" for s in (0.2, 0.4, 0.8)
    ]


def test_children_are_stopped_in_the_reverse_order(farm: Farm, tmp_path: Path) -> None:
    """What feeds on another ends before it: the file that each writes at its end tells the order."""
    ends = tmp_path / "ends"
    for name in ("store", "gallery", "ingest"):
        code = (
            "import signal, sys, threading\n"
            f"def end(*_):\n    open({str(ends)!r}, 'a').write({name!r} + ' ')\n    sys.exit(0)\n"
            f"signal.signal(signal.SIGTERM, end)\nprint('up', flush=True)\n{_WAITS}"
        )
        log = tmp_path / f"{name}.log"
        farm.add(name, code, is_ready=lambda log=log: log.exists() and "up" in log.read_text())
    farm.wait_ready("store", "gallery", "ingest")
    pids = [report.pid for report in farm.supervisor.reports()]
    farm.supervisor.stop()
    assert ends.read_text().split() == ["ingest", "gallery", "store"]
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_one_that_does_not_end_is_killed_after_its_limit(farm: Farm, tmp_path: Path) -> None:
    """SIGTERM first; a child that ignores it is not waited for for ever."""
    log = tmp_path / "deaf.log"
    farm.add("deaf", _IGNORES_SIGTERM, stop_limit_s=0.3, is_ready=lambda: log.exists() and "deaf" in log.read_text())
    farm.wait_ready("deaf")
    pid = farm.report("deaf").pid
    farm.supervisor.stop()
    assert not psutil.pid_exists(pid)


def test_a_second_wish_to_end_kills_at_once(farm: Farm, tmp_path: Path) -> None:
    """The limit of the orderly end no longer counts."""
    log = tmp_path / "deaf.log"
    farm.add("deaf", _IGNORES_SIGTERM, stop_limit_s=60.0, is_ready=lambda: log.exists() and "deaf" in log.read_text())
    farm.wait_ready("deaf")
    farm.supervisor.kill()
    farm.supervisor.stop()
    assert farm.report("deaf").pid == 0


def test_a_wrong_setting_is_told_with_the_childs_own_words(farm: Farm) -> None:
    """Exit code 3 before it was ever ready: the error of its log's last record is the message."""
    record = json.dumps({"event": "start.refused", "error": "TESSERA_X_PORT: got 'y'; allowed: a whole number"})
    farm.add("worker", f"import sys; print({record!r}); sys.exit(3)", is_ready=lambda: False)
    wait_until(lambda: farm.supervisor.refusal is not None)
    refusal = farm.supervisor.refusal
    assert refusal is not None
    assert (refusal.name, refusal.message) == ("worker", "TESSERA_X_PORT: got 'y'; allowed: a whole number")


def test_one_that_takes_no_work_for_a_while_is_shown_and_left_alone(farm: Farm, tmp_path: Path) -> None:
    """Liveness is the process; readiness is only shown."""
    flag = tmp_path / "ready"
    flag.touch()
    farm.add("worker", _WAITS, is_ready=flag.exists)
    farm.wait_ready("worker")
    pid = farm.report("worker").pid
    flag.unlink()
    wait_until(lambda: farm.report("worker").state is ChildState.NOT_READY)
    assert (farm.report("worker").pid, farm.report("worker").restarts) == (pid, 0)


def test_no_child_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the parent takes the children with it: the kernel does it, no code of ours runs."""
    if sys.platform != "linux":
        pytest.skip("PR_SET_PDEATHSIG is Linux's; elsewhere an orphan is not proved to end")
    script = (
        "import sys, threading\nfrom pathlib import Path\n"
        "from tessera.chassis.clock import SystemClock\nfrom tessera.cli.child import ChildSpec\n"
        "from tessera.cli.supervisor import Supervisor\n"
        "supervisor = Supervisor(SystemClock(), print)\nsupervisor.start()\n"
        f"command = (sys.executable, '-S', '-c', {_WAITS!r})\n"
        f"supervisor.add(ChildSpec('worker', command, Path({str(tmp_path)!r}) / 'worker.log', lambda: True))\n"
        "while supervisor.not_ready(['worker']):\n    threading.Event().wait(0.02)\n"
        "print(supervisor.reports()[0].pid, flush=True)\nthreading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        wait_until(lambda: not child.is_running(), what="the child's end")


def test_the_pause_doubles_to_five_seconds_and_is_short_after_a_good_life() -> None:
    """0.2 s at first, 5 s at most, 0.2 s again after thirty seconds of life."""
    backoff = Backoff()
    assert [backoff.pause_s(lived_s=1.0) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.pause_s(lived_s=30.0) == 0.2
    assert backoff.pause_s(lived_s=1.0) == 0.4


def test_a_child_is_started_again_when_its_pause_is_over_and_not_before(tmp_path: Path) -> None:
    """The pause runs on the injected clock."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    child = Child(_spec(tmp_path, "worker", "pass"), clock)
    child.start()
    wait_until(lambda: child.tick() == 0, what="its end")
    clock.advance(0.19)
    child.tick()
    assert child.state is ChildState.PAUSED
    clock.advance(0.02)
    child.tick()
    assert (child.state, child.report().restarts) == (ChildState.STARTING, 1)
    child.kill()
    assert child.has_ended(within_s=5.0)


def test_a_log_is_rotated_by_size(tmp_path: Path) -> None:
    """The newest lines are in NAME.log, older ones beside it, the oldest are gone."""
    from tessera.cli.process_log import ProcessLog

    log = ProcessLog(tmp_path / "worker.log", max_bytes=100)
    reader, writer = os.pipe()
    thread = log.follow(os.fdopen(reader, "rb"))
    with os.fdopen(writer, "wb") as output:
        output.writelines(f"line {number:04}\n".encode() for number in range(60))
    thread.join(10)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["worker.log", "worker.log.1", "worker.log.2", "worker.log.3"]
    assert (tmp_path / "worker.log").read_text().endswith("line 0059\n")
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert log.last_words() == "line 0059"


def test_a_full_disk_loses_lines_and_not_the_child(tmp_path: Path) -> None:
    """The child is read from until it ends, and what it said last is known."""
    from tessera.cli.process_log import ProcessLog

    (tmp_path / "worker.log").symlink_to("/dev/full")
    log = ProcessLog(tmp_path / "worker.log")
    reader, writer = os.pipe()
    thread = log.follow(os.fdopen(reader, "rb"))
    with os.fdopen(writer, "wb", buffering=0) as output:
        output.write(b"line 1\n")
        output.write(b"line 2\n")
    thread.join(10)
    assert log.last_words() == "line 2"
