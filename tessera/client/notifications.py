"""Who is told of alerts, and what became of it: the gateway's targets and dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tessera.client import wire
from tessera.client.connection import Connection
from tessera.client.optional_fields import time_of
from tessera.v1 import notifications_pb2 as pb


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """One who is told."""

    name: str
    type: str
    """webhook, mqtt, alertmanager or apprise."""
    waiting: int
    oldest: datetime | None
    """When the oldest that waits was recorded."""
    held_back: int
    """By flood control, and not yet told to the target."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notification that is tried no more, until somebody sends it again."""

    key: str
    """The deduplication key."""
    target: str
    reason: str
    """EXPIRED, GAVE_UP, REFUSED, HELD_BACK, OVERFLOW or NO_TARGET."""
    detail: str
    died_at: datetime
    summary: str
    event_time: datetime
    valid_until: datetime
    camera_id: str
    attempts: int


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Some of the dead letters."""

    letters: tuple[DeadLetter, ...]
    """The newest first."""
    total: int
    """All that are kept, of every target."""


@dataclass(frozen=True, slots=True)
class TargetTest:
    """How a test message went."""

    target: str
    delivered: bool
    detail: str
    """Why not."""
    took: timedelta


class Notifications(Connection):
    """Targets and dead letters."""

    def notification_targets(self) -> tuple[NotificationTarget, ...]:
        """Who is told, and how that goes.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        response = self._gateway.call(self._gateway_stub.ListTargets, pb.ListTargetsRequest())
        return tuple(
            NotificationTarget(one.name, one.type, one.waiting, time_of(one, "oldest"), one.held_back)
            for one in response.targets
        )

    def dead_letters(self, *, target: str = "", reason: str = "", limit: int = 100) -> DeadLetters:
        """What is tried no more, the newest first.

        Args:
            target: of this one; empty: of all.
            reason: of this one, such as `GAVE_UP`; empty: of all.
            limit: at most so many, up to 1000.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = pb.ListDeadLettersRequest(target=target, reason=_reason(reason), limit=limit)
        response = self._gateway.call(self._gateway_stub.ListDeadLetters, request)
        return DeadLetters(tuple(_letter(one) for one in response.letters), response.total)

    def replay_dead_letters(self, keys: Sequence[str] = (), *, target: str = "", reason: str = "") -> int:
        """Send dead letters again, marked as replayed.

        Args:
            keys: these; none: all of the target, or of the reason, or of both.
            target: of this one.
            reason: of this one.

        Returns:
            How many are on their way.

        Raises:
            BadInput: neither keys, nor a target, nor a reason.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = pb.ReplayDeadLettersRequest(keys=keys, target=target, reason=_reason(reason))
        return self._gateway.call(self._gateway_stub.ReplayDeadLetters, request).replayed

    def test_target(self, target: str) -> TargetTest:
        """Send one target a message that is marked as a test, now and once.

        Raises:
            NotFound: there is no such target.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        response = self._gateway.call(self._gateway_stub.TestTarget, pb.TestTargetRequest(target=target))
        return TargetTest(target, response.delivered, response.detail, response.took.ToTimedelta())


def _reason(reason: str) -> pb.DeadLetterReason.ValueType:
    return pb.DeadLetterReason.Value(f"DEAD_LETTER_REASON_{reason or 'UNSPECIFIED'}")


def _letter(message: pb.DeadLetter) -> DeadLetter:
    return DeadLetter(
        key=message.key,
        target=message.target,
        reason=wire.enum_name(pb.DeadLetterReason, message.reason, "DEAD_LETTER_REASON_"),
        detail=message.detail,
        died_at=wire.time_from_wire(message.died_at),
        summary=message.summary,
        event_time=wire.time_from_wire(message.event_time),
        valid_until=wire.time_from_wire(message.valid_until),
        camera_id=message.camera_id,
        attempts=message.attempts,
    )
