"""`MatchStream` and `EventService`: tracklets in, decisions out, sightings told once and in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from tessera.client import wire
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import camera_pb2, events_pb2, matching_pb2, subject_pb2
from tests.eventually import eventually
from tests.gallery_world import MODEL, World, embedded, person, refused, running_world
from tests.valkey import PrivateServer


@pytest.fixture
async def world(store: str) -> AsyncIterator[World]:
    """A gallery that knows Ada (person 0) and Bob (person 5), over each store, with room for 30 events."""
    async with running_world(store, events_kept=30, heartbeat_s=0.1) as running:
        await eventually(running.is_ready)
        for name, number in (("ada", 0), ("bob", 5)):
            await running.stub.EnrollSubject(
                subject_pb2.EnrollSubjectRequest(
                    subject_id=name, display_name=name.title(), samples=[embedded(person(number))]
                )
            )
        yield running


def sample(vector: list[float], age_s: float = 0.0, reasons: tuple[Reason, ...] = (), overall: float = 0.9) -> Any:
    """One look, taken `age_s` ago."""
    return matching_pb2.TrackletSample(
        capture_time=wire.time_to_wire(datetime.now(UTC) - timedelta(seconds=age_s)),
        embedding=pb.Embedding(values=vector, model_id=MODEL),
        quality=pb.Quality(size=overall, overall=overall, reasons=[wire.reason_to_wire(reason) for reason in reasons]),
        box=pb.Box(width_px=50, height_px=50),
    )


def update(tracklet_id: str, sequence: int, *samples: Any, **fields: Any) -> matching_pb2.MatchStreamRequest:
    """An update of a tracklet of the camera `door`."""
    now = wire.time_to_wire(datetime.now(UTC))
    values: dict[str, Any] = {"camera_id": "door", "first_seen": now, "last_seen": now, "frame_count": sequence}
    values |= {"tracklet_id": tracklet_id, "sequence": sequence, "samples": samples, **fields}
    return matching_pb2.MatchStreamRequest(update=matching_pb2.TrackletUpdate(**values))


async def match(world: World, *updates: matching_pb2.MatchStreamRequest) -> list[Any]:
    """The answers of one stream: a decision or a rejection each."""
    opening = matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id="w1"))
    answers = [answer async for answer in world.stub.MatchStream(iter([opening, *updates]))]
    assert answers[0].opened.max_in_flight == 8
    return [getattr(answer, answer.WhichOneof("message")) for answer in answers[1:]]


async def told(world: World, count: int, **request: Any) -> list[events_pb2.WatchEventsResponse]:
    """The first `count` events of a watch."""
    events: list[events_pb2.WatchEventsResponse] = []
    watch = world.events.WatchEvents(events_pb2.WatchEventsRequest(**request))
    async with asyncio.timeout(40):
        async for response in watch:
            if response.HasField("event"):
                events.append(response)
                if len(events) == count:
                    watch.cancel()
                    return events
    raise AssertionError("the watch ended")


async def sightings(world: World, **request: Any) -> list[events_pb2.Event]:
    """What the list of sightings shows."""
    return list((await world.events.ListSightings(events_pb2.ListSightingsRequest(**request))).events)


# ---- decisions over tracklets


async def test_a_tracklet_is_decided_once_it_has_enough_frames(world: World) -> None:
    """One sample is too few; the second decides; a sighting is told once, with name and validity, and no score."""
    first, second, third = await match(
        world,
        update("t1", 1, sample(person(0, 0.3))),
        update("t1", 2, sample(person(0, 0.2))),
        update("t1", 3, sample(person(0, 0.1))),
    )
    assert (first.decision.outcome, list(first.decision.reasons)) == (
        pb.OUTCOME_INCONCLUSIVE,
        [pb.REASON_TOO_FEW_FRAMES],
    )
    assert (first.event_id, first.revision) == ("", 1)
    assert (second.decision.outcome, second.subject_id, second.display_name) == (pb.OUTCOME_MATCH, "ada", "Ada")
    assert second.event_id.startswith("sighting-")
    assert (second.revision, third.revision, third.event_id) == (2, 2, second.event_id)
    events = await sightings(world)
    assert [(event.event_id, event.revision) for event in events] == [(second.event_id, 1)]
    sighting = events[0].sighting
    assert (sighting.display_name, sighting.frame_count, sighting.ended) == ("Ada", 2, False)
    assert not sighting.decision.HasField("score")
    assert sighting.decision.evidence_id == second.decision.evidence_id
    valid_s = events[0].valid_until.ToDatetime() - events[0].event_time.ToDatetime()
    assert valid_s == timedelta(seconds=5)


async def test_a_camera_whose_clock_runs_ahead_opens_no_door_later(world: World) -> None:
    """Its sighting is valid from now on as long as any other, and not until that clock's tomorrow."""
    tomorrow = [sample(person(0), age_s=-86_400) for _ in range(2)]
    await match(world, update("t1", 1, *tomorrow))
    event = (await sightings(world))[0]
    assert event.valid_until.ToDatetime() - event.recorded_at.ToDatetime() == timedelta(seconds=5)


