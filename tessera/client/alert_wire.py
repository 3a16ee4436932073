"""Messages of alerts to the SDK's values, and the SDK's words to theirs."""

from __future__ import annotations

from tessera.client import alert_values as v
from tessera.client import wire
from tessera.domain.alerting.alerts import AlertChange, AlertState
from tessera.domain.alerting.rules import RuleKind, Severity
from tessera.v1 import events_pb2


def alert_from_wire(message: events_pb2.Alert) -> v.Alert:
    """One alert.

    Raises:
        KeyError: it has a state, a kind or a severity of a later version.
    """
    return v.Alert(
        alert_id=message.alert_id,
        rule_id=message.rule_id,
        rule_revision=message.rule_revision,
        kind=RuleKind[wire.enum_name(events_pb2.RuleKind, message.kind, "RULE_KIND_")],
        severity=Severity[wire.enum_name(events_pb2.Severity, message.severity, "SEVERITY_")],
        state=_state(message.state),
        change=AlertChange[wire.enum_name(events_pb2.AlertChange, message.change, "ALERT_CHANGE_")],
        title=message.title,
        summary=message.summary,
        subjects=tuple(
            v.AlertSubject(each.collection_id, each.subject_id, each.display_name) for each in message.subjects
        ),
        camera_ids=tuple(message.camera_ids),
        event_ids=tuple(message.event_ids),
        suppressed_events=message.suppressed_events,
        held_back=message.held_back,
        messages=message.messages,
        opened_at=wire.time_from_wire(message.opened_at),
        updated_at=wire.time_from_wire(message.updated_at),
        valid_until=wire.time_from_wire(message.valid_until),
        actor=message.actor,
        comment=message.comment,
        steps=tuple(
            v.AlertStep(_state(step.state), wire.time_from_wire(step.at), step.actor, step.comment)
            for step in message.steps
        ),
        best_shot_id=message.best_shot_id,
    )


def verify_failure_from_wire(message: events_pb2.VerifyFailure) -> v.VerifyFailure:
    """A claim that failed."""
    return v.VerifyFailure(message.collection_id, message.subject_id, message.display_name, message.evidence_id)


def state_to_wire(state: AlertState | None) -> events_pb2.AlertState.ValueType:
    """A state; None: all."""
    return events_pb2.AlertState.Value(f"ALERT_STATE_{state or 'UNSPECIFIED'}")


def severity_to_wire(severity: Severity | None) -> events_pb2.Severity.ValueType:
    """A severity; None: all."""
    return events_pb2.Severity.Value(f"SEVERITY_{severity or 'UNSPECIFIED'}")


def _state(number: int) -> AlertState:
    return AlertState[wire.enum_name(events_pb2.AlertState, number, "ALERT_STATE_")]
