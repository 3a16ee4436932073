"""What is owed to one target because of one happening: its deduplication key, and how it is written in the outbox."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from gateway_svc.happenings import Happening, Kind
from tessera.domain.errors import StoreCorruptError


@dataclass(frozen=True, slots=True)
class Notification:
    """One happening on its way to one target."""

    target: str
    happening: Happening
    accepted_at: datetime
    """When it came into the outbox, or when a person sent it again."""
    attempts: int = 0
    last_error: str = ""
    replayed: bool = False
    """A person sent it again: it is told as that and never as news."""

    @property
    def key(self) -> str:
        """The deduplication key: the same for every attempt, also of another gateway, and of no other notification."""
        return f"{self.happening.incident}/{self.happening.revision}/{self.target}"

    @property
    def thread(self) -> str:
        """What is delivered in order."""
        return self.happening.thread

    def tried(self, error: str) -> Notification:
        """The same after one more attempt that failed."""
        return replace(self, attempts=self.attempts + 1, last_error=error[:200])

    def sent_again(self, now: datetime) -> Notification:
        """The same, as a person sends it again."""
        return replace(self, accepted_at=now, attempts=0, last_error="", replayed=True)


class DeadReason(StrEnum):
    """Why a notification is not tried any more."""

    EXPIRED = "EXPIRED"
    """What it tells no longer held, and the target wants nothing that is late."""
    GAVE_UP = "GAVE_UP"
    """It failed for longer than the target's time to live."""
    REFUSED = "REFUSED"
    """The target answered that it will not take it."""
    HELD_BACK = "HELD_BACK"
    """Flood control: the target is told how many, not which."""
    OVERFLOW = "OVERFLOW"
    """As many as may wait for this target were waiting already."""
    NO_TARGET = "NO_TARGET"
    """Its target was taken out of the configuration."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notification that is not tried any more, until a person sends it again."""

    notification: Notification
    reason: DeadReason
    detail: str
    at: datetime


def dump_notification(notification: Notification) -> str:
    """As JSON, for the outbox."""
    happening = notification.happening
    return json.dumps(
        {
            "target": notification.target,
            "accepted_at": milliseconds(notification.accepted_at),
            "attempts": notification.attempts,
            "last_error": notification.last_error,
            "replayed": notification.replayed,
            "kind": happening.kind.value,
            "event_id": happening.event_id,
            "revision": happening.revision,
            "event_time": milliseconds(happening.event_time),
            "recorded_at": milliseconds(happening.recorded_at),
            "valid_until": milliseconds(happening.valid_until),
            "camera_id": happening.camera_id,
            "facts": happening.facts,
            "traceparent": happening.traceparent,
        },
        separators=(",", ":"),
    )


def load_notification(text: str, place: str) -> Notification:
    """What `dump_notification` wrote.

    Args:
        text: the JSON.
        place: where it was found, for the error.

    Raises:
        StoreCorruptError: it is none.
    """
    try:
        told: dict[str, Any] = json.loads(text)
        happening = Happening(
            kind=Kind(told["kind"]),
            event_id=told["event_id"],
            revision=told["revision"],
            event_time=moment(told["event_time"]),
            recorded_at=moment(told["recorded_at"]),
            valid_until=moment(told["valid_until"]),
            camera_id=told["camera_id"],
            facts=told["facts"],
            traceparent=told.get("traceparent", ""),
        )
        return Notification(
            target=told["target"],
            happening=happening,
            accepted_at=moment(told["accepted_at"]),
            attempts=told["attempts"],
            last_error=told["last_error"],
            replayed=told["replayed"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(place, f"no notification: {type(error).__name__}") from None


def milliseconds(at: datetime) -> int:
    """Since 1970; what is finer is cut off."""
    return int(at.timestamp() * 1000)


def moment(at_ms: float) -> datetime:
    """A moment, from milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)