async def test_a_stranger_is_unknown(world: World) -> None:
    """UNKNOWN is an answer that is told like any other, with the rate it stands for."""
    answers = await match(world, update("t1", 1, sample(person(20)), sample(person(20))))
    assert answers[0].decision.outcome == pb.OUTCOME_UNKNOWN
    assert (answers[0].decision.threshold.target_fpir, answers[0].decision.threshold.gallery_size) == (0.01, 2)
    assert [event.sighting.subject_id for event in await sightings(world, outcome=pb.OUTCOME_UNKNOWN)] == [""]


async def test_an_answer_does_not_flap(world: World) -> None:
    """One look like somebody else changes nothing; two in a row do, as the same event's next revision."""
    ada, bob = person(0), person(5)
    answers = await match(
        world,
        update("t1", 1, sample(ada, overall=0.1), sample(ada, overall=0.1)),
        update("t1", 2, sample(bob)),
        update("t1", 3, sample(bob)),
    )
    assert [answer.subject_id for answer in answers] == ["ada", "ada", "bob"]
    assert [answer.revision for answer in answers] == [1, 1, 2]
    events = await told(world, 2, after_cursor="0")
    assert [(one.event.revision, one.event.sighting.subject_id) for one in events] == [(1, "ada"), (2, "bob")]
    assert len(await sightings(world)) == 1


async def test_the_same_update_again_changes_nothing(world: World) -> None:
    """On the same stream or on another one: same revision, no second event."""
    request = update("t1", 1, sample(person(0)), sample(person(0)))
    first, again = await match(world, request, request)
    later = (await match(world, request))[0]
    assert [(a.revision, a.subject_id) for a in (first, again, later)] == [(1, "ada")] * 3
    assert len(await told(world, 1, after_cursor="0")) == 1
    assert world.value("tessera_gallery_tracklet_updates_total", outcome="repeated") == 2


async def test_the_end_of_a_tracklet_is_told(world: World) -> None:
    """As the last revision of its event; also when it was never decided."""
    await match(
        world,
        update("t1", 1, sample(person(0)), sample(person(0))),
        update("t1", 2, ended=True),
        update("t2", 1, sample(person(0)), ended=True),
    )
    events = [one.event for one in await told(world, 3, after_cursor="0")]
    assert [(event.revision, event.sighting.ended) for event in events] == [(1, False), (2, True), (1, True)]
    assert events[2].sighting.decision.outcome == pb.OUTCOME_INCONCLUSIVE


async def test_weak_looks_prove_no_stranger(world: World) -> None:
    """A tracklet of nothing but weak samples may match; it is never UNKNOWN."""
    dark = (Reason.LOW_BRIGHTNESS,)
    stranger, ada = await match(
        world,
        update("t1", 1, sample(person(20), reasons=dark), sample(person(20), reasons=dark)),
        update("t2", 1, sample(person(0), reasons=dark), sample(person(0), reasons=dark)),
    )
    assert (stranger.decision.outcome, list(stranger.decision.reasons)) == (
        pb.OUTCOME_INCONCLUSIVE,
        [pb.REASON_LOW_BRIGHTNESS],
    )
    assert ada.decision.outcome == pb.OUTCOME_MATCH


