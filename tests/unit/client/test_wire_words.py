"""The shared words of the contracts, where they are made in another way than by protobuf's own helpers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tessera.client import wire
from tessera.domain.decision import Outcome
from tessera.domain.reasons import Reason

_ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=_ZONES)  # noqa: DTZ001 - hypothesis adds the zone


@given(_MOMENTS)
def test_a_moment_is_the_timestamp_that_protobuf_makes(moment: datetime) -> None:
    """In every zone, before and after 1970, and back to the same moment."""
    expected = Timestamp()
    expected.FromDatetime(moment)
    assert wire.time_to_wire(moment) == expected
    assert wire.time_from_wire(wire.time_to_wire(moment)) == moment


def test_a_moment_without_a_zone_is_refused() -> None:
    """It would be taken for UTC, whatever it was."""
    with pytest.raises(TypeError):
        wire.time_to_wire(datetime.now(UTC).replace(tzinfo=None))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_goes_there_and_back(reason: Reason) -> None:
    """The contract has a number for each reason of the domain, and no two share one."""
    assert wire.reason_from_wire(wire.reason_to_wire(reason)) is reason


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_goes_there_and_back(outcome: Outcome) -> None:
    """The contract has a number for each outcome."""
    assert wire.outcome_from_wire(wire.outcome_to_wire(outcome)) is outcome
