"""When a frame was captured: the stream's own clock, mapped to this machine's clocks.

A packet's arrival is its capture plus a delay that jumps about; its time stamp in the stream is exact, of a clock that
began anywhere and runs a little fast or slow. The delay never falls below what the way takes at least, so that the
lower edge of (arrival - stamp) is the mapping, and its slope the drift: bursts and stalls of the network only lie
above it. Deadlines use that mapping, on the monotonic clock, which no change of the wall clock touches.

Where the sender says what time it was (RTCP sender reports), and its clock is set as ours is, capture time is what it
says. A sender whose clock is off is told, and not believed.

Source: Moon, Skelly and Towsley, "Estimation and Removal of Clock Skew from Network Delay Measurements" (INFOCOM 1999):
the line under all points that is closest to them, an edge of their lower convex hull.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from camera_ingest.sources.wall_clock import WallClock
from tessera.chassis.clock import Clock

TRUSTED_WITHIN_S = 2.0
"""A sender's clock is believed when what it says lies so close before the arrival."""
AHEAD_S = 0.1
"""And no further after it than this."""
_WINDOW_S = 2.0
_WINDOWS = 150
_LEAST_SPAN_S = 30.0
_MAX_DRIFT = 0.001
_BREAK_S = 10.0
_LATE_S = 2.0
_LATE_FOR_S = 10.0
_MAX_RESTARTS = 3


class ClockKind(StrEnum):
    """Where capture times come from."""

    ARRIVAL = "ARRIVAL"
    """When a frame arrived: the stream has no clock."""
    STREAM = "STREAM"
    """The stream's own clock, mapped by its arrivals."""
    SENDER = "SENDER"
    """The sender's wall clock."""
    FILE = "FILE"
    """A recording's own time, begun when it was opened."""


@dataclass(frozen=True, slots=True)
class ClockReport:
    """How a source's clock does."""

    kind: ClockKind
    drift_ppm: float = 0.0
    """By how much the stream's clock runs fast (more than 0) against ours."""
    delay_s: float = 0.0
    """How long after its capture, on that mapping, the newest packet came."""
    sender_offset_s: float | None = None
    """By how much the sender's clock is ahead of ours, delay of the network included; None: it does not say."""
    host_jumps: int = 0
    """How often this machine's wall clock has jumped since the source was opened."""


