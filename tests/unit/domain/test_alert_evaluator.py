"""What rules make of events: each kind, grouping, floods, decisions that are revised, and events that are old."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.alerting.alerts import AlertChange, AlertState, AlertStep
from tessera.domain.alerting.alerts import settled as settled_by
from tessera.domain.alerting.evaluator import Evaluator
from tessera.domain.alerting.happenings import Happening
from tessera.domain.alerting.rules import Grouping, Rule, RuleKind, Severity
from tessera.domain.alerting.schedules import Hours, Schedule
from tessera.domain.alerting.state import EvaluatorState
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome
from tests.unit.domain.alert_events import MONDAY_S, Watchroom, camera, failed, seen, settled

WATCHLIST = Rule("list", RuleKind.WATCHLIST, Severity.CRITICAL, labels=("banned",))
UNKNOWN = Rule("unknown", RuleKind.UNKNOWN_PERSON, cooldown_s=60.0)
LOST = Rule("lost", RuleKind.CAMERA_LOST, lasting_s=30.0)


# ---- kinds


def test_somebody_on_the_list_opens_an_alert() -> None:
    """By label; an enrolled person without it, and an unknown, open none. The alert names the event and the person."""
    room = Watchroom(WATCHLIST)
    assert room.take(seen("a", 0, "bob", labels=["staff"]), seen("b", 1)) == []
    (alert,) = room.take(seen("c", 2, "ada", labels=["banned", "vip"]))
    assert (alert.rule_id, alert.severity, alert.state) == ("list", Severity.CRITICAL, AlertState.OPEN)
    assert [(source.event_id, source.subject_id) for source in alert.sources] == [("c", "ada")]
    assert alert.opened_s == MONDAY_S + 2
    assert alert.valid_until_s == MONDAY_S + 2 + WATCHLIST.time_to_live_s
    assert "banned" in alert.why
    assert "ada" not in alert.why


@pytest.mark.parametrize(
    ("rule", "event"),
    [
        pytest.param(replace(WATCHLIST, camera_ids=("yard",)), seen("a", 0, "ada", labels=["banned"]), id="camera"),
        pytest.param(
            replace(WATCHLIST, collection_ids=("guests",)), seen("a", 0, "ada", labels=["banned"]), id="collection"
        ),
        pytest.param(replace(WATCHLIST, subject_ids=("bob",)), seen("a", 0, "ada", labels=["banned"]), id="subject"),
        pytest.param(replace(WATCHLIST, enabled=False), seen("a", 0, "ada", labels=["banned"]), id="disabled"),
        pytest.param(replace(UNKNOWN, zones=("vault",)), seen("a", 0, zones=["hall"]), id="zone"),
        pytest.param(UNKNOWN, seen("a", 0, outcome=Outcome.INCONCLUSIVE), id="inconclusive"),
        pytest.param(Rule("s", RuleKind.SCENE, min_probability=0.8), camera("MOVED", 0, probability=0.7), id="unsure"),
        pytest.param(
            Rule("s", RuleKind.SCENE, camera_event_kinds=(CameraEventKind.COVERED,)), camera("MOVED", 0), id="kind"
        ),
    ],
)
def test_an_event_that_misses_one_condition_opens_nothing(rule: Rule, event: Happening) -> None:
    """Every condition of a rule holds, or it is silent."""
    assert Watchroom(rule).take(event) == []


def test_an_unknown_person_is_told_after_hours_alone() -> None:
    """Outside of 07:00 to 18:00 in Berlin, which is an hour ahead of UTC in November: 06:30 UTC is within."""
    hours = Schedule((Hours("07:00", "18:00"),), "Europe/Berlin", outside=True)
    room = Watchroom(replace(UNKNOWN, schedule=hours, zones=("yard",)))
    assert room.take(seen("a", 6.5 * 3600, zones=["yard"]), seen("b", 16.9 * 3600, zones=["yard"])) == []
    (alert,) = room.take(seen("c", 17.1 * 3600, zones=["yard"]))
    assert alert.sources[0].event_id == "c"


def test_somebody_who_stays_is_told_when_the_time_is_over() -> None:
    """Without another event; one who left before is not told, nor one who turned out to be enrolled."""
    room = Watchroom(replace(UNKNOWN, dwell_s=20.0, group_by=(Grouping.CAMERA,), cooldown_s=0.0))
    room.take(seen("stays", 0, lasted_s=5.0))
    room.take(seen("leaves", 1), seen("leaves", 9, revision=2, lasted_s=8.0, ended=True))
    room.take(seen("known", 2), seen("known", 4, "ada", revision=2))
    assert room.wait(14.9) == []
    (alert,) = room.wait(60)
    assert alert.sources[0].event_id == "stays"
    assert alert.opened_s == MONDAY_S + 15
    assert "20 s" in alert.why


def test_somebody_who_stayed_and_left_is_told_when_that_is_recorded() -> None:
    """The end of a tracklet may be the first that is heard of how long it was."""
    room = Watchroom(replace(UNKNOWN, dwell_s=20.0))
    (alert,) = room.take(seen("a", 30, lasted_s=25.0, ended=True))
    assert alert.change is AlertChange.OPENED


def test_the_same_person_at_two_cameras_is_told() -> None:
    """Within the window, by link or by name; others, one camera twice, and longer apart do not count."""
    room = Watchroom(Rule("again", RuleKind.REIDENTIFIED, window_s=100.0))
    room.take(seen("a", 0, link_id="p1"), seen("b", 10, link_id="p1"), seen("c", 20, link_id="p2", camera_id="yard"))
    assert room.take(seen("d", 130, link_id="p1", camera_id="yard"), seen("e", 131, camera_id="hall")) == []
    (alert,) = room.take(seen("f", 140, link_id="p1", camera_id="hall"))
    assert alert.sources[0].event_id == "f"
    first, second = room.take(seen("g", 150, "ada"), seen("h", 151, "ada", camera_id="yard"))
    assert (first, second.sources[0].subject_id) == (alert, "ada")


def test_claims_that_fail_again_and_again_are_told() -> None:
    """Three of one subject within a minute; another subject's do not add to them."""
    room = Watchroom(Rule("guessing", RuleKind.FAILED_VERIFIES, count=3, window_s=60.0))
    assert room.take(failed(0), failed(10), failed(11, "bob"), failed(70), failed(80)) == []
    (alert,) = room.take(failed(90))
    assert alert.sources[0].subject_id == "ada"


