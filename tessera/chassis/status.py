"""The one table from our errors to gRPC codes and reasons, and the way back on the client's side."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from tessera.chassis.logs import get_logger
from tessera.domain import errors as e

ERROR_DOMAIN = "tessera"
# In bytes of UTF-8. grpc sends the message twice (percent-encoded, and in base64) and may refuse metadata from 8 KB on.
_LONGEST_MESSAGE = 1000
_LONGEST_VALUE = 200
_CUT = " ..."
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class StatusDetail:
    """What the peer is told."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def _input(error: e.InvalidInputError) -> StatusDetail:
    metadata = {"field": error.field, "value": repr(error.value)[:80], "allowed": error.allowed}
    return StatusDetail(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", str(error), metadata)


def _image(error: e.ImageRejectedError) -> StatusDetail:
    metadata = {"field": error.field, "value": error.reason.value, "allowed": error.detail}
    return StatusDetail(grpc.StatusCode.INVALID_ARGUMENT, error.reason.value, str(error), metadata)


def _samples(error: e.SamplesRejectedError) -> StatusDetail:
    first = _image(error)
    each = {f"samples[{at}]": ",".join(_whole(why)) or "usable" for at, why in enumerate(error.reasons)}
    return StatusDetail(first.code, first.reason, first.message, {**first.metadata, **each})


def _not_found(error: e.NotFoundError) -> StatusDetail:
    reason = f"{error.kind.upper()}_NOT_FOUND"
    metadata = {
        "field": f"{error.kind}_id",
        "value": error.id,
        "allowed": f"the id of a {error.kind} that exists",
    }
    return StatusDetail(grpc.StatusCode.NOT_FOUND, reason, str(error), metadata)


def _exists(error: e.AlreadyExistsError) -> StatusDetail:
    metadata = {"field": f"{error.kind}_id", "value": error.id, "allowed": "an id that is free"}
    return StatusDetail(grpc.StatusCode.ALREADY_EXISTS, f"{error.kind.upper()}_EXISTS", str(error), metadata)


def _duplicate(error: e.DuplicateSubjectError) -> StatusDetail:
    allowed = "somebody new; or duplicate_policy MERGE, where one subject looks like it, or KEEP_APART"
    told = _whole(error.subject_ids)
    metadata = {"field": "samples", "value": ",".join(told), "allowed": allowed}
    if len(told) < len(error.subject_ids):
        metadata["left_out"] = str(len(error.subject_ids) - len(told))
    return StatusDetail(grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_SUBJECT", str(error), metadata)


def _not_empty(error: e.NotEmptyError) -> StatusDetail:
    metadata = {"field": f"{error.kind}_id", "value": error.id, "allowed": f"an empty {error.kind}, or force"}
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, f"{error.kind.upper()}_NOT_EMPTY", str(error), metadata)


def _trimmed(error: e.CursorTrimmedError) -> StatusDetail:
    metadata = {
        "field": "after_cursor",
        "value": error.cursor,
        "allowed": f"{error.oldest - 1} to {error.newest}; empty for now, 0 for the oldest that is kept",
    }
    return StatusDetail(grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TRIMMED", str(error), metadata)


def _reused(error: e.RequestIdReusedError) -> StatusDetail:
    metadata = {"field": "request_id", "value": error.request_id, "allowed": "a new id for a new request"}
    return StatusDetail(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", str(error), metadata)


def _mismatch(error: e.ModelMismatchError) -> StatusDetail:
    metadata = {"field": "model_id", "value": error.actual, "allowed": error.expected}
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH", str(error), metadata)


def _no_calibration(error: e.NoCalibrationError) -> StatusDetail:
    metadata = {"field": "model_id", "value": error.model_id, "allowed": "a model with a calibration"}
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, "NO_CALIBRATION", str(error), metadata)


def _too_small(error: e.CalibrationTooSmallError) -> StatusDetail:
    metadata = {
        "field": "target rate",
        "value": f"{error.rate:g}",
        "allowed": f"at least {3 / max(error.comparisons, 1):g} with {error.comparisons} comparisons",
    }
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, "CALIBRATION_TOO_SMALL", str(error), metadata)


def _unavailable(error: e.UnavailableError) -> StatusDetail:
    return StatusDetail(grpc.StatusCode.UNAVAILABLE, f"{error.dependency.upper()}_UNAVAILABLE", str(error))


def _overloaded(error: e.OverloadedError) -> StatusDetail:
    metadata = {"queue": error.queue, "limit": str(error.limit)}
    return StatusDetail(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", str(error), metadata)


def _expired(error: e.ExpiredError) -> StatusDetail:
    return StatusDetail(grpc.StatusCode.DEADLINE_EXCEEDED, "EXPIRED", str(error), {"stage": error.stage})


def _precondition(error: e.PreconditionError) -> StatusDetail:
    metadata = {"field": error.field, "value": error.value, "allowed": error.allowed}
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, error.reason, str(error), metadata)


def _stream_limit(error: e.StreamLimitError) -> StatusDetail:
    return StatusDetail(grpc.StatusCode.RESOURCE_EXHAUSTED, "STREAM_LIMIT", str(error), {"limit": str(error.limit)})


def _stream_silent(error: e.StreamSilentError) -> StatusDetail:
    return StatusDetail(
        grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_SILENT", str(error), {"idle_limit_s": f"{error.idle_s:g}"}
    )


def _corrupt(error: e.StoreCorruptError) -> StatusDetail:
    # Whoever calls can do nothing about it; what to do stands in the log and in the gallery's readiness.
    return StatusDetail(grpc.StatusCode.DATA_LOSS, "STORE_CORRUPT", str(error), {"key": error.key})


def _key_missing(error: e.KeyMissingError) -> StatusDetail:
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, "KEY_MISSING", str(error), {"key": error.key})


