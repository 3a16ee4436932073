"""The rate at which a camera is looked at: as asked for, less while the encoder has no room, and back.

Frames that cannot be sent cost as much as others until they are thrown away, and what is thrown away by chance comes
unevenly. So the rate falls by a third for each second in which more than a fifth of the frames found no room, and
rises by a tenth of the target for each in which all did (additive increase, multiplicative decrease: cameras that
share an encoder come to share it evenly).

Source: Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance" (1989).
"""

from __future__ import annotations

from datetime import datetime

from camera_ingest.sampling import Sampler
from tessera.client.stream_values import FrameOutcome
from tessera.domain.reasons import Reason

FLOOR_HZ = 1.0
_WINDOW_S = 1.0
_STARVED_SHARE = 0.2
_FALL = 2.0 / 3.0
_RISE = 0.1
_STARVED = frozenset({Reason.NO_CREDIT, Reason.NEWER_FRAME, Reason.EXPIRED})


class Pace:
    """The rate of one camera. Used from one event loop.

    Args:
        target_hz: frames a second, as asked for.
        now_s: on the clock of deadlines.
    """

    def __init__(self, target_hz: float, now_s: float) -> None:
        self._target_hz = target_hz
        self._floor_hz = min(FLOOR_HZ, target_hz)
        self._rate_hz = target_hz
        self._sampler = Sampler(target_hz)
        self._since_s = now_s
        self._starved = 0
        self._served = 0

    @property
    def rate_hz(self) -> float:
        """Frames a second that are looked at now."""
        return self._rate_hz

    def wants(self, capture_time: datetime) -> bool:
        """Whether a frame that was sampled at the target rate is looked at; asked once for each, in order."""
        is_due = self._sampler.wants(capture_time)
        return is_due or self._rate_hz >= self._target_hz

    def ended(self, outcome: FrameOutcome, reason: Reason | None, now_s: float) -> None:
        """A frame had its outcome."""
        if outcome is FrameOutcome.EXPIRED or reason in _STARVED:
            self._starved += 1
        elif outcome is FrameOutcome.ENCODED or reason is Reason.NO_MOTION:
            self._served += 1
        if now_s - self._since_s >= _WINDOW_S:
            self._settle()
            self._since_s, self._starved, self._served = now_s, 0, 0

    def _settle(self) -> None:
        if self._starved > _STARVED_SHARE * (self._starved + self._served):
            self._rate_hz = max(self._floor_hz, _FALL * self._rate_hz)
        elif not self._starved and self._served:
            self._rate_hz = min(self._target_hz, self._rate_hz + _RISE * self._target_hz)
        self._sampler.set_rate(self._rate_hz)
