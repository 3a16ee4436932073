"""What the event log told, as the gateway keeps it: what it is about, until when it holds, and its facts as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum


class Kind(StrEnum):
    """What a notification is about."""

    ALERT = "ALERT"
    """A rule made something of what was seen."""
    SIGHTING = "SIGHTING"
    """Somebody was seen."""
    CAMERA = "CAMERA"
    """Something happened to a camera."""
    HELD_BACK = "HELD_BACK"
    """So many notifications were held back by the target's flood control."""
    TEST = "TEST"
    """A person tries the target."""


class Severity(IntEnum):
    """How bad it is; what is no alert has none."""

    NONE = 0
    INFO = 1
    WARNING = 2
    CRITICAL = 3


_CALLS = frozenset({"OPENED", "REMINDED"})

Facts = Mapping[str, object]
"""What JSON has words for; the shapes are in docs/notifications.md."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One revision of one event."""

    kind: Kind
    event_id: str
    revision: int
    event_time: datetime
    recorded_at: datetime
    valid_until: datetime
    """Nothing may be done because of it after this moment."""
    camera_id: str
    facts: Facts = field(default_factory=dict)
    """Of the alert, the sighting or the camera."""
    traceparent: str = ""
    """Of the span in which it was recorded; empty: that was not traced."""

    @property
    def incident(self) -> str:
        """What all of its revisions share: an alert's id, else the event's."""
        return str(self.facts.get("alert_id") or self.event_id)

    @property
    def thread(self) -> str:
        """What is told in order, and in one place where the target can: an incident, or what befalls one camera."""
        return f"camera:{self.camera_id}" if self.kind is Kind.CAMERA else self.incident

    @property
    def severity(self) -> Severity:
        """Of an alert."""
        return Severity.__members__.get(str(self.facts.get("severity", "")), Severity.NONE)

    @property
    def is_call(self) -> bool:
        """Whether it calls for something: of an alert only that it opened or goes on, and not what became of it."""
        return self.kind is not Kind.ALERT or self.facts.get("change") in _CALLS

    @property
    def is_over(self) -> bool:
        """Whether the alert is resolved."""
        return self.facts.get("state") == "RESOLVED"

    @property
    def summary(self) -> str:
        """What happened, in a sentence or less."""
        told = self.facts.get("summary") or self.facts.get("detail") or self.facts.get("display_name")
        what = str(self.facts.get("event_kind") or self.facts.get("outcome") or self.kind)
        return str(told) if self.kind in {Kind.ALERT, Kind.TEST, Kind.HELD_BACK} and told else _joined(what, told)


def _joined(what: str, told: object) -> str:
    return f"{what}: {told}" if told else what
