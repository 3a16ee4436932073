"""The judgement: one event after the other against all rules, and what follows for alerts.

It asks no clock and no store. Time is what the log says: `recorded_s` moves it on and timers go off by it; schedules
and cooldowns go by when things happened. So the same events in the same order decide the same, in pieces of whatever
size, today or in a year. What it remembers is handed in (`EvaluatorState`) and can be kept between any two events.

- A decision is judged per tracklet: a revision that no longer fits takes its share in an alert back, and an alert that
  stands on nothing else is withdrawn.
- What was recorded too late to act on joins an alert that is open and never opens one.
- A rule that has used its messages of the hour opens nothing: what would have opened joins its last alert, which
  counts it, and tells the count when there is a message left again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tessera.domain.alerting.alerts import Decided, Source
from tessera.domain.alerting.conditions import CompiledRule, RuleIndex
from tessera.domain.alerting.grouping import digest, group_of, person_of, verdict_of
from tessera.domain.alerting.happenings import AlertSettled, CameraHappened, Happening, Seen
from tessera.domain.alerting.incidents import REMEMBERED_S, Incidents
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind
from tessera.domain.alerting.state import NEVER_S, EvaluatorState, Support, Timer, Window
from tessera.domain.alerting.wording import back_why, clear_why, dwelt_why, lost_why, revised_why, seen_why
from tessera.domain.camera_events import CameraEventKind

_SCHEDULE_LOOK_S = 60.0


class Evaluator:
    """Rules that are ready to judge.

    Args:
        rules: in the order in which they are asked.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._index = RuleIndex(rules)
        self.too_late = 0
        """Events so far that would have opened an alert and came too late."""

    def advance(self, state: EvaluatorState, happening: Happening) -> list[Decided]:
        """Judge one event; the state follows."""
        decided = self.pass_time(state, happening.recorded_s) if state.first_due_s <= happening.recorded_s else []
        state.move_to(happening.recorded_s)
        if isinstance(happening.body, AlertSettled):
            _settle(state, happening)
            return decided
        known = state.supports.get(happening.event_id)
        if known is not None and known.expires_s <= state.clock_s:
            known = None
        if known is not None and happening.revision <= known.revision:
            return decided
        hits = [rule for rule in self._index.that_look_at(happening) if rule.takes(happening)]
        if hits or known is not None:
            decided += self._judge(state, happening, hits, known)
        return decided

    def pass_time(self, state: EvaluatorState, now_s: float) -> list[Decided]:
        """Let time pass without an event: what waits for a moment up to `now_s` happens."""
        decided: list[Decided] = []
        while (due := state.next_due(now_s)) is not None:
            key, timer = due
            state.move_to(timer.due_s)
            compiled = self._index.by_id.get(timer.rule_id)
            if compiled is not None:
                decided += _go_off(state, compiled, key, timer)
        state.move_to(now_s)
        return decided

    # ---- one event

    def _judge(
        self, state: EvaluatorState, happening: Happening, hits: list[CompiledRule], known: Support | None
    ) -> list[Decided]:
        lost = [each.rule for each in hits if each.rule.kind is RuleKind.CAMERA_LOST]
        decided = [each for rule in lost for each in _camera_state(state, rule, happening)]
        over = [each.rule for each in hits if each.is_over(happening)]
        decided += [each for rule in over for each in _clear(state, rule, happening)]
        now = {each.rule.rule_id: each.rule for each in hits if each.rule not in lost and each.rule not in over}
        before = known.incidents if known is not None else {}
        support = Support(happening.revision, state.clock_s + REMEMBERED_S, verdict_of(happening))
        for rule_id, key in before.items():
            gone = self._index.by_id.get(rule_id) if rule_id not in now else None
            if gone is not None:
                decided += _take_back(state, gone.rule, happening, key)
        is_other = known is not None and known.verdict != support.verdict
        for rule_id, rule in now.items():
            key = before.get(rule_id, "")
            same = key == Incidents(state, rule).key(group_of(rule, happening))
            if key and same:
                support.incidents[rule_id] = key
                source = Source.of(happening)
                decided += Incidents(state, rule).go_on(key, happening.event_s, source, other_verdict=is_other)
                continue
            if key:  # it was somebody else's
                decided += _take_back(state, rule, happening, key)
            decided += self._count(state, rule, happening, support)
        if support.incidents or before:
            state.supports.put(happening.event_id, support)
        return decided

    def _count(self, state: EvaluatorState, rule: Rule, happening: Happening, support: Support) -> list[Decided]:
        if not _has_come_true(state, rule, happening, support):
            return []
        state.timers.drop(_dwell_key(rule, happening.event_id))
        incidents, group, source = Incidents(state, rule), group_of(rule, happening), Source.of(happening)
        decided = incidents.join_or_open(group, happening.event_s, source, late=happening.is_late)
        if decided is None:
            self.too_late += 1
            return []
        support.incidents[rule.rule_id] = incidents.key(group)
        until_s = min(happening.event_s, happening.recorded_s) + rule.time_to_live_s
        return [replace(decided, valid_until_s=until_s, why=seen_why(rule, happening))]


