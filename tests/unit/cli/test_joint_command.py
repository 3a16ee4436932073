"""`tessera verify-jointly` against a fake gallery over real gRPC: what it sends, what it prints, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.client.fake_services import Script, serving

from tessera.cli.__main__ import main
from tessera.client import EvidencePiece, Tessera
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Modality
from tessera.domain.errors import PreconditionError
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import matching_pb2

Run = Callable[..., int]


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def run(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command against the fake services; gives its exit code."""
    with serving(script) as address:
        for name in ("GALLERY", "INGEST", "ENCODER"):
            monkeypatch.setenv(f"TESSERA_{name}", address)
        yield lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Files that stand for a face and a signature."""
    face, slip = tmp_path / "door.jpg", tmp_path / "slip=1.png"
    face.write_bytes(b"a face")
    slip.write_bytes(b"a signature")
    return face, slip


def answered(outcome: str, *, alone: bool = False, with_score: bool = False) -> matching_pb2.VerifyJointlyResponse:
    """The answer about a face and a signature; `alone`: no face was seen."""
    basis = matching_pb2.FMR_BASIS_ONE_PIECE if alone else matching_pb2.FMR_BASIS_INDEPENDENT_PIECES
    threshold = matching_pb2.JointThreshold(
        llr=4.5, target_fmr=1e-4, fmr=9.7e-5, fmr_low=8e-5, fmr_high=1.2e-4, fmr_basis=basis, fmr_any_dependence=3e-3
    )
    no_face = [pb.REASON_NO_FACE] if alone else []
    face = matching_pb2.PieceOfDecision(
        collection_id="faces", modality=pb.MODALITY_FACE, counted=not alone, reasons=no_face
    )
    slip = matching_pb2.PieceOfDecision(collection_id="signatures", modality=pb.MODALITY_SIGNATURE, counted=True)
    decision = matching_pb2.JointDecision(
        outcome=pb.Outcome.Value(f"OUTCOME_{outcome}"), reasons=no_face, threshold=threshold, evidence_id="ev-1"
    )
    if with_score:
        decision.llr, slip.llr, face.llr = 6.0, 7.25, -1.25
    return matching_pb2.VerifyJointlyResponse(decision=decision, pieces=[face, slip])


@pytest.mark.parametrize(("outcome", "code"), [("MATCH", 0), ("NO_MATCH", 1), ("INCONCLUSIVE", 2)])
def test_the_exit_code_is_the_decision(
    run: Run, script: Script, pictures: tuple[Path, Path], outcome: str, code: int
) -> None:
    """0 match, 1 no match, 2 inconclusive."""
    script.answers["VerifyJointly"] = answered(outcome)
    assert run("verify-jointly", "alice", f"faces={pictures[0]}", f"signatures={pictures[1]}") == code


def test_a_picture_goes_to_the_collection_before_it(run: Run, script: Script, pictures: tuple[Path, Path]) -> None:
    """With the person as that collection knows him, the rate, and what is demanded; a path may hold an `=`."""
    script.answers["VerifyJointly"] = answered("MATCH")
    command = ["verify-jointly", "alice", f"faces={pictures[0]}", f"signatures/a-4711={pictures[1]}"]
    assert run(*command, "--fmr", "1e-6", "--require-all") == 0
    (asked,) = script.requests
    assert [(one.collection_id, one.subject_id, one.probe.image.data) for one in asked.pieces] == [
        ("faces", "", b"a face"),
        ("signatures", "a-4711", b"a signature"),
    ]
    assert (asked.subject_id, asked.target_fmr, asked.require_all, asked.with_score) == ("alice", 1e-6, True, False)


def test_the_answer_says_what_its_rate_assumes(
    run: Run, script: Script, pictures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Independence, and the rate without it; with one piece left neither; each piece in a line."""
    pieces = (f"faces={pictures[0]}", f"signatures={pictures[1]}")
    script.answers["VerifyJointly"] = answered("MATCH")
    run("verify-jointly", "alice", *pieces)
    assert capsys.readouterr().out == (
        "MATCH alice at FMR <= 1e-4 (if they err independently 9.7e-5, 95 % 8e-5..1.2e-4; however they do, at most "
        "0.003)\n  faces (face): counted\n  signatures (signature): counted\n"
    )
    script.answers["VerifyJointly"] = answered("MATCH", alone=True)
    run("verify-jointly", "alice", *pieces)
    assert capsys.readouterr().out == (
        "MATCH alice at FMR <= 1e-4 (measured 9.7e-5, 95 % 8e-5..1.2e-4): no face is seen\n"
        "  faces (face): not counted: no face is seen\n  signatures (signature): counted\n"
    )


