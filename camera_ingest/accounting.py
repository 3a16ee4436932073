"""The account of one camera: every sampled frame is encoded, skipped (why), expired, failed or still under way.

    sampled = encoded + skipped + expired + failed + in_flight

holds after each call, by construction: a frame is entered once and leaves once. "In flight" is every frame between its
sampling and its answer, whether it waits in the backlog or is with the encoder. Used from one event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tessera.client.stream_values import FrameOutcome
from tessera.domain.reasons import Reason

OnEnd = Callable[[FrameOutcome, Reason | None], None]


@dataclass(frozen=True, slots=True)
class Account:
    """How the frames of a camera stand at one moment."""

    sampled: int
    encoded: int
    skipped: int
    expired: int
    failed: int
    in_flight: int
    skip_counts: Mapping[Reason, int]
    """Of the skipped frames, how many for which reason."""


class FrameAccount:
    """Enters frames and ends them.

    Args:
        on_end: told of each frame that ends, for the metrics.
    """

    def __init__(self, on_end: OnEnd | None = None) -> None:
        self._on_end = on_end
        self._sampled = 0
        self._ended: Counter[FrameOutcome] = Counter()
        self._skips: Counter[Reason] = Counter()
        self._open: set[int] = set()

    def enter(self) -> int:
        """A frame was sampled; returns its id, which grows from 1."""
        self._sampled += 1
        self._open.add(self._sampled)
        return self._sampled

    def end(self, frame_id: int, outcome: FrameOutcome, reason: Reason | None = None) -> bool:
        """A frame has its outcome.

        Args:
            frame_id: from `enter`.
            outcome: what became of it.
            reason: why it was skipped or failed; a skip without one counts as INTERNAL.

        Returns:
            False when the frame had ended before: nothing is counted twice.
        """
        if frame_id not in self._open:
            return False
        self._open.remove(frame_id)
        self._ended[outcome] += 1
        if outcome is FrameOutcome.SKIPPED:
            reason = reason or Reason.INTERNAL
            self._skips[reason] += 1
        if self._on_end is not None:
            self._on_end(outcome, reason)
        return True

    def skip_all(self, reason: Reason) -> int:
        """End every frame that is under way as skipped; returns how many there were."""
        left = sorted(self._open)
        for frame_id in left:
            self.end(frame_id, FrameOutcome.SKIPPED, reason)
        return len(left)

    @property
    def open_count(self) -> int:
        """Frames that are under way."""
        return len(self._open)

    def now(self) -> Account:
        """The account at this moment."""
        return Account(
            sampled=self._sampled,
            encoded=self._ended[FrameOutcome.ENCODED],
            skipped=self._ended[FrameOutcome.SKIPPED],
            expired=self._ended[FrameOutcome.EXPIRED],
            failed=self._ended[FrameOutcome.FAILED],
            in_flight=len(self._open),
            skip_counts=dict(self._skips),
        )
