"""Strict order without starvation: each class is owed a share of the device's recent time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from encoder_svc.scheduling.work import WorkClass

_MEMORY_S = 2.0


class Shares:
    """Who is owed the next turn although somebody precedes them.

    Args:
        reserved: the share of the device's time that a class gets while it has work, in [0, 1), by class.
        patience_s: nobody is owed anything before its oldest work has waited so long.
    """

    def __init__(self, reserved: Mapping[WorkClass, float], patience_s: float) -> None:
        self._reserved = dict(reserved)
        self._patience_s = patience_s
        self._spent_s = dict.fromkeys(WorkClass, 0.0)
        self._updated_s = 0.0

    def spend(self, work_class: WorkClass, seconds: float, now_s: float) -> None:
        """Note device time; what lies some seconds back counts less and less."""
        self._age(now_s)
        self._spent_s[work_class] += seconds

    def owed(self, oldest_s: Mapping[WorkClass, float], now_s: float) -> WorkClass | None:
        """The class that must be next, or None when strict order may decide.

        Args:
            oldest_s: when the oldest waiting work of each class that has any was submitted.
            now_s: on the same clock.
        """
        self._age(now_s)
        total_s = sum(self._spent_s.values())
        missing = {
            work_class: self._reserved.get(work_class, 0.0) * total_s - self._spent_s[work_class]
            for work_class, since_s in oldest_s.items()
            if now_s - since_s >= self._patience_s
        }
        most = max(missing, key=lambda work_class: missing[work_class], default=None)
        return most if most is not None and missing[most] > 0.0 else None

    def _age(self, now_s: float) -> None:
        fading = math.exp(-max(0.0, now_s - self._updated_s) / _MEMORY_S)
        self._updated_s = now_s
        for work_class in self._spent_s:
            self._spent_s[work_class] *= fading
