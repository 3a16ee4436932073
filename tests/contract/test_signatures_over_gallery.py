"""Signatures all the way, over real gRPC and a real store: enrolled, verified, identified, compared, explained.

The network is one that sees where ink is, and the thresholds are made for it: what is tested is the way, and against
whom each answer is stated. The signatures are generated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import grpc
import numpy as np
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tessera.cli.__main__ import main
from tessera.client import Tessera
from tessera.client.answers import DecisionPolicy
from tessera.client.errors import NotAllowedNow
from tessera.demo.signatures import draw, invent_hand, sign
from tessera.domain.calibration import Impostors
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import calibration_pb2, collection_pb2, matching_pb2, subject_pb2
from tests.eventually import eventually
from tests.gallery_world import refused
from tests.signature_world import MANIFEST, RANDOM, SignatureWorld, Writer, png, running_world
from tests.valkey import PrivateServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SIGNATURES = "signatures"
SEED = 5
"""Of a writer whose hand even this network tells from its forger's."""
SKILLED, RANDOMS = pb.IMPOSTORS_SKILLED, pb.IMPOSTORS_RANDOM
EMPTY_PAPER = png(np.full((400, 1000, 3), 250, np.uint8))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(valkey: PrivateServer) -> AsyncIterator[SignatureWorld]:
    """One gallery over a real server for the whole file; its logs do not mix with what a command prints."""
    with capture_logs():
        async with running_world(valkey.url) as running:
            await eventually(running.is_ready)
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ada(world: SignatureWorld) -> Writer:
    """A hand, enrolled with five references; the collection is made by that."""
    ada = Writer.invented(SEED)
    answer = await enrolled(world, "ada", ada.signs(5))
    assert [result.accepted for result in answer.results] == [True] * 5
    return ada


@pytest.fixture
def writer(ada: Writer, request: pytest.FixtureRequest) -> Writer:
    """Ada, who signs the same in a test whatever ran before it: one genuine signature in a hundred is refused."""
    return replace(ada, rng=np.random.default_rng(crc32(request.node.name.encode())))


async def enrolled(
    world: SignatureWorld, subject_id: str, pictures: list[bytes], **fields: Any
) -> subject_pb2.EnrollSubjectResponse:
    """Enrol references."""
    request = subject_pb2.EnrollSubjectRequest(
        collection_id=SIGNATURES, subject_id=subject_id, samples=[probe(picture) for picture in pictures], **fields
    )
    return await world.stub.EnrollSubject(request)


def probe(picture: bytes) -> pb.Probe:
    """A picture that is compared."""
    return pb.Probe(image=pb.Image(data=picture))


async def verified(world: SignatureWorld, picture: bytes, **fields: Any) -> matching_pb2.VerifyResponse:
    """Is it ada's?"""
    request = matching_pb2.VerifyRequest(
        collection_id=SIGNATURES, subject_id="ada", probe=probe(picture), with_score=True, **fields
    )
    return await world.stub.Verify(request)


# ---- the collection, and against whom it decides


async def test_the_first_reference_makes_a_collection_that_decides_against_forgers(
    world: SignatureWorld, writer: Writer
) -> None:
    """Modality, encoder and policy are those of signatures: FMR 0.05 against skilled forgers."""
    request = collection_pb2.GetCollectionRequest(collection_id=SIGNATURES)
    made = (await world.stub.GetCollection(request)).collection
    assert (made.modality, made.model_id) == (pb.MODALITY_SIGNATURE, MANIFEST.model_id)
    assert (made.policy.impostors, made.policy.verify_target_fmr) == (SKILLED, 0.05)


async def test_a_genuine_signature_matches_and_a_forgery_does_not(world: SignatureWorld, writer: Writer) -> None:
    """The answer says against whom, by which calibration, and that it is the rate of the best of five references."""
    answer = await verified(world, writer.signs(1)[0])
    assert answer.decision.outcome == pb.OUTCOME_MATCH
    threshold = answer.decision.threshold
    assert (threshold.impostors, threshold.calibration_id) == (SKILLED, "cal-skilled")
    assert (threshold.target_fmr, threshold.template_count) == (0.05, 5)
    assert threshold.fmr <= 0.05
    assert answer.probe_box.width_px > 100
    forged = await verified(world, writer.is_forged())
    assert forged.decision.outcome == pb.OUTCOME_NO_MATCH
    assert forged.decision.score < threshold.score


