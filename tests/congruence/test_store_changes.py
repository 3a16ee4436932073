"""One suite, several stores: what changes a subject that is there, and what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gallery_svc.rows import half
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import SubjectProfile
from gallery_svc.store.write_records import ErasureEnd, OpenErasure
from tessera.domain.errors import (
    InvalidInputError,
    NotFoundError,
    PreconditionError,
    RequestIdReusedError,
    RevisionChangedError,
)
from tessera.domain.ids import CollectionId, SubjectId, TemplateId
from tests.congruence.store_world import (
    ADA,
    BOB,
    LATER,
    PROFILE,
    STAFF,
    audited_everywhere,
    changes_so_far,
    collection,
    counts,
    deletion,
    enrollment,
    erasure,
    first_of,
    names_in_shard,
    present,
    request,
    rows_of,
    template,
    update,
)

# ---- profiles


async def test_an_update_changes_the_named_fields_alone(staffed: Store, shards: int) -> None:
    """Also to nothing; templates stay, the revision grows, and searches see the new name."""
    await staffed.enroll(enrollment(template("t1")))
    changed = await staffed.update_profile(
        update(SubjectProfile(display_name="Countess"), "display_name", "labels", "valid_from")
    )
    assert changed.subject.profile == replace(PROFILE, display_name="Countess", labels=(), valid_from=None)
    assert (changed.subject.revision, changed.subject.updated_at) == (2, LATER)
    assert (changed.position, changed.replayed) == (first_of(ADA, shards, 2), False)
    assert await staffed.find_subject(STAFF, ADA) == changed.subject
    assert (await rows_of(staffed, shards))[ADA] == (["t1"], [[1.0, 0.0, 0.0, 0.0]], "Countess")
    assert await counts(staffed) == (1, 1)
    assert await audited_everywhere(staffed, shards) == ["EnrollSubject", "UpdateSubject"]


async def test_an_update_of_what_somebody_else_changed_is_refused(staffed: Store, shards: int) -> None:
    """It tells the revision that there is, and nothing is written."""
    await staffed.enroll(enrollment(template("t1")))
    await staffed.update_profile(update(SubjectProfile(display_name="A"), "display_name", expected=1))
    with pytest.raises(RevisionChangedError) as refused:
        await staffed.update_profile(update(SubjectProfile(display_name="B"), "display_name", expected=1))
    assert (refused.value.expected, refused.value.actual) == (1, 2)
    assert (await present(staffed)).profile.display_name == "A"
    assert await changes_so_far(staffed) == 2


async def test_an_update_sent_again_changes_nothing(staffed: Store, shards: int) -> None:
    """The retry is told the first answer, although the subject is no more at the revision that it expects."""
    await staffed.enroll(enrollment(template("t1")))
    for at in range(min(shards, 3)):
        key = request(names_in_shard(at, shards, 1)[0])
        wanted = update(SubjectProfile(display_name=f"A{at}"), "display_name", expected=at + 1, key=key)
        first = await staffed.update_profile(wanted)
        assert await staffed.update_profile(wanted) == replace(first, replayed=True)
        with pytest.raises(RequestIdReusedError):
            await staffed.update_profile(replace(wanted, request=request(key.request_id, "other")))


async def test_an_update_names_only_fields_that_there_are(staffed: Store, shards: int) -> None:
    """Anything else is refused with the names that are allowed; so is an update of nobody."""
    await staffed.enroll(enrollment(template("t1")))
    with pytest.raises(InvalidInputError, match="display_name"):
        await staffed.update_profile(update(SubjectProfile(), "shoe_size"))
    with pytest.raises(NotFoundError, match="subject"):
        await staffed.update_profile(replace(update(SubjectProfile(), "labels"), subject_id=BOB))
    with pytest.raises(NotFoundError, match="collection"):
        await staffed.update_profile(replace(update(SubjectProfile(), "labels"), collection_id=CollectionId("none")))
    assert await changes_so_far(staffed) == 1


# ---- templates


async def test_a_template_goes_with_its_vector_and_its_picture(staffed: Store, shards: int) -> None:
    """The others stay as they were."""
    await staffed.enroll(enrollment(template("t1", picture=b"one"), template("t2", [0, 1, 0, 0], picture=b"two")))
    changed = await staffed.delete_template(deletion("t1"))
    assert [each.template_id for each in changed.subject.templates] == ["t2"]
    assert (changed.subject.revision, changed.position) == (2, first_of(ADA, shards, 2))
    assert await staffed.find_subject(STAFF, ADA) == changed.subject
    assert (await rows_of(staffed, shards))[ADA] == (["t2"], [[0.0, 1.0, 0.0, 0.0]], "Ada")
    assert await staffed.find_picture(STAFF, ADA, TemplateId("t1")) is None
    assert await staffed.find_picture(STAFF, ADA, TemplateId("t2")) == b"two"
    assert await counts(staffed) == (1, 1)
    assert await audited_everywhere(staffed, shards) == ["EnrollSubject", "DeleteTemplate"]


async def test_the_last_template_stays(staffed: Store, shards: int) -> None:
    """The error says to erase the subject; one that is not there is not found."""
    await staffed.enroll(enrollment(template("t1")))
    with pytest.raises(PreconditionError, match="erase"):
        await staffed.delete_template(deletion("t1"))
    with pytest.raises(NotFoundError, match="template"):
        await staffed.delete_template(deletion("t9"))
    with pytest.raises(NotFoundError, match="subject"):
        await staffed.delete_template(replace(deletion("t1"), subject_id=BOB))
    assert await changes_so_far(staffed) == 1


async def test_a_template_deletion_sent_again_is_told_the_first_answer(staffed: Store, shards: int) -> None:
    """The retry finds no such template and no error either."""
    await staffed.enroll(enrollment(template("t1"), template("t2")))
    first = await staffed.delete_template(deletion("t1", request()))
    assert await staffed.delete_template(deletion("t1", request())) == replace(first, replayed=True)
    assert await changes_so_far(staffed) == 2


# ---- erasure


async def test_an_erasure_takes_the_subject_with_its_templates(staffed: Store, shards: int) -> None:
    """The receipt counts them; subject, vectors and counts are gone; the other subject stays."""
    await staffed.enroll(enrollment(template("t1"), template("t2")))
    await staffed.enroll(enrollment(template("t3"), subject_id=BOB))
    erased = await staffed.erase(erasure())
    assert (erased.templates_erased, erased.events_erased, erased.pictures_erased, erased.replayed) == (2, 2, 0, False)
    assert await staffed.find_subject(STAFF, ADA) is None
    assert set(await rows_of(staffed, shards)) == {BOB}
    assert await counts(staffed) == (1, 1)
    assert [subject.subject_id for subject in (await staffed.list_subjects(STAFF, "", 9)).subjects] == [BOB]
    with pytest.raises(NotFoundError):
        await staffed.erase(erasure())
    with pytest.raises(NotFoundError):
        await staffed.erase(replace(erasure(), collection_id=CollectionId("none")))
    assert await staffed.check(STAFF) == []


async def test_what_is_sent_again_after_the_erasure_tells_nothing(staffed: Store, shards: int) -> None:
    """The late retry finds nobody: neither the name nor the templates come back, and nothing is written."""
    first = enrollment(template("t1"), key=request())
    await staffed.enroll(first)
    change = update(SubjectProfile(display_name="A"), "display_name", key=request("r2"))
    await staffed.update_profile(change)
    await staffed.erase(erasure())
    with pytest.raises(NotFoundError, match="ada"):
        await staffed.enroll(first)
    with pytest.raises(NotFoundError, match="ada"):
        await staffed.find_enrolled(STAFF, request())
    with pytest.raises(NotFoundError, match="ada"):
        await staffed.update_profile(change)
    assert await counts(staffed) == (0, 0)


async def test_somebody_else_of_the_same_id_is_not_told_by_the_first_ones_request(staffed: Store, shards: int) -> None:
    """Enrolled again after the erasure, with a life of its own."""
    await staffed.enroll(enrollment(template("t1"), key=request()))
    await staffed.erase(erasure())
    again = await staffed.enroll(replace(enrollment(template("t2")), at=LATER))
    assert (again.subject.revision, again.subject.created_at) == (1, LATER)
    with pytest.raises(NotFoundError, match="ada"):
        await staffed.find_enrolled(STAFF, request())
    assert await staffed.find_subject(STAFF, ADA) == again.subject


async def test_an_erasure_sent_again_gets_the_same_receipt(staffed: Store, shards: int) -> None:
    """The retry finds no subject and is told what the first call did; wherever the request lives."""
    for at in range(min(shards, 3)):
        key = request(names_in_shard(at, shards, 1)[0], "erase ada")
        await staffed.enroll(enrollment(template("t1", picture=b"a picture")))
        first = await staffed.erase(erasure(key))
        assert await staffed.erase(erasure(key)) == replace(first, replayed=True)
        assert await staffed.find_erased(STAFF, key) == replace(first, replayed=True)
        assert first.pictures_erased == 1
        with pytest.raises(RequestIdReusedError):
            await staffed.find_erased(STAFF, replace(key, content_digest="erase bob"))
    assert await staffed.find_erased(STAFF, request("new")) is None
    assert await counts(staffed) == (0, 0)


async def test_an_erasure_stays_open_until_it_is_through(staffed: Store, shards: int) -> None:
    """Its receipt is found before and after, and says which; the collection may even go meanwhile."""
    await staffed.enroll(enrollment(template("t1", picture=b"a picture")))
    await staffed.enroll(enrollment(template("t2"), subject_id=BOB))
    first = await staffed.erase(erasure(request()))
    second = await staffed.erase(replace(erasure(subject_id=BOB, receipt_id="receipt-2"), at=LATER))
    found = await staffed.find_collection(STAFF)
    assert found is not None
    both = [OpenErasure(first, found.generation), OpenErasure(second, found.generation)]
    assert await staffed.open_erasures() == both
    assert await staffed.find_receipt(STAFF, "receipt-1") == (first, None)
    end = ErasureEnd(LATER, 2)
    await staffed.close_erasure(both[0], end)
    await staffed.close_erasure(both[0], ErasureEnd(LATER, 3))
    assert await staffed.find_receipt(STAFF, "receipt-1") == (first, end)
    assert await staffed.find_receipt(STAFF, "receipt-9") is None
    assert await staffed.open_erasures() == both[1:]


async def test_open_erasures_outlive_their_collection(staffed: Store, shards: int) -> None:
    """What is still to be done for a person does not end with the collection they were in."""
    await staffed.enroll(enrollment(template("t1")))
    first = await staffed.erase(erasure())
    await staffed.delete_collection(STAFF, erasure().audit, force=False)
    (still_open,) = await staffed.open_erasures()
    assert still_open.erased == first
    await staffed.close_erasure(still_open, ErasureEnd(LATER, 1))
    assert await staffed.open_erasures() == []


async def test_changes_at_the_same_moment_leave_a_whole_store(staffed: Store, shards: int) -> None:
    """Enrolments, updates, deletions and erasures of three subjects: everything folds to what the heads say."""
    people = [SubjectId(f"p{n}") for n in range(3)]
    await asyncio.gather(*(staffed.enroll(enrollment(template("t0"), subject_id=name)) for name in people))
    await asyncio.gather(
        *(staffed.enroll(enrollment(template(f"t1-{name}"), subject_id=name)) for name in people),
        *(
            staffed.update_profile(replace(update(SubjectProfile(display_name="X"), "display_name"), subject_id=name))
            for name in people
        ),
        *(staffed.erase(erasure(subject_id=name, receipt_id=f"rc-{name}")) for name in people),
        return_exceptions=True,
    )
    head = (await staffed.heads([STAFF]))[STAFF]
    loaded = await rows_of(staffed, shards)
    assert (head.subject_count, head.template_count) == (len(loaded), sum(len(row[0]) for row in loaded.values()))
    assert await staffed.check(STAFF) == []


async def test_float16_vectors_come_back_bit_by_bit(store: Store) -> None:
    """What was enrolled is what a load gives, to the last bit."""
    await store.create_collection(collection())
    wanted = half([0.1, 0.2, 0.3, 0.9273618495495703])
    await store.enroll(enrollment(replace(template("t1"), vector=wanted)))
    (batch,) = [batch async for batch in store.load_rows(STAFF, 0, 1)]
    assert batch.vectors.tobytes() == wanted.tobytes()