def test_a_scene_change_is_told() -> None:
    """With the kind and the camera in its words."""
    (alert,) = Watchroom(Rule("tamper", RuleKind.SCENE)).take(camera("COVERED", 0, probability=0.9))
    assert "COVERED at gate" in alert.why


def test_a_scene_that_is_clear_again_ends_its_alert() -> None:
    """By the rule; a camera that is covered again a minute later is another alert, within any cooldown."""
    room = Watchroom(Rule("tamper", RuleKind.SCENE))
    (alert,) = room.take(camera("COVERED", 0), camera("SCENE_CLEAR", 1, "yard"), camera("SCENE_CLEAR", 20))
    assert (alert.change, alert.steps[-1].actor) == (AlertChange.ENDED, "rule:tamper")
    assert room.take(camera("SCENE_CLEAR", 30)) == [alert]
    assert len(room.take(camera("COVERED", 60))) == 2


def test_a_camera_whose_pictures_change_again_ends_the_alert_of_its_freeze() -> None:
    """By the rule. Its covered scene is another incident, which a camera that is online says nothing of."""
    room = Watchroom(Rule("tamper", RuleKind.SCENE))
    frozen, covered = room.take(camera("FROZEN", 0), camera("COVERED", 1), camera("ONLINE", 20))
    assert (frozen.change, frozen.steps[-1].comment) == (AlertChange.ENDED, "its pictures change again")
    assert (covered.change, covered.state) == (AlertChange.OPENED, AlertState.OPEN)
    assert len(room.take(camera("ONLINE", 40), camera("FROZEN", 60))) == 3


def test_a_rule_that_asks_for_no_freeze_hears_no_end_of_one() -> None:
    """A camera that is online again is no sign that nobody covers it any more."""
    rule = Rule("covered", RuleKind.SCENE, camera_event_kinds=(CameraEventKind.COVERED,))
    (alert,) = Watchroom(rule).take(camera("COVERED", 0), camera("LOST", 1), camera("ONLINE", 2))
    assert alert.state is AlertState.OPEN


