"""What goes on in the groups of one rule: opened, joined, held back, called off; and how often the rule may speak.

An incident is the life of one alert as the evaluation sees it. This is the only place that decides whether something
is told.
"""

from __future__ import annotations

from tessera.domain.alerting.alerts import NAMED_EVENTS, AlertChange, Decided, Source
from tessera.domain.alerting.grouping import alert_id_of
from tessera.domain.alerting.rules import Rule
from tessera.domain.alerting.state import EvaluatorState, Incident, Tally, Timer

HOUR_S = 3600.0
REMEMBERED_S = HOUR_S
"""A decision that is revised later than this revises no alert."""


class Incidents:
    """The incidents of one rule.

    Args:
        state: what is remembered.
        rule: whose.
    """

    def __init__(self, state: EvaluatorState, rule: Rule) -> None:
        self._state = state
        self._rule = rule

    def key(self, group: str) -> str:
        """Of the incident of a group."""
        return f"{self._rule.rule_id}|{group}"

    def find(self, key: str) -> Incident | None:
        """An incident that has not ended."""
        incident = self._state.incidents.get(key) if key else None
        return incident if incident is not None and incident.expires_s > self._state.clock_s else None

    def keep(self, key: str, incident: Incident) -> None:
        """Have an incident as it is now."""
        incident.expires_s = max(incident.expires_s, self.expiry_s)
        self._state.incidents.put(key, incident)

    @property
    def expiry_s(self) -> float:
        """When an incident that something happened in just now has ended."""
        return self._state.clock_s + max(self._rule.cooldown_s, REMEMBERED_S)

    # ---- events come

    def join_or_open(self, group: str, at_s: float, source: Source, *, late: bool) -> Decided | None:
        """Count an event; None: it would open an alert, and came too late for that."""
        key = self.key(group)
        incident = self.find(key)
        if incident is not None and _goes_on(incident, self._rule, at_s):
            return self.join(key, incident, at_s, source, late=late)
        if late:
            return None
        tally = self._tally()
        if self._is_silent(tally):
            return self._hold_back(key, at_s, source, tally)
        tally.last_alert_id = alert_id_of(self._rule.rule_id, group, source.event_id, at_s)
        self._speak(tally)
        opened = Incident(tally.last_alert_id, at_s, self._state.clock_s, self.expiry_s, named=[source.event_id])
        self._state.incidents.put(key, opened)
        return Decided(opened.alert_id, self._rule, AlertChange.OPENED, at_s, source)

    def join(self, key: str, incident: Incident, at_s: float, source: Source, *, late: bool = False) -> Decided:
        """Another event of an incident: counted, and told when that is due."""
        incident.supporters += 1
        incident.last_s = max(incident.last_s, at_s)
        tally = self._tally()
        if incident.held:
            tally.untold += 1
            self._state.tallies.put(self._rule.rule_id, tally)
        elif len(incident.named) < NAMED_EVENTS:
            incident.named.append(source.event_id)
        change = AlertChange.JOINED
        if self._reminds(incident) and not late and not self._is_silent(tally):
            change, incident.told_s = AlertChange.REMINDED, self._state.clock_s
            if tally.last_alert_id == incident.alert_id:
                tally.untold = 0
            self._speak(tally)
        self.keep(key, incident)
        return Decided(incident.alert_id, self._rule, change, at_s, source, held_back=incident.held)

    def go_on(self, key: str, at_s: float, source: Source, *, other_verdict: bool) -> list[Decided]:
        """A later revision of an event that has joined: it moves the incident on and is not counted again."""
        incident = self.find(key)
        if incident is None:
            return []
        incident.last_s = max(incident.last_s, at_s)
        self.keep(key, incident)
        if not other_verdict or source.event_id not in incident.named:
            return []
        self._speak(self._tally())
        why = "a decision was revised"
        return [Decided(incident.alert_id, self._rule, AlertChange.REVISED, at_s, source, why=why)]

    def take_back(self, key: str, at_s: float, source: Source, why: str) -> list[Decided]:
        """An event no longer is what it had joined as."""
        incident = self.find(key)
        if incident is None:
            return []
        incident.supporters -= 1
        change = AlertChange.JOINED
        if incident.supporters <= 0 and not incident.held:
            change = AlertChange.WITHDRAWN
            self._state.incidents.drop(key)
        else:
            if source.event_id in incident.named:
                change = AlertChange.REVISED
                incident.named.remove(source.event_id)
            self.keep(key, incident)
        if change is not AlertChange.JOINED:
            self._speak(self._tally())
        return [
            Decided(incident.alert_id, self._rule, change, at_s, source, leaves=True, held_back=incident.held, why=why)
        ]

    def leave(self, key: str, at_s: float, why: str) -> list[Decided]:
        """What had joined is over; when all of it is, that is told."""
        incident = self._state.incidents.get(key)
        if incident is None:
            return []
        incident.supporters -= 1
        incident.last_s = max(incident.last_s, at_s)
        if incident.supporters <= 0:
            incident.closed_s = at_s
            incident.expires_s = self.expiry_s
        self._state.incidents.put(key, incident)
        if incident.supporters > 0 or incident.held:
            return []
        self._speak(self._tally())
        return [Decided(incident.alert_id, self._rule, AlertChange.ENDED, at_s, why=why)]

    def end(self, key: str, at_s: float, why: str) -> list[Decided]:
        """All that had joined is over; whatever comes next opens another alert, however soon."""
        incident = self.find(key)
        if incident is None:
            return []
        self._state.incidents.drop(key)
        if incident.held or incident.closed_s:
            return []
        self._speak(self._tally())
        return [Decided(incident.alert_id, self._rule, AlertChange.ENDED, at_s, why=why)]

    # ---- messages

    def tell_held_back(self, at_s: float) -> list[Decided]:
        """Tell what was held back, as soon as there is a message for it."""
        tally = self._tally()
        if not tally.untold:
            return []
        if self._is_silent(tally):
            self._tell_later(tally)
            return []
        tally.untold = 0
        self._speak(tally)
        return [Decided(tally.last_alert_id, self._rule, AlertChange.REMINDED, at_s)]

    def _hold_back(self, key: str, at_s: float, source: Source, tally: Tally) -> Decided:
        tally.untold += 1
        self._state.tallies.put(self._rule.rule_id, tally)
        held = Incident(tally.last_alert_id, at_s, self._state.clock_s, self.expiry_s, held=True)
        self._state.incidents.put(key, held)
        self._tell_later(tally)
        return Decided(held.alert_id, self._rule, AlertChange.JOINED, at_s, source, held_back=True)

    def _tell_later(self, tally: Tally) -> None:
        key = f"tell|{self._rule.rule_id}"
        if self._state.timers.get(key) is None:
            self._state.arm(key, Timer(tally.told_s[0] + HOUR_S, self._rule.rule_id))

    def _reminds(self, incident: Incident) -> bool:
        remind_s = self._rule.remind_s
        is_open = not incident.closed_s and not incident.held
        return remind_s > 0 and is_open and self._state.clock_s - incident.told_s >= remind_s

    def _is_silent(self, tally: Tally) -> bool:
        return len(tally.told_s) >= self._rule.messages_per_hour

    def _tally(self) -> Tally:
        tally = self._state.tallies.get(self._rule.rule_id) or Tally()
        since_s = self._state.clock_s - HOUR_S
        if tally.told_s and tally.told_s[0] <= since_s:
            tally.told_s = [at_s for at_s in tally.told_s if at_s > since_s]
        return tally

    def _speak(self, tally: Tally) -> None:
        tally.told_s.append(self._state.clock_s)
        self._state.tallies.put(self._rule.rule_id, tally)


def _goes_on(incident: Incident, rule: Rule, at_s: float) -> bool:
    is_quiet = at_s - incident.last_s >= rule.cooldown_s
    return not is_quiet and (not incident.closed_s or at_s - incident.closed_s < rule.cooldown_s)
