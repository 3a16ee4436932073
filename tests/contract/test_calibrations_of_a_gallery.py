"""Calibrations over gRPC: fitted from scores, embeddings and the gallery itself; chosen, taken back, and followed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest

from tessera.v1 import audit_pb2, calibration_pb2, matching_pb2
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import collection_pb2 as c
from tests.eventually import eventually
from tests.gallery_world import DIMENSIONS, MODEL, World, embedded, enroll, person, refused, running_world, verify
from tests.valkey import PrivateServer, running_server

PEOPLE, EACH = 60, 4


def crowd(seed: int = 1, people: int = PEOPLE, each: int = EACH) -> tuple[np.ndarray[Any, Any], list[str]]:
    """Embeddings of some people, and whose they are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, 1, DIMENSIONS))
    rows = (centres + 0.5 * rng.standard_normal((people, each, DIMENSIONS))).reshape(-1, DIMENSIONS)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, [f"p{number:03d}" for number in range(people) for _ in range(each)]


def of_embeddings(seed: int = 1, **fields: Any) -> calibration_pb2.CalibrateRequest:
    """A request that brings labelled embeddings."""
    rows, names = crowd(seed)
    data = calibration_pb2.LabelledEmbeddings(
        embeddings=[pb.Embedding(values=row, model_id=MODEL) for row in rows], subjects=names, data_name="a crowd"
    )
    return calibration_pb2.CalibrateRequest(embeddings=data, **fields)


def of_scores(**fields: Any) -> calibration_pb2.CalibrateRequest:
    """A request that brings labelled scores of the same crowd."""
    rows, names = crowd()
    owner = np.array([int(name[1:]) for name in names])
    first, second = np.triu_indices(len(rows), 1)
    scores, same = (rows[first] * rows[second]).sum(axis=1), owner[first] == owner[second]
    data = calibration_pb2.LabelledScores(
        mated=scores[same],
        mated_subjects=owner[first][same],
        non_mated=scores[~same],
        first_subjects=owner[first][~same],
        second_subjects=owner[second][~same],
        data_name="the same crowd",
    )
    return calibration_pb2.CalibrateRequest(scores=data, model_id=MODEL, **fields)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store that several galleries share."""
    with running_server(tmp_path_factory.mktemp("calibrations")) as running:
        yield running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory that looks all the time."""
    async with running_world("memory") as world:
        await eventually(world.is_ready)
        yield world


async def active(world: World) -> calibration_pb2.Calibration:
    """What decides."""
    request = calibration_pb2.GetCalibrationRequest(model_id=MODEL)
    return (await world.stub.GetCalibration(request)).calibration


async def activate(world: World, calibration_id: str, **fields: Any) -> calibration_pb2.ActivateCalibrationResponse:
    """Choose."""
    request = calibration_pb2.ActivateCalibrationRequest(calibration_id=calibration_id, **fields)
    return await world.stub.ActivateCalibration(request)


async def roll_back(world: World, model_id: str = MODEL) -> calibration_pb2.ActivateCalibrationResponse:
    """Take the last choice back."""
    request = calibration_pb2.ActivateCalibrationRequest(roll_back_model_id=model_id)
    return await world.stub.ActivateCalibration(request)


# ---- fitting


async def test_embeddings_make_a_calibration_that_does_not_decide_yet(world: World) -> None:
    """All pairs are compared, what they are of is told, and the shipped one goes on deciding."""
    made = (await world.stub.Calibrate(of_embeddings(calibration_id="door-1"))).calibration
    pairs, mated = PEOPLE * EACH * (PEOPLE * EACH - 1) // 2, PEOPLE * EACH * (EACH - 1) // 2
    assert (made.mated_comparisons, made.non_mated_comparisons) == (mated, pairs - mated)
    assert (made.subjects, made.samples, made.data_name) == (PEOPLE, PEOPLE * EACH, "a crowd")
    assert (made.active, made.source) == (False, calibration_pb2.CALIBRATION_SOURCE_FITTED)
    fmrs = [point.fmr for point in made.points]
    assert fmrs == sorted(fmrs, reverse=True)
    assert fmrs[-1] >= 3 / made.non_mated_comparisons
    assert all(point.fmr_low <= point.fmr <= point.fmr_high for point in made.points)
    assert made.search_points
    assert (await active(world)).calibration_id == "cal-notes-1"
    by_id = calibration_pb2.GetCalibrationRequest(calibration_id="door-1")
    assert (await world.stub.GetCalibration(by_id)).calibration == made


