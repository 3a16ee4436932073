"""`VerifyJointly` as its callers see it: one person, several modalities, one decision, over real gRPC."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from gallery_svc.thresholds import Thresholds
from tessera.client import wire
from tessera.domain.calibration import Calibration, OperatingPoint
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.reasons import Reason
from tessera.v1 import audit_pb2, collection_pb2, matching_pb2, subject_pb2
from tessera.v1 import biometrics_pb2 as pb
from tests.eventually import eventually
from tests.gallery_world import (
    CALIBRATION,
    DIMENSIONS,
    MODEL,
    World,
    embedded,
    emptied,
    enroll,
    person,
    picture,
    probe_of,
    refused,
    running_world,
    verify,
)
from tests.valkey import PrivateServer, running_server

SIGNATURES = ModelId("signature-notes-1@0123456789ab")
UNMATED = ModelId("person-notes-1@0123456789ab")
_MISSED = {0.2: 0.01, 0.3: 0.03, 0.4: 0.1, 0.5: 0.25, 0.6: 0.5}
MATCH, NO_MATCH, INCONCLUSIVE = pb.OUTCOME_MATCH, pb.OUTCOME_NO_MATCH, pb.OUTCOME_INCONCLUSIVE


def calibration(model_id: ModelId, modality: Modality, mated: int = 10_000) -> Calibration:
    """As that of the world, and with people who are missed: FMR 1e-4 at 0.5, where a quarter of them is."""
    points = tuple(
        dataclasses.replace(point, fnmr=_MISSED[point.threshold], fnmr_interval=Interval(0.0, 1.0))
        for point in CALIBRATION.points
    )
    return dataclasses.replace(
        CALIBRATION,
        calibration_id=CalibrationId(f"cal-{modality.lower()}"),
        model_id=model_id,
        modality=modality,
        points=points if mated else tuple(map(_of_nobody, points)),
        data=dataclasses.replace(CALIBRATION.data, mated=mated),
    )


def _of_nobody(point: OperatingPoint) -> OperatingPoint:
    return dataclasses.replace(point, fnmr=1.0)


THRESHOLDS = Thresholds(
    [
        calibration(MODEL, Modality.FACE),
        calibration(SIGNATURES, Modality.SIGNATURE),
        calibration(UNMATED, Modality.PERSON, mated=0),
    ],
    {Modality.FACE: MODEL, Modality.SIGNATURE: SIGNATURES, Modality.PERSON: UNMATED},
    dict.fromkeys((MODEL, SIGNATURES, UNMATED), DIMENSIONS),
)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=["memory", "valkey"])
async def world(request: pytest.FixtureRequest, valkey: PrivateServer) -> AsyncIterator[World]:
    """Faces, signatures and bodies; ada (person 1) has her face and her signature in, bob (2) his face alone."""
    store = "memory" if request.param == "memory" else await emptied(valkey)
    async with running_world(store, THRESHOLDS) as running:
        await eventually(running.is_ready)
        for name, modality in (("faces", "FACE"), ("signatures", "SIGNATURE"), ("bodies", "PERSON")):
            collection = collection_pb2.Collection(
                collection_id=name,
                modality=wire.modality_to_wire(Modality(modality)),
                policy=collection_pb2.DecisionPolicy(impostors=pb.IMPOSTORS_RANDOM),
            )
            await running.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=collection))
        await enroll(running, "ada", embedded(person(1)), collection_id="faces")
        await enroll(running, "bob", embedded(person(2)), collection_id="faces")
        await enroll(running, "ada", embedded(person(1), SIGNATURES), collection_id="signatures")
        yield running


def like(number: int, score: float) -> list[float]:
    """A vector that has this score with a person's."""
    return person(number, math.sqrt(1.0 - score**2))


def face(score: float = 0.9, number: int = 1, **fields: Any) -> matching_pb2.EvidencePiece:
    """A face that has this score with ada's."""
    return matching_pb2.EvidencePiece(collection_id="faces", probe=probe_of(like(number, score)), **fields)


def signature(score: float = 0.9, **fields: Any) -> matching_pb2.EvidencePiece:
    """A signature that has this score with ada's."""
    return matching_pb2.EvidencePiece(collection_id="signatures", probe=embedded(like(1, score), SIGNATURES), **fields)


async def asked(
    world: World, *pieces: matching_pb2.EvidencePiece, subject_id: str = "ada", **fields: Any
) -> matching_pb2.VerifyJointlyResponse:
    """Verify jointly."""
    request = matching_pb2.VerifyJointlyRequest(subject_id=subject_id, pieces=pieces, **fields)
    return await world.stub.VerifyJointly(request)


