"""Events for rules to judge: somebody is seen, a camera goes away, a claim fails; second by second from a Monday on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tessera.domain.alerting.alerts import Alert, Decided, applied, opened
from tessera.domain.alerting.evaluator import Evaluator
from tessera.domain.alerting.happenings import AlertSettled, CameraHappened, Happening, Seen, VerifyFailed
from tessera.domain.alerting.rules import Rule
from tessera.domain.alerting.state import EvaluatorState
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome

MONDAY_S = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
"""00:00 in UTC."""


def seen(
    name: str,
    at_s: float,
    subject_id: str = "",
    *,
    camera_id: str = "gate",
    revision: int = 1,
    labels: Sequence[str] = (),
    zones: Sequence[str] = (),
    link_id: str = "",
    lasted_s: float = 0.0,
    ended: bool = False,
    late_s: float = 0.0,
    lives_s: float = 5.0,
    outcome: Outcome | None = None,
) -> Happening:
    """A tracklet, decided: a MATCH where a subject is named, else UNKNOWN; recorded `late_s` after it happened."""
    body = Seen(
        collection_id="staff",
        outcome=outcome or (Outcome.MATCH if subject_id else Outcome.UNKNOWN),
        subject_id=subject_id,
        labels=frozenset(labels),
        zones=frozenset(zones),
        link_id=link_id,
        lasted_s=lasted_s,
        ended=ended,
    )
    return _at(name, at_s, body, camera_id, revision, late_s, lives_s)


def camera(kind: str, at_s: float, camera_id: str = "gate", probability: float | None = None) -> Happening:
    """Something happens to a camera."""
    body = CameraHappened(CameraEventKind[kind], probability)
    return _at(f"{camera_id}-{kind}-{at_s:g}", at_s, body, camera_id, lives_s=60.0)


def failed(at_s: float, subject_id: str = "ada") -> Happening:
    """A claim to be somebody is not confirmed."""
    return _at(f"verify-{subject_id}-{at_s:g}", at_s, VerifyFailed("staff", subject_id), "door", lives_s=60.0)


def settled(alert_id: str, at_s: float) -> Happening:
    """A person resolves an alert."""
    return _at(alert_id, at_s, AlertSettled(), "")


def _at(  # noqa: PLR0917 - a row of a table
    name: str,
    at_s: float,
    body: Seen | CameraHappened | VerifyFailed | AlertSettled,
    camera_id: str,
    revision: int = 1,
    late_s: float = 0.0,
    lives_s: float = 5.0,
) -> Happening:
    then_s = MONDAY_S + at_s
    return Happening(name, revision, camera_id, then_s, then_s + late_s, then_s + lives_s, body)


class Watchroom:
    """Rules over events, and the alerts that come of it.

    Args:
        rules: in order.
    """

    def __init__(self, *rules: Rule) -> None:
        self._evaluator = Evaluator(rules)
        self.state = EvaluatorState()
        self.decided: list[Decided] = []
        self.alerts: dict[str, Alert] = {}

    def take(self, *happenings: Happening) -> list[Alert]:
        """Judge events; all alerts so far, in the order in which they were opened."""
        for happening in happenings:
            self._follow(self._evaluator.advance(self.state, happening))
        return list(self.alerts.values())

    def wait(self, until_s: float) -> list[Alert]:
        """Let time pass without an event."""
        self._follow(self._evaluator.pass_time(self.state, MONDAY_S + until_s))
        return list(self.alerts.values())

    @property
    def too_late(self) -> int:
        """Events that came too late to open an alert."""
        return self._evaluator.too_late

    @property
    def messages(self) -> list[str]:
        """What was told, by its kind."""
        return [each.change.value for each in self.decided if each.is_told]

    def _follow(self, decided: list[Decided]) -> None:
        self.decided += decided
        for each in decided:
            known = self.alerts.get(each.alert_id)
            self.alerts[each.alert_id] = opened(each, 1) if known is None else applied(known, each)