async def test_scores_say_what_embeddings_say_of_comparisons(world: World) -> None:
    """The same pairs give the same thresholds and rates; of searches scores say nothing."""
    one = (await world.stub.Calibrate(of_embeddings())).calibration
    two = (await world.stub.Calibrate(of_scores())).calibration
    assert not two.search_points
    assert len(one.points) == len(two.points)
    for a, b in zip(one.points, two.points, strict=True):
        assert (a.threshold, a.fmr, a.fnmr) == pytest.approx((b.threshold, b.fmr, b.fnmr), abs=1e-5)


async def test_the_gallery_calibrates_itself(world: World) -> None:
    """A collection's own templates are the data; the digest is of them."""
    rows, names = crowd()
    ignore = c.DUPLICATE_POLICY_IGNORE
    for number in range(PEOPLE):
        mine = [embedded(list(row)) for row, name in zip(rows, names, strict=True) if name == f"p{number:03d}"]
        await enroll(world, f"p{number:03d}", *mine, outlier_policy=c.OUTLIER_POLICY_IGNORE, duplicate_policy=ignore)
    request = calibration_pb2.CalibrateRequest(collection_id="default")
    made = (await world.stub.Calibrate(request)).calibration
    assert (made.subjects, made.samples, made.model_id) == (PEOPLE, PEOPLE * EACH, MODEL)
    assert "collection default" in made.data_name
    given = (await world.stub.Calibrate(of_embeddings())).calibration
    for a, b in zip(made.points, given.points, strict=True):
        assert (a.threshold, a.fmr) == pytest.approx((b.threshold, b.fmr), abs=2e-3)  # templates are float16