def _outcome_unknown(error: e.OutcomeUnknownError) -> StatusDetail:
    metadata = {
        "request_id": error.request_id,
        "cause": error.cause,
        "replicas_reached": str(error.reached),
        "replicas_wanted": str(error.wanted),
    }
    return StatusDetail(grpc.StatusCode.UNAVAILABLE, "WRITE_OUTCOME_UNKNOWN", str(error), metadata)


def _position(error: e.PositionNotReachedError) -> StatusDetail:
    metadata = {
        "position": str(error.position),
        "reached": str(error.reached),
        "shard": str(error.shard),
        "why": error.why,
    }
    return StatusDetail(grpc.StatusCode.UNAVAILABLE, "POSITION_NOT_REACHED", str(error), metadata)


def _incomplete(error: e.GalleryIncompleteError) -> StatusDetail:
    metadata = {"shards_searched": str(error.searched), "shards_total": str(error.total)}
    return StatusDetail(grpc.StatusCode.UNAVAILABLE, "GALLERY_INCOMPLETE", str(error), metadata)


def _revision(error: e.RevisionChangedError) -> StatusDetail:
    metadata = {
        "field": "expected_revision",
        "value": str(error.expected),
        "allowed": f"{error.actual}, the revision that the {error.kind} has",
    }
    return StatusDetail(grpc.StatusCode.ABORTED, "REVISION_CHANGED", str(error), metadata)


def _superseded(error: e.LeaseSupersededError) -> StatusDetail:
    metadata = {"field": "lease_token", "value": str(error.token), "allowed": f"{error.newest} or more"}
    return StatusDetail(grpc.StatusCode.FAILED_PRECONDITION, "LEASE_SUPERSEDED", str(error), metadata)


def _not_built(error: e.NotBuiltError) -> StatusDetail:
    return StatusDetail(grpc.StatusCode.UNIMPLEMENTED, "NOT_BUILT", str(error), {"method": error.method})


