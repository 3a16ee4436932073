"""An alert as it grows: opened by a rule, joined by further events, told again, called off, settled by people.

`applied` folds what a rule decided into the alert as it stands; `settled` what a person says of it. Both make a new
value, so that a store may compare before it writes. An alert names people by their ids alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tessera.domain.alerting.happenings import Happening, Seen, VerifyFailed
from tessera.domain.alerting.rules import Rule, RuleKind, Severity
from tessera.domain.errors import InvalidInputError, PreconditionError

NAMED_EVENTS = 8
"""An alert names the first events that it stands for; further ones are counted."""
MAX_STEPS = 64
MAX_COMMENT = 500


class AlertState(StrEnum):
    """What people have made of an alert."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class AlertChange(StrEnum):
    """What happened to an alert last."""

    OPENED = "OPENED"
    JOINED = "JOINED"
    """Another event counts towards it; not told by itself."""
    REMINDED = "REMINDED"
    """Told again, with what joined since."""
    REVISED = "REVISED"
    """A decision that it names was revised."""
    WITHDRAWN = "WITHDRAWN"
    """It stands on nothing any more: what it rested on was revised. It is resolved."""
    ENDED = "ENDED"
    """What it told of is over, such as a camera that is back. It is resolved."""
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class Source:
    """An event that an alert names."""

    event_id: str
    camera_id: str
    collection_id: str = ""
    subject_id: str = ""
    """Who was matched or claimed; empty: nobody is named."""
    best_shot_id: str = ""

    @classmethod
    def of(cls, happening: Happening) -> Source:
        """An event, as alerts name it."""
        body = happening.body
        if isinstance(body, Seen):
            return cls(happening.event_id, happening.camera_id, body.collection_id, body.subject_id, body.best_shot_id)
        if isinstance(body, VerifyFailed):
            return cls(happening.event_id, happening.camera_id, body.collection_id, body.subject_id)
        return cls(happening.event_id, happening.camera_id)


@dataclass(frozen=True, slots=True)
class AlertStep:
    """Who changed an alert's state, when and why."""

    state: AlertState
    at_s: float
    actor: str
    """A person, or `rule:ID`."""
    comment: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it stands."""

    alert_id: str
    rule_id: str
    rule_revision: int
    kind: RuleKind
    severity: Severity
    title: str
    """The rule's, when it was opened."""
    why: str
    """What the rule saw, without any name."""
    opened_s: float
    updated_s: float
    valid_until_s: float
    """Nothing may be done because of it after this moment."""
    state: AlertState = AlertState.OPEN
    change: AlertChange = AlertChange.OPENED
    sources: tuple[Source, ...] = ()
    suppressed_events: int = 0
    """Events that it stands for beyond its sources."""
    held_back: int = 0
    """Of these: events that would have opened alerts of their own, had the rule had a message left."""
    messages: int = 1
    """How often it was told, this time included."""
    steps: tuple[AlertStep, ...] = ()

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Of its sources."""
        return tuple(dict.fromkeys(source.camera_id for source in self.sources if source.camera_id))

    @property
    def subjects(self) -> tuple[tuple[str, str], ...]:
        """Whom it names: each subject once, with its collection."""
        named = ((source.collection_id, source.subject_id) for source in self.sources if source.subject_id)
        return tuple(dict.fromkeys(named))

    def names(self, collection_id: str, subject_id: str) -> bool:
        """Whether it names a subject."""
        return (collection_id, subject_id) in self.subjects

    def without(self, collection_id: str, subject_id: str) -> Alert | None:
        """The alert as if a subject had never been; None when nothing is left of it."""
        left = tuple(
            source
            for source in self.sources
            if (source.collection_id, source.subject_id) != (collection_id, subject_id)
        )
        return replace(self, sources=left) if left else None


@dataclass(frozen=True, slots=True)
class Decided:
    """What a rule decided of an alert because of one event, or of a moment that came."""

    alert_id: str
    rule: Rule
    change: AlertChange
    at_s: float
    """The event's time, or the moment."""
    source: Source | None = None
    """What joins, or is told anew; for WITHDRAWN and a REVISED that calls it off: what leaves."""
    leaves: bool = False
    """The source no longer counts."""
    held_back: bool = False
    """It would have opened an alert of its own."""
    valid_until_s: float = 0.0
    why: str = ""

    @property
    def is_told(self) -> bool:
        """Whether it is a message, and not only a count."""
        return self.change is not AlertChange.JOINED


