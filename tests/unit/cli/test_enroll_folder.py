"""`tessera enroll-folder` against fake services over real gRPC: what it sends, prints and writes, and its exit code."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from unit.client.fake_messages import NOW, subject
from unit.client.fake_services import Script, serving

from tessera.cli import __main__ as cli
from tessera.cli.bulk_progress import BulkProgress
from tessera.cli.lazy_group import LazyCommand
from tessera.client.bulk_journal import BulkStatus, SubjectResult
from tessera.client.bulk_pictures import PictureResult
from tessera.client.wire import time_to_wire
from tessera.domain import errors as e
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import subject_pb2

Run = Callable[..., int]


class Gallery:
    """Answers enrolments; a picture that begins with `bad` is blurred."""

    def __init__(self, script: Script) -> None:
        self.enrolled: dict[str, list[bytes]] = {}
        self.requests: list[Any] = []
        script.answers["GetSubject"] = self._get
        script.answers["EnrollSubject"] = self._enroll

    def _get(self, request: Any) -> Any:
        if request.subject_id not in self.enrolled:
            return e.NotFoundError("subject", request.subject_id)
        return subject_pb2.GetSubjectResponse(subject=self._subject(request.subject_id))

    def _enroll(self, request: Any) -> Any:
        self.requests.append(request)
        pictures = [sample.image.data for sample in request.samples]
        good = [picture for picture in pictures if not picture.startswith(b"bad")]
        if not good:
            return e.SamplesRejectedError(((Reason.LOW_SHARPNESS,),) * len(pictures), "the face is blurred")
        self.enrolled.setdefault(request.subject_id, []).extend(good)
        results = [
            subject_pb2.SampleResult(
                index=at, accepted=picture in good, reasons=[] if picture in good else [pb.REASON_LOW_SHARPNESS]
            )
            for at, picture in enumerate(pictures)
        ]
        return subject_pb2.EnrollSubjectResponse(subject=self._subject(request.subject_id), results=results, position=1)

    def _subject(self, subject_id: str) -> subject_pb2.Subject:
        made = subject(subject_id, templates=0)
        for picture in self.enrolled[subject_id]:
            made.templates.add(source_sha256=hashlib.sha256(picture).hexdigest(), created_at=time_to_wire(NOW))
        return made


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def gallery(script: Script) -> Gallery:
    """Who is enrolled."""
    return Gallery(script)


@pytest.fixture
def run(script: Script, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command against the fake services; gives its exit code."""
    command = LazyCommand("tessera.cli.enroll_folder", "enroll_folder", "Add everybody out of a folder or a CSV file.")
    monkeypatch.setitem(cli._COMMANDS, "enroll-folder", command)
    with serving(script) as address:
        monkeypatch.setenv("TESSERA_GALLERY", address)
        yield lambda *arguments: cli.main(["enroll-folder", *(str(argument) for argument in arguments)])


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two people with a picture each."""
    root = tmp_path / "people"
    for name in ("ada", "bo"):
        (root / name).mkdir(parents=True)
        (root / name / "face.jpg").write_bytes(name.encode())
    return root


def rows(report: Path) -> dict[str, dict[str, str]]:
    """A report by subject."""
    with report.open(encoding="utf-8", newline="") as file:
        return {row["subject"]: row for row in csv.DictReader(file)}


def test_a_folder_is_enrolled_and_a_second_run_does_nothing(
    run: Run, gallery: Gallery, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 both times; the journal lies in the folder."""
    assert run(people) == 0
    assert capsys.readouterr().out == "2 people: enrolled 2\n"
    assert gallery.enrolled == {"ada": [b"ada"], "bo": [b"bo"]}
    assert run(people) == 0
    assert capsys.readouterr().out == "2 people: enrolled 0, already enrolled 2\n"
    assert len(gallery.requests) == 2
    assert (people / ".tessera-enroll.jsonl").exists()


