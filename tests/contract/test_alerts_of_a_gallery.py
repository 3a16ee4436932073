"""`RuleService` and the alerts of `EventService`: from a rule to an alert that somebody resolves, over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tessera.client import wire
from tessera.v1 import events_pb2, rules_pb2, rules_pb2_grpc, subject_pb2
from tests.alert_sightings import enroll_two, see
from tests.eventually import eventually
from tests.gallery_world import World, embedded, emptied, person, refused, running_world, verify
from tests.valkey import PrivateServer

LIST = rules_pb2.Rule(
    rule_id="list", kind=events_pb2.RULE_KIND_WATCHLIST, severity=events_pb2.SEVERITY_CRITICAL, labels=["banned"]
)


@pytest.fixture
async def world(store: str) -> AsyncIterator[World]:
    """A gallery that knows Ada (person 0), who is banned, and Bob (person 5), who is not, over each store."""
    async with running_world(store, heartbeat_s=0.1) as running:
        await eventually(running.is_ready)
        await enroll_two(running)
        yield running


def rules(world: World) -> rules_pb2_grpc.RuleServiceAsyncStub:
    """The rules of a gallery."""
    return rules_pb2_grpc.RuleServiceStub(world.channel)


async def put(world: World, rule: rules_pb2.Rule, expected: int = 0) -> rules_pb2.StoredRule:
    """Make a rule."""
    request = rules_pb2.PutRuleRequest(rule=rule, expected_revision=expected, actor="eva")
    return (await rules(world).PutRule(request)).rule


async def alerts(world: World, count: int, **wanted: object) -> list[events_pb2.Alert]:
    """Alerts, as soon as there are so many."""

    async def listed() -> list[events_pb2.Alert]:
        found = list((await world.events.ListAlerts(events_pb2.ListAlertsRequest(**wanted))).alerts)  # type: ignore[arg-type]
        return found if len(found) >= count else []

    found = await eventually(listed)
    assert len(found) == count
    return found


async def test_a_hit_becomes_an_alert_that_somebody_resolves(world: World) -> None:
    """By label of whoever is recognised; the alert is listed, told to who watches, acknowledged, resolved."""
    await put(world, LIST)
    await see(world, "t0", 5)
    await see(world, "t1", 0)
    (alert,) = await alerts(world, 1)
    assert (alert.rule_id, alert.rule_revision, alert.severity) == ("list", 1, events_pb2.SEVERITY_CRITICAL)
    assert [(who.subject_id, who.display_name) for who in alert.subjects] == [("ada", "Ada")]
    assert (alert.state, alert.change) == (events_pb2.ALERT_STATE_OPEN, events_pb2.ALERT_CHANGE_OPENED)
    acknowledge = events_pb2.AcknowledgeAlertRequest(alert_id=alert.alert_id, actor="eva", comment="on my way")
    await world.events.AcknowledgeAlert(acknowledge)
    again = (await world.events.AcknowledgeAlert(acknowledge)).alert
    assert (again.state, again.actor, len(again.steps)) == (events_pb2.ALERT_STATE_ACKNOWLEDGED, "eva", 1)
    resolve = events_pb2.AcknowledgeAlertRequest(alert_id=alert.alert_id, actor="bo", comment="left", resolve=True)
    resolved = (await world.events.AcknowledgeAlert(resolve)).alert
    assert (await world.events.GetAlert(events_pb2.GetAlertRequest(alert_id=alert.alert_id))).alert == resolved
    assert [step.actor for step in resolved.steps] == ["eva", "bo"]
    assert (await refused(world.events.AcknowledgeAlert(acknowledge))).reason == "ALERT_RESOLVED"
    told = await _told(world, 3)
    assert [(event.event_id, event.revision, event.alert.change) for event in told] == [
        (alert.alert_id, 1, events_pb2.ALERT_CHANGE_OPENED),
        (alert.alert_id, 2, events_pb2.ALERT_CHANGE_ACKNOWLEDGED),
        (alert.alert_id, 3, events_pb2.ALERT_CHANGE_RESOLVED),
    ]
    assert told[0].camera_id == "gate"


async def _told(world: World, count: int) -> list[events_pb2.Event]:
    request = events_pb2.WatchEventsRequest(after_cursor="0", kinds=[events_pb2.EVENT_KIND_ALERT])
    told: list[events_pb2.Event] = []
    async for response in world.events.WatchEvents(request):
        if response.HasField("event"):
            told.append(response.event)
        if len(told) == count:
            break
    return told


async def test_an_unknown_person_who_walks_on_is_one_alert(world: World) -> None:
    """Sightings of two cameras that are linked are of one person; somebody else is another alert."""
    await put(world, rules_pb2.Rule(rule_id="unknown", kind=events_pb2.RULE_KIND_UNKNOWN_PERSON))
    await put(world, rules_pb2.Rule(rule_id="again", kind=events_pb2.RULE_KIND_REIDENTIFIED))
    for camera_id in ("gate", "yard"):
        await see(world, f"t-{camera_id}", 9, camera_id)
    await see(world, "other", 20)
    found = await alerts(world, 3)
    assert {(alert.rule_id, len(alert.event_ids)) for alert in found} == {("unknown", 2), ("unknown", 1), ("again", 1)}


async def test_somebody_who_enters_a_zone_is_told_then(world: World) -> None:
    """Not only when the tracklet ends: decided in the yard, told when the vault is entered."""
    rule = rules_pb2.Rule(rule_id="vault", kind=events_pb2.RULE_KIND_UNKNOWN_PERSON, zones=["vault"])
    await put(world, rule)
    await see(world, "t1", 9, zones=[["yard"], ["yard"], ["yard", "vault"]])
    (alert,) = await alerts(world, 1)
    assert "in vault at gate" in alert.summary


async def test_an_old_sighting_opens_nothing(world: World) -> None:
    """A worker that comes back with what it saw a minute ago; the next sighting does."""
    await put(world, LIST)
    await see(world, "old", 0, age_s=60.0)
    await see(world, "new", 0, camera_id="yard")
    (alert,) = await alerts(world, 1)
    assert list(alert.camera_ids) == ["yard"]
    assert world.value("tessera_gallery_events_too_late_total") == 1


async def test_claims_that_fail_are_told(world: World) -> None:
    """Three for Bob, none of whom is Bob; the watcher sees each, and the alert comes with the third."""
    await put(world, rules_pb2.Rule(rule_id="guess", kind=events_pb2.RULE_KIND_FAILED_VERIFIES, count=3))
    await verify(world, "bob", embedded(person(5)))
    for number in (8, 9, 10):
        await verify(world, "bob", embedded(person(number)))
    (alert,) = await alerts(world, 1)
    assert [who.subject_id for who in alert.subjects] == ["bob"]
    request = events_pb2.WatchEventsRequest(after_cursor="0", kinds=[events_pb2.EVENT_KIND_VERIFY_FAILURE])
    failures = []
    async for response in world.events.WatchEvents(request):
        if response.HasField("event"):
            failures.append(response.event.verify_failure)
        if len(failures) == 3:
            break
    assert {(each.subject_id, each.display_name) for each in failures} == {("bob", "Bob")}


async def test_erasing_somebody_erases_their_alerts(world: World) -> None:
    """From the list, and from what can be watched; the receipt counts the events."""
    await put(world, LIST)
    await see(world, "t1", 0)
    (alert,) = await alerts(world, 1)
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada"))
    assert (await world.events.ListAlerts(events_pb2.ListAlertsRequest())).alerts == []
    assert (await refused(world.events.GetAlert(events_pb2.GetAlertRequest(alert_id=alert.alert_id)))).reason == (
        "ALERT_NOT_FOUND"
    )
    request = events_pb2.WatchEventsRequest(after_cursor="0")
    async for response in world.events.WatchEvents(request):
        assert not response.HasField("event")
        break


async def test_rules_are_kept_with_their_revisions(world: World) -> None:
    """Made, changed, listed, deleted; whoever changes one that was changed meanwhile is refused."""
    first = await put(world, LIST)
    assert await put(world, LIST) == first
    changed = rules_pb2.Rule()
    changed.CopyFrom(LIST)
    changed.camera_ids.append("gate")
    second = await put(world, changed, 1)
    assert (second.revision, second.actor) == (2, "eva")
    refusal = await refused(rules(world).PutRule(rules_pb2.PutRuleRequest(rule=LIST, expected_revision=1)))
    assert refusal.reason == "REVISION_CHANGED"
    assert list((await rules(world).ListRules(rules_pb2.ListRulesRequest())).rules) == [second]
    assert (await rules(world).GetRule(rules_pb2.GetRuleRequest(rule_id="list", revision=1))).rule == first
    deleted = (await rules(world).DeleteRule(rules_pb2.DeleteRuleRequest(rule_id="list"))).rule
    assert (deleted.deleted, deleted.revision) == (True, 3)
    for call in (
        rules(world).GetRule(rules_pb2.GetRuleRequest(rule_id="list")),
        rules(world).DeleteRule(rules_pb2.DeleteRuleRequest(rule_id="list")),
    ):
        assert (await refused(call)).reason == "RULE_NOT_FOUND"


async def test_a_rule_that_is_none_is_refused_by_its_field(world: World) -> None:
    """With what would have been right."""
    bad = rules_pb2.Rule(rule_id="x", kind=events_pb2.RULE_KIND_SCENE, zones=["yard"])
    refusal = await refused(rules(world).PutRule(rules_pb2.PutRuleRequest(rule=bad)))
    assert refusal.metadata["field"] == "zones"


async def test_rules_are_rehearsed_without_effect(world: World) -> None:
    """On what is kept: which alerts would have opened, with names; nothing is opened."""
    await see(world, "t1", 0)
    await see(world, "t2", 9)
    unknown = rules_pb2.Rule(rule_id="unknown", kind=events_pb2.RULE_KIND_UNKNOWN_PERSON)
    answer = await rules(world).TestRules(rules_pb2.TestRulesRequest(rules=[LIST, unknown]))
    assert [(alert.rule_id, [who.display_name for who in alert.subjects]) for alert in answer.alerts] == [
        ("list", ["Ada"]),
        ("unknown", []),
    ]
    assert (answer.alerts_in_all, answer.messages, answer.events_judged) == (2, 2, 2)
    later = wire.time_to_wire(datetime.now(UTC) + timedelta(hours=1))
    none = await rules(world).TestRules(rules_pb2.TestRulesRequest(rules=[LIST], **{"from": later}))  # type: ignore[arg-type]
    assert (none.alerts_in_all, none.events_judged) == (0, 0)
    assert (await world.events.ListAlerts(events_pb2.ListAlertsRequest())).alerts == []


async def test_alerts_are_listed_in_pages_and_by_what_is_wanted(world: World) -> None:
    """By state, rule, severity and time of opening."""
    by_camera = rules_pb2.GroupBy(groupings=[rules_pb2.GROUPING_CAMERA])
    await put(world, rules_pb2.Rule(rule_id="all", kind=events_pb2.RULE_KIND_UNKNOWN_PERSON, group_by=by_camera))
    await put(world, LIST)
    for camera_id in ("gate", "yard", "hall"):
        await see(world, f"t-{camera_id}", 9, camera_id)
    await see(world, "ada", 0)
    await alerts(world, 4)
    first = await world.events.ListAlerts(events_pb2.ListAlertsRequest(page_size=3))
    assert [alert.rule_id for alert in first.alerts] == ["list", "all", "all"]
    rest = await world.events.ListAlerts(events_pb2.ListAlertsRequest(page_size=3, page_token=first.next_page_token))
    assert [list(alert.camera_ids) for alert in rest.alerts] == [["gate"]]
    assert rest.next_page_token == ""
    await alerts(world, 1, min_severity=events_pb2.SEVERITY_CRITICAL)
    await alerts(world, 3, rule_id="all")
    await alerts(world, 4, state=events_pb2.ALERT_STATE_OPEN)
    later = wire.time_to_wire(datetime.now(UTC) + timedelta(hours=1))
    assert (await world.events.ListAlerts(events_pb2.ListAlertsRequest(**{"from": later}))).alerts == []  # type: ignore[arg-type]


async def test_two_galleries_tell_each_alert_once(valkey: PrivateServer) -> None:
    """Over one store: whichever of them judges, and also when that one is gone."""
    store = await emptied(valkey)
    async with running_world(store, alert_lease_s=1.0) as staying:
        await eventually(staying.is_ready)
        await enroll_two(staying)
        await put(staying, LIST)
        async with running_world(store, alert_lease_s=1.0) as leaving:
            await eventually(leaving.is_ready)
            for n in range(3):
                await see(leaving if n % 2 else staying, f"t{n}", 0, f"cam{n}")
            await alerts(staying, 1)
        await put(staying, rules_pb2.Rule(rule_id="all", kind=events_pb2.RULE_KIND_UNKNOWN_PERSON))
        await see(staying, "t9", 9)
        found = await alerts(staying, 2)
        assert [alert.rule_id for alert in found] == ["all", "list"]
        revisions = [(event.event_id, event.revision) for event in await _told(staying, 2)]
        assert len(set(revisions)) == 2