def reasons(told: Sequence[int]) -> list[str]:
    """Reasons by name."""
    return [pb.Reason.Name(pb.Reason.ValueType(one)).removeprefix("REASON_") for one in told]


async def test_two_weak_comparisons_make_one_strong_answer(world: World) -> None:
    """Each alone is refused at FMR 1e-4; together they are a match, at a rate that says what it assumes."""
    for piece in (face(0.45), signature(0.45)):
        alone = await verify(world, "ada", piece.probe, collection_id=piece.collection_id)
        assert alone.decision.outcome == NO_MATCH
    answer = await asked(world, face(0.45), signature(0.45))
    told = answer.decision
    assert told.outcome == MATCH
    assert told.threshold.target_fmr == 1e-4
    assert told.threshold.fmr_low <= told.threshold.fmr <= 1e-4
    assert told.threshold.fmr_basis == matching_pb2.FMR_BASIS_INDEPENDENT_PIECES
    assert told.threshold.fmr < told.threshold.fmr_any_dependence < 1.0
    assert [(p.counted, p.calibration_id, p.modality) for p in answer.pieces] == [
        (True, "cal-face", pb.MODALITY_FACE),
        (True, "cal-signature", pb.MODALITY_SIGNATURE),
    ]
    assert answer.pieces[0].coverage.complete
    assert answer.pieces[0].template_count == 1
    assert answer.pieces[0].probe_quality.overall == pytest.approx(0.9)
    assert not answer.pieces[1].HasField("probe_quality")


async def test_evidence_against_the_claim_takes_from_evidence_for_it(world: World) -> None:
    """A signature that is clearly somebody else's takes a face below the threshold that it passes alone."""
    alone = await verify(world, "ada", face(0.55).probe, collection_id="faces")
    assert alone.decision.outcome == MATCH
    assert (await asked(world, face(0.55), signature(0.1), target_fmr=1e-5)).decision.outcome == NO_MATCH


async def test_raw_evidence_is_told_only_to_those_who_ask(world: World) -> None:
    """Without with_score no ratio of a piece or of the sum; with it they add up."""
    answer = await asked(world, face(0.45), signature(0.55))
    assert not answer.decision.HasField("llr")
    assert not any(piece.HasField("llr") for piece in answer.pieces)
    answer = await asked(world, face(0.45), signature(0.55), with_score=True)
    assert answer.decision.llr == sum(piece.llr for piece in answer.pieces)
    assert answer.pieces[0].llr == pytest.approx(math.log(0.15 / 0.0009), abs=0.01)
    assert answer.pieces[1].llr == pytest.approx(math.log(0.25 / 0.00009), abs=0.02)


async def test_the_order_of_pieces_does_not_matter(world: World) -> None:
    """The same decision, sum and threshold."""
    one = await asked(world, face(0.45), signature(0.35), with_score=True)
    other = await asked(world, signature(0.35), face(0.45), with_score=True)
    assert [piece.collection_id for piece in other.pieces] == ["signatures", "faces"]
    for answer in (one, other):
        answer.decision.ClearField("evidence_id")
        answer.decision.ClearField("decided_at")
    assert one.decision == other.decision


@pytest.mark.parametrize("score", [0.45, 0.55])
async def test_evidence_that_cannot_be_had_counts_as_nothing(world: World, score: float) -> None:
    """Without a face in the picture the signature is decided as Verify decides it, at the same rate; it says so."""
    alone = await verify(world, "ada", signature(score).probe, collection_id="signatures")
    nobody = matching_pb2.EvidencePiece(collection_id="faces", probe=probe_of())
    answer = await asked(world, nobody, signature(score))
    # A better picture might have made it a match: no NO_MATCH without one.
    assert answer.decision.outcome == (MATCH if alone.decision.outcome == MATCH else INCONCLUSIVE)
    assert reasons(answer.decision.reasons) == ["NO_FACE"]
    assert answer.decision.threshold.fmr_basis == matching_pb2.FMR_BASIS_ONE_PIECE
    assert answer.decision.threshold.fmr == alone.decision.threshold.fmr
    assert [(piece.counted, reasons(piece.reasons)) for piece in answer.pieces] == [(False, ["NO_FACE"]), (True, [])]