async def test_a_collection_may_decide_against_strangers(world: SignatureWorld, writer: Writer) -> None:
    """Its owner says so; a forger then passes, at a rate that says what it does not count."""
    policy = collection_pb2.DecisionPolicy(impostors=RANDOMS)
    wanted = collection_pb2.Collection(collection_id="mailroom", modality=pb.MODALITY_SIGNATURE, policy=policy)
    made = await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))
    assert (made.collection.policy.impostors, made.collection.policy.verify_target_fmr) == (RANDOMS, 1e-4)
    samples = [probe(picture) for picture in Writer.invented(SEED).signs(1)]
    await world.stub.EnrollSubject(
        subject_pb2.EnrollSubjectRequest(collection_id="mailroom", subject_id="ada", samples=samples)
    )
    request = matching_pb2.VerifyRequest(collection_id="mailroom", subject_id="ada", probe=probe(writer.is_forged()))
    decision = (await world.stub.Verify(request)).decision
    assert decision.outcome == pb.OUTCOME_MATCH
    assert (decision.threshold.impostors, decision.threshold.calibration_id) == (RANDOMS, "cal-random")


async def test_a_change_of_policy_keeps_to_the_modality(world: SignatureWorld) -> None:
    """What the new policy leaves out has the default of signatures, not that of faces."""
    wanted = collection_pb2.Collection(collection_id="archive", modality=pb.MODALITY_SIGNATURE)
    await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))
    request = collection_pb2.UpdateCollectionRequest(
        collection=collection_pb2.Collection(
            collection_id="archive", policy=collection_pb2.DecisionPolicy(identify_target_fpir=0.05)
        )
    )
    request.update_mask.paths.append("policy")
    changed = (await world.stub.UpdateCollection(request)).collection.policy
    assert (changed.impostors, changed.verify_target_fmr, changed.identify_target_fpir) == (SKILLED, 0.05, 0.05)


async def test_both_calibrations_decide_each_for_its_own(world: SignatureWorld) -> None:
    """Listed with their impostors; the one against forgers is the encoder's own and is not chosen."""
    request = calibration_pb2.ListCalibrationsRequest(model_id=MANIFEST.model_id)
    listed = (await world.stub.ListCalibrations(request)).calibrations
    told = {one.calibration_id: (one.impostors, one.active) for one in listed}
    assert told == {"cal-random": (RANDOMS, True), "cal-skilled": (SKILLED, True)}
    asked = calibration_pb2.GetCalibrationRequest(model_id=MANIFEST.model_id, impostors=SKILLED)
    assert (await world.stub.GetCalibration(asked)).calibration.calibration_id == "cal-skilled"
    choice = calibration_pb2.ActivateCalibrationRequest(calibration_id="cal-skilled")
    assert (await refused(world.stub.ActivateCalibration(choice))).reason == "INVALID_FIELD"


