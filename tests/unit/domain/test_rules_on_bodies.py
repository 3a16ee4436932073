"""Rules and bodies: everybody who passes is one, so that only a rule that names their collection means them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tessera.domain.alerting.conditions import CompiledRule
from tessera.domain.alerting.happenings import Happening, Seen
from tessera.domain.alerting.rules import Rule, RuleKind
from tests.unit.domain.alert_events import seen


def body() -> Happening:
    """Somebody passes the gate, seen from behind."""
    happening = seen("b1", 1.0)
    assert isinstance(happening.body, Seen)
    return replace(happening, body=replace(happening.body, is_body=True))


@pytest.mark.parametrize("kind", [RuleKind.UNKNOWN_PERSON, RuleKind.REIDENTIFIED], ids=["unknown", "again"])
def test_a_rule_means_bodies_where_it_names_their_collection(kind: RuleKind) -> None:
    """One that names none means faces alone, as it did before there were bodies."""
    anywhere, named = Rule("r1", kind), Rule("r2", kind, collection_ids=("staff",))
    elsewhere = Rule("r3", kind, collection_ids=("visitors",))
    assert [CompiledRule(rule, 0).looks_at(body()) for rule in (anywhere, named, elsewhere)] == [False, True, False]
    face = seen("f1", 1.0)
    assert [CompiledRule(rule, 0).looks_at(face) for rule in (anywhere, named, elsewhere)] == [True, True, False]
