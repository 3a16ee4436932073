"""When the frames of a recording, and those of a live playlist that come in heaps, are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tessera.chassis.clock import Clock

LONGEST_LATE_S = 0.5
"""Of a recording that is played in its own time."""
_LATE_S = 0.25
_BREAK_S = 30.0
_BELIEVED_S = 60.0


def wall_time(clock: Clock, monotonic_s: float) -> datetime:
    """The wall clock's time at a moment of the monotonic one: as it is set now, whenever it was set."""
    return clock.now() + timedelta(seconds=monotonic_s - clock.monotonic_s())


class FileTime:
    """A recording's own clock, started at its first frame.

    Args:
        clock: this machine's.
        longest_late_s: of a recording that is played in its own time. A frame that is later than this makes everything
            after it later by as much: a machine that cannot decode in time plays slower, where it would otherwise be
            behind for good, with every frame too old. None: it is read, and never late.
    """

    def __init__(self, clock: Clock, longest_late_s: float | None = None) -> None:
        self._clock = clock
        self._longest_late_s = longest_late_s
        self._first_s: float | None = None
        self._began_s = clock.monotonic_s()
        self._due_s = self._step_s = 0.0

    def begin_anew(self) -> None:
        """The recording is played again: behind its last frame, for one that is read fast is ahead of the clock."""
        self._first_s = None

    def due(self, time_s: float | None) -> tuple[datetime, float]:
        """When a frame is captured: UTC, and on the monotonic clock."""
        time_s = time_s or 0.0
        if self._first_s is None:
            self._first_s, self._began_s = time_s, max(self._clock.monotonic_s(), self._due_s + self._step_s)
        due_s = self._began_s + max(0.0, time_s - self._first_s)
        late_s = self._clock.monotonic_s() - due_s
        if self._longest_late_s is not None and late_s > self._longest_late_s:
            self._began_s, due_s = self._began_s + late_s, due_s + late_s
        self._step_s, self._due_s = max(0.0, due_s - self._due_s) if self._due_s else 0.0, due_s
        return wall_time(self._clock, due_s), due_s


class Playout:
    """Plays what comes in heaps in its own time; when nothing came in time, everything after it is later by as much.

    A frame is captured, for deadlines, when it is due: what lies before that is the way of a playlist, which is seconds
    long and which nobody can shorten.

    Args:
        clock: this machine's.
        first_utc_s: when the first frame was captured, if the playlist says so and it is to be believed.
    """

    def __init__(self, clock: Clock, first_utc_s: float | None = None) -> None:
        self._clock = clock
        now_utc_s = clock.now().timestamp()
        is_believed = first_utc_s is not None and 0.0 <= now_utc_s - first_utc_s <= _BELIEVED_S
        self._first_utc_s = first_utc_s if is_believed else None
        self._first_s: float | None = None
        self._lead_s = 0.0

    @property
    def is_told(self) -> bool:
        """Whether the playlist says when frames were captured."""
        return self._first_utc_s is not None

    def due(self, time_s: float | None) -> tuple[datetime, float]:
        """When a frame was captured, in UTC; and when it is due, on the monotonic clock."""
        now_s = self._clock.monotonic_s()
        time_s = time_s if time_s is not None else now_s - self._lead_s
        if self._first_s is None:
            self._first_s, self._lead_s = time_s, now_s - time_s
        due_s = time_s + self._lead_s
        if abs(due_s - now_s) > _BREAK_S:  # the stream began anew
            self._first_utc_s = None
            due_s, self._lead_s = now_s, now_s - time_s
        elif now_s > due_s + _LATE_S:
            due_s, self._lead_s = now_s, now_s - time_s
        if self._first_utc_s is not None:
            return datetime.fromtimestamp(self._first_utc_s + time_s - self._first_s, UTC), due_s
        return wall_time(self._clock, due_s), due_s
