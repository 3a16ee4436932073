"""The first choice on a frame's way: at most so many frames a second, by capture time."""

from __future__ import annotations

from datetime import datetime, timedelta

_TOLERANCE = 0.25
_CLOCK_JUMP_PERIODS = 4


class Sampler:
    """Lets frames through at a target rate.

    Due moments lie on a fixed grid, so that the mean rate is right even where the camera's own rate is no multiple of
    it; a frame that comes up to a quarter of a period early is taken for its moment.

    Args:
        rate_hz: frames a second; more than 0.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period = timedelta(seconds=1.0 / rate_hz)
        self._due: datetime | None = None

    def set_rate(self, rate_hz: float) -> None:
        """Go on at another rate, from the next due moment."""
        self._period = timedelta(seconds=1.0 / rate_hz)

    def wants(self, capture_time: datetime) -> bool:
        """Whether the frame of this moment is sampled; asked once for each frame, in order."""
        if self._due is None or self._jumped(capture_time):
            self._due = capture_time + self._period
            return True
        if capture_time < self._due - _TOLERANCE * self._period:
            return False
        while self._due <= capture_time + _TOLERANCE * self._period:
            self._due += self._period
        return True

    def _jumped(self, capture_time: datetime) -> bool:
        # A pause of the source or a step of the clock: the old grid means nothing any more.
        due = self._due or capture_time
        return abs(capture_time - due) > _CLOCK_JUMP_PERIODS * self._period
