"""What several tests of the encoder begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.encoder_world import HeldDevice


@pytest.fixture
def device() -> Iterator[HeldDevice]:
    """One lane, held."""
    made = HeldDevice()
    made.hold()
    yield made
    made.release()
    made.scheduler.close()
