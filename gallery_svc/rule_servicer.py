"""`RuleService`: which events are worth an alert; each method translates, delegates, translates back."""

from __future__ import annotations

from typing import Any

import grpc

from gallery_svc import alert_wire
from gallery_svc.replica import Replica
from gallery_svc.rule_book import RuleBook, Span
from gallery_svc.wire import optional
from tessera.client import wire as shared
from tessera.client.rule_wire import rule_from_wire
from tessera.domain.ids import checked_id
from tessera.v1 import rules_pb2, rules_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]


class RuleServicer(rules_pb2_grpc.RuleServiceServicer):
    """Rules.

    Args:
        rules: those that are kept.
        replica: knows subjects' names.
    """

    def __init__(self, rules: RuleBook, replica: Replica) -> None:
        self._rules = rules
        self._replica = replica

    async def ListRules(self, request: rules_pb2.ListRulesRequest, context: Context) -> rules_pb2.ListRulesResponse:
        """All rules, by id."""
        return rules_pb2.ListRulesResponse(rules=map(alert_wire.stored_rule, await self._rules.list()))

    async def GetRule(self, request: rules_pb2.GetRuleRequest, context: Context) -> rules_pb2.GetRuleResponse:
        """One rule, as it is or as it was."""
        record = await self._rules.get(checked_id("rule_id", request.rule_id), request.revision)
        return rules_pb2.GetRuleResponse(rule=alert_wire.stored_rule(record))

    async def PutRule(self, request: rules_pb2.PutRuleRequest, context: Context) -> rules_pb2.PutRuleResponse:
        """Make a rule, or change it."""
        record = await self._rules.put(rule_from_wire(request.rule), request.expected_revision, request.actor)
        return rules_pb2.PutRuleResponse(rule=alert_wire.stored_rule(record))

    async def DeleteRule(self, request: rules_pb2.DeleteRuleRequest, context: Context) -> rules_pb2.DeleteRuleResponse:
        """Take a rule out."""
        rule_id = checked_id("rule_id", request.rule_id)
        record = await self._rules.delete(rule_id, request.expected_revision, request.actor)
        return rules_pb2.DeleteRuleResponse(rule=alert_wire.stored_rule(record))

    async def TestRules(self, request: rules_pb2.TestRulesRequest, context: Context) -> rules_pb2.TestRulesResponse:
        """What rules would make of the events that are kept."""
        since, until = (optional(request, name) for name in ("from", "until"))
        span = Span(
            shared.time_from_wire(since, "from") if since is not None else None,
            shared.time_from_wire(until, "until") if until is not None else None,
        )
        rehearsal = await self._rules.rehearse([rule_from_wire(rule) for rule in request.rules], span)
        return alert_wire.rehearsal_to_wire(rehearsal, self._replica.name_of)
