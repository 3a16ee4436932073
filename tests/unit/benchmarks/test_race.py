"""Servers that are measured in turn: who is up, when, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from benchmarks.encoder.orders import Http
from benchmarks.encoder.race import Entrant, race

NAMES = ("ours", "one", "another")


class Field:
    """Entrants that note when they start and end."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.started: list[str] = []

    @contextmanager
    def serve(self, name: str) -> Iterator[str]:
        """Be up while the block lasts."""
        self.up.append(name)
        self.started.append(name)
        try:
            yield f"at-{name}"
        finally:
            self.up.remove(name)

    def entrants(self) -> list[Entrant]:
        """One for each name."""
        return [Entrant(name, partial(self.serve, name), Http("/", 1, 1.0)) for name in NAMES]


def test_exactly_the_server_that_is_measured_is_up() -> None:
    """An idle one that polls would slow it."""
    field = Field()

    def measure(entrant: Entrant, address: str) -> float:
        assert field.up == [entrant.name]
        assert address == f"at-{entrant.name}"
        return float(len(field.started))

    paces = race(field.entrants(), 3, measure)
    assert field.up == []
    assert {name: len(values) for name, values in paces.items()} == dict.fromkeys(NAMES, 3)


def test_each_server_is_once_in_each_place() -> None:
    """As many rounds as servers: none is always first, and a value stands with its round, whatever the order was."""
    field = Field()
    paces = race(field.entrants(), len(NAMES), lambda *_: float(len(field.started)))
    assert field.started == [
        *("ours", "one", "another"),
        *("one", "another", "ours"),
        *("another", "ours", "one"),
    ]
    assert paces == {"ours": [1.0, 6.0, 8.0], "one": [2.0, 4.0, 9.0], "another": [3.0, 5.0, 7.0]}


def test_a_server_is_ended_when_its_measurement_fails() -> None:
    """A race that breaks off leaves nobody on the track."""
    field = Field()

    def measure(*_: object) -> float:
        raise RuntimeError("faces are missing")

    with pytest.raises(RuntimeError, match="faces are missing"):
        race(field.entrants(), 1, measure)
    assert field.up == []
    assert field.started == ["ours"]
