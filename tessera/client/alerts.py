"""Alerts, what people do about them, and the rules that open them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from tessera.client import alert_wire, rule_wire, wire
from tessera.client.alert_values import Alert, RuleTest, StoredRule
from tessera.client.connection import Connection
from tessera.client.samples import new_id
from tessera.domain.alerting.alerts import AlertState
from tessera.domain.alerting.rules import Rule, Severity
from tessera.v1 import events_pb2, events_pb2_grpc, rules_pb2, rules_pb2_grpc


class Alerts(Connection):
    """The gallery's alerts and rules."""

    def alerts(
        self,
        *,
        state: AlertState | None = None,
        rule_id: str = "",
        min_severity: Severity | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Alert]:
        """Alerts as they stand, newest first, page after page.

        Args:
            state: only these; None: all.
            rule_id: of this rule; empty: of all.
            min_severity: this and worse; None: all.
            since: opened then or later.
            until: opened before.
        """
        request = events_pb2.ListAlertsRequest(
            state=alert_wire.state_to_wire(state),
            rule_id=rule_id,
            min_severity=alert_wire.severity_to_wire(min_severity),
            **_moments(since, until),
        )
        for page in self._gallery.pages(self._events_stub.ListAlerts, request):
            yield from map(alert_wire.alert_from_wire, page.alerts)

    def get_alert(self, alert_id: str) -> Alert:
        """One alert as it stands.

        Raises:
            NotFound: there is none, or it was erased with the subject that it was about.
        """
        request = events_pb2.GetAlertRequest(alert_id=alert_id)
        return alert_wire.alert_from_wire(self._gallery.call(self._events_stub.GetAlert, request).alert)

    def acknowledge_alert(self, alert_id: str, actor: str, comment: str = "", *, resolve: bool = False) -> Alert:
        """Say who looks after an alert.

        Args:
            alert_id: which.
            actor: who it is.
            comment: why, up to 500 characters; kept in clear: name nobody.
            resolve: it is settled.

        Raises:
            NotFound: there is none.
            NotAllowedNow: it is resolved already, or acknowledged by somebody else.
        """
        request = events_pb2.AcknowledgeAlertRequest(
            alert_id=alert_id, actor=actor, comment=comment, resolve=resolve, request_id=new_id()
        )
        return alert_wire.alert_from_wire(self._gallery.settle(self._events_stub.AcknowledgeAlert, request).alert)

    def rules(self) -> tuple[StoredRule, ...]:
        """All rules, by id."""
        response = self._gallery.call(self._rules_stub.ListRules, rules_pb2.ListRulesRequest())
        return tuple(map(rule_wire.stored_rule_from_wire, response.rules))

    def get_rule(self, rule_id: str, *, revision: int = 0) -> StoredRule:
        """One rule, as it is or as it was.

        Raises:
            NotFound: there is none.
        """
        request = rules_pb2.GetRuleRequest(rule_id=rule_id, revision=revision)
        return rule_wire.stored_rule_from_wire(self._gallery.call(self._rules_stub.GetRule, request).rule)

    def put_rule(self, rule: Rule, *, expected_revision: int = 0, actor: str = "") -> StoredRule:
        """Make a rule, or change it; it holds for the events that are judged from now on.

        Args:
            rule: as it shall be.
            expected_revision: that you have seen; 0: whatever there is.
            actor: who it is.

        Raises:
            BadInput: the gallery knows no such rule.
            NotAllowedNow: somebody else changed it (REVISION_CHANGED).
        """
        message = rule_wire.rule_to_wire(rule)
        request = rules_pb2.PutRuleRequest(rule=message, expected_revision=expected_revision, actor=actor)
        return rule_wire.stored_rule_from_wire(self._gallery.settle(self._rules_stub.PutRule, request).rule)

    def delete_rule(self, rule_id: str, *, expected_revision: int = 0, actor: str = "") -> StoredRule:
        """Take a rule out; its alerts stay.

        Raises:
            NotFound: there is none.
            NotAllowedNow: somebody else changed it (REVISION_CHANGED).
        """
        request = rules_pb2.DeleteRuleRequest(rule_id=rule_id, expected_revision=expected_revision, actor=actor)
        return rule_wire.stored_rule_from_wire(self._gallery.call(self._rules_stub.DeleteRule, request).rule)

    def test_rules(
        self, rules: Sequence[Rule] = (), *, since: datetime | None = None, until: datetime | None = None
    ) -> RuleTest:
        """What rules would make of the events that are kept, from nothing; opens no alert.

        Args:
            rules: at most 500; empty: those that are stored.
            since: events that were recorded then or later.
            until: events that were recorded before.
        """
        request = rules_pb2.TestRulesRequest(
            rules=map(rule_wire.rule_to_wire, rules),
            **_moments(since, until),
        )
        response = self._gallery.call(self._rules_stub.TestRules, request)
        return RuleTest(
            alerts=tuple(map(alert_wire.alert_from_wire, response.alerts)),
            alerts_in_all=response.alerts_in_all,
            messages=response.messages,
            events_judged=response.events_judged,
            too_late=response.too_late,
        )

    @property
    def _events_stub(self) -> events_pb2_grpc.EventServiceStub:
        return events_pb2_grpc.EventServiceStub(self._endpoints["gallery"].channel)

    @property
    def _rules_stub(self) -> rules_pb2_grpc.RuleServiceStub:
        return rules_pb2_grpc.RuleServiceStub(self._endpoints["gallery"].channel)


def _moments(since: datetime | None, until: datetime | None) -> dict[str, Any]:
    """The fields `from`, which is a word of Python, and `until`."""
    moments = {"from": since, "until": until}
    return {name: wire.time_to_wire(at) for name, at in moments.items() if at is not None}
