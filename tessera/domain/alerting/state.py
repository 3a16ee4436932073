"""What an evaluation remembers between two events, and what of it has changed since it was last asked.

It is a table of small entries with texts for keys, so that a checkpoint writes what changed and no more. Nothing in it
names a person: groups and verdicts are digests, and every entry ends by itself. An entry that has ended counts for
nothing, whether it was swept away or not.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Generic, TypeVar

NEVER_S = 9e12
_SWEEP_EVERY_S = 60.0


@dataclass(slots=True)
class Incident:
    """What goes on in one group of a rule: the events of one alert."""

    alert_id: str
    last_s: float
    """When the last event happened that joined it."""
    told_s: float
    """When its alert was last told."""
    expires_s: float
    supporters: int = 1
    """Events that it stands on."""
    closed_s: float = 0.0
    """When a person resolved its alert, or what it told of was over; 0: neither."""
    held: bool = False
    """It has no alert of its own: the rule had no message left."""
    named: list[str] = field(default_factory=list)
    """Events that the alert names."""


@dataclass(slots=True)
class Support:
    """What one event stands for, so that a later revision of it can take that back."""

    revision: int
    expires_s: float
    verdict: str = ""
    incidents: dict[str, str] = field(default_factory=dict)
    """For each rule the incident that it joined; empty: it waits to have been there for long enough."""


@dataclass(slots=True)
class Tally:
    """How often a rule has spoken."""

    expires_s: float = NEVER_S
    told_s: list[float] = field(default_factory=list)
    """The messages of the last hour."""
    last_alert_id: str = ""
    untold: int = 0
    """Events that were held back since the last message."""


@dataclass(slots=True)
class Window:
    """Who was seen where, or what failed when, lately."""

    expires_s: float
    at_s: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Timer:
    """Something that happens at a moment unless an event comes before."""

    due_s: float
    rule_id: str
    group: str = ""
    event_id: str = ""
    camera_id: str = ""
    collection_id: str = ""
    best_shot_id: str = ""
    incident: str = ""
    """It has happened, and this came of it."""
    expires_s: float = NEVER_S


E = TypeVar("E", Incident, Support, Tally, Window, Timer)


class Table(Generic[E]):
    """Entries of one kind.

    Args:
        kind: their class.
    """

    def __init__(self, kind: type[E]) -> None:
        self._kind: type[E] = kind
        self._values_of = attrgetter(*(each.name for each in fields(kind)))
        self._entries: dict[str, E] = {}
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[str, E]]:
        return iter(self._entries.items())

    def get(self, key: str) -> E | None:
        """An entry."""
        return self._entries.get(key)

    def put(self, key: str, entry: E) -> E:
        """Have an entry as it is now."""
        self._entries[key] = entry
        self._changed.add(key)
        return entry

    def drop(self, key: str) -> E | None:
        """Forget an entry."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._changed.add(key)
        return entry

    def sweep(self, now_s: float) -> None:
        """Forget what has ended."""
        for key in [key for key, entry in self._entries.items() if entry.expires_s <= now_s]:
            self.drop(key)

    def changes(self) -> Iterator[tuple[str, str]]:
        """What has changed since it was last asked, as texts; empty for what is gone."""
        for key in sorted(self._changed):
            entry = self._entries.get(key)
            yield key, "" if entry is None else json.dumps(self._values_of(entry), separators=(",", ":"))
        self._changed.clear()

    def load(self, key: str, text: str) -> None:
        """An entry from what `changes` told."""
        self._entries[key] = self._kind(*json.loads(text))


class EvaluatorState:
    """All that an evaluation remembers."""

    def __init__(self) -> None:
        self.incidents = Table(Incident)
        self.supports = Table(Support)
        self.tallies = Table(Tally)
        self.windows = Table(Window)
        self.timers = Table(Timer)
        self.clock_s = 0.0
        """Where the log's own time stands: never goes back."""
        self._heap: list[tuple[float, str]] = []
        self._swept_at = 0

    @classmethod
    def load(cls, entries: Mapping[str, str]) -> EvaluatorState:
        """A state from all entries that `changes` told, the newest of each key.

        Raises:
            ValueError: an entry is none.
        """
        state = cls()
        tables = state._tables()
        for name, text in entries.items():
            letter, _, key = name.partition("|")
            if letter == "c":
                state.clock_s = float(text)
            elif letter in tables:
                tables[letter].load(key, text)
            else:
                raise ValueError(f"{name!r} is no entry of an evaluation")
        state._heap = [(timer.due_s, key) for key, timer in state.timers if not timer.incident]
        heapq.heapify(state._heap)
        state._swept_at = int(state.clock_s // _SWEEP_EVERY_S)
        return state

    def changes(self) -> dict[str, str]:
        """Entries that changed since it was last asked; empty texts for those that are gone."""
        told = {f"{letter}|{key}": text for letter, table in self._tables().items() for key, text in table.changes()}
        return told | {"c|": repr(self.clock_s)}

    def __len__(self) -> int:
        return sum(map(len, self._tables().values()))

    def move_to(self, now_s: float) -> None:
        """Let time go on, and forget what has ended."""
        self.clock_s = max(self.clock_s, now_s)
        minute = int(self.clock_s // _SWEEP_EVERY_S)
        if minute != self._swept_at:
            self._swept_at = minute
            for table in self._tables().values():
                table.sweep(self.clock_s)

    def arm(self, key: str, timer: Timer) -> None:
        """Have something happen at a moment."""
        self.timers.put(key, timer)
        heapq.heappush(self._heap, (timer.due_s, key))

    def next_due(self, now_s: float) -> tuple[str, Timer] | None:
        """The first timer whose moment has come; it is no longer armed."""
        while self._heap and self._heap[0][0] <= now_s:
            due_s, key = heapq.heappop(self._heap)
            timer = self.timers.get(key)
            if timer is not None and not timer.incident and timer.due_s == due_s:
                self.timers.drop(key)
                return key, timer
        return None

    @property
    def first_due_s(self) -> float:
        """No timer's moment comes before this."""
        return self._heap[0][0] if self._heap else NEVER_S

    def _tables(self) -> dict[str, Table[Incident] | Table[Support] | Table[Tally] | Table[Window] | Table[Timer]]:
        return {"i": self.incidents, "s": self.supports, "t": self.tallies, "w": self.windows, "d": self.timers}
