"""Rules tried on events that happened: which alerts would have opened, and how they would stand. Nothing is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tessera.domain.alerting.alerts import Alert, Decided, applied, opened
from tessera.domain.alerting.evaluator import Evaluator
from tessera.domain.alerting.happenings import Happening
from tessera.domain.alerting.rules import Rule
from tessera.domain.alerting.state import EvaluatorState


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What rules would have made of events."""

    alerts: tuple[Alert, ...]
    """In the order in which they would have been opened, as they would stand at the end."""
    messages: int
    events_judged: int
    too_late: int
    """Events that would have opened an alert and were recorded too late."""


class Rehearser:
    """Takes events, and tells what came of them.

    Args:
        rules: in the order in which they are asked.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._evaluator = Evaluator(rules)
        self._state = EvaluatorState()
        self._alerts: dict[str, Alert] = {}
        self._messages = 0
        self._events = 0

    def take(self, happening: Happening) -> None:
        """Judge one event; in the order of their recording."""
        self._events += 1
        self._follow(self._evaluator.advance(self._state, happening))

    def finished(self) -> Rehearsal:
        """What came of them. Time ends with the last event: what would have happened after it is not guessed."""
        alerts = tuple(self._alerts.values())
        return Rehearsal(alerts, self._messages, self._events, self._evaluator.too_late)

    def _follow(self, decided: Sequence[Decided]) -> None:
        for each in decided:
            known = self._alerts.get(each.alert_id)
            self._alerts[each.alert_id] = opened(each, 0) if known is None else applied(known, each)
            self._messages += each.is_told