def opened(decided: Decided, rule_revision: int) -> Alert:
    """A new alert."""
    rule = decided.rule
    return Alert(
        alert_id=decided.alert_id,
        rule_id=rule.rule_id,
        rule_revision=rule_revision,
        kind=rule.kind,
        severity=rule.severity,
        title=rule.title,
        why=decided.why,
        opened_s=decided.at_s,
        updated_s=decided.at_s,
        valid_until_s=decided.valid_until_s,
        sources=(decided.source,) if decided.source else (),
    )


def applied(alert: Alert, decided: Decided) -> Alert:
    """An alert after what a rule decided of it. Its state is the people's, unless there is nothing left to settle."""
    changed = _counted(alert, decided)
    changed = replace(changed, updated_s=max(alert.updated_s, decided.at_s))
    if not decided.is_told:
        return changed
    changed = replace(changed, change=decided.change, messages=alert.messages + 1)
    if decided.valid_until_s:
        changed = replace(changed, valid_until_s=max(alert.valid_until_s, decided.valid_until_s))
    ends = decided.change in (AlertChange.WITHDRAWN, AlertChange.ENDED)
    if not ends or alert.state is AlertState.RESOLVED:
        return changed
    step = AlertStep(AlertState.RESOLVED, decided.at_s, f"rule:{decided.rule.rule_id}", decided.why)
    return _stepped(changed, step)


def _counted(alert: Alert, decided: Decided) -> Alert:
    source = decided.source
    if source is None:
        return alert
    others = tuple(each for each in alert.sources if each.event_id != source.event_id)
    is_named = len(others) < len(alert.sources)
    if decided.leaves:
        if is_named and others:
            return replace(alert, sources=others)
        # What it was opened by stays named on an alert that is called off.
        return alert if is_named else replace(alert, suppressed_events=max(0, alert.suppressed_events - 1))
    if decided.change is AlertChange.REVISED:
        mine = tuple(source if each.event_id == source.event_id else each for each in alert.sources)
        return replace(alert, sources=mine)
    if len(alert.sources) < NAMED_EVENTS and not decided.held_back:
        return replace(alert, sources=(*others, source))
    held = alert.held_back + (1 if decided.held_back else 0)
    return replace(alert, suppressed_events=alert.suppressed_events + 1, held_back=held)


def settled(alert: Alert, step: AlertStep) -> Alert:
    """An alert after a person acknowledged or resolved it; the same request again changes nothing.

    Raises:
        InvalidInputError: nobody is named, or the comment is too long.
        PreconditionError: it is resolved already (ALERT_RESOLVED), or acknowledged by somebody else
            (ALERT_ACKNOWLEDGED).
    """
    if not 1 <= len(step.actor) <= 128 or step.actor.startswith("rule:"):
        raise InvalidInputError("actor", step.actor, "who it is: 1 to 128 characters, not beginning with rule:")
    if len(step.comment) > MAX_COMMENT:
        raise InvalidInputError("comment", step.comment, f"up to {MAX_COMMENT} characters")
    last = alert.steps[-1] if alert.steps else None
    if step.request_id and any(step.request_id == each.request_id for each in alert.steps):
        return alert
    if last is not None and (last.state, last.actor, last.comment) == (step.state, step.actor, step.comment):
        return alert
    if alert.state is AlertState.RESOLVED:
        raise PreconditionError("ALERT_RESOLVED", "alert_id", alert.alert_id, "an alert that is not resolved yet")
    if step.state is AlertState.ACKNOWLEDGED and alert.state is AlertState.ACKNOWLEDGED:
        raise PreconditionError("ALERT_ACKNOWLEDGED", "alert_id", alert.alert_id, "an open one, or resolve=true")
    change = AlertChange.RESOLVED if step.state is AlertState.RESOLVED else AlertChange.ACKNOWLEDGED
    return replace(
        _stepped(alert, step), change=change, messages=alert.messages + 1, updated_s=max(alert.updated_s, step.at_s)
    )


def _stepped(alert: Alert, step: AlertStep) -> Alert:
    return replace(alert, state=step.state, steps=(*alert.steps, step)[-MAX_STEPS:])
