"""How long a batch takes on this device, learnt from the batches that ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

_NEWEST_WEIGHT = 0.05
_MOST_FROM_ONE_BATCH = 4.0
_FREE_RIDE = 1.1


class BatchCosts:
    """Seconds by group and number of items. A group is whatever shares a batch: a stage with a shape.

    How the cost of a group grows with its size is learnt once, when it was rehearsed or first ran. What changes with
    the hour, a clock that is throttled or a neighbour on the machine, is one pace for the whole device. So a slow spell
    makes all predictions longer, and no size is shunned for ever because it once ran in one.
    """

    def __init__(self) -> None:
        self._at_pace_1: defaultdict[Hashable, dict[int, float]] = defaultdict(dict)
        self._ways: dict[str, tuple[tuple[Hashable, int], ...]] = {}
        self._pace = 1.0

    def observe(self, group: Hashable, items: int, seconds: float) -> None:
        """Learn from one batch: the cost of a size that was never seen, the device's pace from one that was."""
        known = self._at_pace_1[group]
        if items not in known:
            known[items] = seconds / self._pace
        elif known[items] > 0.0:
            # One batch that was held up for a second says little of the next.
            pace = min(seconds / known[items], _MOST_FROM_ONE_BATCH * self._pace)
            self._pace += _NEWEST_WEIGHT * (pace - self._pace)

    def replace(self, group: Hashable, items: int, seconds: float) -> None:
        """Forget what was learnt of this size: another version has been measured."""
        self._at_pace_1[group][items] = seconds / self._pace

    def way_of_a_picture(self, encoder: str, batches: Sequence[tuple[Hashable, int]]) -> None:
        """Say which batches one picture with one face makes when it is alone.

        Args:
            encoder: its name.
            batches: groups, and the items of each.
        """
        self._ways[encoder] = tuple(batches)

    def alone_s(self, encoder: str) -> float:
        """How long the networks run for one picture that is alone; 0 while that is not known."""
        return sum(self.predict(group, items) or 0.0 for group, items in self._ways.get(encoder, ()))

    def predict(self, group: Hashable, items: int) -> float | None:
        """Seconds that a batch will take; None when nothing was seen of its group.

        Between two sizes that were seen it is a straight line; beyond the largest it grows in proportion, which no
        network exceeds; below the smallest it is that one's.
        """
        known = self._at_pace_1.get(group)
        return _on_the_line(known, items) * self._pace if known else None

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


def _on_the_line(known: Mapping[int, float], items: int) -> float:
    if items in known:
        return known[items]
    smaller = max((n for n in known if n < items), default=None)
    larger = min((n for n in known if n > items), default=None)
    if smaller is None or larger is None:
        return known[larger] if larger is not None else known[max(known)] * items / max(known)
    part = (items - smaller) / (larger - smaller)
    return known[smaller] + part * (known[larger] - known[smaller])
