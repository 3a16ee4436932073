"""Alerts and rules as the SDK tells them: frozen values without any message or transport in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tessera.domain.alerting.alerts import AlertChange, AlertState
from tessera.domain.alerting.rules import Rule, RuleKind, Severity


@dataclass(frozen=True, slots=True)
class AlertSubject:
    """Somebody whom an alert names."""

    collection_id: str
    subject_id: str
    display_name: str
    """Of today; empty: none, or erased."""


@dataclass(frozen=True, slots=True)
class AlertStep:
    """Who did what about an alert, and why."""

    state: AlertState
    at: datetime
    actor: str
    """A person, or `rule:ID`."""
    comment: str


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule made of one or more events."""

    alert_id: str
    """The same for the same events: the deduplication key, and the name of its thread."""
    rule_id: str
    rule_revision: int
    kind: RuleKind
    severity: Severity
    state: AlertState
    change: AlertChange
    """What happened to it last."""
    title: str
    summary: str
    """What the rule saw, without any name."""
    subjects: tuple[AlertSubject, ...]
    camera_ids: tuple[str, ...]
    event_ids: tuple[str, ...]
    """The first that it stands for."""
    suppressed_events: int
    """Events that it stands for beyond those."""
    held_back: int
    """Of these: events that would have opened alerts of their own, had the rule had a message left."""
    messages: int
    """How often it was told so far."""
    opened_at: datetime
    updated_at: datetime
    valid_until: datetime
    """Nothing may be done because of it after this moment."""
    actor: str
    """Who acknowledged or resolved it last; `rule:ID`: the rule itself."""
    comment: str
    steps: tuple[AlertStep, ...]
    best_shot_id: str
    """Names the best shot in the snapshot store; empty: none is kept."""


@dataclass(frozen=True, slots=True)
class VerifyFailure:
    """A claim to be somebody was not confirmed."""

    collection_id: str
    subject_id: str
    """Who it was claimed to be."""
    display_name: str
    evidence_id: str
    """Of the answer, in the audit log."""


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule with what the service knows of it."""

    rule: Rule
    revision: int
    """From 1; grows with each change."""
    updated_at: datetime
    actor: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class RuleTest:
    """What rules would have made of events."""

    alerts: tuple[Alert, ...]
    """In the order in which they would have been opened; the first 1000."""
    alerts_in_all: int
    messages: int
    events_judged: int
    too_late: int
    """Events that would have opened an alert and were recorded too late."""