async def test_a_person_without_templates_of_a_modality_is_judged_by_the_others(world: World) -> None:
    """bob never signed: NO_TEMPLATE, no look at his signature, and a NO_MATCH stays one."""
    answer = await asked(world, face(0.9, number=2), signature(), subject_id="bob")
    assert answer.decision.outcome == MATCH
    assert [(piece.counted, reasons(piece.reasons)) for piece in answer.pieces] == [
        (True, []),
        (False, ["NO_TEMPLATE"]),
    ]
    answer = await asked(world, face(0.1, number=2), signature(), subject_id="bob")
    assert answer.decision.outcome == NO_MATCH


async def test_every_piece_may_be_demanded(world: World) -> None:
    """With require_all what cannot be had makes the answer inconclusive, however good the rest."""
    answer = await asked(world, face(0.9, number=2), signature(), subject_id="bob", require_all=True)
    assert answer.decision.outcome == INCONCLUSIVE
    assert reasons(answer.decision.reasons) == ["NO_TEMPLATE"]
    assert (await asked(world, face(), signature(), require_all=True)).decision.outcome == MATCH


async def test_nothing_usable_is_inconclusive_with_every_reason(world: World) -> None:
    """No face and no template: both are told, and there is no threshold."""
    nobody = matching_pb2.EvidencePiece(collection_id="faces", probe=probe_of(person(1), person(2)))
    answer = await asked(world, signature(), nobody, subject_id="bob")
    assert answer.decision.outcome == INCONCLUSIVE
    assert reasons(answer.decision.reasons) == ["NO_TEMPLATE", "EXCEEDS_MAX_FACES"]
    assert not answer.decision.HasField("threshold")


async def test_a_weak_picture_weakens_only_what_it_did_not_prove(world: World) -> None:
    """Blurred: a match stays one and says so; what is below the threshold is inconclusive."""
    for score, outcome in ((0.9, MATCH), (0.1, INCONCLUSIVE)):
        image = picture(like(1, score), reasons=[Reason.LOW_SHARPNESS])
        blurred = matching_pb2.EvidencePiece(collection_id="faces", probe=pb.Probe(image=image))
        answer = await asked(world, blurred, signature(0.25))
        assert answer.decision.outcome == outcome
        assert reasons(answer.decision.reasons) == ["LOW_SHARPNESS"]


@pytest.mark.parametrize("probe", [probe_of(person(1)), probe_of()])
async def test_somebody_who_is_not_valid_now_is_no_match_by_other_evidence(world: World, probe: pb.Probe) -> None:
    """Whose time in one collection is over is not let in by the other, not even with his face covered."""
    over = subject_pb2.UpdateSubjectRequest(subject=subject_pb2.Subject(collection_id="faces", subject_id="ada"))
    over.subject.valid_until.FromDatetime(datetime.now(UTC) - timedelta(seconds=5))
    over.update_mask.paths.append("valid_until")
    await world.stub.UpdateSubject(over)
    answer = await asked(world, matching_pb2.EvidencePiece(collection_id="faces", probe=probe), signature())
    assert answer.decision.outcome == INCONCLUSIVE
    assert reasons(answer.decision.reasons) == ["NOT_VALID_NOW"]


async def test_another_id_in_another_collection(world: World) -> None:
    """A piece may name the person as its collection does."""
    await enroll(world, "a-4711", embedded(person(1), SIGNATURES), collection_id="signatures")
    answer = await asked(world, face(), signature(subject_id="a-4711"))
    assert answer.decision.outcome == MATCH
    assert [piece.subject_id for piece in answer.pieces] == ["ada", "a-4711"]


async def test_several_templates_are_a_larger_target(world: World) -> None:
    """The best of four says less than one of the same score, by log 4, and the rate is still that of the claim."""
    before = await asked(world, face(0.55), signature(0.35), with_score=True)
    others = [embedded(person(10 + at)) for at in range(3)]
    anyhow = collection_pb2.OUTLIER_POLICY_IGNORE
    await enroll(world, "ada", *others, collection_id="faces", outlier_policy=anyhow)
    after = await asked(world, face(0.55), signature(0.35), with_score=True)
    assert after.pieces[0].template_count == 4
    assert after.pieces[0].llr == pytest.approx(before.pieces[0].llr - math.log(4), abs=1e-5)
    assert after.decision.threshold.fmr <= 1e-4


async def test_the_strictest_policy_decides_unless_a_rate_is_named(world: World) -> None:
    """Each collection's policy has its rate; the claim keeps the lower one."""
    strict = collection_pb2.Collection(
        collection_id="signatures",
        policy=collection_pb2.DecisionPolicy(verify_target_fmr=1e-5, impostors=pb.IMPOSTORS_RANDOM),
    )
    request = collection_pb2.UpdateCollectionRequest(collection=strict)
    request.update_mask.paths.append("policy")
    await world.stub.UpdateCollection(request)
    assert (await asked(world, face(), signature())).decision.threshold.target_fmr == 1e-5
    assert (await asked(world, face(), signature(), target_fmr=1e-3)).decision.threshold.target_fmr == 1e-3