def test_a_camera_that_stays_away_is_told_and_so_is_its_return() -> None:
    """After `lasting_s`, at the moment itself; a shorter absence is not. Its return resolves the alert, by the rule."""
    room = Watchroom(LOST)
    room.take(camera("LOST", 0), camera("ONLINE", 29))
    assert room.wait(100) == []
    room.take(camera("LOST", 200))
    (alert,) = room.wait(231)
    assert alert.opened_s == MONDAY_S + 230
    assert "away for 30 s" in alert.why
    (alert,) = room.take(camera("ONLINE", 300))
    assert (alert.change, alert.state, alert.steps[-1].actor) == (AlertChange.ENDED, AlertState.RESOLVED, "rule:lost")
    assert room.messages == ["OPENED", "ENDED"]


def test_a_camera_that_comes_and_goes_is_told_once_a_cooldown() -> None:
    """And when it stays away within the cooldown, it is told at its end: what lasts is never swallowed."""
    room = Watchroom(replace(LOST, cooldown_s=300.0))
    for at_s in (0, 60, 120):
        room.take(camera("LOST", at_s), camera("ONLINE", at_s + 40))
    assert room.messages == ["OPENED", "ENDED"]
    room.take(camera("LOST", 180))
    assert len(room.wait(339)) == 1
    assert [alert.opened_s - MONDAY_S for alert in room.wait(400)] == [30, 340]


def test_cameras_of_one_group_are_one_alert_until_all_are_back() -> None:
    """A switch that dies takes ten cameras along: one alert, which ends with the last of them."""
    room = Watchroom(replace(LOST, group_by=()))
    room.take(*(camera("LOST", n, f"cam{n}") for n in range(10)))
    (alert,) = room.wait(60)
    assert len(alert.camera_ids) + alert.suppressed_events == 10
    room.take(*(camera("ONLINE", 100 + n, f"cam{n}") for n in range(9)))
    assert room.messages == ["OPENED"]
    room.take(camera("ONLINE", 120, "cam9"))
    assert room.messages == ["OPENED", "ENDED"]


# ---- grouping, cooldown, floods


def test_events_of_one_incident_are_one_alert() -> None:
    """An event within the cooldown of the last one joins; after a quiet time another alert opens."""
    room = Watchroom(UNKNOWN)
    (alert,) = room.take(*(seen(f"e{n}", 50.0 * n) for n in range(12)))
    assert [source.event_id for source in alert.sources] == [f"e{n}" for n in range(8)]
    assert alert.suppressed_events == 4
    assert len(room.take(seen("later", 50.0 * 11 + 60))) == 2


def test_an_incident_that_goes_on_is_told_again() -> None:
    """After `remind_s`, with what has joined since; never where that is 0."""
    events = [seen(f"e{n}", 10.0 * n) for n in range(100)]
    told, silent = Watchroom(replace(UNKNOWN, remind_s=300.0)), Watchroom(replace(UNKNOWN, remind_s=0.0))
    told.take(*events)
    silent.take(*events)
    assert told.messages == ["OPENED", "REMINDED", "REMINDED", "REMINDED"]
    assert silent.messages == ["OPENED"]


@pytest.mark.parametrize(
    ("group_by", "alerts"), [((), 1), ((Grouping.CAMERA,), 2), ((Grouping.LINK,), 3), ((Grouping.SUBJECT,), 3)]
)
def test_rules_group_as_they_are_told(group_by: tuple[Grouping, ...], alerts: int) -> None:
    """By nothing, by camera, by person; what nobody is named in goes by its camera."""
    rule = replace(WATCHLIST, labels=(), collection_ids=("staff",), group_by=group_by)
    people = [seen("a", 0, "ada"), seen("b", 1, "bob"), seen("c", 2, "cyd", camera_id="yard"), seen("d", 3, "ada")]
    assert len(Watchroom(rule).take(*people)) == alerts


def test_a_flood_is_counted_and_told_when_there_is_a_message_left() -> None:
    """Forty people in a minute, three messages an hour: three alerts, and the last of them stands for the others."""
    room = Watchroom(replace(UNKNOWN, messages_per_hour=3, group_by=(Grouping.LINK,)))
    alerts = room.take(*(seen(f"e{n}", n, link_id=f"p{n}") for n in range(40)))
    assert [alert.suppressed_events for alert in alerts] == [0, 0, 37]
    assert alerts[-1].held_back == 37
    assert room.messages == ["OPENED"] * 3
    room.wait(3700)
    assert room.messages == ["OPENED"] * 3 + ["REMINDED"]
    assert room.decided[-1].alert_id == alerts[-1].alert_id


