"""How long a batch takes on this device, learnt from the batches that ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

_NEWEST_WEIGHT = 0.2
_FREE_RIDE = 1.1


class BatchCosts:
    """Seconds by group and number of items. A group is whatever shares a batch: a stage with a shape."""

    def __init__(self) -> None:
        self._seconds: defaultdict[Hashable, dict[int, float]] = defaultdict(dict)

    def observe(self, group: Hashable, items: int, seconds: float) -> None:
        """Learn from one batch; the newest counts for a fifth, so that one slow batch changes little."""
        known = self._seconds[group]
        before = known.get(items)
        known[items] = seconds if before is None else before + _NEWEST_WEIGHT * (seconds - before)

    def replace(self, group: Hashable, items: int, seconds: float) -> None:
        """Forget what was learnt of this size: another version has been measured."""
        self._seconds[group][items] = seconds

    def predict(self, group: Hashable, items: int) -> float | None:
        """Seconds that a batch will take; None when nothing was seen of its group.

        Between two sizes that were seen it is a straight line; beyond the largest it grows in proportion, which no
        network exceeds; below the smallest it is that one's.
        """
        known = self._seconds.get(group)
        if not known:
            return None
        if items in known:
            return known[items]
        smaller = max((n for n in known if n < items), default=None)
        larger = min((n for n in known if n > items), default=None)
        if smaller is None:
            return known[larger] if larger is not None else None
        if larger is None:
            return known[smaller] * items / smaller
        part = (items - smaller) / (larger - smaller)
        return known[smaller] + part * (known[larger] - known[smaller])

    def largest_within(self, group: Hashable, seconds: float, at_most: int) -> int:
        """The largest batch that stays within a time; at least 1, and 1 while nothing is known."""
        return self._grown(group, 1, at_most, seconds)

    def riders(self, group: Hashable, items: int, at_most: int) -> int:
        """How many more items cost next to nothing: less than a tenth of the batch."""
        alone_s = self.predict(group, items)
        return 0 if alone_s is None else self._grown(group, items, at_most, _FREE_RIDE * alone_s) - items

    def _grown(self, group: Hashable, size: int, at_most: int, seconds: float) -> int:
        while size < at_most:
            larger_s = self.predict(group, size + 1)
            if larger_s is None or larger_s > seconds:
                break
            size += 1
        return size
