"""Enrolments whose samples are not of one person, or of a person who is there already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2 as c
from tessera.v1 import subject_pb2
from tests.eventually import eventually
from tests.gallery_world import World, embedded, enroll, person, probe_of, refused, running_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory; FMR 1e-2 is at 0.3, 1e-3 at 0.4."""
    async with running_world("memory") as world:
        await eventually(world.is_ready)
        yield world


async def templates_of(world: World, subject_id: str) -> int:
    """How many templates a subject has; 0: there is nobody."""
    answer = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest())
    return sum(len(subject.templates) for subject in answer.subjects if subject.subject_id == subject_id)


# ---- duplicates


async def test_a_duplicate_is_told_and_enrolled(world: World) -> None:
    """Unless the caller says otherwise the new subject is made, and the answer names whom it looks like."""
    await enroll(world, "ada", embedded(person(1)))
    answer = await enroll(world, "bob", embedded(person(1, 0.3)))
    (found,) = answer.duplicates
    assert (found.subject_id, found.decision.outcome) == ("ada", pb.OUTCOME_MATCH)
    assert found.decision.threshold.target_fpir == pytest.approx(5e-3)
    assert not found.decision.HasField("score")
    assert await templates_of(world, "bob") == 1
    assert world.value("tessera_gallery_duplicates_total", policy="report") == 1


async def test_somebody_new_is_nobodys_duplicate(world: World) -> None:
    """A person who looks like nobody, and one more sample of a subject, are told of without duplicates."""
    await enroll(world, "ada", embedded(person(1)))
    assert not (await enroll(world, "bob", embedded(person(5)))).duplicates
    assert not (await enroll(world, "ada", embedded(person(1, 0.2)))).duplicates