_TABLE: dict[type[e.TesseraError], Callable[[Any], StatusDetail]] = {
    e.InvalidInputError: _input,
    e.ImageRejectedError: _image,
    e.SamplesRejectedError: _samples,
    e.NotFoundError: _not_found,
    e.AlreadyExistsError: _exists,
    e.DuplicateSubjectError: _duplicate,
    e.NotEmptyError: _not_empty,
    e.CursorTrimmedError: _trimmed,
    e.RequestIdReusedError: _reused,
    e.ModelMismatchError: _mismatch,
    e.NoCalibrationError: _no_calibration,
    e.CalibrationTooSmallError: _too_small,
    e.UnavailableError: _unavailable,
    e.OverloadedError: _overloaded,
    e.ExpiredError: _expired,
    e.PreconditionError: _precondition,
    e.StreamLimitError: _stream_limit,
    e.StreamSilentError: _stream_silent,
    e.StoreCorruptError: _corrupt,
    e.KeyMissingError: _key_missing,
    e.OutcomeUnknownError: _outcome_unknown,
    e.PositionNotReachedError: _position,
    e.GalleryIncompleteError: _incomplete,
    e.RevisionChangedError: _revision,
    e.LeaseSupersededError: _superseded,
    e.NotBuiltError: _not_built,
}


def status_of(error: BaseException) -> StatusDetail:
    """What a peer is told of `error`; one that is not ours becomes INTERNAL with an incident id, the rest is logged."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            return _TABLE[kind](error)
    incident_id = uuid.uuid4().hex[:12]
    get_logger().error("rpc.failed", incident_id=incident_id, exc_info=error)
    message = f"internal error; the log has it under incident {incident_id}"
    return StatusDetail(grpc.StatusCode.INTERNAL, "INTERNAL", message, {"incident_id": incident_id})


def rich_status(detail: StatusDetail) -> Any:  # noqa: ANN401 - grpc_status ships no types
    """The status with its google.rpc.ErrorInfo, as a call ends with it.

    What the caller sent comes back shortened, behind a whole word or item of a list, and says so by dots at its end: a
    status above the peer's limit on metadata would never arrive.
    """
    metadata = {key: _shortened(text, _LONGEST_VALUE) for key, text in detail.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=detail.reason, domain=ERROR_DOMAIN, metadata=metadata)
    packed = any_pb2.Any()
    packed.Pack(info)
    code = getattr(code_pb2, detail.code.name)
    return rpc_status.to_status(
        status_pb2.Status(code=code, message=_shortened(detail.message, _LONGEST_MESSAGE), details=[packed])
    )


def _whole(items: Sequence[str]) -> Sequence[str]:
    """As many of the first items as fit into one value, joined by commas; one at least."""
    length = -1
    for count, item in enumerate(items):
        length += 1 + len(item.encode())
        if length > _LONGEST_VALUE:
            return items[: max(count, 1)]
    return items


def _shortened(text: str, longest: int) -> str:
    """At most so many bytes of a text."""
    raw = text.encode()
    if len(raw) <= longest:
        return text
    kept = raw[: longest - len(_CUT)].decode(errors="ignore")
    end = max(kept.rfind(","), kept.rfind(" "))
    return (kept[:end] if end > 0 else kept).rstrip(" ,;") + _CUT


def detail_of(error: grpc.RpcError) -> StatusDetail:
    """What a failed call says, on the client's side: code, reason, message, metadata."""
    code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    message = (error.details() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else str(error)) or ""
    for key, value in _trailing(error):
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            for packed in status.details:
                info = error_details_pb2.ErrorInfo()
                if packed.Unpack(info):
                    return StatusDetail(code, info.reason, message, dict(info.metadata))
    return StatusDetail(code, code.name, message)


def _trailing(error: grpc.RpcError) -> list[tuple[str, Any]]:
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return []
    return [(str(key), value) for key, value in (error.trailing_metadata() or ())]
