"""What the gallery keeps for alerts: rules with their revisions, alerts as they stand, how far the log is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gallery_svc.store.event_records import NewEvent
from tessera.domain.alerting.alerts import Alert
from tessera.domain.alerting.rules import Rule


@dataclass(frozen=True, slots=True)
class RuleRecord:
    """One revision of a rule."""

    rule: Rule
    revision: int
    """From 1; grows with each change, also with its deletion."""
    updated_at: datetime
    actor: str = ""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class KeptAlert:
    """An alert as it is kept."""

    alert: Alert
    revision: int
    """Of the record: grows with each write, also with those that nobody is told of."""
    number: int = 0
    """In the order of opening, from 1; given by the store."""


@dataclass(frozen=True, slots=True)
class AlertWrite:
    """A change of one alert, and what is told of it."""

    alert_id: str
    alert: Alert | None
    """As it is now; None: it goes."""
    before: int
    """The revision that it was read at; 0: there was none."""
    told: tuple[NewEvent, ...] = ()
    """Its messages, in order."""


@dataclass(frozen=True, slots=True)
class AlertingHead:
    """How far the event log is judged."""

    version: int
    """Grows with each step that is written: whoever has another one is not the one who judges."""
    cursor: int
    """Sequence of the last event that was judged."""
    rules: int
    """Grows with each change of a rule."""
    live_rules: int
    """Rules that are not deleted."""


@dataclass(frozen=True, slots=True)
class AlertingStep:
    """Events that were judged, and all that followed: at once or not at all."""

    before: int
    """The version that it follows."""
    cursor: int
    entries: Mapping[str, str] = field(default_factory=dict)
    """Of what the evaluation remembers: those that changed; empty texts for those that are gone."""
    alerts: tuple[AlertWrite, ...] = ()
