"""What each suite of faults is tried on, and how much of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.measure import Measure, measure_of_this_run
from tests.servers import KINDS, binary_of


@pytest.fixture(scope="session")
def measure() -> Measure:
    """A part, or all."""
    return measure_of_this_run()


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
