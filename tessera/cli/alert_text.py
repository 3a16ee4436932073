"""Alerts and rules in words: one on a line, or one thing on a line."""

from __future__ import annotations

from datetime import datetime

from tessera.client.answers import Alert, RuleTest, StoredRule
from tessera.domain.alerting.alerts import AlertState


def alert_line(alert: Alert) -> str:
    """One alert on one line: `14:03:22 CRITICAL OPEN  list  somebody on the list was seen at gate: Ada  +12 more`."""
    who = ", ".join(one.display_name or one.subject_id for one in alert.subjects)
    more = f"  +{alert.suppressed_events} more" if alert.suppressed_events else ""
    return (
        f"{_moment(alert.opened_at)} {alert.severity:<8} {alert.state:<12} {alert.title:<16} "
        f"{alert.summary}{f': {who}' if who else ''}{more}  {alert.alert_id}"
    )


def alert_change_line(alert: Alert, at: datetime) -> str:
    """What happened to an alert, on one line."""
    by = ""
    if alert.state is not AlertState.OPEN and alert.actor:
        by = f" by {alert.actor}" + (f": {alert.comment}" if alert.comment else "")
    return f"{at.astimezone():%H:%M:%S} {alert.change:<12} {alert_line(alert)}{by}"


def alert_text(alert: Alert) -> str:
    """All of an alert."""
    events = ", ".join(alert.event_ids)
    held = f", of which {alert.held_back} had alerts of their own held back" if alert.held_back else ""
    rows = [
        ("alert", alert.alert_id),
        ("rule", f"{alert.title} ({alert.rule_id}, revision {alert.rule_revision})"),
        ("severity", alert.severity),
        ("state", alert.state),
        ("last", alert.change),
        ("why", alert.summary),
        *(("who", f"{one.display_name or one.subject_id} ({one.collection_id})") for one in alert.subjects),
        ("cameras", ", ".join(alert.camera_ids)),
        ("opened", _moment(alert.opened_at)),
        ("updated", _moment(alert.updated_at)),
        ("events", events + (f" and {alert.suppressed_events} more{held}" if alert.suppressed_events else "")),
        ("told", f"{alert.messages} times" if alert.messages != 1 else "once"),
    ]
    for step in alert.steps:
        why = f": {step.comment}" if step.comment else ""
        rows.append((step.state.lower(), f"{_moment(step.at)} by {step.actor}{why}"))
    return "\n".join(f"{name:<14}{value}" for name, value in rows if value)


def rule_line(stored: StoredRule) -> str:
    """One rule on one line."""
    rule = stored.rule
    off = "" if rule.enabled else "  (disabled)"
    return f"{rule.rule_id:<24} {rule.kind:<16} {rule.severity:<8} revision {stored.revision}  {rule.display_name}{off}"


def rehearsal_text(test: RuleTest) -> str:
    """What rules would have made of events."""
    lines = [alert_line(alert) + f"  ({alert.change})" for alert in test.alerts]
    left_out = test.alerts_in_all - len(test.alerts)
    if left_out:
        lines.append(f"... and {left_out} more")
    alerts = "1 alert" if test.alerts_in_all == 1 else f"{test.alerts_in_all} alerts"
    messages = "1 message" if test.messages == 1 else f"{test.messages} messages"
    late = f"; {test.too_late} events would have opened one and came too late" if test.too_late else ""
    lines.append(f"{alerts}, {messages} from {test.events_judged} events{late}.")
    return "\n".join(lines)


def _moment(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
