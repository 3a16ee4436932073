"""One suite, several stores: enrolments, their retries, and what a page of subjects holds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from gallery_svc.store.collection_records import ShardPosition
from gallery_svc.store.protocol import Store, audit_log, shard_of
from gallery_svc.store.subject_records import SubjectProfile
from tessera.domain.errors import ModelMismatchError, NotFoundError, RequestIdReusedError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tests.congruence.store_world import (
    ADA,
    AT,
    BOB,
    LATER,
    PROFILE,
    STAFF,
    audit,
    audited,
    audited_everywhere,
    changes_so_far,
    collection,
    counts,
    enrollment,
    erasure,
    first_of,
    names_in_shard,
    present,
    request,
    rows_of,
    template,
)


async def test_an_enrolment_writes_everything_at_once(staffed: Store, shards: int) -> None:
    """Subject, counts, change and audit entry are there together, in the subject's shard."""
    enrolled = await staffed.enroll(enrollment(template("t1"), template("t2")))
    assert (enrolled.position, enrolled.replayed, enrolled.note) == (first_of(ADA, shards), False, "the note")
    assert enrolled.subject.profile == PROFILE
    assert await staffed.find_subject(STAFF, ADA) == enrolled.subject
    assert await counts(staffed) == (1, 2)
    head = (await staffed.heads([STAFF]))[STAFF]
    assert [p.sequence for p in head.positions] == [int(n == shard_of(ADA, shards)) for n in range(shards)]
    assert await audited(staffed, audit_log(STAFF, shard_of(ADA, shards))) == [audit()]


async def test_a_second_enrolment_adds_to_the_subject(staffed: Store, shards: int) -> None:
    """Templates grow, empty fields keep what was there, the revision grows, the subject is counted once."""
    await staffed.enroll(enrollment(template("t1")))
    later = replace(enrollment(template("t2")), profile=SubjectProfile(external_id="77"), at=LATER)
    subject = (await staffed.enroll(later)).subject
    assert [template.template_id for template in subject.templates] == ["t1", "t2"]
    assert (subject.profile.display_name, subject.profile.external_id, subject.revision) == ("Ada", "77", 2)
    assert (subject.created_at, subject.updated_at) == (AT, LATER)
    assert await staffed.find_subject(STAFF, ADA) == subject
    assert await counts(staffed) == (1, 2)


async def test_a_retry_gets_the_first_answer_and_writes_no_change(staffed: Store, shards: int) -> None:
    """Log, audit and counts stay as they were, whether the answer is asked for or the enrolment is sent again."""
    first = await staffed.enroll(enrollment(template("t1"), key=request()))
    assert await staffed.enroll(enrollment(template("t1"), key=request())) == replace(first, replayed=True)
    assert await staffed.find_enrolled(STAFF, request()) == replace(first, replayed=True)
    assert await changes_so_far(staffed) == 1
    assert await audited_everywhere(staffed, shards) == ["EnrollSubject"]
    assert await staffed.find_enrolled(STAFF, request("new")) is None


@pytest.mark.parametrize("which", range(3))
async def test_a_retry_that_would_have_made_another_subject_finds_the_first(
    staffed: Store, shards: int, which: int
) -> None:
    """Wherever the request, the first subject and the second one live."""
    first = await staffed.enroll(enrollment(template("t1"), key=request(f"r{which}")))
    for name in ("made-anew", "made-once-more", "and-again"):
        retry = enrollment(template("t9"), subject_id=SubjectId(name), key=request(f"r{which}"))
        assert await staffed.enroll(retry) == replace(first, replayed=True)
    assert await counts(staffed) == (1, 1)