class StreamClock:
    """Maps one stream's time stamps.

    Args:
        clock: this machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._minima: deque[tuple[float, float]] = deque(maxlen=_WINDOWS)
        self._window: tuple[float, float, float] | None = None
        self._slope = 0.0
        self._sender_lead_s: float | None = None
        self._sender_offset_s = 0.0
        self._is_trusted = False
        self._delay_s = 0.0
        self._late_since_s: float | None = None
        self._restarts = 0
        self._wall = WallClock(clock)
        self._last: datetime | None = None
        self._last_s = float("-inf")

    def observe(self, stamp_s: float, sender_utc_s: float | None = None) -> None:
        """A packet arrived just now.

        Args:
            stamp_s: its time stamp in the stream.
            sender_utc_s: when it was captured by the sender's wall clock, if it says so.
        """
        now_s = self._clock.monotonic_s()
        gap_s = now_s - stamp_s
        if self._window is not None and abs(gap_s - self._edge(stamp_s)) > _BREAK_S:
            self._begin_anew()  # the sender's clock was set, or the stream began anew
        if self._window is None or stamp_s - self._window[0] >= _WINDOW_S:
            self._close_window()
            self._window = (stamp_s, stamp_s, gap_s)
        elif gap_s < self._window[2]:
            self._window = (self._window[0], stamp_s, gap_s)
        self._delay_s = gap_s - self._edge(stamp_s)
        self._notice_lateness(now_s)
        if sender_utc_s is not None:
            self._hear_sender(stamp_s, sender_utc_s)

    def moment(self, stamp_s: float | None) -> tuple[datetime, float]:
        """When the frame of a time stamp was captured: UTC, and on the monotonic clock; later than the one before.

        A frame without a time stamp was captured when it arrived.
        """
        now_s = self._clock.monotonic_s()
        is_clock = self._window is not None and self._restarts < _MAX_RESTARTS
        captured_s = min(now_s, stamp_s + self._edge(stamp_s)) if is_clock and stamp_s is not None else now_s
        captured_s = max(captured_s, self._last_s)
        if self._wall.look():
            self._last = None
        if self._is_trusted and self._sender_lead_s is not None and stamp_s is not None:
            captured = datetime.fromtimestamp(stamp_s + self._sender_lead_s, UTC)
        else:
            captured = self._wall.at(captured_s)
        if self._last is not None and captured <= self._last:
            captured = self._last + timedelta(milliseconds=1)
        self._last, self._last_s = captured, captured_s
        return captured, captured_s

    @property
    def delay_s(self) -> float:
        """How much later than its least delay the newest packet came: what queues on the way, or with us."""
        return self._delay_s

    def report(self) -> ClockReport:
        """How the clock does."""
        offset_s = None if self._sender_lead_s is None else self._sender_offset_s
        mapped = ClockKind.STREAM if self._restarts < _MAX_RESTARTS else ClockKind.ARRIVAL
        kind = ClockKind.SENDER if self._is_trusted else mapped
        return ClockReport(kind, -1e6 * self._slope, self._delay_s, offset_s, self._wall.jumps)

    def _hear_sender(self, stamp_s: float, sender_utc_s: float) -> None:
        """Learn how far the sender's clock is from ours; what it said holds until it says otherwise."""
        self._sender_lead_s = sender_utc_s - stamp_s
        arrived_utc_s = self._wall.at(stamp_s + self._edge(stamp_s)).timestamp()
        self._sender_offset_s = sender_utc_s - arrived_utc_s
        self._is_trusted = -TRUSTED_WITHIN_S <= self._sender_offset_s <= AHEAD_S

    def _notice_lateness(self, now_s: float) -> None:
        if self._delay_s < _LATE_S:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = now_s
        elif now_s - self._late_since_s > _LATE_FOR_S:
            # A way that got longer for good; or stamps that are counted, not clocked, as of a camera that cannot keep
            # the rate that it claims. What was learned would make frames older than they are.
            self._begin_anew()
            self._restarts += 1

    def _edge(self, stamp_s: float) -> float:
        """The least (arrival - stamp) at a stamp."""
        points = [*self._minima, (self._window[1], self._window[2])] if self._window else list(self._minima)
        return min((gap_s + self._slope * (stamp_s - at_s) for at_s, gap_s in points), default=0.0)

    def _close_window(self) -> None:
        if self._window is None:
            return
        self._minima.append((self._window[1], self._window[2]))
        if self._minima[-1][0] - self._minima[0][0] >= _LEAST_SPAN_S:
            slope = lower_slope(list(self._minima))
            self._slope = slope if abs(slope) <= _MAX_DRIFT else 0.0

    def _begin_anew(self) -> None:
        self._minima.clear()
        self._window, self._slope = None, 0.0
        self._sender_lead_s, self._is_trusted = None, False
        self._late_since_s = None


def lower_slope(points: list[tuple[float, float]]) -> float:
    """The slope of the line under all points that is closest to them on the whole.

    Args:
        points: (time, gap), by time.
    """
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) >= 2 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    middle = sum(at for at, _ in points) / len(points)
    for (left, low), (right, high) in itertools.pairwise(hull):
        if left <= middle <= right and right > left:
            return (high - low) / (right - left)
    return 0.0


def _turns_down(one: tuple[float, float], two: tuple[float, float], three: tuple[float, float]) -> bool:
    return (two[0] - one[0]) * (three[1] - one[1]) <= (two[1] - one[1]) * (three[0] - one[0])
