"""What every scenario of the decisions is handed, and what it hands back.

A scenario is a function `name(plan) -> Story` in a module of its own, and is entered in `SCENARIOS` of `__main__`. It
takes its people from `benchmarks.decisions.data`, draws with `plan.rng()`, and tells figures with what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.encoder.plan import Story

__all__ = ["COMMAND", "SEED", "Plan", "Story"]

COMMAND = "make bench-decisions"
SEED = 5
"""Of every scenario; fixed before anything was measured."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    quick: bool = False
    """For work on the benchmark itself: short, and nothing is kept."""

    def count(self, whole: int, quick: int) -> int:
        """One of two numbers."""
        return quick if self.quick else whole

    def rng(self) -> np.random.Generator:
        """The same draws each time."""
        return np.random.default_rng(SEED)
