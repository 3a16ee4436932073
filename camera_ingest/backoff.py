"""How long to wait before the next attempt: exponential with full jitter, so that fifty cameras do not come in step.

Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
"""

from __future__ import annotations

import random


class Backoff:
    """Delays of one thing that is tried again and again.

    Args:
        first_s: the range of the first delay.
        longest_s: no range is longer.
        least_s: no delay is shorter.
        chance: where jitter comes from.
    """

    def __init__(
        self, first_s: float, longest_s: float, least_s: float = 0.0, chance: random.Random | None = None
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._least_s = least_s
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        self._attempts = 0

    def next_s(self) -> float:
        """Seconds to wait now, uniform in [least, min(longest, first * 2^attempts)]."""
        # Beyond 2^32 the range is at its longest for any sensible numbers, and floats stay finite.
        range_s = min(self._longest_s, self._first_s * 2.0 ** min(self._attempts, 32))
        self._attempts += 1
        return self._chance.uniform(min(self._least_s, range_s), range_s)

    def reset(self) -> None:
        """It worked: begin anew next time."""
        self._attempts = 0