async def test_without_a_calibration_against_forgers_nothing_is_decided_against_them(valkey: PrivateServer) -> None:
    """An encoder that was measured on strangers alone: the default is refused, and strangers may be named."""
    async with running_world("memory", RANDOM) as world:
        await eventually(world.is_ready)
        wanted = collection_pb2.Collection(collection_id="desk", modality=pb.MODALITY_SIGNATURE)
        detail = await refused(world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted)))
        assert (detail.code, detail.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_CALIBRATION")
        wanted.policy.impostors = RANDOMS
        await world.stub.CreateCollection(collection_pb2.CreateCollectionRequest(collection=wanted))


# ---- references that cannot be used


def form(*signatures: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A page of print with these signatures below it."""
    page = np.full((1600, 1200, 3), 250, np.uint8)
    for line in range(14):
        text, place = "This agreement is made between the parties named below and", (60, 80 + 40 * line)
        cv2.putText(page, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2, cv2.LINE_AA)
    for at, one in enumerate(signatures):
        small = cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        page[800 + 400 * at : 1000 + 400 * at, 100 + 500 * at : 600 + 500 * at] = small
    return png(page)


async def test_each_bad_reference_is_told_and_the_others_are_enrolled(world: SignatureWorld) -> None:
    """Empty paper, a page with two signatures, one without any, faint ink: each with its reason and what to do."""
    rng = np.random.default_rng(3)
    bob = Writer.invented(2)
    one, other = draw(sign(bob.hand, rng)), draw(sign(invent_hand(rng), rng))
    faint = png(draw(sign(bob.hand, rng), ink=(233, 233, 233)))
    answer = await enrolled(world, "bob", [png(one), EMPTY_PAPER, form(one, other), form(), faint])
    assert [result.accepted for result in answer.results] == [True, False, False, False, False]
    _, empty, several, printed, pale = answer.results
    assert list(empty.reasons) == [pb.REASON_NO_SIGNATURE]
    assert list(several.reasons) == [pb.REASON_EXCEEDS_MAX_SIGNATURES]
    assert list(printed.reasons) == [pb.REASON_PRINTED_TEXT]
    assert "cut the picture to the signature" in printed.detail
    assert list(pale.reasons) == [pb.REASON_FAINT_INK]
    assert "scan it darker" in pale.detail


async def test_twelve_references_are_one_subject(world: SignatureWorld) -> None:
    """The stated rate is that of the best of twelve."""
    eve = Writer.invented(4)
    answer = await enrolled(world, "eve", eve.signs(12), outlier_policy=collection_pb2.OUTLIER_POLICY_IGNORE)
    assert len(answer.subject.templates) == 12
    request = matching_pb2.VerifyRequest(
        collection_id=SIGNATURES, subject_id="eve", probe=probe(eve.signs(1)[0]), target_fmr=0.05
    )
    decision = (await world.stub.Verify(request)).decision
    assert decision.threshold.template_count == 12
    assert decision.threshold.fmr <= 0.05


async def test_a_probe_that_shows_no_signature_is_inconclusive(world: SignatureWorld, writer: Writer) -> None:
    """NO_SIGNATURE, in the words of signatures; nothing is refused."""
    decision = (await verified(world, EMPTY_PAPER)).decision
    assert (decision.outcome, list(decision.reasons)) == (pb.OUTCOME_INCONCLUSIVE, [pb.REASON_NO_SIGNATURE])


# ---- whose, and the same


async def test_whose_signature_it_is_is_found_against_strangers(world: SignatureWorld, writer: Writer) -> None:
    """Identification states its rate for people who are not enrolled and imitate nobody."""
    request = matching_pb2.IdentifyRequest(collection_id=SIGNATURES, probe=probe(writer.signs(1)[0]), target_fpir=0.3)
    (found,) = (await world.stub.Identify(request)).identifications
    assert found.candidates[0].subject_id == "ada"
    assert found.decision.outcome == pb.OUTCOME_MATCH
    assert found.decision.threshold.impostors == RANDOMS
    request.probe.image.data = EMPTY_PAPER
    (nobody,) = (await world.stub.Identify(request)).identifications
    assert list(nobody.decision.reasons) == [pb.REASON_NO_SIGNATURE]


async def test_two_signatures_are_compared_against_whom_the_caller_says(world: SignatureWorld, writer: Writer) -> None:
    """Forgers where nobody says otherwise."""
    first, second = writer.signs(2)
    request = matching_pb2.CompareRequest(
        first=probe(first), second=probe(second), modality=pb.MODALITY_SIGNATURE, with_score=True
    )
    told = (await world.stub.Compare(request)).decision
    assert (told.threshold.impostors, told.threshold.target_fmr) == (SKILLED, 0.05)
    request.impostors = RANDOMS
    loose = (await world.stub.Compare(request)).decision
    assert (loose.threshold.impostors, loose.threshold.target_fmr) == (RANDOMS, 1e-4)
    assert loose.score == told.score
    stranger = Writer.invented(SEED + 100).signs(1)[0]
    request.second.CopyFrom(probe(stranger))
    assert (await world.stub.Compare(request)).decision.outcome == pb.OUTCOME_NO_MATCH


# ---- why


async def test_an_explanation_rings_the_stroke_that_differs(world: SignatureWorld, writer: Writer) -> None:
    """A flourish that ada never makes speaks against her, where it is; her own strokes speak for her."""
    genuine = cv2.imdecode(np.frombuffer(writer.signs(1)[0], np.uint8), cv2.IMREAD_COLOR)
    inked = np.argwhere(genuine.min(2) < 128)
    (top, _), (_, right) = inked.min(0), inked.max(0)
    middle = (int(right) - 150, int(top) - 20)
    cv2.ellipse(genuine, middle, (110, 50), 0, 0, 330, (20, 20, 20), 6, cv2.LINE_AA)
    request = matching_pb2.ExplainMatchRequest(
        collection_id=SIGNATURES, subject_id="ada", image=pb.Image(data=png(genuine)), grid=8
    )
    answer = await world.stub.ExplainMatch(request)
    weights = np.array(answer.map.weights).reshape(8, 8)
    assert weights[:3, 4:].min() < -0.1
    assert weights[:, :4].max() > 0.1
    drawn = cv2.imdecode(np.frombuffer(answer.map.overlay_png, np.uint8), cv2.IMREAD_COLOR)
    against = (drawn[..., 0].astype(int) - drawn[..., 2] > 30).nonzero()
    assert against[0].size > 50
    assert np.median(against[0]) < 0.5 * drawn.shape[0]
    assert np.median(against[1]) > 0.5 * drawn.shape[1]


# ---- SDK and commands


@pytest.fixture
def run(world: SignatureWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command against both services; gives its exit code and what it printed."""
    monkeypatch.setenv("TESSERA_GALLERY", f"127.0.0.1:{world.gallery.server.port}")
    monkeypatch.setenv("TESSERA_ENCODER", world.encoder_address)

    async def command(*arguments: object) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out + told.err

    return command


Run = Callable[..., Awaitable[tuple[int, str]]]


async def test_commands_take_signatures(run: Run, tmp_path: Path) -> None:
    """Enrol, verify, compare, identify and explain, each with --modality signature; rates say against whom."""
    zoe = Writer.invented(SEED)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file, picture in zip(files, [*zoe.signs(4), zoe.is_forged()], strict=True):
        file.write_bytes(picture)
    kind = ("--modality", "signature")
    code, told = await run("enroll", "zoe", *files[:3], *kind, "--duplicates", "ignore")
    assert code == 0, told
    assert "Enrolled 3 pictures of zoe" in told
    code, told = await run("verify", "zoe", files[3], *kind)
    assert code == 0, told
    assert "FMR <= 0.05 against skilled forgers" in told
    code, _ = await run("verify", "zoe", files[4], *kind)
    assert code == 1
    code, told = await run("compare", files[0], files[1], *kind, "--impostors", "random", "--fmr", "0.1")
    assert "skilled" not in told
    code, told = await run("identify", files[3], *kind, "--fpir", "0.3")
    assert "signature at" in told
    code, told = await run("explain", files[3], "--subject", "zoe", *kind, "--grid", "4", "-o", tmp_path / "map.png")
    assert code == 0, told
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


async def test_a_clerk_is_told_what_to_do(run: Run, tmp_path: Path, writer: Writer) -> None:
    """Empty paper and a cut signature: what is wrong, and what would be right."""
    paper, cut = tmp_path / "paper.png", tmp_path / "cut.png"
    paper.write_bytes(EMPTY_PAPER)
    whole = cv2.imdecode(np.frombuffer(writer.signs(1)[0], np.uint8), cv2.IMREAD_COLOR)
    rows = np.argwhere(whole.min(2) < 128)[:, 0]
    cut.write_bytes(png(whole[: int(np.median(rows))]))
    code, told = await run("verify", "ada", paper, "--modality", "signature")
    assert code == 2
    assert "no signature is found: dark ink on light paper is looked for" in told
    code, told = await run("verify", "ada", cut, "--modality", "signature")
    assert code == 2
    assert "leave some paper around it" in told


async def test_a_collection_of_signatures_is_shown_with_its_impostors(run: Run) -> None:
    """Made and changed by commands."""
    code, told = await run("collections", "create", "branch", "--modality", "signature", "--fmr", "0.1")
    assert code == 0, told
    assert "FMR <= 0.1 against skilled forgers" in told
    code, told = await run("collections", "update", "branch", "--impostors", "random")
    assert code == 0, told
    assert "skilled" not in told


async def test_the_sdk_speaks_of_signatures(world: SignatureWorld, writer: Writer) -> None:
    """Values with the impostors in them; a rate that the data cannot carry is refused."""

    def asked() -> None:
        address = f"127.0.0.1:{world.gallery.server.port}"
        with Tessera(address, encoder=world.encoder_address) as tessera:
            answer = tessera.verify("ada", writer.signs(1)[0], collection_id=SIGNATURES)
            assert answer.outcome is Outcome.MATCH
            assert answer.threshold is not None
            assert answer.threshold.impostors is Impostors.SKILLED
            assert tessera.get_collection(SIGNATURES).policy == DecisionPolicy.usual(Modality.SIGNATURE)
            with pytest.raises(NotAllowedNow, match="non-mated"):
                tessera.verify("ada", writer.signs(1)[0], collection_id=SIGNATURES, target_fmr=1e-6)
            planned = DecisionPolicy(planned_gallery_size=50)
            made = tessera.create_collection("planned", modality=Modality.SIGNATURE, policy=planned).policy
            assert made == replace(DecisionPolicy.usual(Modality.SIGNATURE), planned_gallery_size=50)

    await asyncio.to_thread(asked)