def test_ten_thousand_sightings_of_one_unknown_keep_the_promise() -> None:
    """In an hour: at most as many messages as the rule promises, and the alert stands for all."""
    room = Watchroom(replace(UNKNOWN, messages_per_hour=4, remind_s=60.0))
    (alert,) = room.take(*(seen(f"e{n}", 0.36 * n) for n in range(10_000)))
    assert len(room.messages) == 4
    assert len(alert.sources) + alert.suppressed_events == 10_000


def test_what_a_person_resolved_opens_again_after_a_cooldown() -> None:
    """Somebody who just stays does not call again at once; who stays longer than the cooldown does."""
    room = Watchroom(replace(UNKNOWN, cooldown_s=60.0))
    (alert,) = room.take(seen("a", 0), seen("b", 30))
    step = AlertStep(AlertState.RESOLVED, MONDAY_S + 40, "guard", "the gardener")
    room.alerts[alert.alert_id] = settled_by(alert, step)
    room.take(settled(alert.alert_id, 40))
    (alert,) = room.take(seen("c", 60), seen("d", 90))
    assert (alert.state, alert.suppressed_events + len(alert.sources)) == (AlertState.RESOLVED, 4)
    assert [each.state for each in room.take(seen("e", 110))] == [AlertState.RESOLVED, AlertState.OPEN]


# ---- decisions that are revised, events that are old


def test_a_decision_that_is_revised_withdraws_its_alert() -> None:
    """The reason is told, the rule is who resolved it, and the next hit opens another alert at once."""
    room = Watchroom(WATCHLIST)
    room.take(seen("a", 0, "ada", labels=["banned"]))
    (alert,) = room.take(seen("a", 2, revision=2))
    assert (alert.change, alert.state) == (AlertChange.WITHDRAWN, AlertState.RESOLVED)
    assert (alert.steps[-1].actor, "nobody who is enrolled" in alert.steps[-1].comment) == ("rule:list", True)
    assert len(room.take(seen("b", 3, "ada", labels=["banned"]))) == 2


def test_a_decision_that_becomes_somebody_else_moves_to_that_alert() -> None:
    """Both are on the list: the first alert is withdrawn, the second opened."""
    room = Watchroom(WATCHLIST)
    first, second = room.take(
        seen("a", 0, "ada", labels=["banned"]), seen("a", 1, "bob", labels=["banned"], revision=2)
    )
    assert (first.change, second.change) == (AlertChange.WITHDRAWN, AlertChange.OPENED)
    assert second.sources[0].subject_id == "bob"


def test_an_alert_that_stands_on_more_is_revised() -> None:
    """What leaves is named no longer; the alert stays open. In one group, another name is told as a revision."""
    room = Watchroom(replace(WATCHLIST, group_by=(Grouping.CAMERA,)))
    room.take(seen("a", 0, "ada", labels=["banned"]), seen("b", 1, "bob", labels=["banned"]))
    (alert,) = room.take(seen("b", 2, "cyd", labels=["banned"], revision=2))
    assert (alert.change, [source.subject_id for source in alert.sources]) == (AlertChange.REVISED, ["ada", "cyd"])
    (alert,) = room.take(seen("a", 3, revision=2))
    assert (alert.state, [source.subject_id for source in alert.sources]) == (AlertState.OPEN, ["cyd"])


def test_a_revision_that_says_the_same_is_not_counted_again() -> None:
    """A tracklet that goes on and ends is one event; a line that comes twice is one line."""
    room = Watchroom(UNKNOWN)
    event = seen("a", 0)
    (alert,) = room.take(event, event, seen("a", 20, revision=2, ended=True))
    assert (len(alert.sources), alert.suppressed_events, room.messages) == (1, 0, ["OPENED"])
    (alert,) = room.take(seen("b", 75))
    assert len(alert.sources) == 2  # the incident went on until 20 s, so that 75 s is within its cooldown


