"""A rehearsal that was done here, told as the gallery tells its own."""

from __future__ import annotations

from datetime import UTC, datetime

from tessera.client.alert_values import Alert, AlertStep, AlertSubject, RuleTest
from tessera.domain.alerting import alerts
from tessera.domain.alerting.rehearsal import Rehearsal

TOLD = 1000
"""Alerts that are told; the others are counted."""


def rehearsal_told(rehearsal: Rehearsal) -> RuleTest:
    """What rules would have made of events."""
    return RuleTest(
        alerts=tuple(map(_told, rehearsal.alerts[:TOLD])),
        alerts_in_all=len(rehearsal.alerts),
        messages=rehearsal.messages,
        events_judged=rehearsal.events_judged,
        too_late=rehearsal.too_late,
    )


def _told(alert: alerts.Alert) -> Alert:
    last = alert.steps[-1] if alert.steps else None
    return Alert(
        alert_id=alert.alert_id,
        rule_id=alert.rule_id,
        rule_revision=alert.rule_revision,
        kind=alert.kind,
        severity=alert.severity,
        state=alert.state,
        change=alert.change,
        title=alert.title,
        summary=alert.why,
        subjects=tuple(AlertSubject(*subject, display_name="") for subject in alert.subjects),
        camera_ids=alert.camera_ids,
        event_ids=tuple(source.event_id for source in alert.sources),
        suppressed_events=alert.suppressed_events,
        held_back=alert.held_back,
        messages=alert.messages,
        opened_at=_moment(alert.opened_s),
        updated_at=_moment(alert.updated_s),
        valid_until=_moment(alert.valid_until_s),
        actor=last.actor if last else "",
        comment=last.comment if last else "",
        steps=tuple(AlertStep(step.state, _moment(step.at_s), step.actor, step.comment) for step in alert.steps),
        best_shot_id=next((source.best_shot_id for source in alert.sources if source.best_shot_id), ""),
    )


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
