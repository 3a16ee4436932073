"""Not this person, and its opposite, over gRPC: what goes, what stays, what is added, and what is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tessera.domain.reasons import Reason
from tessera.v1 import audit_pb2, subject_pb2
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2 as c
from tests.eventually import eventually
from tests.gallery_world import World, embedded, enroll, person, probe_of, refused, running_world, verify

NOT_THIS, THIS = subject_pb2.VERDICT_NOT_THIS_SUBJECT, subject_pb2.VERDICT_THIS_SUBJECT
KEPT, REMOVED = subject_pb2.CORRECTION_ACTION_KEPT, subject_pb2.CORRECTION_ACTION_REMOVED
ADDED, REFUSED = subject_pb2.CORRECTION_ACTION_ADDED, subject_pb2.CORRECTION_ACTION_REFUSED


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory; FMR 1e-4 is at 0.5."""
    async with running_world("memory") as world:
        await eventually(world.is_ready)
        yield world


async def correct(
    world: World, sample: pb.Probe, verdict: subject_pb2.Verdict.ValueType, **fields: Any
) -> subject_pb2.CorrectSubjectResponse:
    """Say something of Ada."""
    request = subject_pb2.CorrectSubjectRequest(subject_id="ada", sample=sample, verdict=verdict, **fields)
    return await world.stub.CorrectSubject(request)


async def test_the_picture_of_somebody_else_goes_and_the_door_stays_shut(world: World) -> None:
    """A stranger who matched by a wrong template does not match any more; the subject's own templates stay."""
    await enroll(world, "ada", embedded(person(1)), embedded(person(1, 0.2)))
    await enroll(world, "ada", embedded(person(9)), outlier_policy=c.OUTLIER_POLICY_IGNORE)
    stranger = embedded(person(9, 0.1))
    assert (await verify(world, "ada", stranger)).decision.outcome == pb.OUTCOME_MATCH
    answer = await correct(world, stranger, NOT_THIS)
    (one,) = answer.corrections
    assert (one.action, list(one.reasons)) == (REMOVED, [pb.REASON_OUTLIER])
    assert len(answer.subject.templates) == 2
    assert answer.position > 0
    assert (await verify(world, "ada", stranger)).decision.outcome == pb.OUTCOME_NO_MATCH
    assert (await verify(world, "ada", embedded(person(1, 0.1)))).decision.outcome == pb.OUTCOME_MATCH
    assert not (await correct(world, stranger, NOT_THIS)).corrections


async def _removed_on_record(world: World) -> int:
    answer = await world.stub.QueryAudit(audit_pb2.QueryAuditRequest(collection_id="default"))
    return sum(entry.method == "DeleteTemplate" for entry in answer.entries)


async def test_a_retry_of_not_this_tells_of_what_is_left(world: World) -> None:
    """The same id again removes nothing more, and does not name again what the first call removed."""
    await enroll(world, "ada", embedded(person(1)), embedded(person(1, 0.2)))
    await enroll(world, "ada", embedded(person(9)), outlier_policy=c.OUTLIER_POLICY_IGNORE)
    first = await correct(world, embedded(person(9, 0.1)), NOT_THIS, request_id="c-2")
    again = await correct(world, embedded(person(9, 0.1)), NOT_THIS, request_id="c-2")
    assert [one.action for one in first.corrections] == [REMOVED]
    assert not again.corrections
    assert again.position == 0
    assert again.subject == first.subject
    assert await _removed_on_record(world) == 1