def test_an_old_event_opens_nothing() -> None:
    """Recorded when it was too late to act on; it still joins what is open, and a revision still takes back."""
    room = Watchroom(WATCHLIST)
    assert room.take(seen("old", 0, "ada", labels=["banned"], late_s=6.0)) == []
    assert room.too_late == 1
    room.take(seen("new", 10, "ada", labels=["banned"]))
    (alert,) = room.take(seen("older", 9, "ada", labels=["banned"], late_s=30.0))
    assert ([source.event_id for source in alert.sources], room.messages) == (["new", "older"], ["OPENED"])


# ---- the same events, the same alerts


def _a_busy_hour(seed: int, count: int = 600) -> list[Happening]:
    """People, unknowns, revisions, cameras and claims, in the order of their recording."""
    chance = random.Random(seed)
    happenings: list[Happening] = []
    for n in range(count):
        at_s = 6.0 * n + chance.random()
        camera_id = chance.choice(["gate", "yard", "hall"])
        draw = chance.random()
        if draw < 0.1:
            happenings.append(camera(chance.choice(["LOST", "ONLINE", "COVERED", "MOVED"]), at_s, camera_id))
        elif draw < 0.2:
            happenings.append(failed(at_s, chance.choice(["ada", "bob"])))
        else:
            who, revision = chance.choice(["", "", "ada", "bob"]), 1
            name = f"t{n}"
            if draw > 0.8 and n > 5:
                name, revision = f"t{n - chance.randint(1, 5)}", 2
            marks = {"labels": ["banned"], "link_id": chance.choice(["", "p1", "p2"])}
            late_s = 9.0 if chance.random() < 0.05 else 0.0
            happenings.append(seen(name, at_s, who, camera_id=camera_id, revision=revision, late_s=late_s, **marks))  # type: ignore[arg-type]
    return sorted(happenings, key=lambda each: each.recorded_s)


ALL_KINDS = (
    WATCHLIST,
    replace(UNKNOWN, messages_per_hour=5),
    replace(UNKNOWN, rule_id="stays", dwell_s=15.0),
    Rule("again", RuleKind.REIDENTIFIED),
    Rule("tamper", RuleKind.SCENE, group_by=()),
    Rule("guessing", RuleKind.FAILED_VERIFIES, count=3),
    LOST,
)


@given(seed=st.integers(0, 50), restarts=st.sets(st.integers(0, 599), max_size=4), ticks=st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_same_events_make_the_same_alerts(seed: int, restarts: set[int], ticks: bool) -> None:
    """However often the evaluation is taken down in between, and whether time passes by itself or with the events."""
    events = _a_busy_hour(seed)
    whole = Watchroom(*ALL_KINDS)
    whole.take(*events)
    pieces, kept = Watchroom(*ALL_KINDS), dict[str, str]()
    for n, event in enumerate(events):
        pieces.take(event)
        if ticks and n + 1 < len(events):
            # Up to just before the next event: so far may a clock be ahead of the log.
            pieces.wait(events[n + 1].recorded_s - MONDAY_S - 0.001)
        if n in restarts:
            kept |= pieces.state.changes()
            pieces.state = EvaluatorState.load({key: text for key, text in kept.items() if text})
    assert pieces.alerts == whole.alerts
    assert [each.change for each in pieces.decided] == [each.change for each in whole.decided]
    assert whole.alerts


def test_what_is_remembered_names_nobody_and_ends() -> None:
    """No subject stands in a checkpoint, and a day later nothing is left but what is still open."""
    room = Watchroom(*ALL_KINDS)
    room.take(*_a_busy_hour(1))
    texts = room.state.changes()
    assert len(texts) > 20
    assert not [text for text in [*texts, *texts.values()] if "ada" in text.replace("verify-ada", "")]
    room.wait(2 * 86_400)
    assert len(room.state.incidents) <= 3  # cameras that are away still
    assert len(room.state.supports) == 0


def test_a_state_that_is_none_is_refused() -> None:
    """Half of a checkpoint is told, not guessed at."""
    with pytest.raises(ValueError, match="no entry"):
        EvaluatorState.load({"x|y": "[]"})


def test_rules_that_are_gone_leave_their_alerts_alone() -> None:
    """A rule that was deleted decides nothing more, also not when its timers go off."""
    room = Watchroom(LOST, WATCHLIST)
    room.take(seen("a", 0, "ada", labels=["banned"]), camera("LOST", 1))
    without = Evaluator([])
    assert without.advance(room.state, seen("a", 2, revision=2)) == []
    assert without.pass_time(room.state, MONDAY_S + 100) == []
