"""`NotificationService`: each method translates, delegates, translates back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from gateway_svc.caretaking import Caretaker, TargetReport
from gateway_svc.notifications import DeadLetter, DeadReason
from tessera.client import wire
from tessera.domain.errors import InvalidInputError
from tessera.v1 import notifications_pb2 as pb
from tessera.v1 import notifications_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["NotificationService"]
_DEFAULT_LIMIT = 100


class NotificationServicer(notifications_pb2_grpc.NotificationServiceServicer):
    """Targets and dead letters.

    Args:
        caretaker: does what is asked.
        is_leading: whether this gateway is the one that sends.
    """

    def __init__(self, caretaker: Caretaker, is_leading: Callable[[], bool]) -> None:
        self._caretaker = caretaker
        self._is_leading = is_leading

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Context) -> pb.ListTargetsResponse:
        """The targets, and how each does."""
        reports = await self._caretaker.reports()
        return pb.ListTargetsResponse(targets=[_target(report) for report in reports], leading=self._is_leading())

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """What is tried no more."""
        letters, total = await self._caretaker.dead(
            request.target, _reason(request.reason), request.limit or _DEFAULT_LIMIT
        )
        return pb.ListDeadLettersResponse(letters=[_letter(letter) for letter in letters], total=total)

    async def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, context: Context
    ) -> pb.ReplayDeadLettersResponse:
        """Send dead letters again."""
        replayed = await self._caretaker.replay(request.keys, request.target, _reason(request.reason))
        return pb.ReplayDeadLettersResponse(replayed=replayed)

    async def TestTarget(self, request: pb.TestTargetRequest, context: Context) -> pb.TestTargetResponse:
        """Try one target."""
        outcome = await self._caretaker.test(request.target)
        return pb.TestTargetResponse(
            delivered=outcome.delivered, detail=outcome.detail, took=wire.seconds_to_wire(outcome.took_s)
        )


def _target(report: TargetReport) -> pb.NotificationTarget:
    return pb.NotificationTarget(
        name=report.target.name,
        type=report.target.way.type,
        waiting=report.depth.waiting,
        oldest=wire.time_to_wire(report.depth.oldest) if report.depth.oldest is not None else None,
        held_back=report.held.untold,
    )


def _reason(reason: int) -> DeadReason | None:
    name = wire.enum_name(pb.DeadLetterReason, reason, "DEAD_LETTER_REASON_")
    if reason == pb.DEAD_LETTER_REASON_UNSPECIFIED:
        return None
    if name not in DeadReason.__members__:
        raise InvalidInputError("reason", name or reason, ", ".join(DeadReason))
    return DeadReason[name]


def _letter(letter: DeadLetter) -> pb.DeadLetter:
    notification, happening = letter.notification, letter.notification.happening
    return pb.DeadLetter(
        key=notification.key,
        target=notification.target,
        reason=pb.DeadLetterReason.Value(f"DEAD_LETTER_REASON_{letter.reason}"),
        detail=letter.detail,
        died_at=wire.time_to_wire(letter.at),
        summary=happening.summary,
        event_time=wire.time_to_wire(happening.event_time),
        valid_until=wire.time_to_wire(happening.valid_until),
        camera_id=happening.camera_id,
        attempts=notification.attempts,
    )