def test_evidence_is_shown_only_when_asked_for(
    run: Run, script: Script, pictures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """--score asks for it, and shows the sum beside its threshold and what each piece says."""
    script.answers["VerifyJointly"] = lambda request: answered("MATCH", with_score=request.with_score)
    pieces = (f"faces={pictures[0]}", f"signatures={pictures[1]}")
    run("verify-jointly", "alice", *pieces)
    assert "evidence" not in capsys.readouterr().out
    run("verify-jointly", "alice", *pieces, "--score")
    told = capsys.readouterr().out
    assert "evidence +6.00, threshold +4.50" in told
    assert "faces (face): counted, evidence -1.25" in told


def test_json_has_the_fields_of_the_sdk(
    run: Run, script: Script, pictures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Outcome, threshold with its assumption, and each piece, with stable keys."""
    script.answers["VerifyJointly"] = answered("MATCH")
    run("verify-jointly", "alice", f"faces={pictures[0]}", f"signatures={pictures[1]}", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["evidence_id"], told["llr"]) == ("MATCH", "ev-1", None)
    assert (told["threshold"]["pieces"], told["threshold"]["fmr_any_dependence"]) == (2, 3e-3)
    assert [piece["modality"] for piece in told["pieces"]] == ["FACE", "SIGNATURE"]


@pytest.mark.parametrize("wrong", ["door.jpg", "=door.jpg", "faces=", "faces=absent.jpg"])
def test_what_is_no_evidence_is_refused_before_anybody_is_asked(
    run: Run, script: Script, pictures: tuple[Path, Path], wrong: str
) -> None:
    """Exit code 3, and no request."""
    assert run("verify-jointly", "alice", f"signatures={pictures[1]}", wrong) == 3
    assert not script.requests


def test_one_piece_is_no_joint_question(
    run: Run, pictures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which command asks about one."""
    assert run("verify-jointly", "alice", f"faces={pictures[0]}") == 3
    assert "tessera verify alice IMAGE --collection faces" in capsys.readouterr().err


def test_a_calibration_without_evidence_says_how_to_get_one(
    run: Run, script: Script, pictures: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's words reach whoever typed the command."""
    script.answers["VerifyJointly"] = PreconditionError(
        "NO_EVIDENCE", "calibration_id", "cal", "one of 30 mated comparisons: tessera calibrate fit --pictures DIR"
    )
    assert run("verify-jointly", "alice", f"faces={pictures[0]}", f"signatures={pictures[1]}") not in (0, 1, 2)
    assert "tessera calibrate fit" in capsys.readouterr().err


def test_the_sdk_answers_in_the_fields_words(script: Script) -> None:
    """Outcome, reasons, threshold and pieces; what was not asked for is None."""
    script.answers["VerifyJointly"] = answered("MATCH", alone=True)
    with serving(script) as address, Tessera(address, ingest=address, encoder=address) as tessera:
        pieces = [EvidencePiece("faces", b"jpeg", min_position=7), EvidencePiece("signatures", b"png", "a-4711")]
        answer = tessera.verify_jointly("alice", pieces, target_fmr=1e-5)
    assert answer.is_match
    assert (answer.outcome, answer.reasons, answer.llr) == (Outcome.MATCH, (Reason.NO_FACE,), None)
    assert answer.threshold is not None
    assert (answer.threshold.fmr_interval.high, answer.threshold.pieces) == (1.2e-4, 1)
    assert [(p.modality, p.counted) for p in answer.pieces] == [(Modality.FACE, False), (Modality.SIGNATURE, True)]
    (asked,) = script.requests
    assert (asked.pieces[0].min_position, asked.pieces[1].subject_id) == (7, "a-4711")
    assert asked.request_id
