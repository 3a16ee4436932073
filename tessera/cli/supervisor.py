"""Keeps the children of `tessera up` alive: starts, watches, starts again, and stops them in order.

One thread does all of it for as long as a child lives: the kernel kills a leashed child when the *thread* that started
it ends. A second thread asks the children whether they are ready, since an answer may take a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tessera.chassis.clock import Clock
from tessera.cli.child import Child, ChildReport, ChildSpec, ChildState

_TICK_S = 0.05
_PROBE_S = 0.1
_PROBE_WHEN_ALL_READY_S = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A child ended at its start because a setting was wrong; starting it again will not help."""

    name: str
    message: str
    """What its log said last."""


Tell = Callable[[str], None]
"""Takes one line of news for the user; called from the supervisor's thread."""


class Supervisor:
    """Runs child processes.

    Args:
        clock: for pauses and limits.
        tell: is told of each end and each new start.
    """

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._children: list[Child] = []
        self._to_start: list[Child] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._killing = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._prober = threading.Thread(target=self._probe, name="prober", daemon=True)
        self._refusal: Refusal | None = None
        self._ended: set[str] = set()

    def start(self) -> None:
        """Start to supervise; there is no child yet."""
        self._thread.start()
        self._prober.start()

    def add(self, spec: ChildSpec) -> None:
        """Run one more child; it is stopped before those that were added earlier."""
        child = Child(spec, self._clock)
        with self._lock:
            self._children.append(child)
            self._to_start.append(child)
        self._wake.set()

    def reports(self) -> tuple[ChildReport, ...]:
        """How each child does, in the order added."""
        with self._lock:
            return tuple(child.report() for child in self._children)

    @property
    def refusal(self) -> Refusal | None:
        """The first child that refused to start; None while all is well."""
        return self._refusal

    @property
    def is_alive(self) -> bool:
        """Whether it still supervises; false before `start`, after `stop`, and after a defect of its own."""
        return self._thread.is_alive()

    def last_words(self, name: str) -> str:
        """What the log of a child said last."""
        with self._lock:
            return next((child.log.last_words() for child in self._children if child.spec.name == name), "")

    def not_ready(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of `names` that do not take work now."""
        return tuple(r.name for r in self.reports() if r.name in names and r.state is not ChildState.READY)

    def stop(self) -> None:
        """Stop every child, the last added first; returns when none is left."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._prober.join()

    def kill(self) -> None:
        """Make a stop that is under way hurry: every child is killed."""
        self._killing.set()
        self._stopping.set()

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_TICK_S):
                for child in self._started():
                    self._tick(child)
        finally:
            # In reverse: cameras before what they feed, the store last.
            for child in reversed(self._started()):
                self._stop(child)

    def _started(self) -> list[Child]:
        with self._lock:
            new, self._to_start = self._to_start, []
        for child in new:
            child.start()
        with self._lock:
            return list(self._children)

    def _tick(self, child: Child) -> None:
        code = child.tick()
        if code is not None:
            self._note_end(child, code)
        name, state = child.spec.name, child.state
        if state is ChildState.READY and name in self._ended:
            self._ended.discard(name)
            self._tell(f"{name} ready again (restart {child.report().restarts})")

    def _note_end(self, child: Child, code: int) -> None:
        name, said = child.spec.name, child.log.last_words()
        if child.refused_to_start(code) and self._refusal is None:
            self._refusal = Refusal(name, said)
        # A signal's victim said nothing about it.
        why = f" ({said})" if said and code > 0 else ""
        self._tell(f"{name} {child.report().last_exit}{why}; started again in {child.pause_s:.1f} s")
        self._ended.add(name)

    def _stop(self, child: Child) -> None:
        child.terminate()
        limit_s = self._clock.monotonic_s() + child.spec.stop_limit_s
        while not child.has_ended(within_s=_TICK_S):
            if self._killing.is_set() or self._clock.monotonic_s() > limit_s:
                child.kill()

    def _probe(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                children = list(self._children)
            for child in children:
                child.probe()
            all_ready = all(child.state is ChildState.READY for child in children)
            self._wake.wait(_PROBE_WHEN_ALL_READY_S if all_ready else _PROBE_S)
            self._wake.clear()
