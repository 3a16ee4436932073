"""What callers are told of the errors that the encoder's life and its streams can end with."""

from __future__ import annotations

import grpc
import pytest

from tessera.chassis.status import status_of
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