async def test_a_request_and_its_subject_may_live_apart(staffed: Store, shards: int) -> None:
    """In each pair of shards of the first few: the answer is found again and nothing is written twice."""
    some = range(min(shards, 3))
    for at_request in some:
        for at_subject in some:
            subject_id = SubjectId(names_in_shard(at_subject, shards, 3)[at_request])
            key = request(names_in_shard(at_request, shards, 3)[at_subject])
            wanted = enrollment(template(f"t-{at_request}-{at_subject}"), subject_id=subject_id, key=key)
            first = await staffed.enroll(wanted)
            assert first.position.shard == at_subject
            assert await staffed.enroll(wanted) == replace(first, replayed=True)
            assert await staffed.find_enrolled(STAFF, key) == replace(first, replayed=True)
    assert await counts(staffed) == (len(some) ** 2, len(some) ** 2)


async def test_a_retry_tells_the_subject_as_it_is_now(staffed: Store, shards: int) -> None:
    """The first answer's position and note, and what was enrolled since."""
    first = await staffed.enroll(enrollment(template("t1"), key=request()))
    second = await staffed.enroll(replace(enrollment(template("t2")), note="another"))
    again = await staffed.enroll(enrollment(template("t1"), key=request()))
    assert (again.subject, again.position, again.note) == (second.subject, first.position, "the note")


async def test_an_enrolment_without_a_note_is_settled_by_its_retry_too(staffed: Store, shards: int) -> None:
    """An empty note is an answer like any other."""
    wanted = replace(enrollment(template("t1"), key=request()), note="")
    first = await staffed.enroll(wanted)
    assert await staffed.enroll(wanted) == replace(first, replayed=True)


async def test_a_request_id_with_other_content_is_refused(staffed: Store, shards: int) -> None:
    """Nothing is written, whether it is asked for first or tried at once, for this subject or for another."""
    await staffed.enroll(enrollment(template("t1"), key=request()))
    other = request(digest="another digest")
    with pytest.raises(RequestIdReusedError):
        await staffed.find_enrolled(STAFF, other)
    for subject_id in (ADA, BOB):
        with pytest.raises(RequestIdReusedError):
            await staffed.enroll(enrollment(template("t2"), subject_id=subject_id, key=other))
    with pytest.raises(RequestIdReusedError):
        await staffed.erase(erasure(request()))
    assert await counts(staffed) == (1, 1)


async def test_a_template_of_another_model_changes_nothing(staffed: Store, shards: int) -> None:
    """The good template beside it is not written either."""
    with pytest.raises(ModelMismatchError):
        await staffed.enroll(enrollment(template("t1"), template("t2", model_id=ModelId("face@9"))))
    assert await staffed.find_subject(STAFF, ADA) is None
    assert await changes_so_far(staffed) == 0
    assert await audited_everywhere(staffed, shards) == []


async def test_nothing_is_enrolled_into_a_collection_that_is_not_there(store: Store) -> None:
    """And asking for an earlier answer says the same."""
    with pytest.raises(NotFoundError, match="collection"):
        await store.enroll(enrollment(template("t1")))
    with pytest.raises(NotFoundError, match="collection"):
        await store.find_enrolled(STAFF, request())
    assert await store.find_subject(STAFF, ADA) is None
    assert await store.find_picture(STAFF, ADA, TemplateId("t1")) is None


async def test_enrolments_at_the_same_moment_are_all_kept(staffed: Store, shards: int) -> None:
    """Eight writers of one subject: every template is there, and the log has no gap."""
    await asyncio.gather(*(staffed.enroll(enrollment(template(f"t{n}"))) for n in range(8)))
    subject = await present(staffed)
    assert {template.template_id for template in subject.templates} == {f"t{n}" for n in range(8)}
    assert (subject.revision, await changes_so_far(staffed)) == (8, 8)
    assert sorted((await rows_of(staffed, shards))[ADA][0]) == [f"t{n}" for n in range(8)]
    assert await staffed.check(STAFF) == []


