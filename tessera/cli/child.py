"""One supervised child process: started on a leash, started again after a pause when it ends, stopped in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tessera.chassis.clock import Clock
from tessera.cli import leash
from tessera.cli.exit_codes import ExitCode
from tessera.cli.process_log import ProcessLog

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_GOOD_LIFE_S = 30.0
_LAST_WORDS_LIMIT_S = 0.5


class ChildState(StrEnum):
    """What a child does, as the view shows it."""

    STARTING = "starting"
    """It runs and was not ready in this life yet."""
    READY = "ready"
    NOT_READY = "not ready"
    """It runs, was ready, and takes no work at the moment."""
    PAUSED = "restarting"
    """It ended and is started again soon."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run one child."""

    name: str
    command: tuple[str, ...]
    """The first is the path of a program."""
    log_path: Path
    is_ready: Callable[[], bool]
    """Asks the process whether it takes work; may take a second; must not raise."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the supervisor."""
    stop_limit_s: float = 15.0
    """From SIGTERM to SIGKILL."""
    address: str = ""
    """`host:port`, to be shown."""
    metrics_url: str = ""
    """To be shown; empty: it has none."""


@dataclass(frozen=True, slots=True)
class ChildReport:
    """How a child does at one moment."""

    name: str
    state: ChildState
    pid: int
    """0: it does not run."""
    restarts: int
    address: str
    metrics_url: str
    last_exit: str
    """How it ended last, in words; empty: it never did."""


class Backoff:
    """The pause before the next start: doubles while a child keeps ending, and is short again after a good life."""

    def __init__(self) -> None:
        self._next_s = _FIRST_PAUSE_S

    def pause_s(self, lived_s: float) -> float:
        """How long to wait after a life of `lived_s` seconds."""
        if lived_s >= _GOOD_LIFE_S:
            self._next_s = _FIRST_PAUSE_S
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, _LONGEST_PAUSE_S)
        return pause_s


class Child:
    """One child process through all of its lives.

    `start`, `tick`, `terminate` and `kill` belong to one thread: the kernel counts that thread as the child's parent.

    Args:
        spec: how to run it.
        clock: for pauses and lives.
    """

    def __init__(self, spec: ChildSpec, clock: Clock) -> None:
        self.spec = spec
        self.log = ProcessLog(spec.log_path)
        self._clock = clock
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._started_s = 0.0
        self._start_again_s = 0.0
        self._was_ready = False
        self._state = ChildState.STOPPED
        self._restarts = 0
        self._last_exit = ""
        self.pause_s = 0.0

    @property
    def state(self) -> ChildState:
        """What it does."""
        return self._state

    def report(self) -> ChildReport:
        """How it does now."""
        process = self._process
        return ChildReport(
            name=self.spec.name,
            state=self._state,
            pid=process.pid if process is not None else 0,
            restarts=self._restarts,
            address=self.spec.address,
            metrics_url=self.spec.metrics_url,
            last_exit=self._last_exit,
        )

    def start(self) -> None:
        """Start a life."""
        command = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self.spec.command]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **self.spec.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal is for the supervisor alone: it knows the order in which children end.
            process_group=0,
        )
        if self._process.stdout is not None:
            self._pump = self.log.follow(self._process.stdout)
        self._started_s = self._clock.monotonic_s()
        self._state = ChildState.STARTING

    def tick(self) -> int | None:
        """Notice an end, and start again when the pause is over.

        Returns:
            The exit code when the child has just ended, negative for a signal; else None.
        """
        now_s = self._clock.monotonic_s()
        if self._process is None:
            if self._state is ChildState.PAUSED and now_s >= self._start_again_s:
                self._restarts += 1
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        if self._pump is not None:
            # Its last words are on their way; a grandchild may hold the pipe open for longer.
            self._pump.join(_LAST_WORDS_LIMIT_S)
        self._process = None
        self._last_exit = _exit_text(code)
        self.pause_s = self._backoff.pause_s(now_s - self._started_s)
        self._start_again_s = now_s + self.pause_s
        self._state = ChildState.PAUSED
        return code

    def probe(self) -> None:
        """Ask it whether it takes work; from any thread, since it may take a second."""
        process = self._process
        if process is None or self._state is ChildState.STOPPED:
            return
        ready = self.spec.is_ready()
        if process is not self._process or self._state in {ChildState.PAUSED, ChildState.STOPPED}:
            return
        if ready:
            self._was_ready, self._state = True, ChildState.READY
        elif self._state is ChildState.READY:
            self._state = ChildState.NOT_READY

    def refused_to_start(self, code: int) -> bool:
        """Whether it ended because a setting was wrong, before it was ever ready: starting again will not help."""
        return code == ExitCode.BAD_INPUT and not self._was_ready

    def terminate(self) -> None:
        """Ask it to end, and start it no more."""
        self._state = ChildState.STOPPED
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, and start it no more."""
        self._state = ChildState.STOPPED
        self._signal(signal.SIGKILL)

    def has_ended(self, within_s: float) -> bool:
        """Wait for its end; whether no process is left."""
        if self._process is not None:
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                return False
            self._process = None
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def _exit_text(code: int) -> str:
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
