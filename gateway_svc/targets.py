"""Who is told, of what, and how much: the targets as they are configured."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from gateway_svc.happenings import Happening, Kind, Severity
from tessera.chassis.settings import Secret, require
from tessera.trust.webhook_signature import SHORTEST_SECRET

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Late(StrEnum):
    """What becomes of what no longer holds when its turn comes."""

    EXPIRE = "expire"
    """It is not delivered; it is kept as a dead letter (EXPIRED)."""
    DELIVER = "deliver"
    """It is delivered, marked as late."""


@dataclass(frozen=True, slots=True)
class Only:
    """Which happenings a target is told of."""

    kinds: frozenset[Kind] = frozenset({Kind.ALERT})
    severity: Severity = Severity.NONE
    """Alerts at least so bad; other kinds have no severity and pass."""
    cameras: frozenset[str] = frozenset()
    """Empty: all."""
    rules: frozenset[str] = frozenset()
    """Alerts of these rules; empty: all."""

    def takes(self, happening: Happening) -> bool:
        """Whether the target is told."""
        if happening.kind not in self.kinds or (self.cameras and happening.camera_id not in self.cameras):
            return False
        if happening.kind is not Kind.ALERT:
            return True
        is_of_rule = not self.rules or str(happening.facts.get("rule_id")) in self.rules
        return is_of_rule and happening.severity >= self.severity


@dataclass(frozen=True, slots=True)
class Flood:
    """At most `messages` at once, and again as many in each `per_s`; what is critical is never held back."""

    messages: int
    per_s: float

    def __post_init__(self) -> None:
        require(self.messages >= 1, "flood.messages", self.messages, "1 or more")
        require(self.per_s > 0, "flood.per_s", self.per_s, "more than 0 seconds")


@dataclass(frozen=True, slots=True)
class Webhook:
    """HTTP POST of signed JSON."""

    url: str
    secrets: tuple[Secret, ...]
    """The first signs; with several, each does, so that a receiver may change its own."""

    flood = Flood(600, 60.0)
    """For machines, unless the target says otherwise."""

    def __post_init__(self) -> None:
        require(self.url.startswith(("http://", "https://")), "url", self.url, "an http:// or https:// URL")
        require(bool(self.secrets), "secret", Secret(""), "what the messages are signed with")
        for secret in self.secrets:
            allowed = f"{SHORTEST_SECRET} characters or more"
            require(len(secret) >= SHORTEST_SECRET, "secret", Secret(secret), allowed)


Way = Webhook
"""How a target is reached."""


@dataclass(frozen=True, slots=True)
class Target:
    """One who is told."""

    name: str
    way: Way
    only: Only = field(default_factory=Only)
    late: Late = Late.EXPIRE
    give_up_after_s: float = 86_400.0
    """What fails for so long becomes a dead letter (GAVE_UP)."""
    timeout_s: float = 5.0
    """An attempt without an answer for so long has failed."""
    at_a_time: int = 8
    """Attempts under way; those of one incident come one after the other."""
    flood: Flood | None = None
    """None: as is usual for its kind."""

    def __post_init__(self) -> None:
        require(_NAME.fullmatch(self.name) is not None, "name", self.name, "1 to 64 of letters, digits, _ and -")
        require(self.give_up_after_s > 0, "give_up_after_s", self.give_up_after_s, "more than 0 seconds")
        require(0 < self.timeout_s <= 60, "timeout_s", self.timeout_s, "more than 0, at most 60 seconds")
        require(1 <= self.at_a_time <= 64, "at_a_time", self.at_a_time, "1 to 64")

    @property
    def flood_limit(self) -> Flood:
        """What holds for it."""
        return self.flood or self.way.flood
