"""Who is told, of what, and how much: the targets as they are configured."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from gateway_svc.happenings import Happening, Kind, Severity
from tessera.chassis.settings import Secret, require
from tessera.trust.webhook_signature import SHORTEST_SECRET

_TOPIC = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
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

    type: ClassVar[str] = "webhook"
    flood: ClassVar[Flood] = Flood(600, 60.0)
    """For machines, unless the target says otherwise."""

    url: str
    secrets: tuple[Secret, ...]
    """The first signs; with several, each does, so that a receiver may change its own."""

    def __post_init__(self) -> None:
        require(self.url.startswith(("http://", "https://")), "url", self.url, "an http:// or https:// URL")
        require(bool(self.secrets), "secret", Secret(""), "what the messages are signed with")
        for secret in self.secrets:
            allowed = f"{SHORTEST_SECRET} characters or more"
            require(len(secret) >= SHORTEST_SECRET, "secret", Secret(secret), allowed)


@dataclass(frozen=True, slots=True)
class Mqtt:
    """Events and states on an MQTT 5 broker."""

    type: ClassVar[str] = "mqtt"
    flood: ClassVar[Flood] = Flood(600, 60.0)

    host: str
    port: int = 1883
    username: str = ""
    password: Secret = Secret("")  # noqa: RUF009 - immutable
    tls: bool = False
    ca_file: str = ""
    """Of the broker's certificate; empty: those that the system trusts."""
    prefix: str = "tessera"
    """Of every topic."""
    discovery_prefix: str = "homeassistant"
    """Where Home Assistant looks for devices; empty: it is not told."""

    def __post_init__(self) -> None:
        require(bool(self.host), "host", self.host, "the broker's host")
        require(1 <= self.port <= 65535, "port", self.port, "1 to 65535")
        require(_TOPIC.fullmatch(self.prefix) is not None, "prefix", self.prefix, "letters, digits, _ and -")
        allowed = "letters, digits, _ and -, or nothing"
        is_topic = not self.discovery_prefix or _TOPIC.fullmatch(self.discovery_prefix) is not None
        require(is_topic, "discovery_prefix", self.discovery_prefix, allowed)


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """Prometheus' Alertmanager, API v2."""

    type: ClassVar[str] = "alertmanager"
    flood: ClassVar[Flood] = Flood(600, 60.0)

    url: str
    """Of the Alertmanager, without `/api/v2`."""
    username: str = ""
    password: Secret = Secret("")  # noqa: RUF009 - immutable
    lives_s: float = 86_400.0
    """An alert that nobody resolves ends there after so long."""

    def __post_init__(self) -> None:
        require(self.url.startswith(("http://", "https://")), "url", self.url, "an http:// or https:// URL")
        require(self.lives_s > 0, "lives_s", self.lives_s, "more than 0 seconds")


@dataclass(frozen=True, slots=True)
class Apprise:
    """Mail, chat or push, by a URL of Apprise."""

    type: ClassVar[str] = "apprise"
    flood: ClassVar[Flood] = Flood(20, 300.0)
    """For people."""

    url: Secret
    """Holds credentials."""

    def __post_init__(self) -> None:
        require("://" in self.url, "url", Secret(self.url), "a URL as Apprise knows it, such as mailto://...")

    @property
    def scheme(self) -> str:
        """Which service; the rest of the URL is secret."""
        return self.url.partition("://")[0]


Way = Webhook | Mqtt | Alertmanager | Apprise
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
