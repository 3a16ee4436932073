"""The SDK over a real gallery: enrolments that find something, corrections, and what holds in a collection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import pytest

from tessera.client import DecisionPolicy, DuplicatePolicy, OutlierPolicy, QualityGate, Tessera, Verdict
from tessera.client.answers import CorrectionAction
from tessera.client.errors import AlreadyExists, BadInput, DuplicateSubject, NotAllowedNow
from tessera.domain.calibration import Impostors
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Embedding
from tessera.domain.reasons import Reason
from tests.eventually import eventually
from tests.gallery_world import MODEL, World, person, picture, running_world

T = TypeVar("T")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory; FMR 1e-2 is at 0.3, 1e-3 at 0.4, 1e-4 at 0.5."""
    async with running_world("memory") as running:
        await eventually(running.is_ready)
        yield running


async def asked(world: World, question: Callable[[Tessera], T]) -> T:
    """What a user of the SDK sees, on a thread of its own."""

    def ask() -> T:
        with Tessera(f"127.0.0.1:{world.gallery.server.port}") as tessera:
            return question(tessera)

    return await asyncio.to_thread(ask)


def seen(number: int, off: float = 0.0) -> Embedding:
    """A sample of somebody."""
    return Embedding.from_raw(person(number, off), MODEL)


# ---- enrolment


async def test_a_duplicate_is_told_with_the_rate_of_the_check(world: World) -> None:
    """The enrolment is done, and names whom it looks like, and how often the check is wrong about a new person."""
    await asked(world, lambda tessera: tessera.enroll("ada", seen(1)))
    enrolment = await asked(world, lambda tessera: tessera.enroll("bob", seen(1, 0.3)))
    (found,) = enrolment.duplicates
    assert (enrolment.subject.subject_id, found.subject_id, enrolment.merged) == ("bob", "ada", False)
    assert found.threshold is not None
    assert found.threshold.target_rate == pytest.approx(5e-3)


async def test_a_refused_duplicate_says_whose_it_is(world: World) -> None:
    """The error is an AlreadyExists that carries the other subject's id."""
    await asked(world, lambda tessera: tessera.enroll("ada", seen(1)))
    with pytest.raises(AlreadyExists) as refused:
        await asked(world, lambda tessera: tessera.enroll("bob", seen(1, 0.3), duplicate_policy=DuplicatePolicy.REJECT))
    assert isinstance(refused.value, DuplicateSubject)
    assert refused.value.subject_ids == ("ada",)
    assert refused.value.details == {"subject_ids": "ada"}
    assert refused.value.reason == "DUPLICATE_SUBJECT"


async def test_a_merged_enrolment_answers_with_the_other_subject(world: World) -> None:
    """`subject` is the one that the samples went to."""
    await asked(world, lambda tessera: tessera.enroll("ada", seen(1)))
    enrolment = await asked(
        world, lambda tessera: tessera.enroll("bob", seen(1, 0.3), duplicate_policy=DuplicatePolicy.MERGE)
    )
    assert (enrolment.merged, enrolment.subject.subject_id, len(enrolment.subject.templates)) == (True, "ada", 2)


async def test_those_kept_apart_are_told_of_the_subject_and_can_be_said_later(world: World) -> None:
    """KEEP_APART records it; `update_subject` takes it back and says it again, and duplicates follow."""
    await asked(world, lambda tessera: tessera.enroll("ada", seen(1)))
    kept = await asked(
        world, lambda tessera: tessera.enroll("eve", seen(1, 0.3), duplicate_policy=DuplicatePolicy.KEEP_APART)
    )
    assert kept.subject.distinct_from == ("ada",)
    taken_back = await asked(world, lambda tessera: tessera.update_subject("eve", distinct_from=()))
    assert taken_back.subject.distinct_from == ()
    again = await asked(world, lambda tessera: tessera.enroll("eve", seen(1, 0.25)))
    assert [found.subject_id for found in again.duplicates] == ["ada"]
    await asked(world, lambda tessera: tessera.update_subject("eve", distinct_from=["ada"]))
    assert not (await asked(world, lambda tessera: tessera.enroll("eve", seen(1, 0.2)))).duplicates


async def test_an_outlier_is_left_out_or_told(world: World) -> None:
    """Left out with its reason; with REPORT accepted, and the reason is there all the same."""
    await asked(world, lambda tessera: tessera.enroll("ada", [seen(1), seen(1, 0.1)]))
    with pytest.raises(BadInput) as refused:
        await asked(world, lambda tessera: tessera.enroll("ada", seen(9)))
    assert (refused.value.reason, refused.value.details["samples[0]"]) == ("OUTLIER", "OUTLIER")
    enrolment = await asked(world, lambda tessera: tessera.enroll("ada", seen(9), outlier_policy=OutlierPolicy.REPORT))
    (result,) = enrolment.results
    assert (result.accepted, result.is_outlier, result.reasons) == (True, True, (Reason.OUTLIER,))


# ---- corrections