def _settle(state: EvaluatorState, happening: Happening) -> None:
    """A person resolved an alert: what comes after a cooldown opens another one."""
    for key, incident in list(state.incidents):
        if incident.alert_id == happening.event_id and not incident.closed_s:
            incident.closed_s = happening.event_s
            state.incidents.put(key, incident)


def _take_back(state: EvaluatorState, rule: Rule, happening: Happening, key: str) -> list[Decided]:
    state.timers.drop(_dwell_key(rule, happening.event_id))
    source, why = Source.of(happening), revised_why(happening)
    return Incidents(state, rule).take_back(key, happening.event_s, source, why)


# ---- what a rule asks for beyond one event


def _has_come_true(state: EvaluatorState, rule: Rule, happening: Happening, support: Support) -> bool:
    """That it lasted, or that it was not the first."""
    body = happening.body
    if isinstance(body, Seen) and rule.dwell_s > body.lasted_s:
        _wait_for_dwell(state, rule, happening, body)
        if state.timers.get(_dwell_key(rule, happening.event_id)) is not None:
            support.incidents[rule.rule_id] = ""
        return False
    if rule.kind is RuleKind.REIDENTIFIED:
        person = person_of(happening)
        return bool(person) and _are_enough(state, rule, person, happening.camera_id, happening.event_s)
    if rule.kind is RuleKind.FAILED_VERIFIES:
        return _are_enough(state, rule, group_of(rule, happening), happening.event_id, happening.event_s)
    return True


def _are_enough(state: EvaluatorState, rule: Rule, who: str, what: str, at_s: float) -> bool:
    """Whether enough of something came together; keeps what counts for the next time."""
    key = f"{rule.rule_id}|{digest(who)}"
    held = state.windows.get(key)
    seen = {} if held is None else dict(held.at_s)
    seen[what] = max(at_s, seen.get(what, at_s))
    newest_s = max(seen.values())
    lately = [(then_s, name) for name, then_s in seen.items() if then_s > newest_s - rule.within_s]
    kept = sorted(lately)[-2 * rule.needed :]  # more than is needed says nothing more
    state.windows.put(key, Window(state.clock_s + rule.within_s, {name: then_s for then_s, name in kept}))
    return len(kept) >= rule.needed


def _dwell_key(rule: Rule, event_id: str) -> str:
    return f"dwell|{rule.rule_id}|{event_id}"


def _wait_for_dwell(state: EvaluatorState, rule: Rule, happening: Happening, body: Seen) -> None:
    key = _dwell_key(rule, happening.event_id)
    if body.ended or happening.is_late:
        state.timers.drop(key)
    elif state.timers.get(key) is None:
        timer = Timer(
            due_s=happening.recorded_s + rule.dwell_s - body.lasted_s,
            rule_id=rule.rule_id,
            group=group_of(rule, happening),
            event_id=happening.event_id,
            camera_id=happening.camera_id,
            collection_id=body.collection_id,
            best_shot_id=body.best_shot_id,
        )
        state.arm(key, timer)


