"""Whose frame goes to the encoder next: cameras take turns, and only so many frames of all of them are there at a time.

Credits bound what one camera has with the encoder. Sixteen cameras with two credits each still make a queue of 32
frames in front of an encoder that does 20 a second: most of them would expire there, those of the cameras whose frames
take longest first of all. So a frame leaves its backlog, where a newer one may still replace it, only when its camera's
turn has come. Turns are given in the order in which they were asked for.

How many may be with the encoder follows from how long its answers take: one that takes more than a third of the time
that its frame has makes it fewer, at most once for each round of answers; while cameras wait and answers are in time it
becomes one more each round.

Source: additive increase and multiplicative decrease, as Chiu and Jain, Computer Networks and ISDN Systems 17 (1989).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LEAST = 2
"""So many may always be with the encoder: one is decoded while another one is embedded."""
FIRST = 4
MOST = 256
IN_TIME_SHARE = 1 / 3
"""Of the time that a frame has, from its turn to the answer."""
_FALL = 0.75


class Turn:
    """One frame's turn, from the moment it is asked for.

    Args:
        end: told once when the turn is over, and whether the answer was late; None: there was none.
    """

    def __init__(self, end: Callable[[Turn, bool | None], None]) -> None:
        self.given = asyncio.Event()
        """Set once the frame may go."""
        self._end = end
        self._is_over = False

    def answered(self, *, late: bool) -> None:
        """The encoder has answered; whether that took longer than it should."""
        self._over(late)

    def leave(self) -> None:
        """There will be no answer, or no frame: the turn is somebody else's. Safe to call at any time."""
        self._over(None)

    def _over(self, late: bool | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._end(self, late)


class Turns:
    """The turns of all cameras of one process. Used from one event loop.

    Args:
        on_window: told how many frames may be with the encoder, whenever that changes; for the metrics.
    """

    def __init__(self, on_window: Callable[[int], None] | None = None) -> None:
        self._on_window = on_window
        self._window = float(FIRST)
        self._with_encoder = 0
        self._waiting: deque[Turn] = deque()
        self._answers_since_fall = 0
        self._tell()

    @property
    def window(self) -> int:
        """Frames that may be with the encoder at a time."""
        return int(self._window)

    @property
    def waiting(self) -> int:
        """Cameras whose turn has not come yet."""
        return len(self._waiting)

    def ask(self) -> Turn:
        """Stand in line; the turn must end in one way or the other."""
        turn = Turn(self._end)
        self._waiting.append(turn)
        self._give()
        return turn

    def _end(self, turn: Turn, late: bool | None) -> None:
        if turn.given.is_set():
            self._with_encoder -= 1
        else:
            self._waiting.remove(turn)
        if late is not None:
            self._learn(late=late)
        self._give()

    def _learn(self, *, late: bool) -> None:
        self._answers_since_fall += 1
        if late and self._answers_since_fall > self._window:
            self._window, self._answers_since_fall = max(float(LEAST), _FALL * self._window), 0
        elif not late and self._waiting:
            self._window = min(float(MOST), self._window + 1.0 / self._window)
        self._tell()

    def _give(self) -> None:
        while self._waiting and self._with_encoder < self.window:
            self._with_encoder += 1
            self._waiting.popleft().given.set()

    def _tell(self) -> None:
        if self._on_window is not None:
            self._on_window(self.window)
