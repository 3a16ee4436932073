"""Ids that the gallery makes: sortable by the time of their making, or the same each time for the same thing."""

from __future__ import annotations

import hashlib
import os
import re
from collections import deque
from datetime import UTC, datetime

from tessera.domain.ids import EventId, TrackletId

_TIME_ORDERED = re.compile(r"[a-z]+-([0-9a-f]{12})[0-9a-f]{12}")


def time_ordered_id(kind: str, now: datetime) -> str:
    """`KIND-` with 12 hex digits of milliseconds and 12 of chance: ids of later moments sort behind earlier ones."""
    return f"{kind}-{int(now.timestamp() * 1000):012x}{_CHANCE.token()}"


def made_at(made_id: str) -> datetime | None:
    """When `time_ordered_id` made an id; None: something else did."""
    found = _TIME_ORDERED.fullmatch(made_id)
    return datetime.fromtimestamp(int(found.group(1), 16) / 1000, UTC) if found else None


def sighting_event_id(tracklet_id: TrackletId) -> EventId:
    """The id of the event that tells of a tracklet, however often and by whomever it is told."""
    return EventId(f"sighting-{hashlib.sha256(tracklet_id.encode()).hexdigest()[:32]}")


class _Chance:
    """Random bytes of the system, fetched for many ids at once; for any thread, and none twice after a fork.

    Each fetch gives the interpreter's lock away, and a loop that is busy waits up to 0.4 ms to get it back.
    """

    _TOKEN_BYTES = 6
    _FETCHED = 256

    def __init__(self) -> None:
        self._tokens: deque[str] = deque()
        self._process = 0

    def token(self) -> str:
        if self._process != os.getpid():
            self._tokens, self._process = deque(), os.getpid()
        try:
            return self._tokens.popleft()
        except IndexError:
            return self._fetch()

    def _fetch(self) -> str:
        digits, length = os.urandom(self._TOKEN_BYTES * self._FETCHED).hex(), 2 * self._TOKEN_BYTES
        fetched = [digits[at : at + length] for at in range(0, len(digits), length)]
        self._tokens.extend(fetched[1:])
        return fetched[0]


_CHANCE = _Chance()
