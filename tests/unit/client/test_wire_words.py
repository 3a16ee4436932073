"""The shared words of the contracts, where they are made in another way than by protobuf's own helpers."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from tessera.client import wire
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Embedding
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb

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


_MODEL = "face-test-1@00"
_FLOATS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(_FLOATS, min_size=1, max_size=600), st.booleans(), st.integers(0, 600))
def test_an_embedding_is_read_however_its_numbers_came(values: list[float], packed: bool, cut: int) -> None:
    """Packed, as two packed runs, or one by one: the same unit vector as from the numbers themselves."""
    values[0] = values[0] or 1.0
    raw = b"".join(_run(part) for part in (values[:cut], values[cut:])) if packed else b"".join(map(_single, values))
    message = pb.Embedding.FromString(raw + _model_field())

    read = wire.embedding_from_wire(message)

    assert read.model_id == _MODEL
    expected = Embedding.from_raw(np.array(values, np.float32), ModelId(_MODEL))
    np.testing.assert_array_equal(read.vector, expected.vector)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [1.0, float("nan")], [float("inf")], [1.0] * 4097])
def test_numbers_that_are_no_vector_are_refused(values: list[float]) -> None:
    """None, all zero, not finite, too many: the error names the field."""
    with pytest.raises(InvalidInputError) as caught:
        wire.embedding_from_wire(pb.Embedding(values=values, model_id=_MODEL), "probe.embedding")
    assert caught.value.field == "probe.embedding.values"


def _run(values: list[float]) -> bytes:
    body = struct.pack(f"<{len(values)}f", *values)
    return b"\x0a" + _varint(len(body)) + body


def _single(value: float) -> bytes:
    return b"\x0d" + struct.pack("<f", value)


def _model_field() -> bytes:
    return b"\x12" + _varint(len(_MODEL)) + _MODEL.encode()


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