async def test_a_retry_of_not_this_finishes_what_broke_off(world: World) -> None:
    """Of two wrong templates one was removed when the call broke off: the retry removes the other."""
    await enroll(world, "ada", embedded(person(1)), embedded(person(1, 0.2)), embedded(person(1, 0.1)))
    wrong = await enroll(
        world, "ada", embedded(person(9)), embedded(person(9, 0.3)), outlier_policy=c.OUTLIER_POLICY_IGNORE
    )
    looked = await correct(world, embedded(person(9, 0.1)), NOT_THIS, request_id="c-3", dry_run=True)
    one, other = (told.template_id for told in looked.corrections if told.action == REMOVED)
    gone = subject_pb2.DeleteTemplateRequest(subject_id="ada", template_id=one)
    await world.stub.DeleteTemplate(gone)
    again = await correct(world, embedded(person(9, 0.1)), NOT_THIS, request_id="c-3")
    assert [(told.template_id, told.action) for told in again.corrections] == [(other, REMOVED)]
    assert len(again.subject.templates) == len(wrong.subject.templates) - 2


async def test_templates_that_agree_stay_and_the_answer_says_why(world: World) -> None:
    """A look-alike takes nothing from a subject whose templates look like each other."""
    await enroll(world, "ada", embedded(person(1)), embedded(person(1, 0.05)))
    answer = await correct(world, embedded(person(1, 0.6)), NOT_THIS)
    assert {one.action for one in answer.corrections} == {KEPT}
    assert "look alike" in answer.corrections[0].detail
    assert (len(answer.subject.templates), answer.position) == (2, 0)


async def test_the_only_template_stays(world: World) -> None:
    """A subject is never left without a template; the answer says what to do first."""
    await enroll(world, "ada", embedded(person(1)))
    (one,) = (await correct(world, embedded(person(1, 0.1)), NOT_THIS)).corrections
    assert one.action == KEPT
    assert "enrol" in one.detail


async def test_a_dry_run_changes_nothing(world: World) -> None:
    """It tells what would be done."""
    await enroll(world, "ada", embedded(person(1)), embedded(person(1, 0.2)))
    await enroll(world, "ada", embedded(person(9)), outlier_policy=c.OUTLIER_POLICY_IGNORE)
    answer = await correct(world, embedded(person(9)), NOT_THIS, dry_run=True)
    assert [one.action for one in answer.corrections] == [REMOVED]
    assert len(answer.subject.templates) == 3


async def test_a_missed_sample_becomes_a_template(world: World) -> None:
    """Somebody who knows says that it is Ada after all: from then on it matches."""
    await enroll(world, "ada", embedded(person(1)))
    older = embedded(person(1, 0.9))
    assert (await verify(world, "ada", older)).decision.outcome == pb.OUTCOME_NO_MATCH
    (one,) = (await correct(world, older, THIS, request_id="c-1")).corrections
    assert one.action == ADDED
    assert one.template_id
    assert (await verify(world, "ada", older)).decision.outcome == pb.OUTCOME_MATCH
    again = await correct(world, older, THIS, request_id="c-1")
    assert [each.template_id for each in again.corrections] == [one.template_id]
    assert len(again.subject.templates) == 2


async def test_a_sample_of_somebody_else_is_refused(world: World) -> None:
    """A mistaken correction does not make one person of two."""
    await enroll(world, "ada", embedded(person(1)))
    await enroll(world, "bob", embedded(person(9)))
    (one,) = (await correct(world, embedded(person(9, 0.1)), THIS)).corrections
    assert (one.action, list(one.reasons)) == (REFUSED, [pb.REASON_DUPLICATE])
    assert "bob" in one.detail


def _counted(world: World) -> dict[tuple[str, ...], float]:
    """All that was counted of enrolments, by metric and label."""
    names = {"tessera_gallery_samples", "tessera_gallery_enrolments", "tessera_gallery_duplicates"}
    return {
        (one.name, *one.labels.values()): one.value
        for metric in world.gallery.metrics.registry.collect()
        if metric.name in names
        for one in metric.samples
        if one.name.endswith("_total")
    }