def test_a_csv_file_is_enrolled_with_what_it_says(run: Run, gallery: Gallery, people: Path) -> None:
    """Fields, collection and consent arrive; the journal lies beside the file."""
    source = people / "people.csv"
    source.write_text("subject_id,path,display_name,labels,valid_until\nada,ada/face.jpg,Ada,staff;vip,2027-01-01\n")
    assert run(source, "--collection", "staff", "--consent", "DPO-1", "--require-consent") == 0
    sent = gallery.requests[0]
    assert (sent.collection_id, sent.display_name, list(sent.labels)) == ("staff", "Ada", ["staff", "vip"])
    assert sent.consent_reference == "DPO-1"
    assert sent.valid_until.ToJsonString() == "2027-01-01T00:00:00Z"
    assert (people / ".tessera-enroll.jsonl").exists()


def test_who_was_rejected_is_told_with_reasons(
    run: Run, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3; in words on the terminal, as codes in the report, where each person has a row."""
    (people / "bo" / "face.jpg").write_bytes(b"bad")
    (people / "ada" / "other.jpg").write_bytes(b"bad too")
    report = tmp_path / "report.csv"
    assert run(people, "--report", report) == 3
    told = capsys.readouterr()
    assert told.out == "2 people: enrolled 1, rejected 1; 2 pictures refused\n"
    assert "bo: rejected: bo/face.jpg: the face is blurred" in told.err
    assert rows(report)["ada"] == {
        "subject": "ada",
        "status": "enrolled",
        "accepted": "1",
        "reasons": "ada/other.jpg: LOW_SHARPNESS",
        "detail": "",
        "looks_like": "",
    }
    assert rows(report)["bo"]["status"] == "rejected"
    assert rows(report)["bo"]["reasons"] == "bo/face.jpg: LOW_SHARPNESS"


def test_a_wrong_csv_file_sends_nothing(
    run: Run, gallery: Gallery, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """2, and every problem with its line and column."""
    source = people / "people.csv"
    source.write_text("subject_id,path\nada,ada/face.jpg\nbo smith,bo/face.jpg\nbo,gone.jpg\n")
    assert run(source) == 2
    told = capsys.readouterr().err
    assert "nothing was sent" in told
    assert "people.csv, line 3, column subject_id" in told
    assert "people.csv, line 4, column path" in told
    assert not gallery.requests


@pytest.mark.parametrize("arguments", [["--parallel", "0"], ["--no-such-option"], ["--report", "people.csv"]])
def test_wrong_use_is_2(
    run: Run, gallery: Gallery, people: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """A wrong option too, since 3 says that somebody was rejected; and a report never replaces the source."""
    monkeypatch.chdir(people)
    text = "subject_id,path\nada,ada/face.jpg\n"
    Path("people.csv").write_text(text)
    assert run("people.csv", *arguments) == 2
    assert not gallery.requests
    assert Path("people.csv").read_text() == text


def test_consent_that_is_required_and_missing_is_2(run: Run, gallery: Gallery, people: Path) -> None:
    """Nobody is sent, not even those who have one."""
    assert run(people, "--require-consent") == 2
    assert not gallery.requests


def test_a_dry_run_sends_and_writes_nothing(
    run: Run, gallery: Gallery, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says who would be sent, and leaves no journal."""
    assert run(people, "--dry-run") == 0
    assert capsys.readouterr().out == "2 people: to be sent 2\n"
    assert not gallery.requests
    assert not (people / ".tessera-enroll.jsonl").exists()


def test_what_is_no_picture_is_mentioned(run: Run, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no reason to fail."""
    (people / "ada" / "notes.txt").write_text("x")
    assert run(people) == 0
    assert "ada/notes.txt" in capsys.readouterr().err


def test_json_has_stable_keys_and_nothing_else_is_printed(
    run: Run, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object on one line."""
    assert run(people, "--json") == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "enrolled": 2,
        "already": 0,
        "rejected": 0,
        "failed": 0,
        "not_sent": 0,
        "pictures_refused": 0,
        "duplicates": 0,
        "outliers": 0,
        "interrupted": False,
        "dry_run": False,
    }
    assert told.err == ""


def test_a_collection_that_is_missing_is_told_once(
    run: Run, script: Script, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in every command: what is missing, and what to do."""
    script.answers["EnrollSubject"] = e.NotFoundError("collection", "staff")
    assert run(people, "--collection", "staff", "--parallel", "1") == 3
    told = capsys.readouterr()
    assert "failed 1, not sent 1" in told.out
    assert "collection 'staff' does not exist" in told.err


def test_ctrl_c_ends_after_those_under_way_and_the_next_run_goes_on(
    run: Run, script: Script, gallery: Gallery, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """130, and how to go on is said; who was under way is enrolled and not sent again."""
    enroll = script.answers["EnrollSubject"]

    def interrupted(request: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return enroll(request)

    script.answers["EnrollSubject"] = interrupted
    before = signal.getsignal(signal.SIGINT)
    assert run(people, "--parallel", "1") == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert capsys.readouterr().out == (
        "2 people: enrolled 1, not sent 1\nRun the same command again: it goes on from here, and enrols nobody twice.\n"
    )
    script.answers["EnrollSubject"] = enroll
    assert run(people) == 0
    assert [request.subject_id for request in gallery.requests] == ["ada", "bo"]


def test_a_report_starts_no_formula(run: Run, people: Path, tmp_path: Path) -> None:
    """The names of files are other people's, and a spreadsheet runs what begins with `=`."""
    source = people / "people.csv"
    (people / "=cmd.jpg").write_bytes(b"bad")
    source.write_text("subject_id,path\nada,=cmd.jpg\n")
    report = tmp_path / "report.csv"
    assert run(source, "--report", report) == 3
    assert rows(report)["ada"]["reasons"] == "'=cmd.jpg: LOW_SHARPNESS"


def test_a_journal_elsewhere(run: Run, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For folders that may only be read; one that cannot be written is told before anything is sent."""
    assert run(people, "--journal", tmp_path / "journal.jsonl") == 0
    assert not (people / ".tessera-enroll.jsonl").exists()
    assert run(people, "--journal", tmp_path / "missing" / "journal.jsonl") == 2
    assert "journal" in capsys.readouterr().err


def test_the_bar_counts_those_who_had_their_turn() -> None:
    """Done, not enrolled, rate; those who were not sent move nothing."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120)
    with BulkProgress(4, console=console) as shown:
        for status in (BulkStatus.ENROLLED, BulkStatus.REJECTED, BulkStatus.NOT_SENT):
            shown.add(SubjectResult("ada", status, ()))
        shown.ending()
    assert "2/4" in written.getvalue()
    assert "1 not enrolled" in written.getvalue()
    assert "Ending after those under way" in written.getvalue()


def test_the_bar_counts_what_was_found() -> None:
    """People who look like others, and pictures unlike their person's; nothing is said while there are none."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=160)
    with BulkProgress(4, console=console) as shown:
        shown.add(SubjectResult("ada", BulkStatus.ENROLLED, ()))
        assert "like others" not in written.getvalue()
        odd = (PictureResult("1.jpg", True, ("OUTLIER",)), PictureResult("2.jpg", False, ("OUTLIER",)))
        shown.add(SubjectResult("bo", BulkStatus.ENROLLED, odd, duplicates=("ada",)))
    assert "0 not enrolled, 1 like others, 2 wrong pictures" in written.getvalue()


def test_without_a_terminal_there_is_no_bar() -> None:
    """A log file of a nightly run has the last line and nothing else."""
    written = io.StringIO()
    with BulkProgress(4, console=Console(file=written)) as shown:
        shown.add(SubjectResult("ada", BulkStatus.ENROLLED, ()))
    assert written.getvalue() == ""
