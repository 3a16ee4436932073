"""One suite, several stores: events, audit entries, and who else is there."""

from __future__ import annotations

from datetime import timedelta

from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.change_records import Member
from gallery_svc.store.event_records import CameraEventBody, NewEvent, SightingBody
from gallery_svc.store.protocol import GLOBAL_LOG, Store, audit_log
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.ids import CameraId, EventId, SubjectId, TrackletId
from tessera.domain.observation import Box
from tessera.domain.reasons import Reason
from tests.congruence.conftest import EVENTS_KEPT
from tests.congruence.store_world import ADA, AT, MODEL, QUALITY, STAFF, THRESHOLD, audit, audited
from tests.eventually import eventually


def _sighting(name: str, content: str = "1", subject_id: SubjectId | None = ADA) -> NewEvent:
    body = SightingBody(
        tracklet_id=TrackletId(name),
        collection_id=STAFF,
        modality=Modality.FACE,
        outcome=Outcome.MATCH if subject_id else Outcome.UNKNOWN,
        reasons=(Reason.EXTREME_POSE,),
        threshold=THRESHOLD,
        model_id=MODEL,
        evidence_id="ev-1",
        decided_at=AT,
        decision_revision=1,
        subject_id=subject_id,
        first_seen=AT,
        last_seen=AT,
        frame_count=3,
        box=Box(1.0, 2.0, 3.0, 4.0),
        quality=QUALITY,
        ended=False,
        capture_to_decision_s=0.25,
    )
    return NewEvent(EventId(f"e-{name}"), CameraId("door"), AT, AT, AT + timedelta(seconds=5), body, content)


def _camera_event(name: str) -> NewEvent:
    body = CameraEventBody(CameraEventKind.LOST, None, "no answer", (Box(0.0, 0.0, 1.0, 1.0),), 0.5)
    return NewEvent(EventId(name), CameraId("door"), AT, AT, AT + timedelta(seconds=60), body, "once")


async def test_events_get_contiguous_numbers_and_come_back_whole(store: Store) -> None:
    """Both kinds, oldest first from any cursor, newest first backwards."""
    sighting, first = await store.record_event(_sighting("a"), audit())
    camera, _ = await store.record_event(_camera_event("c1"), None)
    assert (sighting.sequence, sighting.revision, camera.sequence, first) == (1, 1, 2, True)
    assert await store.events_after(0, 10) == [sighting, camera]
    assert await store.events_after(1, 10) == [camera]
    assert await store.events_before(3, 10) == [camera, sighting]
    assert await store.events_before(2, 10) == [sighting]
    assert await audited(store, GLOBAL_LOG) == [audit()]


async def test_an_event_told_again_writes_nothing(store: Store) -> None:
    """The same content is the same revision; other content is the next one."""
    first, _ = await store.record_event(_sighting("a", "1"), audit())
    again, is_new = await store.record_event(_sighting("a", "1"), audit())
    assert (again, is_new) == (first, False)
    other, is_new = await store.record_event(_sighting("a", "2"), audit())
    assert (other.sequence, other.revision, is_new) == (2, 2, True)
    assert await store.find_event(EventId("e-a")) == other
    assert await store.newest_revisions([EventId("e-a"), EventId("none")]) == {"e-a": 2}
    assert len(await audited(store, GLOBAL_LOG)) == 2


async def test_old_events_go_by_count(store: Store) -> None:
    """The oldest leave first, the head says from where events are kept, and an event that is gone is not found."""
    for n in range(EVENTS_KEPT + 5):
        await store.record_event(_camera_event(f"c{n}"), None)
    head = await store.event_head()
    assert (head.newest, head.oldest) == (EVENTS_KEPT + 5, 6)
    assert [record.sequence for record in await store.events_after(0, 100)] == list(range(6, EVENTS_KEPT + 6))
    assert await store.find_event(EventId("c0")) is None
    assert await store.find_event(EventId("c10")) is not None


