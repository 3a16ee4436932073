"""What `tessera up` has seen so far: the last decisions, the news, and when the first match and unknown came."""

from __future__ import annotations

import threading
from collections import deque

from tessera.chassis.clock import Clock
from tessera.cli.decisions import DecisionChanges
from tessera.cli.view import View
from tessera.client.answers import Event
from tessera.domain.decision import Outcome

_KEPT_EVENTS = 60
_KEPT_NEWS = 6
_FIRSTS = {Outcome.MATCH: "match", Outcome.UNKNOWN: "unknown"}


class Board:
    """Collects what happens and hands it to the view; called from several threads.

    Args:
        clock: for the time since the start.
        started_s: when the process started, on that clock.
    """

    def __init__(self, clock: Clock, started_s: float) -> None:
        self._clock = clock
        self._started_s = started_s
        self._changes = DecisionChanges()
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._news: deque[str] = deque(maxlen=_KEPT_NEWS)
        self._firsts: dict[str, float] = {}
        self._lock = threading.Lock()
        self._view: View | None = None

    def show_on(self, view: View) -> None:
        """Hand everything from now on to a view."""
        self._view = view

    def uptime_s(self) -> float:
        """Seconds since the process started."""
        return self._clock.monotonic_s() - self._started_s

    def tell(self, text: str) -> None:
        """Take a line of news."""
        with self._lock:
            self._news.append(text)
            if self._view is not None:
                self._view.news(text)

    def take(self, event: Event) -> None:
        """Take an event; one whose decision is the same as before, and one from before the start, are passed over."""
        with self._lock:
            if event.replayed or not self._changes.is_new(event):
                return
            self._events.append(event)
            if self._view is not None:
                self._view.event(event)
            if event.sighting is not None:
                self._note_first(event.sighting.answer.outcome)

    def _note_first(self, outcome: Outcome) -> None:
        what = _FIRSTS.get(outcome)
        if what is None or what in self._firsts:
            return
        self._firsts[what] = self.uptime_s()
        if self._view is not None:
            self._view.first(what, self._firsts[what])

    def last_events(self) -> tuple[Event, ...]:
        """The events that were taken, the newest last."""
        with self._lock:
            return tuple(self._events)

    def last_news(self) -> tuple[str, ...]:
        """The lines of news, the newest last."""
        with self._lock:
            return tuple(self._news)

    def first_after_s(self) -> dict[str, float]:
        """When the first `match` and the first `unknown` came, in seconds since the start."""
        with self._lock:
            return dict(self._firsts)
