"""One attempt: what a target is told now, and its JSON, which docs/notifications.md describes field by field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway_svc.happenings import Happening, Kind
from gateway_svc.notifications import Notification
from gateway_svc.shots import ShotLink, SignedLinks

SCHEMA = "tessera.notification/1"
_BODIES = {Kind.ALERT: "alert", Kind.SIGHTING: "sighting", Kind.CAMERA: "camera_event"}


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt to tell a target of one happening."""

    key: str
    """The same for every attempt."""
    target: str
    happening: Happening
    sent_at: datetime
    late: bool = False
    """What it tells no longer holds."""
    replayed: bool = False
    """A person sent it again."""
    shot: ShotLink | None = None
    """Where the best shot can be seen."""
    held_back: int = 0
    """So many other notifications were held back before this one."""

    @property
    def is_call(self) -> bool:
        """Whether something may be done because of it, such as a door opened."""
        return self.is_news and self.happening.is_call

    @property
    def is_news(self) -> bool:
        """Whether it is told for the first time and holds."""
        return not self.late and not self.replayed and self.happening.kind not in {Kind.TEST, Kind.HELD_BACK}

    @property
    def marks(self) -> str:
        """What a person must see first; empty for news."""
        test = self.happening.kind is Kind.TEST
        marks = [word for word, holds in (("TEST", test), ("REPLAYED", self.replayed), ("LATE", self.late)) if holds]
        return "".join(f"[{mark}] " for mark in marks)


def message_of(notification: Notification, now: datetime, held_back: int, links: SignedLinks | None = None) -> Message:
    """What is told now, with a link to the best shot where there are links."""
    shot_id = str(notification.happening.facts.get("best_shot_id") or "")
    return Message(
        key=notification.key,
        target=notification.target,
        happening=notification.happening,
        sent_at=now,
        late=notification.happening.valid_until <= now,
        replayed=notification.replayed,
        shot=links.link(shot_id, now) if links is not None and shot_id else None,
        held_back=held_back,
    )


def payload(message: Message) -> dict[str, object]:
    """The message as JSON's own values."""
    happening = message.happening
    told: dict[str, object] = {
        "schema": SCHEMA,
        "key": message.key,
        "thread": happening.thread,
        "target": message.target,
        "kind": happening.kind.value,
        "summary": happening.summary,
        "event_id": happening.event_id,
        "revision": happening.revision,
        "camera_id": happening.camera_id,
        "event_time": stamp(happening.event_time),
        "recorded_at": stamp(happening.recorded_at),
        "valid_until": stamp(happening.valid_until),
        "sent_at": stamp(message.sent_at),
        "call": message.is_call,
        "late": message.late,
        "replayed": message.replayed,
        "test": happening.kind is Kind.TEST,
        "held_back": message.held_back,
    }
    if happening.kind in _BODIES:
        told[_BODIES[happening.kind]] = dict(happening.facts)
    if message.shot is not None:
        told["shot"] = {"url": message.shot.url, "expires_at": stamp(message.shot.expires_at)}
    return told


def stamp(at: datetime) -> str:
    """RFC 3339, UTC, milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
