"""One suite, several stores: what the protocol promises holds on each of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gallery_svc.store.protocol import Store
from gallery_svc.store.records import (
    AuditRecord,
    CameraEventBody,
    CameraEventKind,
    ChangeKind,
    CollectionRecord,
    Enrollment,
    Erasure,
    GateRecord,
    NewEvent,
    NewTemplate,
    PolicyRecord,
    Position,
    RequestKey,
    SightingBody,
    SubjectProfile,
    TemplateRecord,
)
from tessera.domain.calibration import RateKind, Threshold
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.errors import (
    AlreadyExistsError,
    ModelMismatchError,
    NotEmptyError,
    NotFoundError,
    RequestIdReusedError,
)
from tessera.domain.ids import (
    CalibrationId,
    CameraId,
    CollectionId,
    EventId,
    ModelId,
    RequestId,
    SubjectId,
    TemplateId,
    TrackletId,
)
from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason
from tests.congruence.conftest import EVENTS_KEPT

AT = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
STAFF = CollectionId("staff")
MODEL = ModelId("face@1")
ADA = SubjectId("ada")
QUALITY = Quality(0.9, 0.5, 0.4, 1.0, 0.8, 0.4, (Reason.LOW_CONTRAST,))
THRESHOLD = Threshold(0.4, RateKind.FPIR, 0.01, 1e-4, Interval(5e-5, 2e-4), 7, MODEL, CalibrationId("cal-1"))


def _audit(method: str = "EnrollSubject", collection_id: CollectionId | None = STAFF) -> AuditRecord:
    return AuditRecord(method, AT, "ev-1", "peer", collection_id, ADA, "r", Outcome.MATCH, THRESHOLD)


def _template(name: str, vector: list[float] | None = None, model_id: ModelId = MODEL) -> NewTemplate:
    record = TemplateRecord(TemplateId(name), model_id, AT, QUALITY, "0" * 64)
    return NewTemplate(record, np.array(vector or [1.0, 0.0], dtype=np.float32))


def _enrollment(*templates: NewTemplate, subject_id: SubjectId = ADA, request: RequestKey | None = None) -> Enrollment:
    profile = SubjectProfile(display_name="Ada", labels=("staff",), metadata={"floor": "3"}, valid_from=AT)
    return Enrollment(STAFF, subject_id, profile, templates, AT, _audit(), request, "the note")


def _erasure(request: RequestKey | None = None) -> Erasure:
    return Erasure(STAFF, ADA, "receipt-1", 2, AT, _audit("DeleteSubject"), request)


@pytest.fixture
async def staffed(store: Store) -> Store:
    """A store with one empty collection."""
    await store.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    return store


# ---- collections


async def test_a_collection_comes_back_as_it_went_in(store: Store) -> None:
    """Every field survives, the unset ones too; a second one of the same id is refused."""
    record = CollectionRecord(
        collection_id=STAFF,
        modality=Modality.PERSON,
        model_id=MODEL,
        created_at=AT,
        display_name="Über uns",
        policy=PolicyRecord(1e-3, 0.05, 500, 3),
        gate=GateRecord(min_pose=0.5),
        labels={"site": "north"},
        request_id="r-1",
    )
    await store.create_collection(record)
    assert await store.find_collection(STAFF) == record
    assert await store.list_collections() == (record,)
    with pytest.raises(AlreadyExistsError):
        await store.create_collection(record)


async def test_collections_are_listed_by_id(store: Store) -> None:
    """In the order of their ids, whatever the order of their making."""
    for name in ("b", "a", "c"):
        await store.create_collection(CollectionRecord(CollectionId(name), Modality.FACE, MODEL, AT))
    assert [record.collection_id for record in await store.list_collections()] == ["a", "b", "c"]


async def test_a_collection_with_subjects_goes_only_by_force(staffed: Store) -> None:
    """Without force it is refused and nothing is lost; with it the number of subjects is told; the audit log stays."""
    await staffed.enroll(_enrollment(_template("t1")))
    with pytest.raises(NotEmptyError):
        await staffed.delete_collection(STAFF, _audit("DeleteCollection"), force=False)
    assert await staffed.find_subject(STAFF, ADA) is not None
    assert await staffed.delete_collection(STAFF, _audit("DeleteCollection"), force=True) == 1
    assert await staffed.find_collection(STAFF) is None
    assert await staffed.heads([STAFF]) == {}
    assert [entry.method for entry in await staffed.audit_after(STAFF, 0, 10)] == ["EnrollSubject", "DeleteCollection"]
    with pytest.raises(NotFoundError):
        await staffed.delete_collection(STAFF, _audit("DeleteCollection"), force=True)


async def test_a_collection_made_again_has_another_history(staffed: Store) -> None:
    """A follower of the first cannot take the second for it, and a request id of the first is free again."""
    request = RequestKey(RequestId("r1"), "digest")
    await staffed.enroll(_enrollment(_template("t1"), request=request))
    before = (await staffed.heads([STAFF]))[STAFF].position
    await staffed.delete_collection(STAFF, _audit("DeleteCollection"), force=True)
    await staffed.create_collection(CollectionRecord(STAFF, Modality.FACE, MODEL, AT))
    assert await staffed.changes_after(STAFF, before, 10) is None
    assert await staffed.find_enrolled(STAFF, request) is None
    assert not (await staffed.enroll(_enrollment(_template("t2"), request=request))).replayed


# ---- enrolment


async def test_an_enrolment_writes_everything_at_once(staffed: Store) -> None:
    """Subject, counts, change and audit entry are there together."""
    enrolled = await staffed.enroll(_enrollment(_template("t1"), _template("t2")))
    assert (enrolled.position, enrolled.replayed, enrolled.note) == (1, False, "the note")
    assert await staffed.find_subject(STAFF, ADA) == enrolled.subject
    head = (await staffed.heads([STAFF]))[STAFF]
    assert (head.position.sequence, head.subject_count, head.template_count) == (1, 1, 2)
    assert await staffed.audit_after(STAFF, 0, 10) == [_audit()]


async def test_a_second_enrolment_adds_to_the_subject(staffed: Store) -> None:
    """Templates grow, empty fields keep what was there, the revision grows, the subject is counted once."""
    await staffed.enroll(_enrollment(_template("t1")))
    later = replace(_enrollment(_template("t2")), profile=SubjectProfile(external_id="77"), at=AT + timedelta(hours=1))
    subject = (await staffed.enroll(later)).subject
    assert [template.template_id for template in subject.templates] == ["t1", "t2"]
    assert (subject.profile.display_name, subject.profile.external_id, subject.revision) == ("Ada", "77", 2)
    assert (subject.created_at, subject.updated_at) == (AT, AT + timedelta(hours=1))
    assert (await staffed.heads([STAFF]))[STAFF].subject_count == 1


async def test_a_retry_gets_the_first_answer_and_writes_nothing(staffed: Store) -> None:
    """Also when the retry would have made another subject id; log, audit and counts stay as they were."""
    request = RequestKey(RequestId("r1"), "digest")
    first = await staffed.enroll(_enrollment(_template("t1"), request=request))
    retry = _enrollment(_template("t9"), subject_id=SubjectId("made-anew"), request=request)
    assert await staffed.enroll(retry) == replace(first, replayed=True)
    assert await staffed.find_enrolled(STAFF, request) == replace(first, replayed=True)
    assert (await staffed.heads([STAFF]))[STAFF].position.sequence == 1
    assert len(await staffed.audit_after(STAFF, 0, 10)) == 1


async def test_a_request_id_with_other_content_is_refused(staffed: Store) -> None:
    """Nothing is written, whether it is asked for first or tried at once."""
    await staffed.enroll(_enrollment(_template("t1"), request=RequestKey(RequestId("r1"), "digest")))
    other = RequestKey(RequestId("r1"), "another digest")
    with pytest.raises(RequestIdReusedError):
        await staffed.find_enrolled(STAFF, other)
    with pytest.raises(RequestIdReusedError):
        await staffed.enroll(_enrollment(_template("t2"), request=other))
    assert (await staffed.heads([STAFF]))[STAFF].template_count == 1


async def test_a_template_of_another_model_changes_nothing(staffed: Store) -> None:
    """The good template beside it is not written either."""
    with pytest.raises(ModelMismatchError):
        await staffed.enroll(_enrollment(_template("t1"), _template("t2", model_id=ModelId("face@2"))))
    assert await staffed.find_subject(STAFF, ADA) is None
    assert (await staffed.heads([STAFF]))[STAFF].position.sequence == 0
    assert await staffed.audit_after(STAFF, 0, 10) == []


async def test_nothing_is_enrolled_into_a_collection_that_is_not_there(store: Store) -> None:
    """And asking for an earlier answer says the same."""
    with pytest.raises(NotFoundError):
        await store.enroll(_enrollment(_template("t1")))
    with pytest.raises(NotFoundError):
        await store.find_enrolled(STAFF, RequestKey(RequestId("r1"), "digest"))


async def test_enrolments_at_the_same_moment_are_all_kept(staffed: Store) -> None:
    """Eight writers of one subject: every template is there, and the log has no gap."""
    await asyncio.gather(*(staffed.enroll(_enrollment(_template(f"t{n}"))) for n in range(8)))
    subject = await staffed.find_subject(STAFF, ADA)
    assert subject is not None
    assert {template.template_id for template in subject.templates} == {f"t{n}" for n in range(8)}
    assert (subject.revision, (await staffed.heads([STAFF]))[STAFF].position.sequence) == (8, 8)


async def test_one_request_id_at_the_same_moment_is_one_enrolment(staffed: Store) -> None:
    """Of eight calls one writes and seven are told its answer."""
    request = RequestKey(RequestId("r1"), "digest")
    answers = await asyncio.gather(
        *(
            staffed.enroll(_enrollment(_template(f"t{n}"), subject_id=SubjectId(f"s{n}"), request=request))
            for n in range(8)
        )
    )
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert len({answer.subject.subject_id for answer in answers}) == 1
    assert (await staffed.heads([STAFF]))[STAFF].subject_count == 1


async def test_subjects_are_listed_by_id_in_pages(staffed: Store) -> None:
    """Each page goes on where the last one ended, and the last one says so."""
    for name in ("c", "a", "e", "b", "d"):
        await staffed.enroll(_enrollment(_template(f"t-{name}"), subject_id=SubjectId(name)))
    first = await staffed.list_subjects(STAFF, "", 2)
    second = await staffed.list_subjects(STAFF, first.next_after, 2)
    third = await staffed.list_subjects(STAFF, second.next_after, 2)
    pages = [[subject.subject_id for subject in page.subjects] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert third.next_after == ""
    with pytest.raises(NotFoundError):
        await staffed.list_subjects(CollectionId("nobody"), "", 2)


# ---- erasure


async def test_an_erasure_takes_the_subject_with_its_templates(staffed: Store) -> None:
    """The receipt counts them; subject, vectors and counts are gone; the change is in the log."""
    await staffed.enroll(_enrollment(_template("t1"), _template("t2")))
    erased = await staffed.erase(_erasure())
    assert (erased.templates_erased, erased.events_erased, erased.position, erased.replayed) == (2, 2, 2, False)
    assert await staffed.find_subject(STAFF, ADA) is None
    head = (await staffed.heads([STAFF]))[STAFF]
    assert (head.subject_count, head.template_count) == (0, 0)
    assert [subject async for subject in staffed.load_subjects(STAFF)] == []
    with pytest.raises(NotFoundError):
        await staffed.erase(_erasure())


async def test_an_enrolment_sent_again_after_the_erasure_tells_nothing(staffed: Store) -> None:
    """The late retry finds nobody: neither the name nor the templates come back, and nothing is written."""
    request = RequestKey(RequestId("r1"), "digest")
    enrollment = _enrollment(_template("t1"), request=request)
    await staffed.enroll(enrollment)
    await staffed.erase(_erasure())
    with pytest.raises(NotFoundError, match="ada"):
        await staffed.enroll(enrollment)
    with pytest.raises(NotFoundError, match="ada"):
        await staffed.find_enrolled(STAFF, request)
    assert (await staffed.heads([STAFF]))[STAFF].subject_count == 0


async def test_an_erasure_sent_again_gets_the_same_receipt(staffed: Store) -> None:
    """The retry finds no subject and is told what the first call did."""
    request = RequestKey(RequestId("r1"), "erase ada")
    await staffed.enroll(_enrollment(_template("t1")))
    first = await staffed.erase(_erasure(request))
    assert await staffed.erase(_erasure(request)) == replace(first, replayed=True)
    assert await staffed.find_erased(STAFF, request) == replace(first, replayed=True)
    assert (await staffed.heads([STAFF]))[STAFF].position.sequence == 2


# ---- following


async def test_changes_come_in_order_with_their_vectors(staffed: Store) -> None:
    """From any position on; a vector that was erased since is not told again."""
    start = (await staffed.heads([STAFF]))[STAFF].position
    bob = SubjectId("bob")
    await staffed.enroll(_enrollment(_template("t1", [0.6, 0.8])))
    await staffed.enroll(_enrollment(_template("t2"), subject_id=bob))
    await staffed.erase(_erasure())
    changes = await staffed.changes_after(STAFF, start, 10)
    assert changes is not None
    told = [(c.position.sequence, c.kind, c.subject_id, len(c.templates)) for c in changes]
    assert told == [
        (1, ChangeKind.ENROLLED, ADA, 0),
        (2, ChangeKind.ENROLLED, bob, 1),
        (3, ChangeKind.ERASED, ADA, 0),
    ]
    assert changes[1].display_name == "Ada"
    np.testing.assert_array_equal(changes[1].templates[0].vector, np.array([1.0, 0.0], dtype=np.float32))
    assert changes[2].position == (await staffed.heads([STAFF]))[STAFF].position
    rest = await staffed.changes_after(STAFF, changes[0].position, 1)
    assert rest is not None
    assert [change.position for change in rest] == [changes[1].position]
    assert await staffed.changes_after(STAFF, changes[2].position, 10) == []


async def test_a_position_of_another_history_is_not_followed(staffed: Store) -> None:
    """Ahead of the log, or with another chain: the follower must load again."""
    await staffed.enroll(_enrollment(_template("t1")))
    await staffed.enroll(_enrollment(_template("t2")))
    here = (await staffed.heads([STAFF]))[STAFF].position
    for strange in (Position(3, here.chain), Position(2, "other"), Position(1, "other"), Position(0, "other")):
        assert await staffed.changes_after(STAFF, strange, 10) is None


async def test_a_load_finds_every_subject(staffed: Store) -> None:
    """More subjects than one read holds, each with its vector."""
    vectors = np.random.default_rng(1).normal(size=(1200, 4)).astype(np.float32)
    for first in range(0, 1200, 100):
        await asyncio.gather(
            *(
                staffed.enroll(_enrollment(_template(f"t{n}", vectors[n].tolist()), subject_id=SubjectId(f"s{n}")))
                for n in range(first, first + 100)
            )
        )
    loaded = {subject.subject_id: subject async for subject in staffed.load_subjects(STAFF)}
    assert len(loaded) == 1200
    np.testing.assert_array_equal(loaded[SubjectId("s777")].templates[0].vector, vectors[777])


# ---- events


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
    sighting, first = await store.record_event(_sighting("a"), _audit(collection_id=STAFF))
    camera, _ = await store.record_event(_camera_event("c1"), None)
    assert (sighting.sequence, sighting.revision, camera.sequence, first) == (1, 1, 2, True)
    assert await store.events_after(0, 10) == [sighting, camera]
    assert await store.events_after(1, 10) == [camera]
    assert await store.events_before(3, 10) == [camera, sighting]
    assert await store.events_before(2, 10) == [sighting]
    assert await store.audit_after(None, 0, 10) == [_audit(collection_id=STAFF)]


async def test_an_event_told_again_writes_nothing(store: Store) -> None:
    """The same content is the same revision; other content is the next one."""
    first, _ = await store.record_event(_sighting("a", "1"), _audit())
    again, is_new = await store.record_event(_sighting("a", "1"), _audit())
    assert (again, is_new) == (first, False)
    other, is_new = await store.record_event(_sighting("a", "2"), _audit())
    assert (other.sequence, other.revision, is_new) == (2, 2, True)
    assert await store.find_event(EventId("e-a")) == other
    assert await store.newest_revisions([EventId("e-a"), EventId("none")]) == {"e-a": 2}
    assert len(await store.audit_after(None, 0, 10)) == 2


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


async def test_audit_entries_keep_their_order(store: Store) -> None:
    """Each log counts for itself, and an entry comes back whole."""
    assert await store.append_audit(_audit("Verify")) == 1
    assert await store.append_audit(_audit("Identify")) == 2
    assert await store.append_audit(_audit("Compare", None)) == 1
    assert await store.audit_after(STAFF, 1, 10) == [_audit("Identify")]
    assert await store.audit_after(None, 0, 10) == [_audit("Compare", None)]
