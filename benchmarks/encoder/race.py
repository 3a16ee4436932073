"""Servers measured in turn, one up at a time: an idle one that polls would slow the one that is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.encoder.orders import Closed, Http


@dataclass(frozen=True, slots=True)
class Entrant:
    """One server, set up in one way."""

    name: str
    serve: Callable[[], AbstractContextManager[str]]
    """Runs it while the block lasts; gives its address."""
    order: Closed | Http
    """What it is measured with."""


def race(entrants: Sequence[Entrant], rounds: int, measure: Callable[[Entrant, str], float]) -> dict[str, list[float]]:
    """Start, measure and end each of them once a round.

    Args:
        entrants: in the order of the first round.
        rounds: how often.
        measure: what is wanted of the server that runs, at its address.

    Returns:
        What was measured, by name and round.
    """
    measured: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    for at in range(rounds):
        for entrant in in_turn(entrants, at):
            with entrant.serve() as address:
                measured[entrant.name].append(measure(entrant, address))
    return measured


def in_turn(entrants: Sequence[Entrant], at: int) -> list[Entrant]:
    """The order of a round: each round begins with another one, so that a drift within a round favours none."""
    first = at % len(entrants)
    return [*entrants[first:], *entrants[:first]]