async def test_a_duplicate_can_be_refused(world: World) -> None:
    """REJECT answers ALREADY_EXISTS with the other's id, and nothing is written."""
    await enroll(world, "ada", embedded(person(1)))
    call = enroll(world, "bob", embedded(person(1, 0.3)), duplicate_policy=c.DUPLICATE_POLICY_REJECT)
    detail = await refused(call)
    assert (detail.code, detail.reason) == (grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_SUBJECT")
    assert (detail.metadata["field"], detail.metadata["value"]) == ("samples", "ada")
    assert await templates_of(world, "bob") == 0


async def test_a_duplicate_can_be_merged(world: World) -> None:
    """MERGE adds the samples to the subject that they are, keeps what is said of it, and a retry says so again."""
    await enroll(world, "ada", embedded(person(1)), display_name="Ada")
    fields: dict[str, Any] = {
        "duplicate_policy": c.DUPLICATE_POLICY_MERGE,
        "display_name": "Somebody",
        "request_id": "merge-1",
    }
    for replayed in (False, True):
        answer = await enroll(world, "bob", embedded(person(1, 0.3)), **fields)
        assert (answer.merged, answer.replayed, answer.subject.subject_id) == (True, replayed, "ada")
        assert [found.subject_id for found in answer.duplicates] == ["ada"]
        assert answer.subject.display_name == "Ada"
    assert (await templates_of(world, "ada"), await templates_of(world, "bob")) == (2, 0)


async def test_two_subjects_that_are_there_are_not_merged(world: World) -> None:
    """A named subject that exists is not emptied into another: that is refused, and said."""
    await enroll(world, "ada", embedded(person(1)))
    await enroll(world, "bob", embedded(person(5)))
    policies: dict[str, Any] = {
        "duplicate_policy": c.DUPLICATE_POLICY_MERGE,
        "outlier_policy": c.OUTLIER_POLICY_IGNORE,
    }
    assert (await refused(enroll(world, "bob", embedded(person(1, 0.3)), **policies))).reason == "DUPLICATE_SUBJECT"
    assert (await templates_of(world, "ada"), await templates_of(world, "bob")) == (1, 1)


async def test_twins_are_kept_apart_from_then_on(world: World) -> None:
    """KEEP_APART records that the two differ: neither is the other's duplicate again, in either direction."""
    await enroll(world, "ada", embedded(person(1)))
    kept = await enroll(world, "eve", embedded(person(1, 0.3)), duplicate_policy=c.DUPLICATE_POLICY_KEEP_APART)
    assert list(kept.subject.distinct_from) == ["ada"]
    reject: dict[str, Any] = {"duplicate_policy": c.DUPLICATE_POLICY_REJECT}
    assert not (await enroll(world, "eve", embedded(person(1, 0.25)), **reject)).duplicates
    assert not (await enroll(world, "ada", embedded(person(1, 0.1)), **reject)).duplicates
    third = await enroll(world, "zoe", embedded(person(1, 0.28)))
    assert {found.subject_id for found in third.duplicates} == {"ada", "eve"}


async def apart(world: World) -> dict[str, list[str]]:
    """Whom each subject is known to differ from."""
    answer = await world.stub.ListSubjects(subject_pb2.ListSubjectsRequest())
    return {subject.subject_id: list(subject.distinct_from) for subject in answer.subjects}


async def set_apart(world: World, subject_id: str, *others: str, **fields: Any) -> subject_pb2.UpdateSubjectResponse:
    """Say whom a subject differs from."""
    subject = subject_pb2.Subject(subject_id=subject_id, distinct_from=others)
    mask = field_mask_pb2.FieldMask(paths=["distinct_from"])
    return await world.stub.UpdateSubject(subject_pb2.UpdateSubjectRequest(subject=subject, update_mask=mask, **fields))


async def test_who_is_kept_apart_twice_stays_apart_from_the_first(world: World) -> None:
    """A second enrolment that keeps apart adds to the list, and each is on the list of the other."""
    await enroll(world, "ada", embedded(person(1)))
    await enroll(world, "bob", embedded(person(5)))
    keep: dict[str, Any] = {
        "duplicate_policy": c.DUPLICATE_POLICY_KEEP_APART,
        "outlier_policy": c.OUTLIER_POLICY_IGNORE,
    }
    await enroll(world, "eve", embedded(person(1, 0.3)), **keep)
    await enroll(world, "eve", embedded(person(5, 0.3)), **keep)
    assert await apart(world) == {"ada": ["eve"], "bob": ["eve"], "eve": ["ada", "bob"]}


async def test_an_erased_subject_is_on_nobodys_list(world: World) -> None:
    """Whoever gets a freed id is a new person, who is told as a duplicate again."""
    for subject_id, axis in (("ada", 1), ("bob", 5), ("eve", 9)):
        await enroll(world, subject_id, embedded(person(axis)))
    await set_apart(world, "eve", "ada", "bob")
    assert await apart(world) == {"ada": ["eve"], "bob": ["eve"], "eve": ["ada", "bob"]}
    await set_apart(world, "eve", "ada")
    assert await apart(world) == {"ada": ["eve"], "bob": [], "eve": ["ada"]}
    await world.stub.DeleteSubject(subject_pb2.DeleteSubjectRequest(subject_id="ada"))
    assert await apart(world) == {"bob": [], "eve": []}


async def test_a_refused_change_keeps_nobody_apart(world: World) -> None:
    """An old revision, oneself, somebody who is not there: refused, and no list has changed."""
    await enroll(world, "ada", embedded(person(1)))
    await enroll(world, "eve", embedded(person(9)))
    assert (await refused(set_apart(world, "eve", "ada", expected_revision=99))).reason == "REVISION_CHANGED"
    assert (await refused(set_apart(world, "eve", "ada", "eve"))).metadata["field"] == "distinct_from"
    assert (await refused(set_apart(world, "eve", "ada", "nobody"))).reason == "SUBJECT_NOT_FOUND"
    assert await apart(world) == {"ada": [], "eve": []}


async def test_a_full_list_is_told(world: World) -> None:
    """A seventeenth subject on somebody's list is refused with the list's owner, and the sixteen stay."""
    everybody = ["ada", *(f"s-{at}" for at in range(17))]
    for axis, subject_id in enumerate(everybody):
        await enroll(world, subject_id, embedded(person(axis)))
    await set_apart(world, "ada", *everybody[1:17])
    told = await refused(set_apart(world, everybody[17], "ada"))
    assert (told.reason, told.metadata["field"]) == ("INVALID_FIELD", "distinct_from")
    assert "ada" in told.metadata["value"]
    assert (await apart(world))["ada"] == everybody[1:17]


def mixed(**parts: float) -> list[float]:
    """A sample with these shares of some axes (`a1=0.4` is 0.4 of axis 1), and the rest on axis 20."""
    vector = [0.0] * 32
    for name, share in parts.items():
        vector[int(name[1:])] = share
    vector[20] = (1.0 - sum(share**2 for share in parts.values())) ** 0.5
    return vector


@pytest.mark.parametrize(
    ("templates", "is_duplicate"),
    [
        ([mixed(a1=0.35, a5=0.9), mixed(a1=0.35, a6=0.9)], True),
        ([mixed(a1=0.45, a5=0.8), mixed(a7=1.0)], False),
    ],
    ids=["each a little alike", "one alike and one not"],
)
async def test_several_templates_are_one_score(
    world: World, templates: list[list[float]], *, is_duplicate: bool
) -> None:
    """The mean of a subject's templates is what counts, with the threshold 0.4: neither template alone decides."""
    for template in templates:
        await enroll(world, "ada", embedded(template), outlier_policy=c.OUTLIER_POLICY_IGNORE)
    answer = await enroll(world, "bob", embedded(person(1)))
    assert [found.subject_id for found in answer.duplicates] == (["ada"] if is_duplicate else [])


async def test_nobody_looks_where_that_is_asked(world: World) -> None:
    """IGNORE tells of no duplicate, and the collection's policy holds where the call names none."""
    await world.stub.CreateCollection(
        c.CreateCollectionRequest(
            collection=c.Collection(collection_id="open", duplicate_policy=c.DUPLICATE_POLICY_IGNORE)
        )
    )
    for name in ("ada", "bob"):
        assert not (await enroll(world, name, embedded(person(1)), collection_id="open")).duplicates
    reject: dict[str, Any] = {"collection_id": "open", "duplicate_policy": c.DUPLICATE_POLICY_REJECT}
    assert (await refused(enroll(world, "eve", embedded(person(1)), **reject))).reason == "DUPLICATE_SUBJECT"


# ---- outliers


async def test_the_wrong_picture_is_left_out(world: World) -> None:
    """Of four pictures of one person the one of another is not accepted, with its reason; the others are."""
    pictures = [probe_of(person(1)), probe_of(person(1, 0.2)), probe_of(person(9)), probe_of(person(1, 0.1))]
    answer = await enroll(world, "ada", *pictures)
    assert [result.accepted for result in answer.results] == [True, True, False, True]
    assert list(answer.results[2].reasons) == [pb.REASON_OUTLIER]
    assert "same person" in answer.results[2].detail
    assert await templates_of(world, "ada") == 3


async def test_a_wrong_picture_of_somebody_enrolled_is_refused(world: World) -> None:
    """A single sample that does not look like the subject's templates is refused by its reason."""
    await enroll(world, "ada", embedded(person(1)))
    detail = await refused(enroll(world, "ada", embedded(person(9))))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "OUTLIER")
    assert await templates_of(world, "ada") == 1


