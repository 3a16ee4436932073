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
import math
from collections import deque
from collections.abc import Callable

LEAST = 4
"""So many may always be with the encoder: on each of two lanes one is worked on while another one is decoded."""
FIRST = 8
MOST = 256
IN_TIME_SHARE = 1 / 3
"""Of the time that a frame has, from its turn to the answer."""
_FALL = 0.75
_NEWS = 0.1


Answered = tuple[float, float]


class Turn:
    """One frame's turn, from the moment it is asked for.

    Args:
        end: told once when the turn is over, how long the answer took and might have taken; None: there was none.
    """

    def __init__(self, end: Callable[[Turn, Answered | None], None]) -> None:
        self.given = asyncio.Event()
        """Set once the frame may go."""
        self._end = end
        self._is_over = False

    def answered(self, took_s: float, in_time_s: float) -> None:
        """The encoder has answered.

        Args:
            took_s: from the turn to the answer; infinite where the encoder had no time for the frame.
            in_time_s: longer is late.
        """
        self._over((took_s, in_time_s))

    def leave(self) -> None:
        """There will be no answer, or no frame: the turn is somebody else's. Safe to call at any time."""
        self._over(None)

    def _over(self, answered: Answered | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._end(self, answered)


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
        self._usual_s = 0.0
        self._tell()

    @property
    def usual_s(self) -> float:
        """How long an answer takes, from the turn on: the mean of the last ones."""
        return self._usual_s

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

    def _end(self, turn: Turn, answered: Answered | None) -> None:
        if turn.given.is_set():
            self._with_encoder -= 1
        else:
            self._waiting.remove(turn)
        if answered is not None:
            took_s, in_time_s = answered
            if math.isfinite(took_s):
                self._usual_s += _NEWS * (took_s - self._usual_s)
            self._learn(late=took_s > in_time_s)
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
