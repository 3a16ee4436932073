"""`tessera calibrate`: files in, a page or a calibration out; what is wrong with a file is told with its line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from unit.client.fake_services import Script, serving
from unit.client.stored_calibration import STORED

from tessera.cli.__main__ import main
from tessera.client.calibration_wire import calibration_to_wire
from tessera.domain.errors import InvalidInputError, NotFoundError
from tessera.v1 import biometrics_pb2, calibration_pb2, encoder_pb2

Rows = Sequence[Sequence[object]]


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def address(script: Script) -> Iterator[str]:
    """Where they listen."""
    with serving(script) as where:
        yield where


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Rows], str]:
    """Writes a CSV file, gives its path."""

    def wrote(name: str, rows: Rows) -> str:
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return str(tmp_path / name)

    return wrote


def people(count: int = 40, each: int = 3) -> tuple[np.ndarray, list[str]]:
    """Samples around random centres."""
    rng = np.random.default_rng(5)
    vectors = np.repeat(rng.normal(size=(count, 16)), each, axis=0) + 0.6 * rng.normal(size=(count * each, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"p{at}" for at in range(count) for _ in range(each)]


def score_rows() -> list[list[object]]:
    """All pairs of some people, with a head."""
    vectors, subjects = people(20, 2)
    scores = vectors @ vectors.T
    pairs = [(i, j) for i in range(40) for j in range(i)]
    rows = [[scores[i, j], int(subjects[i] == subjects[j]), subjects[i], subjects[j]] for i, j in pairs]
    return [["score", "mated", "first", "second"], *rows]


def test_a_report_on_scores_needs_no_service(
    write: Callable[[str, Rows], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One page, with groups; JSON has the whole of it."""
    scores = write("scores.csv", score_rows())
    groups = write("groups.csv", [["subject", "group"], *[[f"p{at}", "ab"[at % 2]] for at in range(20)]])
    out = tmp_path / "report.html"
    asked = ["calibrate", "report", "--scores", scores, "--groups", groups, "--model", "m@1", "-o", str(out), "--json"]
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"]["calibration"]["data"]["non_mated"] == 760
    assert told["report"]["groups"]["differences"]
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "scores.csv" in page