async def test_one_request_id_at_the_same_moment_is_one_enrolment(staffed: Store, shards: int) -> None:
    """Of eight calls one writes and seven are told its answer, wherever their subjects would have lived."""
    answers = await asyncio.gather(
        *(staffed.enroll(enrollment(template(f"t{n}"), subject_id=SubjectId(f"s{n}"), key=request())) for n in range(8))
    )
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    (subject_id,) = {answer.subject.subject_id for answer in answers}
    assert await present(staffed, subject_id) == answers[0].subject
    assert (await rows_of(staffed, shards)).keys() == {subject_id}
    assert await counts(staffed) == (1, 1)


async def test_subjects_are_listed_by_id_in_pages(staffed: Store, shards: int) -> None:
    """Each page goes on where the last one ended, over all shards, and the last one says so."""
    for name in ("c", "a", "e", "b", "d"):
        await staffed.enroll(enrollment(template(f"t-{name}"), subject_id=SubjectId(name)))
    first = await staffed.list_subjects(STAFF, "", 2)
    second = await staffed.list_subjects(STAFF, first.next_after, 2)
    third = await staffed.list_subjects(STAFF, second.next_after, 2)
    pages = [[subject.subject_id for subject in page.subjects] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert first.subjects[0] == await staffed.find_subject(STAFF, SubjectId("a"))
    assert third.next_after == ""
    assert (await staffed.list_subjects(STAFF, "e", 2)).subjects == ()
    assert (await staffed.list_subjects(STAFF, "", 5)).next_after == ""
    with pytest.raises(NotFoundError):
        await staffed.list_subjects(CollectionId("nobody"), "", 2)


# ---- pictures


async def test_a_picture_is_kept_where_the_collection_keeps_pictures(staffed: Store, shards: int) -> None:
    """It comes back byte by byte, and goes with its template."""
    picture = bytes(range(256)) * 8
    await staffed.enroll(enrollment(template("t1", picture=picture), template("t2")))
    assert await staffed.find_picture(STAFF, ADA, TemplateId("t1")) == picture
    assert await staffed.find_picture(STAFF, ADA, TemplateId("t2")) is None
    erased = await staffed.erase(erasure())
    assert erased.pictures_erased == 1
    assert await staffed.find_picture(STAFF, ADA, TemplateId("t1")) is None


async def test_a_collection_that_keeps_no_pictures_drops_them(store: Store) -> None:
    """The template is kept, its picture is not."""
    await store.create_collection(replace(collection(), keep_source_images=False))
    await store.enroll(enrollment(template("t1", picture=b"a picture")))
    assert await store.find_picture(STAFF, ADA, TemplateId("t1")) is None
    assert await counts(store) == (1, 1)


async def test_positions_grow_by_one_in_their_shard(staffed: Store, shards: int) -> None:
    """Whatever happens in other shards."""
    names = [SubjectId(f"s{n}") for n in range(12)]
    told = [(await staffed.enroll(enrollment(template("t"), subject_id=name))).position for name in names]
    for shard in range(shards):
        assert [p.sequence for p in told if p.shard == shard] == list(range(1, 1 + sum(p.shard == shard for p in told)))
    assert [ShardPosition.from_wire(position.wire) for position in told] == told


async def test_the_row_of_a_subject_is_what_searches_see(staffed: Store) -> None:
    """The vectors of all its templates come back as they were enrolled; of nobody there is no row."""
    assert await staffed.find_row(STAFF, ADA) is None
    await staffed.enroll(enrollment(template("t1")))
    await staffed.enroll(enrollment(template("t2", [0.0, 1.0, 0.0, 0.0])))
    row = await staffed.find_row(STAFF, ADA)
    assert row is not None
    assert [each.template_id for each in row.templates] == ["t1", "t2"]
    np.testing.assert_array_equal(row.templates[1].vector, np.float16([0.0, 1.0, 0.0, 0.0]))
    with pytest.raises(NotFoundError):
        await staffed.find_row(CollectionId("nowhere"), ADA)
