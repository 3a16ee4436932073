"""The day that alerts are measured on: the same for a seed, with work for each kind of rule."""

from __future__ import annotations

from benchmarks.alerts.day import day_of, rules
from benchmarks.alerts.judge import replay
from tessera.domain.alerting.rules import RuleKind


def test_a_seed_is_a_day() -> None:
    """The same events in the order of their recording; another seed is another day."""
    day = day_of(1, 50)
    assert day == day_of(1, 50)
    assert day != day_of(2, 50)
    assert [each.recorded_s for each in day] == sorted(each.recorded_s for each in day)


def test_each_kind_of_rule_has_work() -> None:
    """Two hundred rules with ids of their own, and a small day in which each kind opens alerts."""
    wanted = rules()
    assert (len(wanted), len({rule.rule_id for rule in wanted})) == (200, 200)
    outcome = replay(day_of(7, 1500), wanted, 256, frozenset())
    assert {alert.kind for alert in outcome.alerts.values()} == set(RuleKind)


def test_a_restart_is_noticed_when_it_loses_something() -> None:
    """The digest is of what was decided: a day with an event less has another one, a restart has the same."""
    day, wanted = day_of(7, 300), rules()
    whole = replay(day, wanted, 64, frozenset())
    assert replay(day, wanted, 64, frozenset({2, 5})).digest == whole.digest
    assert replay(day[:-40], wanted, 64, frozenset()).digest != whole.digest
