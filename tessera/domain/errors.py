"""The errors that Tessera raises on purpose, told along the way of a request; free of any transport.

Each carries what went wrong as attributes, and never a picture, an embedding or a credential.
`tessera.chassis.status` holds the one table that turns them into gRPC codes.
"""

from __future__ import annotations

from collections.abc import Sequence

from tessera.domain.reasons import Reason

_SHOWN_CHARACTERS = 80


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"


class TesseraError(Exception):
    """The root of every error raised on purpose."""


# ---- what the caller sent


class InvalidInputError(TesseraError):
    """A field holds something that it may not.

    Args:
        field: the field's name as the caller knows it, such as `target_fmr` or `images[2]`.
        value: what was sent; shown, cut to 80 characters.
        allowed: what would have been right, as a phrase.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"{field}: got {_shown(value)}; allowed: {allowed}")


class ImageRejectedError(TesseraError):
    """A picture cannot be used.

    Args:
        reason: the code that says why.
        detail: what was found and what is allowed, as a sentence.
        field: the request field that held it.
    """

    def __init__(self, reason: Reason, detail: str, field: str = "image") -> None:
        self.reason = reason
        self.detail = detail
        self.field = field
        super().__init__(f"{field}: {reason}: {detail}")

    def in_field(self, field: str) -> ImageRejectedError:
        """The same rejection, told of another field."""
        return ImageRejectedError(self.reason, self.detail, field)


class SamplesRejectedError(ImageRejectedError):
    """An enrolment has too few usable samples; the error is the first rejected one's, and it tells of each.

    Args:
        reasons: why each sample was rejected, in order; empty for one that was not.
        detail: what was found in the first rejected one and what is allowed, as a sentence.
    """

    def __init__(self, reasons: tuple[tuple[Reason, ...], ...], detail: str) -> None:
        first = next(at for at, why in enumerate(reasons) if why)
        self.reasons = reasons
        super().__init__(reasons[first][0], detail, f"samples[{first}]")


class NotFoundError(TesseraError):
    """Something named does not exist.

    Args:
        kind: `subject`, `collection`, `camera`, ...
        id: the name that was asked for.
    """

    def __init__(self, kind: str, id: str, hint: str = "") -> None:  # noqa: A002 - it is the id
        self.kind = kind
        self.id = id
        super().__init__(f"{kind} {_shown(id)} does not exist" + (f"; {hint}" if hint else ""))


class AlreadyExistsError(TesseraError):
    """Something of that name is there already."""

    def __init__(self, kind: str, id: str) -> None:  # noqa: A002 - it is the id
        self.kind = kind
        self.id = id
        super().__init__(f"{kind} {_shown(id)} exists already")


class DuplicateSubjectError(TesseraError):
    """Whoever is to be enrolled is enrolled already, under another id.

    Args:
        subject_ids: under which; the one that looks most alike first.
    """

    def __init__(self, subject_ids: Sequence[str]) -> None:
        self.subject_ids = tuple(subject_ids)
        super().__init__(f"the samples already are of {', '.join(map(_shown, self.subject_ids))}")


class NotEmptyError(TesseraError):
    """Something still holds what would be lost with it."""

    def __init__(self, kind: str, id: str, count: int) -> None:  # noqa: A002 - it is the id
        self.kind = kind
        self.id = id
        self.count = count
        super().__init__(f"{kind} {_shown(id)} still has {count} subjects; force it, or erase them first")


class CursorTrimmedError(TesseraError):
    """A cursor points at events that are no longer kept, or at none that ever were."""

    def __init__(self, cursor: str, oldest: int, newest: int) -> None:
        self.cursor = cursor
        self.oldest = oldest
        self.newest = newest
        super().__init__(f"after_cursor: {_shown(cursor)} is not kept; events {oldest} to {newest} are")


class RequestIdReusedError(TesseraError):
    """A `request_id` came again with other content than the first time."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(
            f"request_id: {_shown(request_id)} was used before with other content; "
            "allowed: a new id for a new request, the same id only for a retry of the same request"
        )


# ---- what the models allow


class ModelMismatchError(TesseraError):
    """Embeddings or a calibration of one model met those of another."""

    def __init__(self, expected: str, actual: str, what: str = "embedding") -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(f"{what}: made by model {_shown(actual)}; allowed: model {_shown(expected)}")


class NoCalibrationError(TesseraError):
    """There is no calibration for this model, so that no threshold can be stated."""

    def __init__(self, model_id: str, impostors: str = "") -> None:
        self.model_id = model_id
        self.impostors = impostors
        against = f" against {impostors.lower()} impostors" if impostors else ""
        super().__init__(f"model_id: {_shown(model_id)} has no calibration{against}; a threshold would be a guess")


class CalibrationTooSmallError(TesseraError):
    """The calibration's data cannot carry the error rate that is asked for."""

    def __init__(self, rate: float, comparisons_needed: int, comparisons: int, strictest: float | None = None) -> None:
        self.rate = rate
        self.comparisons_needed = comparisons_needed
        self.comparisons = comparisons
        if strictest is not None and comparisons_needed <= comparisons:
            super().__init__(f"an FMR of {rate:g} was not measured; the calibration's strictest is {strictest:g}")
            return
        super().__init__(
            f"an FMR of {rate:g} needs {comparisons_needed:,} non-mated comparisons (rule of 3); "
            f"the calibration has {comparisons:,}"
        )