async def test_a_dry_run_is_not_counted_as_an_enrolment(world: World) -> None:
    """Neither a sample that would be taken, nor one that would be refused, nor one that is another subject's."""
    await enroll(world, "ada", embedded(person(1)))
    await enroll(world, "bob", embedded(person(9)))
    before = _counted(world)
    samples = embedded(person(1, 0.9)), probe_of(person(1, 0.9), reasons=["LOW_SHARPNESS"]), embedded(person(9, 0.1))
    looked = [(await correct(world, sample, THIS, dry_run=True)).corrections[0].action for sample in samples]
    assert looked == [ADDED, REFUSED, REFUSED]
    assert _counted(world) == before
    for sample in samples:
        await correct(world, sample, THIS)
    after = _counted(world)
    moved = {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}
    assert moved == {
        ("tessera_gallery_samples_total", "ACCEPTED"): 2.0,
        ("tessera_gallery_samples_total", "LOW_SHARPNESS"): 1.0,
        ("tessera_gallery_enrolments_total", "enrolled"): 1.0,
        ("tessera_gallery_enrolments_total", "rejected"): 1.0,
        ("tessera_gallery_enrolments_total", "duplicate"): 1.0,
        ("tessera_gallery_duplicates_total", "reject"): 1.0,
    }


async def test_a_dry_run_says_what_would_be_refused(world: World) -> None:
    """It looks as the correction itself would: a good sample would be added, one of somebody else would not be."""
    await enroll(world, "ada", embedded(person(1)))
    await enroll(world, "bob", embedded(person(9)))
    (good,) = (await correct(world, embedded(person(1, 0.9)), THIS, dry_run=True)).corrections
    (wrong,) = (await correct(world, embedded(person(9, 0.1)), THIS, dry_run=True)).corrections
    assert (good.action, good.template_id) == (ADDED, "")
    assert (wrong.action, list(wrong.reasons)) == (REFUSED, [pb.REASON_DUPLICATE])
    answer = await world.stub.GetSubject(subject_pb2.GetSubjectRequest(subject_id="ada"))
    assert len(answer.subject.templates) == 1


async def test_a_blurred_sample_is_refused(world: World) -> None:
    """What would be refused at an enrolment does not come in as a correction."""
    await enroll(world, "ada", embedded(person(1)))
    blurred = probe_of(person(1, 0.9), reasons=[Reason.LOW_SHARPNESS])
    (one,) = (await correct(world, blurred, THIS)).corrections
    assert (one.action, list(one.reasons)) == (REFUSED, [pb.REASON_LOW_SHARPNESS])


async def test_what_was_said_is_on_record(world: World) -> None:
    """The audit log has who said what of which decision, also for a dry run."""
    await enroll(world, "ada", embedded(person(1)))
    await correct(world, embedded(person(1)), NOT_THIS, evidence_id="ev-123", dry_run=True)
    page = await world.stub.QueryAudit(audit_pb2.QueryAuditRequest(collection_id="default", subject_id="ada"))
    (entry,) = [one for one in page.entries if one.method == "CorrectSubject"]
    assert b"NOT_THIS_SUBJECT ev-123 (dry run)" in entry.entry


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"verdict": 0}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"verdict": 99}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"verdict": NOT_THIS, "subject_id": "nobody"}, grpc.StatusCode.NOT_FOUND, "SUBJECT_NOT_FOUND"),
        ({"verdict": NOT_THIS, "collection_id": "nowhere"}, grpc.StatusCode.NOT_FOUND, None),
        ({"verdict": NOT_THIS, "sample": pb.Probe()}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"verdict": NOT_THIS, "sample": probe_of()}, grpc.StatusCode.INVALID_ARGUMENT, "NO_FACE"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    world: World, fields: dict[str, Any], code: grpc.StatusCode, reason: str | None
) -> None:
    """Each wrong request has its code and reason."""
    await enroll(world, "ada", embedded(person(1)))
    whole = {"subject_id": "ada", "sample": embedded(person(1)), **fields}
    detail = await refused(world.stub.CorrectSubject(subject_pb2.CorrectSubjectRequest(**whole)))
    assert detail.code is code
    assert reason in (None, detail.reason)