async def test_a_bad_update_does_not_end_the_stream(world: World) -> None:
    """It is answered in its place, and the next one is taken."""
    other = sample(person(0))
    other.embedding.model_id = "other@1"
    answers = await match(
        world,
        update("t1", 1, other),
        update("t2", 1, sample(person(0)), collection_id="nowhere"),
        update("t3", 0, sample(person(0))),
        update("t4", 1, sample([1.0])),
        update("t5", 1, sample(person(0)), sample(person(0))),
        update("t6", 1, sample(person(0)), last_seen={"seconds": 1 << 50}),
    )
    assert [answer.tracklet_id for answer in answers] == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert answers[0].reason == pb.REASON_MODEL_MISMATCH
    assert "nowhere" in answers[1].detail
    assert "sequence" in answers[2].detail
    assert answers[4].decision.outcome == pb.OUTCOME_MATCH
    assert "last_seen" in answers[5].detail


async def test_an_older_lease_is_not_heard(world: World) -> None:
    """Once a newer lease of a camera was heard of, words under an older one are refused, and told which it is."""
    answers = await match(
        world,
        update("t1", 1, sample(person(0)), sample(person(0)), lease_token=7),
        update("t2", 1, sample(person(0)), lease_token=9),
        update("t1", 2, sample(person(0)), lease_token=7),
        update("t3", 1, sample(person(0)), lease_token=7, camera_id="hall"),
    )
    assert [type(answer) for answer in answers] == [
        matching_pb2.TrackletDecision,
        matching_pb2.TrackletDecision,
        matching_pb2.TrackletRejected,
        matching_pb2.TrackletDecision,
    ]
    assert (answers[2].reason, answers[2].newest_lease_token) == (pb.REASON_LEASE_SUPERSEDED, 9)
    assert await _publish(world, "c1", lease_token=9)
    detail = await refused(_publish(world, "c2", lease_token=8))
    assert (detail.code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LEASE_SUPERSEDED")
    assert await _publish(world, "c3")


async def test_a_stream_begins_with_open(world: World) -> None:
    """Anything else is refused."""
    stream = world.stub.MatchStream(iter([update("t1", 1)]))
    assert (await refused(anext(aiter(stream)))).reason == "INVALID_FIELD"


async def test_a_restarted_gallery_goes_on_where_it_was(valkey: PrivateServer) -> None:
    """A tracklet that goes on is not told anew: the revision continues and the event stays one."""
    from redis.asyncio import Redis

    async with Redis.from_url(valkey.url) as client:
        await client.flushall()
    async with running_world(valkey.url) as world:
        await eventually(world.is_ready)
        await world.stub.EnrollSubject(
            subject_pb2.EnrollSubjectRequest(subject_id="ada", samples=[embedded(person(0))])
        )
        before = (await match(world, update("t1", 1, sample(person(0))), update("t1", 2, sample(person(0)))))[1]
    async with running_world(valkey.url) as world:
        await eventually(world.is_ready)
        after = (await match(world, update("t1", 3, sample(person(0)), sample(person(0)))))[0]
        assert (after.revision, after.subject_id, after.event_id) == (before.revision, "ada", before.event_id)
        assert [event.revision for event in await sightings(world)] == [1]


# ---- telling


async def test_a_watch_tells_what_was_and_then_what_comes(world: World) -> None:
    """From the oldest: what was there is marked as replayed, what comes is not, and a beat says where it stands."""
    await match(world, update("t1", 1, sample(person(0)), sample(person(0))))
    watch = world.events.WatchEvents(events_pb2.WatchEventsRequest(after_cursor="0"))
    stream = aiter(watch)
    assert (await anext(stream)).heartbeat.cursor == "0"
    old = await anext(stream)
    assert (old.event.cursor, old.replayed) == ("1", True)
    await match(world, update("t2", 1, sample(person(5)), sample(person(5))))
    new = await _next_event(stream)
    assert (new.event.sighting.subject_id, new.event.cursor, new.replayed) == ("bob", "2", False)
    watch.cancel()


async def _next_event(stream: AsyncIterator[events_pb2.WatchEventsResponse]) -> events_pb2.WatchEventsResponse:
    async with asyncio.timeout(40):
        async for response in stream:
            if response.HasField("event"):
                return response
    raise AssertionError("the watch ended")


async def test_a_late_event_is_never_live(world: World) -> None:
    """A match that is recorded after its time to live is marked as replayed: nobody opens a door because of it."""
    watch = world.events.WatchEvents(events_pb2.WatchEventsRequest())
    stream = aiter(watch)
    await anext(stream)
    await match(world, update("t1", 1, sample(person(0), age_s=60), sample(person(0), age_s=60)))
    assert (await _next_event(stream)).replayed
    watch.cancel()


async def test_a_watch_resumes_after_its_cursor(world: World) -> None:
    """Nothing is told twice and nothing is left out; without a cursor it begins now."""
    for number in range(4):
        await match(world, update(f"t{number}", 1, sample(person(0)), sample(person(0))))
    rest = await told(world, 2, after_cursor="2")
    assert [one.event.cursor for one in rest] == ["3", "4"]
    watch = world.events.WatchEvents(events_pb2.WatchEventsRequest())
    beats = [response.heartbeat.cursor async for response in _first(watch, 3)]
    assert beats == ["4", "4", "4"]


async def _first(watch: Any, count: int) -> AsyncIterator[events_pb2.WatchEventsResponse]:
    async for response in watch:
        yield response
        count -= 1
        if count == 0:
            watch.cancel()
            return


async def test_a_trimmed_cursor_is_refused(world: World) -> None:
    """Older than what is kept, or beyond the newest: OUT_OF_RANGE; no number at all: INVALID_ARGUMENT."""
    for number in range(40):
        await _publish(world, f"c{number}")

    async def watch(cursor: str) -> Any:
        return await anext(aiter(world.events.WatchEvents(events_pb2.WatchEventsRequest(after_cursor=cursor))))

    for cursor in ("9", "41"):
        told_of = await refused(watch(cursor))
        assert (told_of.code, told_of.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_TRIMMED")
    assert (await refused(watch("first"))).reason == "INVALID_FIELD"
    assert (await watch("10")).heartbeat.cursor == "10"


async def test_a_watch_can_be_narrowed(world: World) -> None:
    """By kind, by camera, by collection."""
    await _publish(world, "c1", camera_id="yard")
    await match(world, update("t1", 1, sample(person(0)), sample(person(0))))
    await _publish(world, "c2", camera_id="door")
    kinds = [events_pb2.EVENT_KIND_CAMERA]
    assert [one.event.event_id for one in await told(world, 2, after_cursor="0", kinds=kinds)] == ["c1", "c2"]
    door = await told(world, 2, after_cursor="0", camera_ids=["door"])
    assert [one.event.WhichOneof("body") for one in door] == ["sighting", "camera_event"]
    staff = await told(world, 1, after_cursor="0", collection_id="default")
    assert staff[0].event.HasField("sighting")


# ---- camera events and lists


async def _publish(world: World, event_id: str, camera_id: str = "door", **fields: Any) -> str:
    values: dict[str, Any] = {"event_id": event_id, "camera_id": camera_id, "event_time": {"seconds": 1_790_000_000}}
    values["event"] = events_pb2.CameraEvent(
        kind=events_pb2.CAMERA_EVENT_KIND_LOST, state=camera_pb2.CAMERA_STATE_LOST, detail="no answer"
    )
    request = events_pb2.PublishCameraEventRequest(**(values | fields))
    return (await world.events.PublishCameraEvent(request)).cursor


async def test_a_camera_event_is_recorded_once(world: World) -> None:
    """The same id again gets the same cursor; it comes back as it was sent, valid for a minute."""
    assert [await _publish(world, "c1"), await _publish(world, "c1"), await _publish(world, "c2")] == ["1", "1", "2"]
    event = (await told(world, 1, after_cursor="0"))[0].event
    assert (event.camera_event.kind, event.camera_event.state) == (
        events_pb2.CAMERA_EVENT_KIND_LOST,
        camera_pb2.CAMERA_STATE_LOST,
    )
    assert event.valid_until.seconds - event.event_time.seconds == 60


async def test_bad_camera_events_are_refused_by_field(world: World) -> None:
    """No id, no time, no kind, no time to live."""
    cases = [
        (_publish(world, ""), "event_id"),
        (_publish(world, "c1", camera_id="a b"), "camera_id"),
        (_publish(world, "c1", event_time=None), "event_time"),
        (_publish(world, "c1", event=events_pb2.CameraEvent()), "event.kind"),
        (_publish(world, "c1", event=events_pb2.CameraEvent(kind=99)), "event.kind"),  # type: ignore[arg-type]
        (_publish(world, "c1", event_time={"seconds": 1 << 40}), "event_time"),
        (_publish(world, "c1", time_to_live={"seconds": -1}), "time_to_live"),
        (_publish(world, "c1", time_to_live={"seconds": 1 << 37}), "time_to_live"),
    ]
    for call, field in cases:
        assert (await refused(call)).metadata["field"] == field


async def test_sightings_are_listed_newest_first(world: World) -> None:
    """In pages, and by camera, subject and outcome; camera events are not among them."""
    for number, who in enumerate([0, 5, 20, 0]):
        await match(world, update(f"t{number}", 1, sample(person(who)), sample(person(who))))
    await _publish(world, "c1")
    assert [event.sighting.subject_id for event in await sightings(world)] == ["ada", "", "bob", "ada"]
    first = await world.events.ListSightings(events_pb2.ListSightingsRequest(page_size=3))
    rest = await sightings(world, page_size=3, page_token=first.next_page_token)
    assert (len(first.events), [event.sighting.tracklet_id for event in rest]) == (3, ["t0"])
    assert len(await sightings(world, subject_id="ada")) == 2
    assert len(await sightings(world, outcome=pb.OUTCOME_UNKNOWN)) == 1
    assert await sightings(world, camera_id="yard") == []


async def test_an_erased_subject_leaves_no_sighting(world: World) -> None:
    """The receipt counts the revisions that went; a stranger's sighting stays."""
    await match(world, update("t1", 1, sample(person(0)), sample(person(0))), update("t1", 2, ended=True))
    await match(world, update("t2", 1, sample(person(20)), sample(person(20))))
    receipt = (await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada"))).receipt
    assert receipt.events_erased == 2
    assert [event.sighting.tracklet_id for event in await sightings(world)] == ["t2"]


async def test_a_sighting_names_its_zones_and_its_pictures(world: World) -> None:
    """As the worker names it, in each revision."""
    first = update("t1", 1, sample(person(0)), sample(person(0)), best_shot_id="5" * 32)
    last = update("t1", 2, ended=True, best_shot_id="5" * 32, clip_id="6" * 32, zones=["door", "till"])
    await match(world, first, last)
    (event,) = await sightings(world)
    seen = event.sighting
    assert (seen.best_shot_id, seen.clip_id, list(seen.zones)) == ("5" * 32, "6" * 32, ["door", "till"])
    assert seen.ended


async def test_an_unknown_person_has_one_link_on_every_camera(world: World) -> None:
    """Two strangers on two cameras are two links; who is recognised has none; the answer and the list say the same."""
    for name, number, camera_id in (("t1", 20, "door"), ("t2", 20, "hall"), ("t3", 25, "hall"), ("t4", 0, "hall")):
        looks = (sample(person(number, 0.1)), sample(person(number, 0.05)))
        (decided,) = await match(world, update(name, 1, *looks, camera_id=camera_id))
        assert bool(decided.link_id) is (decided.decision.outcome == pb.OUTCOME_UNKNOWN)
    links = {event.sighting.tracklet_id: event.sighting.link_id for event in await sightings(world)}
    assert links["t1"] == links["t2"] != ""
    assert links["t3"] not in ("", links["t1"])
    assert links["t4"] == ""


async def test_a_link_is_told_for_as_long_as_it_is_kept() -> None:
    """After its retention the sighting is still listed, and says no more who else it was."""
    async with running_world("memory", link_retention_s=4.0) as world:
        await eventually(world.is_ready)
        await world.stub.EnrollSubject(
            subject_pb2.EnrollSubjectRequest(subject_id="ada", samples=[embedded(person(0))])
        )
        await match(world, update("t1", 1, sample(person(20)), sample(person(20))))
        assert (await sightings(world))[0].sighting.link_id

        async def is_untold() -> bool:
            (event,) = await sightings(world)
            return event.sighting.link_id == ""

        await eventually(is_untold)


async def test_who_keeps_pictures_is_told_what_is_gone(world: World) -> None:
    """Sightings that were erased or never told, and subjects that are no longer there; not those that are."""
    for name, number in (("t1", 0), ("t2", 5), ("t3", 20)):
        await match(world, update(name, 1, sample(person(number)), sample(person(number))))
    ids = {event.sighting.tracklet_id: event.event_id for event in await sightings(world)}
    subjects = [("default", "ada"), ("default", "bob"), ("elsewhere", "ada")]
    request = events_pb2.CheckSightingsRequest(
        event_ids=[*ids.values(), "never-told"],
        subjects=[events_pb2.SightedSubject(collection_id=one, subject_id=other) for one, other in subjects],
    )
    before = await world.events.CheckSightings(request)
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada"))
    after = await world.events.CheckSightings(request)
    assert list(before.gone_event_ids) == ["never-told"]
    assert [one.collection_id for one in before.gone_subjects] == ["elsewhere"]
    assert set(after.gone_event_ids) == {ids["t1"], "never-told"}
    assert [(one.collection_id, one.subject_id) for one in after.gone_subjects] == [subjects[0], subjects[2]]


async def test_too_much_is_not_asked_at_once(world: World) -> None:
    """The field is named."""
    request = events_pb2.CheckSightingsRequest(event_ids=["e"] * 1001)
    detail = await refused(world.events.CheckSightings(request))
    assert detail.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "event_ids" in detail.message


async def test_a_tracklet_that_goes_on_never_names_an_erased_subject(world: World) -> None:
    """What was decided before the erasure is judged anew: its end is told without the name."""
    *_, decided = await match(world, update("t1", 1, sample(person(0, 0.1))), update("t1", 2, sample(person(0, 0.1))))
    assert decided.subject_id == "ada"
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada"))
    (ended,) = await match(world, update("t1", 3, ended=True))
    assert (ended.subject_id, ended.decision.outcome) == ("", pb.OUTCOME_UNKNOWN)
    assert ended.revision > decided.revision
    assert [event.sighting.subject_id for event in await sightings(world)] == [""]


async def test_an_answer_names_the_evidence_that_is_on_record(valkey: PrivateServer) -> None:
    """An update that is repeated to a restarted gallery gets the first evidence id, not one that no log knows."""
    from redis.asyncio import Redis

    async with Redis.from_url(valkey.url) as client:
        await client.flushall()
    looks = [update("t1", n, sample(person(0, 0.1))) for n in (1, 2)]
    found = []
    for _ in range(2):
        async with running_world(valkey.url) as world:
            await eventually(world.is_ready)
            if not found:
                await world.stub.EnrollSubject(
                    subject_pb2.EnrollSubjectRequest(subject_id="ada", samples=[embedded(person(0))])
                )
            found.append((await match(world, *looks))[-1].decision.evidence_id)
            recorded = (await sightings(world))[0].sighting.decision.evidence_id
    assert found == [recorded, recorded]
