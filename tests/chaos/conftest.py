"""How much is tried: a part of it in each run, all of it where `TESSERA_CHAOS` is `full`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import KINDS, binary_of


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of each fault is tried."""

    every_byte: bool
    """Files are cut at each byte, not at some of them."""
    kills: int


@pytest.fixture(scope="session")
def measure() -> Measure:
    """A part, or all."""
    full = os.environ.get("TESSERA_CHAOS", "") == "full"
    return Measure(every_byte=full, kills=50 if full else 5)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server that is installed."""
    name: str = request.param
    if binary_of(name) is None:
        pytest.skip(f"{name} is not installed: what it makes of faults stays unproved")
    return name


@pytest.fixture
def binary(kind: str) -> Path:
    """The server of that kind."""
    found = binary_of(kind)
    assert found is not None
    return found
