"""The commands against fake services over real gRPC: what they print, and the exit code that a script reads."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.client.fake_messages import decision, heartbeat, identified, sighting, subject, verified
from unit.client.fake_services import Script, serving

from tessera.cli.__main__ import main
from tessera.domain import errors as e
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2, camera_pb2, matching_pb2, subject_pb2

Run = Callable[..., int]


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def run(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command against the fake services; gives its exit code."""
    with serving(script) as address:
        for name in ("GALLERY", "INGEST", "ENCODER", "GATEWAY"):
            monkeypatch.setenv(f"TESSERA_{name}", address)
        yield lambda *arguments: main([str(argument) for argument in arguments])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A file that stands for a picture."""
    path = tmp_path / "face.jpg"
    path.write_bytes(b"jpeg")
    return path


@pytest.mark.parametrize(
    ("answer", "code", "line"),
    [
        (verified("MATCH"), 0, "MATCH alice at FMR <= 1e-4 (measured 9.7e-5, 95 % 6e-5..1.5e-4)\n"),
        (verified("NO_MATCH"), 1, "NO MATCH alice at FMR <= 1e-4 (measured 9.7e-5, 95 % 6e-5..1.5e-4)\n"),
        (verified("INCONCLUSIVE", "NO_FACE"), 2, "INCONCLUSIVE alice: no face is seen\n"),
    ],
)
def test_verify_says_the_decision_and_its_error_rate(  # noqa: PLR0917 - fixtures and cases
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str], answer: object, code: int, line: str
) -> None:
    """0 match, 1 no match, 2 inconclusive; no score is shown."""
    script.answers["Verify"] = answer
    assert run("verify", "alice", image) == code
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("options", "collection"),
    [
        ((), ""),
        (("--modality", "signature"), "signatures"),
        (("--modality", "signature", "--collection", "branch-7"), "branch-7"),
        (("--collection", "branch-7"), "branch-7"),
    ],
)
def test_the_modality_names_the_usual_collection(
    run: Run, script: Script, image: Path, options: tuple[str, ...], collection: str
) -> None:
    """Signatures are asked for in `signatures` unless another collection is named, in whatever order."""
    script.answers["Verify"] = lambda request: verified("MATCH" if request.collection_id == collection else "NO_MATCH")
    assert run("verify", "alice", image, *options) == 0
    assert run("verify", "alice", image, *reversed_pairs(options)) == 0


def reversed_pairs(options: tuple[str, ...]) -> tuple[str, ...]:
    """The same options, the last first."""
    pairs = list(zip(options[::2], options[1::2], strict=True))
    return tuple(part for pair in reversed(pairs) for part in pair)


def test_two_signatures_are_compared_as_signatures(run: Run, script: Script, image: Path) -> None:
    """--modality says what the pictures show."""
    seen: list[int] = []

    def answer(request: object) -> object:
        seen.append(request.modality)  # type: ignore[attr-defined]
        return matching_pb2.CompareResponse(decision=decision("MATCH"))

    script.answers["Compare"] = answer
    assert run("compare", image, image, "--modality", "signature") == 0
    assert run("compare", image, image) == 0
    assert seen == [biometrics_pb2.MODALITY_SIGNATURE, biometrics_pb2.MODALITY_FACE]


def test_the_score_is_shown_only_when_asked_for(
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--score asks the service for it and shows it beside the threshold."""
    script.answers["Verify"] = lambda request: verified("MATCH", score=0.81 if request.with_score else None)
    assert run("verify", "alice", image, "--score") == 0
    assert "score 0.8100, threshold 0.4000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [(["MATCH"], 0), (["UNKNOWN"], 2), (["INCONCLUSIVE"], 2), (["UNKNOWN", "MATCH"], 0)],
)
def test_identify_answers_for_each_face(  # noqa: PLR0917 - fixtures and cases
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str], outcomes: list[str], code: int
) -> None:
    """0 when somebody matched, 2 when nobody did; one line for each face."""
    script.answers["Identify"] = identified(*outcomes)
    assert run("identify", image) == code
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(outcomes)
    assert ("MATCH Alice Adams (alice) at FPIR <= 0.01 among 3 subjects" in "\n".join(told)) == (code == 0)