async def test_two_pictures_that_differ_are_both_refused(world: World) -> None:
    """Nobody can say which one is right, so that nothing is enrolled."""
    detail = await refused(enroll(world, "ada", embedded(person(1)), embedded(person(9))))
    assert detail.reason == "OUTLIER"
    assert await templates_of(world, "ada") == 0


async def test_an_outlier_can_be_told_and_enrolled(world: World) -> None:
    """REPORT accepts the sample and says so; IGNORE accepts it and says nothing."""
    await enroll(world, "ada", embedded(person(1)))
    told = await enroll(world, "ada", embedded(person(9)), outlier_policy=c.OUTLIER_POLICY_REPORT)
    assert (told.results[0].accepted, list(told.results[0].reasons)) == (True, [pb.REASON_OUTLIER])
    quiet = await enroll(world, "ada", embedded(person(12)), outlier_policy=c.OUTLIER_POLICY_IGNORE)
    assert (quiet.results[0].accepted, list(quiet.results[0].reasons)) == (True, [])


async def test_every_sample_must_be_right_where_that_is_asked(world: World) -> None:
    """With `require_all` one outlier refuses the enrolment."""
    samples = [embedded(person(1)), embedded(person(1, 0.1)), embedded(person(9)), embedded(person(1, 0.2))]
    assert (await refused(enroll(world, "ada", *samples, require_all=True))).reason == "OUTLIER"
    assert await templates_of(world, "ada") == 0


@pytest.mark.parametrize("field", ["duplicate_policy", "outlier_policy"])
async def test_a_policy_that_is_none_is_refused_by_name(world: World, field: str) -> None:
    """A number that is no policy is told with its field and what is allowed."""
    detail = await refused(enroll(world, "ada", embedded(person(1)), **{field: 99}))
    assert (detail.reason, detail.metadata["field"]) == ("INVALID_FIELD", field)
    assert "REPORT" in detail.metadata["allowed"]