async def test_a_claim_that_the_data_cannot_carry_is_refused(world: World) -> None:
    """The rule of 3: the refusal says how many comparisons it would need, and nothing is kept."""
    detail = await refused(world.stub.Calibrate(of_embeddings(strictest_fmr=1e-6, calibration_id="door-1")))
    assert (detail.code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CALIBRATION_TOO_SMALL")
    assert "3,000,000" in detail.message or "3000000" in str(detail.metadata)
    found = await world.stub.ListCalibrations(calibration_pb2.ListCalibrationsRequest())
    assert [one.calibration_id for one in found.calibrations] == ["cal-notes-1"]


async def test_a_retry_gets_the_first_answer(world: World) -> None:
    """The same request id fits once; with other content it is refused."""
    first = await world.stub.Calibrate(of_embeddings(request_id="fit-1"))
    again = await world.stub.Calibrate(of_embeddings(request_id="fit-1"))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.calibration == first.calibration
    assert (
        await refused(world.stub.Calibrate(of_embeddings(seed=2, request_id="fit-1")))
    ).reason == "REQUEST_ID_REUSED"
    assert len((await world.stub.ListCalibrations(calibration_pb2.ListCalibrationsRequest())).calibrations) == 2


async def test_an_id_is_given_once(world: World) -> None:
    """Another calibration of an id is refused, the shipped one's id as well."""
    await world.stub.Calibrate(of_embeddings(calibration_id="door-1"))
    again = of_embeddings(seed=2, calibration_id="door-1")
    assert (await refused(world.stub.Calibrate(again))).code is grpc.StatusCode.ALREADY_EXISTS
    shipped = of_embeddings(calibration_id="cal-notes-1")
    assert (await refused(world.stub.Calibrate(shipped))).metadata["field"] == "calibration_id"


def _wrong() -> dict[str, tuple[calibration_pb2.CalibrateRequest, str]]:
    unlabelled, mixed, single, unknown = of_embeddings(), of_embeddings(), of_embeddings(), of_embeddings()
    del unlabelled.embeddings.subjects[-1]
    mixed.embeddings.embeddings[3].model_id = "other@1"
    for at in range(len(single.embeddings.subjects)):
        single.embeddings.subjects[at] = "only"
    for each in unknown.embeddings.embeddings:
        each.model_id = "other@1"
    pairs, no_model = of_scores(), of_scores()
    del pairs.scores.first_subjects[-1]
    no_model.model_id = ""
    return {
        "nothing": (calibration_pb2.CalibrateRequest(), "data"),
        "a label is missing": (unlabelled, "embeddings.subjects"),
        "two models": (mixed, "embeddings.embeddings"),
        "one person": (single, "subjects"),
        "a model that nobody knows": (unknown, "model_id"),
        "another model than named": (of_embeddings(model_id="other@1"), "model_id"),
        "pairs without their people": (pairs, "scores.first_subjects"),
        "scores of no model": (no_model, "model_id"),
        "an id that is none": (of_embeddings(calibration_id="a door"), "calibration_id"),
    }


@pytest.mark.parametrize("case", list(_wrong()))
async def test_data_that_is_none_is_refused_by_name(world: World, case: str) -> None:
    """Each wrong request names its field."""
    request, field = _wrong()[case]
    detail = await refused(world.stub.Calibrate(request))
    assert (detail.code, detail.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


# ---- choosing


async def test_what_was_chosen_decides_and_can_be_taken_back(world: World) -> None:
    """A verification stands on the chosen calibration, and after a roll back on the one before."""
    await enroll(world, "ada", embedded(person(0)))
    made = (await world.stub.Calibrate(of_embeddings(calibration_id="door-1", activate=True))).calibration
    assert made.active
    assert made.HasField("activated_at")
    answer = await verify(world, "ada", embedded(person(0)), target_fmr=1e-3)
    assert answer.decision.threshold.calibration_id == "door-1"
    back = await roll_back(world)
    assert (back.calibration.calibration_id, back.previous_calibration_id) == ("cal-notes-1", "door-1")
    answer = await verify(world, "ada", embedded(person(0)), target_fmr=1e-3)
    assert answer.decision.threshold.calibration_id == "cal-notes-1"
    assert (await refused(roll_back(world))).reason == "NO_EARLIER_CALIBRATION"


async def test_exactly_one_is_active(world: World) -> None:
    """The list shows the shipped one and those that were fitted, without points; one decides."""
    for name in ("door-1", "door-2"):
        await world.stub.Calibrate(of_embeddings(calibration_id=name, activate=True))
    found = (await world.stub.ListCalibrations(calibration_pb2.ListCalibrationsRequest(model_id=MODEL))).calibrations
    assert [(one.calibration_id, one.active) for one in found] == [
        ("cal-notes-1", False),
        ("door-1", False),
        ("door-2", True),
    ]
    assert not any(one.points or one.search_points for one in found)
    none = await world.stub.ListCalibrations(calibration_pb2.ListCalibrationsRequest(model_id="other@1"))
    assert not none.calibrations


async def test_a_choice_that_somebody_else_overtook_is_refused(world: World) -> None:
    """Who expects another one to decide is told, and nothing changes; the same choice again changes nothing either."""
    await world.stub.Calibrate(of_embeddings(calibration_id="door-1", activate=True))
    late = activate(world, "cal-notes-1", expected_active_id="cal-notes-1")
    assert (await refused(late)).code is grpc.StatusCode.ABORTED
    await activate(world, "door-1")
    assert (await roll_back(world)).calibration.calibration_id == "cal-notes-1"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (calibration_pb2.ActivateCalibrationRequest(), "INVALID_FIELD"),
        (calibration_pb2.ActivateCalibrationRequest(calibration_id="nothing"), "CALIBRATION_NOT_FOUND"),
        (calibration_pb2.ActivateCalibrationRequest(roll_back_model_id="other@1"), "CALIBRATION_NOT_FOUND"),
    ],
)
async def test_what_is_not_there_is_not_chosen(
    world: World, request_: calibration_pb2.ActivateCalibrationRequest, reason: str
) -> None:
    """Each wrong choice has its reason."""
    assert (await refused(world.stub.ActivateCalibration(request_))).reason == reason


async def test_every_gallery_of_a_store_follows(server: PrivateServer) -> None:
    """A choice made at one gallery decides at the other within its next look, and after a restart of both."""
    async with running_world(server.url) as one, running_world(server.url) as two:
        await eventually(one.is_ready)
        await eventually(two.is_ready)
        await enroll(one, "ada", embedded(person(0)))
        await one.stub.Calibrate(of_embeddings(calibration_id="door-1", activate=True))

        async def follows() -> bool:
            return (await active(two)).calibration_id == "door-1"

        await eventually(follows)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await verify(two, "ada", embedded(person(0)), target_fmr=1e-3)
    async with running_world(server.url) as anew:
        await eventually(anew.is_ready)
        assert (await active(anew)).calibration_id == "door-1"
        assert len((await active(anew)).points) > 5


