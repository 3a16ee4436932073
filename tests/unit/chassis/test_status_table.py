"""What callers are told of the errors that the encoder's life and its streams can end with."""

from __future__ import annotations

import base64
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from tessera.chassis.status import StatusDetail, rich_status, status_of
from tessera.domain import errors as e


@pytest.mark.parametrize(
    ("error", "code", "reason", "metadata"),
    [
        (
            e.PreconditionError("ENCODER_LOADING", "name", "face-x", "one that is not being loaded"),
            grpc.StatusCode.FAILED_PRECONDITION,
            "ENCODER_LOADING",
            {"field": "name", "value": "face-x", "allowed": "one that is not being loaded"},
        ),
        (e.StreamLimitError(64), grpc.StatusCode.RESOURCE_EXHAUSTED, "STREAM_LIMIT", {"limit": "64"}),
        (e.StreamSilentError(2.5), grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_SILENT", {"idle_limit_s": "2.5"}),
        (e.UnavailableError("encoder", "draining"), grpc.StatusCode.UNAVAILABLE, "ENCODER_UNAVAILABLE", {}),
        (e.ExpiredError("embedding"), grpc.StatusCode.DEADLINE_EXCEEDED, "EXPIRED", {"stage": "embedding"}),
    ],
)
def test_each_error_has_its_code_its_reason_and_what_is_allowed(
    error: e.TesseraError, code: grpc.StatusCode, reason: str, metadata: dict[str, str]
) -> None:
    """A client decides by the code and the reason; a person reads the message."""
    detail = status_of(error)
    assert (detail.code, detail.reason, dict(detail.metadata)) == (code, reason, metadata)
    assert detail.message == str(error)


def sent(detail: StatusDetail) -> tuple[str, dict[str, str], int]:
    """The message and the metadata as the peer reads them, and the bytes that they take on the way."""
    status = rich_status(detail)
    ((key, packed),) = status.trailing_metadata
    read = status_pb2.Status.FromString(packed)
    info = error_details_pb2.ErrorInfo()
    assert read.details[0].Unpack(info)
    wire_bytes = len(quote(status.details, safe=" ")) + len(key) + len(base64.b64encode(packed))
    return read.message, dict(info.metadata), wire_bytes


def test_a_list_of_duplicates_ends_with_a_whole_one_and_says_how_many_more() -> None:
    """A caller who splits it at the commas never reads half of an id."""
    ids = tuple(f"subject-{n:03d}-of-many" for n in range(40))
    _, metadata, _ = sent(status_of(e.DuplicateSubjectError(ids)))
    told = tuple(metadata["value"].split(","))
    assert told == ids[: len(told)]
    assert 5 < len(told) < len(ids)
    assert len(told) + int(metadata["left_out"]) == len(ids)
    _, metadata, _ = sent(status_of(e.DuplicateSubjectError(ids[:3])))
    assert metadata["value"] == ",".join(ids[:3])
    assert "left_out" not in metadata


def test_what_is_allowed_is_cut_behind_a_whole_item() -> None:
    """And its end shows that there is more."""
    allowed = ", ".join(f"MODEL_{n:02d}" for n in range(60))
    message, metadata, _ = sent(status_of(e.InvalidInputError("model", "none", allowed)))
    told = metadata["allowed"].removesuffix(" ...")
    assert told != metadata["allowed"]
    assert allowed.startswith(told + ", ")
    assert message.endswith(allowed)


@given(
    st.text(max_size=3000),
    st.dictionaries(st.sampled_from([f"samples[{n}]" for n in range(16)]), st.text(max_size=400)),
)
def test_a_status_always_arrives(message: str, metadata: dict[str, str]) -> None:
    """Whatever was sent, and in whatever script, the status stays below what a peer must take (16 KB)."""
    told, read, wire_bytes = sent(StatusDetail(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", message, metadata))
    assert wire_bytes < 16_000
    short = len(message.encode()) <= 1000
    assert told == message if short else message.startswith(told.removesuffix(" ...").rstrip())
    assert read.keys() == metadata.keys()
    for key, text in metadata.items():
        assert read[key] == text if len(text.encode()) <= 200 else read[key].endswith(" ...")
        assert len(read[key].encode()) <= 200
