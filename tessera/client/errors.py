"""What a failed call says, as exceptions: one root, typed by what the caller can do about it; free of transport.

`error_of` reads the status that the service sent; no other module of the client looks at a gRPC error.
"""
# ruff: noqa: N818 - they are read where they are caught: `except NotFound`

from __future__ import annotations

from collections.abc import Mapping

import grpc

from tessera.chassis.status import StatusDetail, detail_of


class TesseraCallError(Exception):
    """The root of every failure of a call to a service.

    Args:
        code: the canonical code, such as `NOT_FOUND`.
        reason: what exactly, such as `SUBJECT_NOT_FOUND` or `NO_FACE`.
        field: the request field that is to blame; empty when none is.
        value: what it held, shortened.
        allowed: what would have been right.
        message: all of it as a sentence, for people.
        details: what else the service told, such as why each sample of an enrolment was rejected.
    """

    def __init__(
        self,
        *,
        code: str,
        reason: str,
        field: str,
        value: str,
        allowed: str,
        message: str,
        details: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.reason = reason
        self.field = field
        self.value = value
        self.allowed = allowed
        self.message = message
        self.details = dict(details or {})
        super().__init__(message)


# ---- the caller can do something about it


class BadInput(TesseraCallError):
    """A field, or a picture, cannot be used. The same call will fail again."""


class NotFound(TesseraCallError):
    """The subject, collection or camera that was named does not exist."""


class AlreadyExists(TesseraCallError):
    """Something of that name is there already, or a request id came again with other content."""


class DuplicateSubject(AlreadyExists):
    """Samples that were to be enrolled already are another subject's; nothing was written."""

    @property
    def subject_ids(self) -> tuple[str, ...]:
        """Whose they are, best first, as many as an error holds; also in `details["subject_ids"]`, with commas."""
        return tuple(self.value.split(","))

    @property
    def left_out(self) -> int:
        """How many more they are than `subject_ids` names."""
        return int(self.details.get("left_out", 0))


class NotAllowedNow(TesseraCallError):
    """The state of the collection or of its model does not allow it: MODEL_MISMATCH, NO_CALIBRATION, ..."""


class CursorTrimmed(TesseraCallError):
    """The events after this cursor are no longer kept; start again from now or from the oldest."""


# ---- the service cannot answer


class ServiceUnavailable(TesseraCallError):
    """Nobody answers there, or a part that it needs is away. The same call may be tried again."""


class DeadlinePassed(ServiceUnavailable):
    """No answer within the deadline."""


class Overloaded(ServiceUnavailable):
    """A bounded queue of the service is full. Try again later."""


class OutcomeUnknown(ServiceUnavailable):
    """A write was sent, and nobody can say whether it holds. The same call with the same request id settles it:
    `details["request_id"]` has the id."""


class StoreDamaged(TesseraCallError):
    """The gallery's store holds what no version of Tessera wrote; its log says what to do."""


class NotBuilt(TesseraCallError):
    """This version of the service does not do it yet."""


class ServiceFailed(TesseraCallError):
    """A defect of the service; its log has the rest under the incident id in the message."""


_FIELDS = frozenset({"field", "value", "allowed"})
_KINDS: dict[grpc.StatusCode, type[TesseraCallError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: BadInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: NotAllowedNow,
    grpc.StatusCode.ABORTED: NotAllowedNow,
    grpc.StatusCode.OUT_OF_RANGE: CursorTrimmed,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.CANCELLED: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlinePassed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNIMPLEMENTED: NotBuilt,
    grpc.StatusCode.DATA_LOSS: StoreDamaged,
}
_REASONS: dict[str, type[TesseraCallError]] = {
    "WRITE_OUTCOME_UNKNOWN": OutcomeUnknown,
    "DUPLICATE_SUBJECT": DuplicateSubject,
}


def error_of(error: grpc.RpcError, service: str, address: str) -> TesseraCallError:
    """The exception that a failed call raises.

    Args:
        error: what grpc raised.
        service: which service was called, such as `gallery`.
        address: where, as `host:port`.
    """
    detail = detail_of(error)
    kind = _REASONS.get(detail.reason) or _KINDS.get(detail.code, ServiceFailed)
    metadata = detail.metadata
    others = {"subject_ids": metadata.get("value", "")} if kind is DuplicateSubject else {}
    return kind(
        code=detail.code.name,
        reason=detail.reason,
        field=metadata.get("field", ""),
        value=metadata.get("value", ""),
        allowed=metadata.get("allowed", ""),
        message=_message(detail, service, address),
        details={key: text for key, text in metadata.items() if key not in _FIELDS} | others,
    )


def _message(detail: StatusDetail, service: str, address: str) -> str:
    """The service's own sentence; where the transport spoke, ours, since grpc's tells of sockets."""
    if detail.reason == grpc.StatusCode.UNAVAILABLE.name:
        return f"the {service} at {address} does not answer"
    if detail.reason == grpc.StatusCode.DEADLINE_EXCEEDED.name:
        return f"the {service} at {address} did not answer within the deadline"
    return detail.message or f"the {service} at {address} answered {detail.code.name}"
