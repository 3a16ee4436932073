"""How much of each fault is tried: a part of it in each run, all of it where `TESSERA_CHAOS` is `full`."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of each fault is tried."""

    every_byte: bool
    """Files are cut at each byte, not at some of them."""
    kills: int
    examples: int
    """Of the state machine, over the store in memory; a third of them over a server."""


def measure_of_this_run() -> Measure:
    """A part, or all."""
    if os.environ.get("TESSERA_CHAOS", "") == "full":
        return Measure(every_byte=True, kills=50, examples=450)
    return Measure(every_byte=False, kills=5, examples=30)