# ---- the state of the system


class UnavailableError(TesseraError):
    """A part that this call needs is away; the call may be tried again.

    Args:
        dependency: `store`, `encoder`, `gallery`, ...
    """

    def __init__(self, dependency: str, detail: str = "") -> None:
        self.dependency = dependency
        super().__init__(f"{dependency} is unavailable" + (f": {detail}" if detail else ""))


class OverloadedError(TesseraError):
    """A bounded queue is full."""

    def __init__(self, queue: str, limit: int) -> None:
        self.queue = queue
        self.limit = limit
        super().__init__(f"{queue} is full ({limit}); try again later")


class ExpiredError(TesseraError):
    """The work's time ran out before it was done."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        super().__init__(f"the deadline passed before {stage}")


class PreconditionError(TesseraError):
    """The call is right, and the system is not in the state that it needs.

    Args:
        reason: the code that says what stands in the way, such as `ENCODER_LOADING`.
        field: the request field that it concerns.
        value: what was sent.
        allowed: what would have been right, as a phrase.
    """

    def __init__(self, reason: str, field: str, value: str, allowed: str) -> None:
        self.reason = reason
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"{reason}: {field}: got {_shown(value)}; allowed: {allowed}")


class StreamLimitError(TesseraError):
    """So many streams are open that another would slow all of them.

    Args:
        limit: how many are allowed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} streams are open, and no more are allowed; use another encoder")


class StreamSilentError(TesseraError):
    """The client of a stream sent nothing for too long.

    Args:
        idle_s: how long is allowed.
    """

    def __init__(self, idle_s: float) -> None:
        self.idle_s = idle_s
        super().__init__(f"no frame for {idle_s:g} s; open a new stream")


class NotBuiltError(TesseraError):
    """The contract has this method; this version does not do it yet."""

    def __init__(self, method: str) -> None:
        self.method = method
        super().__init__(f"{method} is in the contract but not built yet")


class ArtifactError(TesseraError):
    """A model file or a demo picture is missing or is not the one that is pinned."""

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        super().__init__(f"{name}: {detail}")


class StoreCorruptError(TesseraError):
    """The store holds something that no version of Tessera wrote."""

    def __init__(self, key: str, detail: str) -> None:
        self.key = key
        super().__init__(f"store key {_shown(key)}: {detail}")


class KeyMissingError(TesseraError):
    """A value was sealed under a key that this process was not given.

    Args:
        key: the key's fingerprint, hex.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the key with fingerprint {key} is not in the key file; put it back, behind the first line")


class OutcomeUnknownError(TesseraError):
    """A write was sent, and nobody can say whether it holds; the same `request_id` again settles it.

    Args:
        request_id: of the write.
        cause: WAIT (too few replicas have it), CONNECTION, TIMEOUT or FAILOVER.
        reached: replicas that have it for certain.
        wanted: replicas that were asked for.
    """

    def __init__(self, request_id: str, cause: str, reached: int = 0, wanted: int = 0) -> None:
        self.request_id = request_id
        self.cause = cause
        self.reached = reached
        self.wanted = wanted
        why = f"{reached} of {wanted} replicas have it" if cause == "WAIT" else f"the answer was lost ({cause.lower()})"
        super().__init__(
            f"whether this was written is not known: {why}; "
            f"send it again with request_id {_shown(request_id)}: that settles it, and nothing is written twice"
        )


class PositionNotReachedError(TesseraError):
    """A query asked for a state that this process does not have yet.

    Args:
        position: as asked for.
        reached: what it has.
        shard: of the collection.
        why: BEHIND, RELOADING, or HISTORY_LOST: the store itself no longer has it.
    """

    def __init__(self, position: int, reached: int, shard: int, why: str) -> None:
        self.position = position
        self.reached = reached
        self.shard = shard
        self.why = why
        super().__init__(f"min_position {position} of shard {shard}: this gallery stands at {reached} ({why.lower()})")


class GalleryIncompleteError(TesseraError):
    """A search could not reach every part of a gallery that is spread over several processes.

    Args:
        searched: shards that answered.
        total: shards that there are.
    """

    def __init__(self, searched: int, total: int) -> None:
        self.searched = searched
        self.total = total
        super().__init__(f"{searched} of {total} shards answered; allow_partial takes an answer from those")


class LeaseSupersededError(TesseraError):
    """Somebody speaks for a camera under a lease that has been superseded.

    Args:
        camera_id: the camera.
        token: of the lease that was named.
        newest: of the newest one that was heard of.
    """

    def __init__(self, camera_id: str, token: int, newest: int) -> None:
        self.camera_id = camera_id
        self.token = token
        self.newest = newest
        super().__init__(f"camera {_shown(camera_id)}: lease {token} is superseded by {newest}: another worker has it")


class RevisionChangedError(TesseraError):
    """Something was changed since the caller read it.

    Args:
        kind: `subject`, `collection`, ...
        id: its id.
        expected: the revision that the caller has seen.
        actual: the one there is.
    """

    def __init__(self, kind: str, id: str, expected: int, actual: int) -> None:  # noqa: A002 - it is the id
        self.kind = kind
        self.id = id
        self.expected = expected
        self.actual = actual
        super().__init__(f"{kind} {_shown(id)} has revision {actual}; expected_revision was {expected}; read it again")