async def test_a_rate_beyond_the_pieces_that_are_left_is_inconclusive(world: World) -> None:
    """1e-8 is carried by both; by the signature alone it is not, and that is what the answer says."""
    assert (await asked(world, face(), signature(), target_fmr=1e-8)).decision.outcome == MATCH
    nobody = matching_pb2.EvidencePiece(collection_id="faces", probe=probe_of())
    answer = await asked(world, nobody, signature(), target_fmr=1e-8)
    assert answer.decision.outcome == INCONCLUSIVE
    assert reasons(answer.decision.reasons) == ["CALIBRATION_TOO_SMALL", "NO_FACE"]


async def test_the_answer_is_in_the_log_of_each_collection(world: World) -> None:
    """Under one evidence id, with method, outcome, request and person; and it is counted once."""
    answer = await asked(world, face(0.45), signature(0.45), request_id="door-1")
    for name in ("faces", "signatures"):
        page = await world.stub.QueryAudit(
            audit_pb2.QueryAuditRequest(collection_id=name, evidence_id=answer.decision.evidence_id)
        )
        (entry,) = page.entries
        assert (entry.method, entry.subject_id, entry.request_id) == ("VerifyJointly", "ada", "door-1")
        assert entry.outcome == MATCH
    labels = {"method": "verifyjointly", "outcome": "MATCH"}
    assert world.value("tessera_gallery_decisions_total", **labels) == 1


async def test_a_position_that_was_never_reached_is_waited_for(world: World) -> None:
    """An answer includes the enrolment that the caller has seen, in each collection."""
    seen = await enroll(world, "eve", embedded(person(5)), collection_id="faces")
    signed = await enroll(world, "eve", embedded(person(5), SIGNATURES), collection_id="signatures")
    answer = await asked(
        world,
        face(0.9, number=5, min_position=seen.position),
        matching_pb2.EvidencePiece(
            collection_id="signatures", probe=embedded(person(5), SIGNATURES), min_position=signed.position
        ),
        subject_id="eve",
    )
    assert answer.decision.outcome == MATCH
    assert answer.pieces[0].position >= seen.position


@pytest.mark.parametrize(
    ("pieces", "fields", "reason", "said"),
    [
        ([face()], {}, "INVALID_FIELD", "pieces: got 1; allowed: 2 to 3"),
        ([face(), face()], {}, "INVALID_FIELD", "one of each modality"),
        ([face(), signature()], {"target_fmr": 1.5}, "INVALID_FIELD", "target_fmr"),
        ([face(), signature()], {"subject_id": ""}, "INVALID_FIELD", "subject_id"),
        ([face(), matching_pb2.EvidencePiece(collection_id="signatures")], {}, "INVALID_FIELD", "pieces[1].probe"),
        ([face(), signature()], {"subject_id": "nobody"}, "SUBJECT_NOT_FOUND", "nobody"),
        (
            [face(), matching_pb2.EvidencePiece(collection_id="voices", probe=embedded(person(1)))],
            {},
            "COLLECTION_NOT_FOUND",
            "voices",
        ),
        (
            [face(), matching_pb2.EvidencePiece(collection_id="signatures", probe=embedded(person(1)))],
            {},
            "MODEL_MISMATCH",
            "signature-notes",
        ),
        (
            [face(), matching_pb2.EvidencePiece(collection_id="bodies", probe=embedded(person(1), UNMATED))],
            {},
            "NO_EVIDENCE",
            "tessera calibrate fit",
        ),
        ([face(), signature()], {"target_fmr": 1e-11}, "CALIBRATION_TOO_SMALL", "needs"),
    ],
)
async def test_what_cannot_be_asked(
    world: World, pieces: list[matching_pb2.EvidencePiece], fields: dict[str, Any], reason: str, said: str
) -> None:
    """It is refused with the field or the state that stands in the way, and no encoder is asked for a rate in vain."""
    detail = await refused(asked(world, *pieces, **fields))
    assert detail.reason == reason
    assert said in detail.message
    if reason == "CALIBRATION_TOO_SMALL":
        assert detail.code == grpc.StatusCode.FAILED_PRECONDITION
        assert not world.encoder.asked