async def test_choices_are_on_record(world: World) -> None:
    """Fitting and choosing stand in the audit log with the calibration's id."""
    await world.stub.Calibrate(of_embeddings(calibration_id="door-1", activate=True, request_id="fit-1"))
    page = await world.stub.QueryAudit(audit_pb2.QueryAuditRequest())
    told = [(one.method, one.request_id) for one in page.entries if b"door-1" in one.entry]
    assert told == [("Calibrate", "fit-1"), ("ActivateCalibration", "fit-1")]


# ---- policies


async def test_a_camera_has_its_own_rates(world: World) -> None:
    """A question that names the camera is decided at the camera's rate, any other at the collection's."""
    await world.stub.CreateCollection(
        c.CreateCollectionRequest(
            collection=c.Collection(
                collection_id="staff",
                policy=c.DecisionPolicy(verify_target_fmr=1e-4, identify_target_fpir=1e-3),
                camera_policies={"door": c.DecisionPolicy(verify_target_fmr=1e-2, identify_target_fpir=0.1)},
            )
        )
    )
    await enroll(world, "ada", embedded(person(0)), collection_id="staff")
    weak = embedded(person(0, 0.93))  # scores 0.37: FMR 1e-2 is at 0.3, 1e-4 at 0.5
    inside = await verify(world, "ada", weak, collection_id="staff", camera_id="door")
    outside = await verify(world, "ada", weak, collection_id="staff")
    assert (inside.decision.outcome, outside.decision.outcome) == (pb.OUTCOME_MATCH, pb.OUTCOME_NO_MATCH)
    assert inside.decision.threshold.target_fmr == pytest.approx(1e-2)
    request = matching_pb2.IdentifyRequest(probe=weak, collection_id="staff", camera_id="door")
    (face,) = (await world.stub.Identify(request)).identifications
    assert face.decision.threshold.target_fpir == pytest.approx(0.1)


async def test_beyond_the_data_only_where_the_policy_allows_it_and_marked(world: World) -> None:
    """A rate stricter than the data is refused, or answered as extrapolated at a stricter score."""
    await world.stub.CreateCollection(
        c.CreateCollectionRequest(
            collection=c.Collection(collection_id="open", policy=c.DecisionPolicy(allow_extrapolation=True))
        )
    )
    for name in ("open", "default"):
        await enroll(world, "ada", embedded(person(0)), collection_id=name)
    beyond = await verify(world, "ada", embedded(person(0)), collection_id="open", target_fmr=1e-6)
    assert beyond.decision.threshold.extrapolated
    assert beyond.decision.threshold.score > 0.6
    within = await verify(world, "ada", embedded(person(0)), collection_id="open", target_fmr=1e-4)
    assert not within.decision.threshold.extrapolated
    assert (await refused(verify(world, "ada", embedded(person(0)), target_fmr=1e-6))).reason == "CALIBRATION_TOO_SMALL"
    far = verify(world, "ada", embedded(person(0)), collection_id="open", target_fmr=1e-9)
    assert (await refused(far)).reason == "CALIBRATION_TOO_SMALL"


async def test_a_gallery_with_one_template_each_calibrates_its_false_matches(world: World) -> None:
    """All of its pairs are of two people: the FMR is measured, and the FNMR is told as not known."""
    rows, _ = crowd(each=1)
    for number, row in enumerate(rows):
        await enroll(world, f"p{number:03d}", embedded(list(row)), duplicate_policy=c.DUPLICATE_POLICY_IGNORE)
    request = calibration_pb2.CalibrateRequest(collection_id="default", activate=True)
    made = (await world.stub.Calibrate(request)).calibration
    assert (made.mated_comparisons, made.non_mated_comparisons) == (0, PEOPLE * (PEOPLE - 1) // 2)
    assert {(point.fnmr, point.fnmr_low, point.fnmr_high) for point in made.points} == {(1.0, 0.0, 1.0)}
    answer = await verify(world, "p000", embedded(list(rows[0])), target_fmr=1e-2)
    assert answer.decision.threshold.calibration_id == made.calibration_id