def _camera_state(state: EvaluatorState, rule: Rule, happening: Happening) -> list[Decided]:
    """A camera goes away, and a timer begins; or it is back, and what came of that is over."""
    key, body = f"lost|{rule.rule_id}|{happening.camera_id}", happening.body
    if not isinstance(body, CameraHappened):
        return []
    if body.kind is not CameraEventKind.LOST:
        timer = state.timers.drop(key)
        incident = timer.incident if timer is not None else ""
        return Incidents(state, rule).leave(incident, happening.event_s, back_why(body.kind)) if incident else []
    if state.timers.get(key) is None:
        due_s, group = happening.recorded_s + rule.away_s, group_of(rule, happening)
        state.arm(key, Timer(due_s, rule.rule_id, group, happening.event_id, happening.camera_id))
    return []


def _clear(state: EvaluatorState, rule: Rule, happening: Happening) -> list[Decided]:
    """A scene is as it was: what a camera's own alert told of is over. One of several cameras is left to people."""
    if rule.groups != (Grouping.CAMERA,):
        return []
    incidents = Incidents(state, rule)
    return incidents.end(incidents.key(group_of(rule, happening)), happening.event_s, clear_why(happening))


# ---- moments


def _go_off(state: EvaluatorState, compiled: CompiledRule, key: str, timer: Timer) -> list[Decided]:
    what = key.partition("|")[0]
    if what == "tell":
        return Incidents(state, compiled.rule).tell_held_back(timer.due_s)
    return _lose(state, compiled, key, timer) if what == "lost" else _dwell(state, compiled.rule, timer)


def _lose(state: EvaluatorState, compiled: CompiledRule, key: str, timer: Timer) -> list[Decided]:
    rule, incidents = compiled.rule, Incidents(state, compiled.rule)
    incident_key = incidents.key(timer.group)
    incident = incidents.find(incident_key)
    if compiled.holds_at is not None and not compiled.holds_at(timer.due_s):
        state.arm(key, replace(timer, due_s=timer.due_s + _SCHEDULE_LOOK_S))
        return []
    # A camera that comes and goes is told once a cooldown; one that stays away is told in the end.
    if incident is not None and incident.closed_s and timer.due_s < incident.last_s + rule.cooldown_s:
        state.arm(key, replace(timer, due_s=incident.last_s + rule.cooldown_s))
        return []
    source, at_s = Source(timer.event_id, timer.camera_id), timer.due_s
    if incident is not None and not incident.closed_s:  # others of its group are away still, however long ago
        decided: Decided | None = incidents.join(incident_key, incident, at_s, source)
    else:
        decided = incidents.join_or_open(timer.group, at_s, source, late=False)
    now = state.incidents.get(incident_key)
    if decided is None or now is None:
        return []
    now.expires_s = NEVER_S  # as long as the camera is away
    state.incidents.put(incident_key, now)
    state.timers.put(key, replace(timer, incident=incident_key))
    return [replace(decided, valid_until_s=at_s + rule.time_to_live_s, why=lost_why(rule, timer.camera_id))]


def _dwell(state: EvaluatorState, rule: Rule, timer: Timer) -> list[Decided]:
    support = state.supports.get(timer.event_id)
    if support is None or rule.rule_id not in support.incidents:
        return []
    incidents = Incidents(state, rule)
    source = Source(timer.event_id, timer.camera_id, timer.collection_id, best_shot_id=timer.best_shot_id)
    decided = incidents.join_or_open(timer.group, timer.due_s, source, late=False)
    if decided is None:
        return []
    support.incidents[rule.rule_id] = incidents.key(timer.group)
    state.supports.put(timer.event_id, support)
    until_s = timer.due_s + rule.time_to_live_s
    return [replace(decided, valid_until_s=until_s, why=dwelt_why(rule, timer.camera_id))]