async def test_an_erased_subject_is_in_no_event(store: Store) -> None:
    """Every revision that names it goes; the others and their numbers stay."""
    await store.record_event(_sighting("a", "1"), None)
    await store.record_event(_sighting("a", "2"), None)
    stranger, _ = await store.record_event(_sighting("b", "1", None), None)
    assert await store.erase_events(STAFF, ADA) == 2
    assert await store.events_after(0, 10) == [stranger]
    assert await store.erase_events(STAFF, ADA) == 0
    assert (await store.record_event(_camera_event("c"), None))[0].sequence == 4


# ---- audit


async def test_audit_entries_keep_their_order(store: Store) -> None:
    """Each log counts for itself, several entries go in one write, and each comes back whole, with its stamp."""
    log = audit_log(STAFF, 3)
    assert await store.append_audit(log, [audit("Verify"), audit("Identify")]) == [1, 2]
    assert await store.append_audit(log, [audit("Verify")]) == [3]
    assert await store.append_audit(GLOBAL_LOG, [audit("Compare", None)]) == [1]
    entries = await store.audit_after(log, 1, 1)
    assert [entry.sequence for entry in entries] == [2]
    assert codec.load(AuditRecord, entries[0].entry, "audit") == audit("Identify")
    stamps = [entry.stamp for entry in await store.audit_after(log, 0, 10)]
    assert [stamp.n for stamp in stamps] == [1, 2, 3]
    assert {(stamp.writer, len(stamp.mac)) for stamp in stamps} == {(stamps[0].writer, 32)}
    assert await audited(store, GLOBAL_LOG) == [audit("Compare", None)]
    assert await store.audit_logs() == sorted([GLOBAL_LOG, log])
    assert await store.audit_after(audit_log(STAFF, 9), 0, 10) == []


async def test_a_trimmed_audit_log_counts_on(store: Store) -> None:
    """What was trimmed is gone, and its numbers are not given again."""
    log = audit_log(STAFF, 0)
    await store.append_audit(log, [audit()] * 5)
    await store.trim_audit(log, 3)
    assert [entry.sequence for entry in await store.audit_after(log, 0, 10)] == [4, 5]
    await store.trim_audit(log, 99)
    assert await store.audit_after(log, 0, 10) == []
    assert await store.append_audit(log, [audit()]) == [6]
    await store.trim_audit(audit_log(STAFF, 9), 5)
    assert await store.audit_logs() == [log]


# ---- who else is there


async def test_a_member_is_known_by_its_last_sign_of_life(store: Store) -> None:
    """Each once, with what it holds."""
    first = Member("g1", AT, {"staff": (4, 0)}, {"staff": "abc"})
    second = Member("g2", AT, {})
    await store.heartbeat(second)
    await store.heartbeat(Member("g1", AT, {}))
    await store.heartbeat(first)
    assert await store.members() == [first, second]


async def test_a_lease_has_one_holder(store: Store) -> None:
    """Who holds it may hold it longer; others wait until it is given back, by its holder alone."""
    assert await store.take_lease("janitor", "g1", 30.0)
    assert await store.take_lease("janitor", "g1", 30.0)
    assert not await store.take_lease("janitor", "g2", 30.0)
    assert await store.take_lease("another", "g2", 30.0)
    await store.drop_lease("janitor", "g2")
    assert not await store.take_lease("janitor", "g2", 30.0)
    await store.drop_lease("janitor", "g1")
    assert await store.take_lease("janitor", "g2", 30.0)


async def test_a_lease_ends_by_itself(store: Store) -> None:
    """Whoever died with it does not keep it."""

    async def taken() -> bool:
        return await store.take_lease("janitor", "g2", 30.0)

    assert await store.take_lease("janitor", "g1", 0.05)
    await eventually(taken)
    assert not await store.take_lease("janitor", "g1", 0.05)