async def test_a_correction_tells_of_each_template_and_shuts_the_door(world: World) -> None:
    """A dry run changes nothing; the correction does, and a verification that waits for it sees it."""
    await asked(world, lambda tessera: tessera.enroll("ada", [seen(1), seen(1, 0.2)]))
    await asked(world, lambda tessera: tessera.enroll("ada", seen(9), outlier_policy=OutlierPolicy.IGNORE))
    stranger = seen(9, 0.1)

    looked = await asked(
        world, lambda tessera: tessera.correct("ada", stranger, Verdict.NOT_THIS_SUBJECT, dry_run=True)
    )
    assert (len(looked.having(CorrectionAction.REMOVED)), len(looked.subject.templates), looked.position) == (1, 3, 0)
    done = await asked(world, lambda tessera: tessera.correct("ada", stranger, Verdict.NOT_THIS_SUBJECT))
    (one,) = done.corrections
    assert (one.action, one.reasons, len(done.subject.templates)) == (
        CorrectionAction.REMOVED,
        (Reason.OUTLIER,),
        2,
    )
    answer = await asked(world, lambda tessera: tessera.verify("ada", stranger, min_position=done.position))
    assert answer.outcome is Outcome.NO_MATCH


async def test_what_was_missed_becomes_a_template_unless_it_is_somebody_elses(world: World) -> None:
    """ADDED with the new template's id; REFUSED with the reason and the other's name."""
    await asked(world, lambda tessera: tessera.enroll("ada", seen(1)))
    await asked(world, lambda tessera: tessera.enroll("bob", seen(9)))
    added = await asked(world, lambda tessera: tessera.correct("ada", seen(1, 0.9), Verdict.THIS_SUBJECT))
    assert added.having(CorrectionAction.ADDED)[0].template_id == added.subject.templates[-1].template_id
    refused = await asked(world, lambda tessera: tessera.correct("ada", seen(9, 0.1), Verdict.THIS_SUBJECT))
    (one,) = refused.having(CorrectionAction.REFUSED)
    assert (one.reasons, one.template_id) == ((Reason.DUPLICATE,), "")
    assert "bob" in one.detail


# ---- collections


async def test_what_holds_in_a_collection_comes_back_as_it_was_said(world: World) -> None:
    """At its creation and later; the parts that are not said stay."""
    door = DecisionPolicy(identify_target_fpir=0.05, min_tracklet_frames=4)
    made = await asked(
        world,
        lambda tessera: tessera.create_collection(
            "staff",
            policy=DecisionPolicy(verify_target_fmr=1e-3, planned_gallery_size=5),
            quality_gate=QualityGate(min_sharpness=0.4),
            duplicate_policy=DuplicatePolicy.REJECT,
            outlier_policy=OutlierPolicy.REPORT,
            retention=timedelta(days=30),
            labels={"site": "north"},
            camera_policies={"door": door},
        ),
    )
    found = await asked(world, lambda tessera: tessera.get_collection("staff"))
    assert found == made
    assert (found.policy.verify_target_fmr, found.policy.planned_gallery_size) == (1e-3, 5)
    assert found.quality_gate == QualityGate(min_sharpness=0.4)
    assert (found.duplicate_policy, found.outlier_policy) == (DuplicatePolicy.REJECT, OutlierPolicy.REPORT)
    assert found.retention == timedelta(days=30)
    assert found.camera_policies == {"door": replace(door, verify_target_fmr=1e-4, impostors=Impostors.RANDOM)}, (
        "what is usual is filled in"
    )

    changed = await asked(
        world,
        lambda tessera: tessera.update_collection(
            "staff",
            duplicate_policy=DuplicatePolicy.MERGE,
            policy=replace(found.policy, verify_target_fmr=1e-4),
            retention="unlimited",
            camera_policies={},
            expected_revision=found.revision,
        ),
    )
    assert changed == replace(
        found,
        duplicate_policy=DuplicatePolicy.MERGE,
        policy=replace(found.policy, verify_target_fmr=1e-4),
        retention=None,
        camera_policies={},
        revision=changed.revision,
    )


async def test_a_change_of_what_somebody_else_has_changed_is_refused(world: World) -> None:
    """With the revision that was seen; and a rate that no data carries is refused as well."""
    made = await asked(world, lambda tessera: tessera.create_collection("staff"))
    await asked(world, lambda tessera: tessera.update_collection("staff", display_name="Staff"))
    with pytest.raises(NotAllowedNow) as refused:
        await asked(
            world,
            lambda tessera: tessera.update_collection("staff", display_name="Us", expected_revision=made.revision),
        )
    assert refused.value.reason == "REVISION_CHANGED"
    with pytest.raises(NotAllowedNow) as strict:
        await asked(
            world,
            lambda tessera: tessera.update_collection("staff", policy=DecisionPolicy(verify_target_fmr=1e-9)),
        )
    assert strict.value.reason == "CALIBRATION_TOO_SMALL"


async def test_the_collections_policy_holds_where_a_call_names_none(world: World) -> None:
    """And the call's own holds where it names one."""
    await asked(world, lambda tessera: tessera.create_collection("staff", duplicate_policy=DuplicatePolicy.REJECT))
    await asked(world, lambda tessera: tessera.enroll("ada", seen(1), collection_id="staff"))
    with pytest.raises(DuplicateSubject):
        await asked(world, lambda tessera: tessera.enroll("bob", seen(1), collection_id="staff"))
    enrolment = await asked(
        world,
        lambda tessera: tessera.enroll("bob", seen(1), collection_id="staff", duplicate_policy=DuplicatePolicy.IGNORE),
    )
    assert enrolment.duplicates == ()


async def test_a_picture_below_the_collections_gate_is_refused_by_its_measure(world: World) -> None:
    """A stricter bound than the encoder's own decides alone."""
    await asked(world, lambda tessera: tessera.create_collection("staff", quality_gate=QualityGate(min_sharpness=0.95)))
    with pytest.raises(BadInput) as refused:
        await asked(world, lambda tessera: tessera.enroll("ada", picture(person(1)).data, collection_id="staff"))
    assert refused.value.reason == "LOW_SHARPNESS"