@pytest.mark.parametrize(("outcome", "code"), [("MATCH", 0), ("NO_MATCH", 1), ("INCONCLUSIVE", 2)])
def test_compare_needs_no_subject(run: Run, script: Script, image: Path, outcome: str, code: int) -> None:
    """Two pictures, one decision."""
    script.answers["Compare"] = matching_pb2.CompareResponse(decision=decision(outcome))
    assert run("compare", image, image) == code


def test_a_picture_comes_from_standard_input(run: Run, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads it; the service gets its bytes."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped picture")))
    script.answers["Verify"] = verified("MATCH")
    assert run("verify", "alice", "-") == 0
    assert script.requests[0].probe.image.data == b"piped picture"


def test_json_has_the_fields_of_the_sdk(
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object with stable keys; enums are their names, times are ISO 8601."""
    script.answers["Verify"] = verified("MATCH")
    assert run("verify", "alice", image, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["subject_id"], told["score"]) == ("MATCH", "alice", None)
    assert told["threshold"]["kind"] == "FMR"
    assert told["threshold"]["fmr_interval"] == {"low": 6e-5, "high": 1.5e-4}
    assert told["decided_at"] == "2026-11-22T12:00:00+00:00"


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        (e.NotFoundError("subject", "bob"), 3, "`tessera subjects list` shows who is enrolled"),
        (e.ImageRejectedError(Reason.NOT_AN_IMAGE, "no picture"), 3, "use a JPEG, PNG, WebP or BMP file"),
        (e.InvalidInputError("target_fmr", 2, "a rate in (0, 1)"), 3, "allowed  a rate in (0, 1)"),
        (e.UnavailableError("encoder"), 4, "`tessera status`"),
        (ValueError("a defect"), 4, "incident"),
    ],
)
def test_a_failure_says_what_is_wrong_and_what_to_do(  # noqa: PLR0917 - fixtures and cases
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str], raised: Exception, code: int, shown: str
) -> None:
    """On standard error: 3 for what the caller sent, 4 for what the service could not do."""
    script.answers["Verify"] = raised
    assert run("verify", "bob", image) == code
    told = capsys.readouterr()
    assert "MATCH" not in told.out
    assert shown in told.err


def test_a_failure_is_json_for_programs(
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same keys whatever failed."""
    script.answers["Verify"] = e.NotFoundError("subject", "bob")
    assert run("verify", "bob", image, "--json") == 3
    told = json.loads(capsys.readouterr().err)["error"]
    assert (told["code"], told["reason"], told["value"]) == ("NOT_FOUND", "SUBJECT_NOT_FOUND", "bob")
    assert run("verify", "bob", image, "--fmr", "2", "--json") == 3
    assert json.loads(capsys.readouterr().err)["error"].keys() == told.keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "alice", "no-such-file.jpg"],
        ["verify", "alice"],
        ["no-such-command"],
        ["enroll", "alice"],
        ["camera", "add", "door", "demo:", "--rate", "0"],
        ["compare", "-", "-"],
        ["watch", "--after", "4", "--from-oldest"],
    ],
)
def test_a_wrong_call_is_bad_input(run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """3, and not click's own 2, which means unknown here."""
    assert run(*arguments) == 3
    assert "Error: " in capsys.readouterr().err


def test_nobody_there_is_unavailable(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4, with the address and how to start the service."""
    assert main(["verify", "alice", str(image), "--gallery", "127.0.0.1:1"]) == 4
    told = capsys.readouterr().err
    assert "127.0.0.1:1" in told
    assert "tessera up" in told


def test_enroll_tells_of_each_picture(
    run: Run, script: Script, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that were taken and those that were not, with the reason."""
    results = [
        subject_pb2.SampleResult(index=0, accepted=True, template_id="t1"),
        subject_pb2.SampleResult(index=1, reasons=[20], detail="sharpness 0.1, at least 0.3"),
    ]
    script.answers["EnrollSubject"] = subject_pb2.EnrollSubjectResponse(subject=subject("alice"), results=results)
    assert run("enroll", "alice", image, image, "--name", "Alice", "--label", "staff") == 0
    told = capsys.readouterr().out
    assert "Enrolled 1 picture of alice, who now has 1 template" in told
    assert "refused, the face is blurred (sharpness 0.1, at least 0.3)" in told
    assert (script.requests[0].display_name, list(script.requests[0].labels)) == ("Alice", ["staff"])


def test_subjects_are_listed_shown_and_erased(run: Run, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """Erasure answers with a receipt."""
    script.answers["ListSubjects"] = subject_pb2.ListSubjectsResponse(subjects=[subject("alice", 2), subject("bob")])
    script.answers["GetSubject"] = subject_pb2.GetSubjectResponse(subject=subject("alice", 2))
    receipt = subject_pb2.ErasureReceipt(receipt_id="r-9", subject_id="alice", templates_erased=2)
    script.answers["DeleteSubject"] = subject_pb2.DeleteSubjectResponse(receipt=receipt)
    assert run("subjects", "list") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["alice", "bob"]
    assert run("subjects", "show", "alice") == 0
    assert "t2" in capsys.readouterr().out
    assert run("subjects", "delete", "alice", "--yes") == 0
    assert capsys.readouterr().out == "Erased alice with 2 templates; receipt r-9\n"


def test_cameras_are_added_listed_and_removed(run: Run, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """The status of a camera that is lost says why."""
    camera = camera_pb2.Camera(camera_id="door", url="rtsp://***@10.0.0.1/a")
    status = camera_pb2.CameraStatus(camera_id="door", state=camera_pb2.CAMERA_STATE_LOST, detail="no answer")
    script.answers["AddCamera"] = camera_pb2.AddCameraResponse(camera=camera)
    entry = camera_pb2.CameraEntry(camera=camera, status=status)
    script.answers["ListCameras"] = camera_pb2.ListCamerasResponse(entries=[entry])
    script.answers["RemoveCamera"] = camera_pb2.RemoveCameraResponse(removed=True)
    assert run("camera", "add", "door", "rtsp://u:p@10.0.0.1/a") == 0
    assert "u:p" not in capsys.readouterr().out
    assert run("camera", "list") == 0
    told = capsys.readouterr().out
    assert "LOST" in told
    assert "no answer" in told
    assert run("camera", "remove", "door") == 0


def test_a_camera_is_changed_by_what_is_given_alone(
    run: Run, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mask names the options that were given, and no others."""
    asked: list[camera_pb2.UpdateCameraRequest] = []

    def answer(request: camera_pb2.UpdateCameraRequest) -> camera_pb2.UpdateCameraResponse:
        asked.append(request)
        return camera_pb2.UpdateCameraResponse(camera=request.camera)

    script.answers["UpdateCamera"] = answer
    assert run("camera", "update", "door", "--rate", "2", "--label", "site=north", "--no-loop") == 0
    assert run("camera", "disable", "door") == 0
    assert run("camera", "enable", "door") == 0
    assert [sorted(request.update_mask.paths) for request in asked] == [
        ["labels", "loop", "sample_rate_hz"],
        ["enabled"],
        ["enabled"],
    ]
    assert asked[0].camera.sample_rate_hz == 2
    assert dict(asked[0].camera.labels) == {"site": "north"}
    assert [request.camera.enabled for request in asked[1:]] == [False, True]
    assert "tessera camera enable door" in capsys.readouterr().out
    zone = ("--zone", "till=0,0;1,0;1,1", "--mask", "0,0;0.5,0;0.5,0.5", "--no-motion-gate")
    assert run("camera", "update", "door", *zone) == 0
    assert run("camera", "update", "door", "--no-zones") == 0
    assert sorted(asked[3].update_mask.paths) == ["motion_gate", "zones"]
    assert [(zone.name, zone.masked) for zone in asked[3].camera.zones] == [("till", False), ("", True)]
    assert not asked[3].camera.motion_gate
    assert (asked[4].update_mask.paths, len(asked[4].camera.zones)) == (["zones"], 0)
    assert run("camera", "update", "door", "--transport", "udp", "--key-frames") == 0
    assert asked[5].update_mask.paths == ["stream"]
    assert asked[5].camera.stream == camera_pb2.StreamOptions(
        transport=camera_pb2.STREAM_TRANSPORT_UDP, key_frames_only=True
    )
    assert run("camera", "update", "door", "--label", "site") != 0
    assert "KEY=VALUE" in capsys.readouterr().err


def test_a_cameras_status_says_why_which_frames_were_skipped(
    run: Run, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    """State, worker and the count of each reason stand in the answer."""
    status = camera_pb2.CameraStatus(
        camera_id="door",
        state=camera_pb2.CAMERA_STATE_ONLINE,
        frames_sampled=9,
        frames_skipped=4,
        skip_counts=[camera_pb2.SkipCount(reason=biometrics_pb2.REASON_NO_CREDIT, frames=4)],
        worker_address="10.0.0.5:7003",
        lease_token=17,
    )
    script.answers["GetCameraStatus"] = camera_pb2.GetCameraStatusResponse(status=status)
    assert run("camera", "status", "door") == 0
    told = capsys.readouterr().out
    for text in ("ONLINE", "9 sampled", "4 NO_CREDIT", "10.0.0.5:7003, lease 17"):
        assert text in told


def test_a_snapshot_goes_to_a_file(
    run: Run, script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file holds the JPEG; a folder that is not there is named."""
    image = biometrics_pb2.Image(data=b"jpeg")
    script.answers["GetSnapshot"] = camera_pb2.GetSnapshotResponse(image=image)
    assert run("camera", "snapshot", "door", "-o", tmp_path / "door.jpg") == 0
    assert (tmp_path / "door.jpg").read_bytes() == b"jpeg"
    assert run("camera", "snapshot", "door", "-o", tmp_path / "missing" / "door.jpg") != 0
    assert "missing" in capsys.readouterr().err


def test_watch_prints_an_object_for_each_event(run: Run, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object on a line, with the cursor to go on from."""
    script.answers["WatchEvents"] = [heartbeat("0"), sighting("a", cursor="1"), sighting("b", 1, "UNKNOWN", "2")]
    assert run("watch", "--json", "--count", "2") == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["cursor"], first["sighting"]["display_name"]) == ("1", "Barack Obama")
    assert second["sighting"]["answer"]["outcome"] == "UNKNOWN"


def test_watch_tells_people_a_decision_once(run: Run, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """A revision with the same decision is no news."""
    script.answers["WatchEvents"] = [
        sighting("a", 1, cursor="1"),
        sighting("a", 2, cursor="2"),
        sighting("a", 3, "UNKNOWN", "3"),
    ]
    assert run("watch", "--count", "2") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert " ".join(first.split()[1:]) == "demo MATCH Barack Obama 5 frames FPIR <= 0.01 132 ms"
    assert second.split()[1:3] == ["demo", "UNKNOWN"]


def test_status_is_unavailable_when_one_service_is(
    run: Run, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 when all serve, 4 when one does not."""
    script.answers["ListCameras"] = camera_pb2.ListCamerasResponse()
    assert run("status") == 0
    capsys.readouterr()
    assert run("status", "--encoder", "127.0.0.1:1", "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert [service["state"] for service in told["services"]] == ["UNREACHABLE", "SERVING", "SERVING", "SERVING"]


def test_help_loads_neither_grpc_nor_numpy_nor_rich() -> None:
    """So it comes at once; the list of commands is complete."""
    code = (
        "import sys\nfrom tessera.cli.__main__ import main\nassert main(['--help']) == 0\n"
        "assert not {'grpc', 'numpy', 'rich', 'psutil'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("up", "enroll", "verify", "identify", "compare", "subjects", "camera", "watch", "status"):
        assert f"\n  {name} " in done.stdout


def test_watch_ends_quietly_when_its_reader_goes(script: Script) -> None:
    """`tessera watch | head -1` is no error."""
    script.answers["WatchEvents"] = lambda _: (sighting(str(n), cursor=str(n)) for n in _slowly(200))
    with serving(script) as address:
        command = [sys.executable, "-m", "tessera.cli", "watch", "--gallery", address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watcher:
            assert watcher.stdout is not None
            assert b"Barack Obama" in watcher.stdout.readline()
            watcher.stdout.close()
            assert watcher.wait(20) == 0
            assert watcher.stderr is not None
            assert watcher.stderr.read() == b""


def _slowly(count: int) -> Iterator[int]:
    """Numbers at a pace at which a reader can go away in between."""
    for number in range(count):
        yield number
        time.sleep(0.02)