def test_a_report_on_embeddings_takes_the_model_from_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows need not be of length 1."""
    vectors, subjects = people()
    np.savez(tmp_path / "e.npz", vectors=3 * vectors, subjects=np.array(subjects), model_id=np.array("m@7"))
    out = tmp_path / "r.html"
    assert main(["calibrate", "report", "--embeddings", str(tmp_path / "e.npz"), "-o", str(out)]) == 0
    assert "m@7" in capsys.readouterr().out
    assert "m@7" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("in_file", "option", "told"),
    [("", "", "FACE"), ("signature", "", "SIGNATURE"), ("", "person", "PERSON"), ("signature", "person", "PERSON")],
)
def test_a_report_says_what_was_compared(
    in_file: str, option: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The option, else what the file says, else faces."""
    vectors, subjects = people()
    labels = {"modality": np.array(in_file)} if in_file else {}
    np.savez(tmp_path / "e.npz", vectors=vectors, subjects=np.array(subjects), **labels)
    asked = ["calibrate", "report", "--embeddings", str(tmp_path / "e.npz"), "-o", str(tmp_path / "r.html"), "--json"]
    assert main([*asked, *(["--modality", option] if option else [])]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["calibration"]["modality"] == told
    assert told.lower() in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_scores_say_by_the_option_what_was_compared(
    write: Callable[[str, Rows], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of scores does not say it."""
    scores, out = write("scores.csv", score_rows()), str(tmp_path / "r.html")
    assert main(["calibrate", "report", "--scores", scores, "--modality", "signature", "-o", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["calibration"]["modality"] == "SIGNATURE"


def test_what_is_no_modality_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a file by its place; of pictures, which the encoder embeds as faces, whatever else is said."""
    vectors, subjects = people()
    np.savez(tmp_path / "e.npz", vectors=vectors, subjects=np.array(subjects), modality=np.array("gait"))
    out = str(tmp_path / "r.html")
    assert main(["calibrate", "report", "--embeddings", str(tmp_path / "e.npz"), "-o", out, "--json"]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["field"], error["allowed"]) == ("e.npz, modality", "face, signature, person")
    assert main(["calibrate", "report", "--pictures", str(tmp_path), "--modality", "person", "-o", out, "--json"]) == 3
    assert json.loads(capsys.readouterr().err)["error"]["field"] == "--modality"


@pytest.mark.parametrize(
    "wrong",
    [
        ([["score", "first"], ["0.1", "a"]], "bad.csv, line 1", "score,mated"),
        ([["score", "mated", "first", "second"], ["x", "1", "a", "a"]], "bad.csv, line 2, score", "a finite number"),
        ([["score", "mated", "first", "second"], ["0.1", "maybe", "a", "a"]], "bad.csv, line 2, mated", "1 or 0"),
        ([["score", "mated", "first", "second"], ["0.1", "0", "a", "a"]], "bad.csv, line 2", "--independent"),
        ([["score", "mated"], ["0.1", "1"]], "bad.csv, line 2", "--independent"),
        ([["score", "mated"]], "--scores", "one line or more"),
    ],
)
def test_a_wrong_line_is_told_with_its_place(
    wrong: tuple[Rows, str, str],
    write: Callable[[str, Rows], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 3, the line, and what would be right; no page is written."""
    rows, field, allowed = wrong
    out = tmp_path / "r.html"
    assert main(["calibrate", "report", "--scores", write("bad.csv", rows), "-o", str(out), "--json"]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["field"] == field
    assert allowed in error["allowed"]
    assert not out.exists()


def test_too_little_data_says_how_much_there_must_be(
    write: Callable[[str, Rows], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two comparisons prove nothing."""
    scores = write("few.csv", [["score", "mated"], ["0.9", "1"], ["0.1", "0"], ["0.2", "0"]])
    out = str(tmp_path / "r.html")
    assert main(["calibrate", "report", "--scores", scores, "--independent", "-o", out, "--json"]) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["reason"] == "CALIBRATION_TOO_SMALL"
    assert "comparisons or more" in error["allowed"]


def test_a_file_that_hides_objects_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is unpickled."""
    np.savez(tmp_path / "e.npz", vectors=np.array([object()]), subjects=np.array(["a"]))
    asked = ["calibrate", "report", "--embeddings", str(tmp_path / "e.npz"), "-o", str(tmp_path / "r.html"), "--json"]
    assert main(asked) == 3
    assert "without objects" in json.loads(capsys.readouterr().err)["error"]["allowed"]


@pytest.mark.parametrize("sources", [[], ["--collection", "staff", "--scores", "scores.csv"]])
def test_one_source_and_no_more(
    sources: list[str], write: Callable[[str, Rows], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """None and two are refused before anything is asked."""
    path = write("scores.csv", score_rows())
    asked = [path if one == "scores.csv" else one for one in sources]
    assert main(["calibrate", "fit", *asked, "--gallery", "127.0.0.1:1", "--json"]) == 3
    assert json.loads(capsys.readouterr().err)["error"]["field"] == "source"


def test_a_fit_on_scores_sends_subjects_and_says_what_comes_next(
    write: Callable[[str, Rows], str], script: Script, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file's digest and name go with it; a calibration that does not decide yet says how it would."""
    stored = calibration_to_wire(STORED)
    stored.active = False
    script.answers["Calibrate"] = calibration_pb2.CalibrateResponse(calibration=stored)
    scores = write("scores.csv", score_rows())
    assert main(["calibrate", "fit", "--scores", scores, "--model", "m@1", "--gallery", address]) == 0
    out = capsys.readouterr().out
    assert "Next: tessera calibrate activate cal-1" in out
    assert "needs 30,000 non-mated comparisons; there are 19,500" in out
    (request,) = script.requests
    assert (len(request.scores.mated), len(request.scores.non_mated)) == (20, 760)
    assert request.scores.data_name == "scores.csv"
    assert len(request.scores.data_digest) == 64


def test_a_fit_on_pictures_embeds_them_first(
    tmp_path: Path, script: Script, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose each is says its folder; a picture without a face is left out; links that lead away are not read."""
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    for person in ("ann", "bo"):
        (tmp_path / "people" / person).mkdir(parents=True)
        for at in (1, 2):
            (tmp_path / "people" / person / f"{at}.jpg").write_bytes(f"{person}{at}".encode())
    (tmp_path / "people" / "ann" / "3.jpg").symlink_to(tmp_path / "secret.jpg")
    seen: list[bytes] = []

    def encode(request: encoder_pb2.EncodeRequest) -> object:
        seen.append(request.image.data)
        if request.image.data == b"bo2":
            return encoder_pb2.EncodeResponse(model_id="m@1", width_px=9, height_px=9)
        face = biometrics_pb2.Embedding(values=[1.0, len(seen)], model_id="m@1")
        observation = biometrics_pb2.Observation(embedding=face, box=biometrics_pb2.Box(width_px=9, height_px=9))
        return encoder_pb2.EncodeResponse(observations=[observation], model_id="m@1", width_px=9, height_px=9)

    script.answers["Encode"] = encode
    script.answers["Calibrate"] = calibration_pb2.CalibrateResponse(calibration=calibration_to_wire(STORED))
    where = ["--gallery", address, "--encoder", address]
    assert main(["calibrate", "fit", "--pictures", str(tmp_path / "people"), *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibration"]["calibration_id"] == "cal-1"
    assert sorted(seen) == [b"ann1", b"ann2", b"bo1", b"bo2"]
    request = script.requests[-1]
    assert sorted(request.embeddings.subjects) == ["ann", "ann", "bo"]
    assert request.embeddings.data_name == "people"


def test_calibrations_are_listed_shown_and_chosen(
    script: Script, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command asks once, and says which one decides."""
    wire = calibration_to_wire(STORED)
    script.answers["ListCalibrations"] = calibration_pb2.ListCalibrationsResponse(calibrations=[wire])
    script.answers["GetCalibration"] = calibration_pb2.GetCalibrationResponse(calibration=wire)
    script.answers["ActivateCalibration"] = calibration_pb2.ActivateCalibrationResponse(
        calibration=wire, previous_calibration_id="cal-0"
    )
    for command, told in (
        (["list"], "cal-1"),
        (["show", "cal-1"], "1 in 100"),
        (["activate", "cal-1", "--expect", "cal-0"], "tessera calibrate rollback m@1"),
        (["rollback", "m@1"], "Before:      cal-0"),
    ):
        assert main(["calibrate", *command, "--gallery", address]) == 0
        assert told in capsys.readouterr().out
    assert [type(request).__name__ for request in script.requests] == [
        "ListCalibrationsRequest", "GetCalibrationRequest", "ActivateCalibrationRequest", "ActivateCalibrationRequest",
    ]  # fmt: skip


def test_a_calibration_that_is_not_there_is_a_failure(
    script: Script, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, with what was asked for."""
    script.answers["GetCalibration"] = NotFoundError("calibration", "cal-9")
    assert main(["calibrate", "show", "cal-9", "--gallery", address, "--json"]) == 3
    assert "cal-9" in json.loads(capsys.readouterr().err)["error"]["message"]
    script.answers["ListCalibrations"] = InvalidInputError("model_id", "x", "a model")
    assert main(["calibrate", "list", "--gallery", address, "--json"]) == 3
