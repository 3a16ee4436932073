"""Messages of alerts and rules to the gallery's values and back."""

from __future__ import annotations

from collections.abc import Callable

from gallery_svc.alert_desk import AlertQuery
from gallery_svc.happenings import moment
from gallery_svc.store.alert_records import RuleRecord
from gallery_svc.wire import optional
from tessera.client import wire
from tessera.client.alert_values import StoredRule
from tessera.client.rule_wire import stored_rule_to_wire
from tessera.domain.alerting.alerts import Alert, AlertState, AlertStep
from tessera.domain.alerting.rehearsal import Rehearsal
from tessera.domain.alerting.rules import Severity
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CollectionId, SubjectId
from tessera.v1 import events_pb2, rules_pb2

NameOf = Callable[[CollectionId, SubjectId], str]
"""A subject's display name, or an empty text."""


def alert_to_wire(alert: Alert, name_of: NameOf) -> events_pb2.Alert:
    """One alert; names are those of today."""
    last = alert.steps[-1] if alert.steps else None
    return events_pb2.Alert(
        alert_id=alert.alert_id,
        rule_id=alert.rule_id,
        severity=events_pb2.Severity.Value(f"SEVERITY_{alert.severity}"),
        state=_state_to_wire(alert.state),
        summary=alert.why,
        event_ids=[source.event_id for source in alert.sources],
        opened_at=wire.time_to_wire(moment(alert.opened_s)),
        updated_at=wire.time_to_wire(moment(alert.updated_s)),
        actor=last.actor if last else "",
        comment=last.comment if last else "",
        suppressed_events=alert.suppressed_events,
        rule_revision=alert.rule_revision,
        kind=events_pb2.RuleKind.Value(f"RULE_KIND_{alert.kind}"),
        change=events_pb2.AlertChange.Value(f"ALERT_CHANGE_{alert.change}"),
        title=alert.title,
        camera_ids=alert.camera_ids,
        subjects=[
            events_pb2.AlertSubject(
                collection_id=collection_id,
                subject_id=subject_id,
                display_name=name_of(CollectionId(collection_id), SubjectId(subject_id)),
            )
            for collection_id, subject_id in alert.subjects
        ],
        steps=[_step_to_wire(step) for step in alert.steps],
        held_back=alert.held_back,
        messages=alert.messages,
        best_shot_id=next((source.best_shot_id for source in alert.sources if source.best_shot_id), ""),
        valid_until=wire.time_to_wire(moment(alert.valid_until_s)),
    )


def alert_query(message: events_pb2.ListAlertsRequest) -> AlertQuery:
    """Which alerts a list wants.

    Raises:
        InvalidInputError: it names a state or a severity that there is not.
    """
    since, until = (optional(message, name) for name in ("from", "until"))
    return AlertQuery(
        state=_state_from_wire(message.state) if message.state else None,
        rule_id=message.rule_id,
        min_severity=_severity_from_wire(message.min_severity) if message.min_severity else None,
        since=wire.time_from_wire(since, "from") if since is not None else None,
        until=wire.time_from_wire(until, "until") if until is not None else None,
    )


def stored_rule(record: RuleRecord) -> rules_pb2.StoredRule:
    """One revision of a rule."""
    return stored_rule_to_wire(
        StoredRule(record.rule, record.revision, record.updated_at, record.actor, record.deleted)
    )


def rehearsal_to_wire(rehearsal: Rehearsal, name_of: NameOf) -> rules_pb2.TestRulesResponse:
    """What rules would have made of events."""
    return rules_pb2.TestRulesResponse(
        alerts=[alert_to_wire(alert, name_of) for alert in rehearsal.alerts[:1000]],
        alerts_in_all=len(rehearsal.alerts),
        events_judged=rehearsal.events_judged,
        too_late=rehearsal.too_late,
        messages=rehearsal.messages,
    )


def _step_to_wire(step: AlertStep) -> events_pb2.AlertStep:
    return events_pb2.AlertStep(
        state=_state_to_wire(step.state),
        at=wire.time_to_wire(moment(step.at_s)),
        actor=step.actor,
        comment=step.comment,
    )


def _state_to_wire(state: AlertState) -> events_pb2.AlertState.ValueType:
    return events_pb2.AlertState.Value(f"ALERT_STATE_{state}")


def _state_from_wire(number: int) -> AlertState:
    name = wire.enum_name(events_pb2.AlertState, number, "ALERT_STATE_")
    if name not in AlertState.__members__:
        raise InvalidInputError("state", name or number, ", ".join(AlertState))
    return AlertState[name]


def _severity_from_wire(number: int) -> Severity:
    name = wire.enum_name(events_pb2.Severity, number, "SEVERITY_")
    if name not in Severity.__members__:
        raise InvalidInputError("min_severity", name or number, ", ".join(Severity))
    return Severity[name]
