"""Bulk enrolment: each picture becomes a template once, whatever happens on the way and however often it is run."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.client.bulk_gallery import NOW, FakeGallery, Fault, error
from unit.client.fake_services import Script, serving

from tessera.chassis.clock import ManualClock
from tessera.client import DuplicatePolicy, OutlierPolicy, Tessera
from tessera.client.bulk import BulkEnrolment, BulkOutcome
from tessera.client.bulk_journal import BulkStatus, Journal, SubjectResult, Target, read_done
from tessera.client.bulk_people import TesseraPeople
from tessera.client.bulk_pictures import MAX_PICTURE_BYTES, PictureFile, requests_of
from tessera.client.bulk_plan import Plan, PlannedSubject
from tessera.client.bulk_results import request_id_of
from tessera.client.bulk_sources import read_plan
from tessera.client.errors import BadInput, DuplicateSubject, NotFound, ServiceUnavailable
from tessera.domain.errors import InvalidInputError
from tessera.v1 import subject_pb2

HERE = Target("127.0.0.1:7002", "default")


class Bench:
    """A folder of people, a gallery, and runs from the one into the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gallery = FakeGallery()
        self.journal = root / "journal.jsonl"
        self.results: dict[str, SubjectResult] = {}

    def person(self, name: str, *pictures: bytes) -> None:
        """Somebody with pictures of these bytes."""
        (self.root / "people" / name).mkdir(parents=True, exist_ok=True)
        for at, picture in enumerate(pictures):
            (self.root / "people" / name / f"{at}.jpg").write_bytes(picture)

    def plan(self) -> Plan:
        """Of the whole folder."""
        return read_plan(self.root / "people")

    def run(
        self,
        plan: Plan | None = None,
        *,
        parallel: int = 2,
        target: Target = HERE,
        restart: bool = False,
        dry: bool = False,
    ) -> BulkOutcome:
        """One run to its end; time passes only while it waits."""
        clock = ManualClock(NOW)
        with Journal(self.journal, target, restart=restart) as journal:
            bulk = BulkEnrolment(
                self.gallery,
                plan or self.plan(),
                journal,
                parallel=parallel,
                patience_s=30.0,
                clock=clock,
                pause=lambda _, seconds: clock.advance(seconds),
            )
            self.bulk = bulk
            self.results = {}
            return (bulk.preview if dry else bulk.run)(self._told)

    def _told(self, result: SubjectResult) -> None:
        self.results[result.subject_id] = result

    def statuses(self) -> dict[str, str]:
        """What became of each in the last run."""
        return {name: result.status.value for name, result in sorted(self.results.items())}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Nobody in the folder yet."""
    return Bench(tmp_path)


def sha256s(*pictures: bytes) -> list[str]:
    """What the gallery keeps of each picture."""
    return [hashlib.sha256(picture).hexdigest() for picture in pictures]


# ---- one run


def test_everybody_is_enrolled_with_every_field(bench: Bench) -> None:
    """All fields of the plan reach the gallery, and the outcome counts them."""
    bench.person("ada", b"one", b"two")
    ada = replace(
        bench.plan().subjects[0],
        display_name="Ada",
        external_id="7",
        labels=("staff",),
        consent_reference="DPO-1",
        valid_from=NOW,
        valid_until=datetime(2027, 1, 1, tzinfo=UTC),
    )
    outcome = bench.run(replace(bench.plan(), subjects=(ada,)))
    assert bench.gallery.subjects == {"ada": sha256s(b"one", b"two")}
    assert bench.gallery.fields["ada"] == {
        "collection_id": "",
        "display_name": "Ada",
        "external_id": "7",
        "labels": ("staff",),
        "consent_reference": "DPO-1",
        "valid_from": NOW,
        "valid_until": datetime(2027, 1, 1, tzinfo=UTC),
    }
    assert outcome.counts == {BulkStatus.ENROLLED: 1}
    assert outcome.everybody_is_enrolled


def test_no_more_are_under_way_than_asked_for(bench: Bench) -> None:
    """Three at once reach the gallery together, and never four."""
    for number in range(9):
        bench.person(f"p{number}", f"{number}".encode())
    together = threading.Barrier(3)
    bench.gallery.on_enrolment = lambda _: together.wait(timeout=10)
    bench.run(parallel=3)
    assert bench.gallery.most_under_way == 3
    assert len(bench.gallery.subjects) == 9


def test_each_picture_has_its_own_answer(bench: Bench) -> None:
    """Some of a person's pictures may be refused, all of another's; each with its reasons."""
    bench.person("ada", b"one", b"bad one")
    bench.person("bo", b"bad two", b"bad three")
    outcome = bench.run()
    assert bench.statuses() == {"ada": "enrolled", "bo": "rejected"}
    assert [(one.name, one.accepted, one.reasons) for one in bench.results["ada"].pictures] == [
        ("ada/0.jpg", True, ()),
        ("ada/1.jpg", False, ("LOW_BRIGHTNESS",)),
    ]
    assert [one.reasons for one in bench.results["bo"].pictures] == [("LOW_BRIGHTNESS", "LOW_CONTRAST")] * 2
    assert outcome.pictures_refused == 3
    assert not outcome.everybody_is_enrolled


def test_a_field_that_the_gallery_refuses_is_told(bench: Bench) -> None:
    """Then no picture is to blame, and the gallery's own sentence says what is."""
    bench.person("ada", b"one")
    bench.gallery.error = error(BadInput, "INVALID_FIELD", "labels: too many")
    bench.run()
    assert bench.statuses() == {"ada": "rejected"}
    assert bench.results["ada"].detail == "labels: too many"


def test_many_large_pictures_go_in_several_requests() -> None:
    """A request stays below what fits into a message; each picture is in one of them, in order."""
    files = [PictureFile(f"{at}.jpg", f"{at}", 20 << 20) for at in range(5)]
    parts = list(requests_of(files))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert [one for part in parts for one in part] == files


def test_a_person_in_several_requests_is_one_person(bench: Bench) -> None:
    """Three pictures near the limit: two requests with ids of their own, one result."""
    pictures = [bytes([at]) * (18 << 20) for at in range(3)]
    bench.person("ada", *pictures)
    bench.run()
    assert bench.gallery.subjects == {"ada": sha256s(*pictures)}
    assert len(set(bench.gallery.enrolments)) == 2
    assert (bench.statuses(), bench.results["ada"].accepted) == ({"ada": "enrolled"}, 3)


# ---- what is not sent


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("link out", "OUTSIDE_FOLDER"),
        ("folder link out", "OUTSIDE_FOLDER"),
        ("link to itself", "UNREADABLE"),
        ("folder", "UNREADABLE"),
        ("pipe", "UNREADABLE"),
        ("too large", "TOO_MANY_BYTES"),
        ("empty", "EMPTY_IMAGE"),
        ("same bytes", "SAME_PICTURE"),
    ],
)
def test_what_may_not_be_sent_is_told_and_not_sent(bench: Bench, kind: str, reason: str) -> None:
    """The other picture goes; of this one not a byte leaves, and its reason is told."""
    bench.person("ada", b"one")
    outside = bench.root / "elsewhere"
    outside.mkdir()
    (outside / "secret.jpg").write_bytes(b"secret")
    wrong = bench.root / "people" / "ada" / "wrong.jpg"
    match kind:
        case "link out":
            wrong.symlink_to(outside / "secret.jpg")
        case "folder link out":
            wrong = bench.root / "people" / "bo" / "secret.jpg"
            wrong.parent.symlink_to(outside)
        case "link to itself":
            wrong.symlink_to(wrong)
        case "folder":
            wrong.mkdir()
        case "pipe":
            os.mkfifo(wrong)
        case "too large":
            with wrong.open("wb") as file:
                file.truncate(MAX_PICTURE_BYTES + 1)
        case "empty":
            wrong.touch()
        case "same bytes":
            wrong.write_bytes(b"one")
    outcome = bench.run()
    assert bench.gallery.sent == [("ada", [b"one"])]
    told = [one for result in bench.results.values() for one in result.pictures if not one.accepted]
    assert [(one.name, one.reasons) for one in told] == [(str(wrong.relative_to(bench.root / "people")), (reason,))]
    assert outcome.pictures_refused == 1


def test_a_link_inside_of_the_folder_is_a_picture(bench: Bench) -> None:
    """Only what leads out is refused."""
    bench.person("ada", b"one")
    (bench.root / "people" / "ada" / "again.jpg").symlink_to(bench.root / "people" / "bo" / "0.jpg")
    bench.person("bo", b"two")
    bench.run()
    assert bench.gallery.subjects["ada"] == sha256s(b"one", b"two")


def test_a_person_without_a_usable_picture_is_rejected(bench: Bench) -> None:
    """And the gallery is not asked about them."""
    bench.person("ada", b"")
    assert not bench.run().everybody_is_enrolled
    assert bench.statuses() == {"ada": "rejected"}
    assert bench.gallery.questions == 0


def test_a_picture_that_changes_meanwhile_is_not_sent(bench: Bench) -> None:
    """The request id was made of other bytes: what is sent must be what was looked at."""
    bench.person("ada", b"one", b"two")
    second = bench.root / "people" / "ada" / "1.jpg"
    bench.gallery.on_question = lambda _: second.write_bytes(b"another")
    bench.run()
    assert bench.gallery.sent == [("ada", [b"one"])]
    assert [one.reasons for one in bench.results["ada"].pictures if not one.accepted] == [("CHANGED",)]


# ---- runs after runs


def test_a_second_run_asks_nobody(bench: Bench) -> None:
    """The journal knows: no question, no enrolment, and the same answers for the report."""
    bench.person("ada", b"one", b"bad one")
    bench.run()
    first = bench.results["ada"]
    asked = (bench.gallery.questions, len(bench.gallery.enrolments))
    outcome = bench.run()
    assert (bench.gallery.questions, len(bench.gallery.enrolments)) == asked
    assert bench.results["ada"] == replace(first, status=BulkStatus.ALREADY)
    assert outcome.everybody_is_enrolled


def test_a_second_run_sends_what_was_rejected_again(bench: Bench) -> None:
    """Nothing was written of it, and the gate may be another by now."""
    bench.person("ada", b"bad one")
    bench.run()
    bench.run()
    assert len(bench.gallery.enrolments) == 2
    assert len(set(bench.gallery.enrolments)) == 1


@pytest.mark.parametrize("forgotten", [False, True])
def test_without_its_journal_a_second_run_enrols_nobody_twice(bench: Bench, forgotten: bool) -> None:
    """The gallery is asked what it has, so that it holds even when the gallery has forgotten the request ids."""
    bench.person("ada", b"one", b"two")
    bench.person("bo", b"three", b"bad one")
    bench.run()
    bench.journal.unlink()
    if forgotten:
        bench.gallery.forget_requests()
    outcome = bench.run()
    assert bench.gallery.subjects == {"ada": sha256s(b"one", b"two"), "bo": sha256s(b"three")}
    assert bench.statuses() == {"ada": "already", "bo": "already"}
    assert outcome.everybody_is_enrolled


def test_restart_asks_the_gallery_and_not_the_journal(bench: Bench) -> None:
    """Somebody who was erased there is enrolled anew; the others are not touched."""
    bench.person("ada", b"one")
    bench.person("bo", b"two")
    bench.run()
    del bench.gallery.subjects["ada"]
    bench.gallery.forget_requests()
    bench.run()
    assert "ada" not in bench.gallery.subjects
    bench.run(restart=True)
    assert bench.gallery.subjects == {"ada": sha256s(b"one"), "bo": sha256s(b"two")}


def test_a_picture_that_is_added_is_all_that_is_sent(bench: Bench) -> None:
    """Those of before are templates already."""
    bench.person("ada", b"one")
    bench.run()
    bench.person("ada", b"one", b"two")
    bench.run()
    assert bench.gallery.sent[-1] == ("ada", [b"two"])
    assert bench.gallery.subjects == {"ada": sha256s(b"one", b"two")}
    assert bench.statuses() == {"ada": "enrolled"}


def test_other_fields_of_the_same_pictures_are_told(bench: Bench) -> None:
    """Enrolling adds pictures; with none to add nothing is changed, and that is not kept quiet."""
    bench.person("ada", b"one")
    bench.run()
    ada = replace(bench.plan().subjects[0], display_name="Ada")
    bench.run(replace(bench.plan(), subjects=(ada,)))
    assert bench.statuses() == {"ada": "already"}
    assert "another display_name" in bench.results["ada"].detail


def test_another_place_is_another_enrolment(bench: Bench) -> None:
    """The journal of one server says nothing of another one, and loses nothing by it."""
    bench.person("ada", b"one")
    bench.run()
    home, bench.gallery = bench.gallery, FakeGallery()
    bench.run(target=Target("10.0.0.1:7002", "default"))
    assert bench.gallery.subjects == {"ada": sha256s(b"one")}
    bench.gallery = home
    bench.run()
    assert len(home.enrolments) == 1


def test_a_dry_run_asks_and_writes_nothing(bench: Bench) -> None:
    """It looks at the pictures and at the journal: who would be sent, who is done, who cannot be."""
    bench.person("ada", b"one")
    bench.run()
    bench.person("bo", b"two")
    bench.person("cy", b"")
    before = bench.journal.read_bytes()
    asked = (bench.gallery.questions, len(bench.gallery.enrolments))
    outcome = bench.run(dry=True)
    assert bench.statuses() == {"ada": "already", "bo": "not sent", "cy": "rejected"}
    assert not outcome.nobody_is_refused
    assert (bench.gallery.questions, len(bench.gallery.enrolments)) == asked
    assert bench.journal.read_bytes() == before


# ---- no answer


def test_an_unknown_outcome_is_settled_with_the_same_request(bench: Bench) -> None:
    """The answer was lost after the write: the retry finds it, and nothing is there twice."""
    bench.person("ada", b"one")
    bench.gallery.faults = [Fault.UNKNOWN, Fault.LOST]
    bench.run()
    assert len(bench.gallery.enrolments) == 3
    assert len(set(bench.gallery.enrolments)) == 1
    assert bench.gallery.subjects == {"ada": sha256s(b"one")}
    assert bench.statuses() == {"ada": "already"}


def test_one_who_gets_no_answer_does_not_end_the_run(bench: Bench) -> None:
    """It fails alone, after its patience; the others have their turn."""
    bench.person("ada", b"one")
    bench.person("bo", b"two")
    bench.person("cy", b"three")

    def only_bo_is_away(subject_id: str) -> None:
        if subject_id == "bo":
            raise error(ServiceUnavailable, "UNAVAILABLE")

    bench.gallery.on_enrolment = only_bo_is_away
    outcome = bench.run(parallel=1)
    assert bench.statuses() == {"ada": "enrolled", "bo": "failed", "cy": "enrolled"}
    assert outcome.ended_by is None


def test_a_gallery_that_is_away_ends_the_run(bench: Bench) -> None:
    """After three who had no answer in a row, although it can be asked who is there: the others are not tried."""
    for number in range(20):
        bench.person(f"p{number:02}", f"{number}".encode())
    bench.gallery.faults = [Fault.LOST] * 10_000
    outcome = bench.run(parallel=1)
    assert outcome.ended_by is not None
    assert outcome.ended_by.reason == "UNAVAILABLE"
    assert outcome.counts == {BulkStatus.FAILED: 3, BulkStatus.NOT_SENT: 17}
    assert not outcome.interrupted


def test_a_collection_that_is_missing_ends_the_run(bench: Bench) -> None:
    """It would be missing for everybody; the first answer says so."""
    for number in range(5):
        bench.person(f"p{number}", f"{number}".encode())
    bench.gallery.error = error(NotFound, "COLLECTION_NOT_FOUND", "collection 'staff' does not exist")
    outcome = bench.run(parallel=1)
    assert outcome.counts == {BulkStatus.FAILED: 1, BulkStatus.NOT_SENT: 4}
    assert outcome.ended_by is not None


def test_somebody_erased_meanwhile_stays_erased(bench: Bench) -> None:
    """The same request after the erasure answers NOT_FOUND: told of this subject, and the run goes on."""
    bench.person("ada", b"one")
    bench.person("bo", b"two")

    def erased(subject_id: str) -> None:
        if subject_id == "ada":
            raise error(NotFound, "SUBJECT_NOT_FOUND", "subject 'ada' does not exist")

    bench.gallery.on_enrolment = erased
    assert bench.run().ended_by is None
    assert bench.statuses() == {"ada": "rejected", "bo": "enrolled"}


def test_stop_finishes_those_under_way_and_begins_nobody(bench: Bench) -> None:
    """The next run does the rest, and only the rest."""
    for number in range(6):
        bench.person(f"p{number}", f"{number}".encode())
    bench.gallery.on_enrolment = lambda _: bench.bulk.stop()
    outcome = bench.run(parallel=1)
    assert outcome.interrupted
    assert outcome.counts == {BulkStatus.ENROLLED: 1, BulkStatus.NOT_SENT: 5}
    assert bench.results["p5"].status is BulkStatus.NOT_SENT
    bench.gallery.on_enrolment = lambda _: None
    assert bench.run().counts == {BulkStatus.ALREADY: 1, BulkStatus.ENROLLED: 5}
    assert len(bench.gallery.enrolments) == 6


def test_a_stop_while_waiting_for_the_next_try_ends_the_waiting(bench: Bench) -> None:
    """The subject failed for now; nobody waits out its patience."""
    bench.person("ada", b"one")

    def away(_: str) -> None:
        bench.bulk.stop()
        raise error(ServiceUnavailable, "UNAVAILABLE")

    bench.gallery.on_enrolment = away
    outcome = bench.run()
    assert outcome.interrupted
    assert bench.statuses() == {"ada": "failed"}


# ---- the law


def stop_after(bench: Bench, calls: int) -> Callable[[str], None]:
    """Ends a run at one of its calls."""
    left = iter(range(calls))

    def count(_: str) -> None:
        if next(left, None) is None:
            bench.bulk.stop()

    return count


@given(
    st.lists(st.sampled_from(list(Fault)), max_size=30),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 4)), min_size=1, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_each_picture_becomes_a_template_once(
    tmp_path_factory: pytest.TempPathFactory, faults: list[Fault], runs: list[tuple[bool, bool, int]]
) -> None:
    """Lost calls and answers, runs that stop, lost journals, forgotten requests; then a quiet run: all there, once."""
    bench = Bench(tmp_path_factory.mktemp("law"))
    bench.person("ada", b"one", b"two", b"bad one")
    bench.person("bo", b"three")
    bench.person("cy", b"four", b"five")
    bench.gallery.faults = list(faults)
    for journal_is_lost, requests_are_forgotten, calls in runs:
        bench.gallery.on_enrolment = stop_after(bench, calls)
        bench.run()
        if journal_is_lost:
            bench.journal.unlink()
        if requests_are_forgotten:
            bench.gallery.forget_requests()
    bench.gallery.on_enrolment = lambda _: None
    bench.gallery.faults = []
    assert bench.run().everybody_is_enrolled
    assert {name: sorted(made) for name, made in bench.gallery.subjects.items()} == {
        "ada": sorted(sha256s(b"one", b"two")),
        "bo": sha256s(b"three"),
        "cy": sorted(sha256s(b"four", b"five")),
    }


# ---- the journal


def test_a_journal_that_was_cut_anywhere_is_read(bench: Bench) -> None:
    """Whole lines count, the torn one does not, and the next line is not lost with it."""
    bench.person("ada", b"one")
    bench.person("bo", b"two")
    bench.run()
    whole = bench.journal.read_bytes()
    first = whole.index(b"\n") + 1
    path = bench.root / "cut.jsonl"
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        expected = (end >= first - 1) + (end >= len(whole) - 1)
        assert len(read_done(path, HERE)) == expected, end
        with Journal(path, HERE) as journal:
            journal.record(SubjectResult("cy", BulkStatus.ENROLLED, (), request_id="bulk-cy"))
        assert len(read_done(path, HERE)) == expected + 1, end


@given(st.binary(max_size=200))
def test_any_bytes_in_a_journal_are_passed_over(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    """Also lines that are JSON and something else."""
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    path.write_bytes(noise + b'\n[1]\n"x"\n{}\n{"server":1}\nnull\n')
    assert not read_done(path, HERE)


def test_a_journal_shows_no_name_and_no_picture(bench: Bench) -> None:
    """Ids, names of files and reasons; and nobody but its owner may read even that."""
    bench.person("ada", b"the bytes of a picture")
    ada = replace(bench.plan().subjects[0], display_name="Lovelace")
    bench.run(replace(bench.plan(), subjects=(ada,)))
    text = bench.journal.read_bytes()
    assert b"ada/0.jpg" in text
    assert b"Lovelace" not in text
    assert b"the bytes" not in text
    assert bench.journal.stat().st_mode & 0o777 == 0o600


def test_two_runs_do_not_share_a_journal(bench: Bench) -> None:
    """The second is told that another one is under way."""
    with (
        Journal(bench.journal, HERE),
        pytest.raises(InvalidInputError, match="another one has it"),
        Journal(bench.journal, HERE),
    ):
        pass


def test_a_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInputError, match="journal"), Journal(tmp_path / "missing" / "journal.jsonl", HERE):
        pass


# ---- over the wire


def test_the_gallery_is_told_everything(tmp_path: Path) -> None:
    """Over real gRPC: every field, both dates and the request id are in the message."""
    script = Script()
    script.answers["EnrollSubject"] = subject_pb2.EnrollSubjectResponse()
    with serving(script) as address, Tessera(address) as tessera:
        people = TesseraPeople(tessera)
        assert people.address == address
        people.enroll(
            "ada",
            [b"one"],
            collection_id="staff",
            display_name="Ada",
            external_id="7",
            labels=["vip"],
            consent_reference="DPO-1",
            valid_from=NOW,
            valid_until=datetime(2027, 1, 1, tzinfo=UTC),
            request_id="bulk-1",
        )
    sent = script.requests[0]
    assert (sent.collection_id, sent.subject_id, sent.display_name, sent.external_id) == ("staff", "ada", "Ada", "7")
    assert (list(sent.labels), sent.consent_reference, sent.request_id) == (["vip"], "DPO-1", "bulk-1")
    assert [sample.image.data for sample in sent.samples] == [b"one"]
    assert sent.valid_from.ToDatetime(tzinfo=UTC) == NOW
    assert sent.valid_until.ToDatetime(tzinfo=UTC) == datetime(2027, 1, 1, tzinfo=UTC)


def test_dates_that_are_not_given_are_not_sent(tmp_path: Path) -> None:
    """Unset means always; a zero would mean 1970."""
    script = Script()
    script.answers["EnrollSubject"] = subject_pb2.EnrollSubjectResponse()
    with serving(script) as address, Tessera(address) as tessera:
        TesseraPeople(tessera).enroll("ada", [b"one"])
    assert not script.requests[0].HasField("valid_from")
    assert not script.requests[0].HasField("valid_until")


def test_request_ids_are_made_of_everything_that_is_enrolled(bench: Bench) -> None:
    """Another byte, another name of a file, another field: another id."""
    bench.person("ada", b"one")
    base = bench.plan().subjects[0]

    def id_of(subject: PlannedSubject, pictures: Sequence[bytes] = (b"one",)) -> str:
        bench.person("ada", *pictures)
        bench.run(replace(bench.plan(), subjects=(subject,)), dry=True)
        return bench.results["ada"].request_id

    ids = [
        id_of(base),
        id_of(base, [b"two"]),
        id_of(replace(base, display_name="Ada")),
        id_of(replace(base, labels=("vip",))),
        id_of(replace(base, valid_from=NOW)),
        id_of(replace(base, pictures=("ada/../ada/0.jpg",))),
    ]
    assert len(set(ids)) == len(ids)
    assert id_of(base) == ids[0]


# ---- people who are there already


def test_somebody_who_is_there_under_another_id_is_rejected(bench: Bench) -> None:
    """With whom the person looks like; the next run asks again, since nothing was written."""
    bench.person("bob", b"one")
    bench.gallery.error = DuplicateSubject(
        code="ALREADY_EXISTS",
        reason="DUPLICATE_SUBJECT",
        field="samples",
        value="ada,eve",
        allowed="",
        message="the samples already are of ada",
    )
    outcome = bench.run()
    assert bench.statuses() == {"bob": "rejected"}
    assert bench.results["bob"].duplicates == ("ada", "eve")
    assert [one.reasons for one in bench.results["bob"].pictures] == [("DUPLICATE",)]
    assert (outcome.duplicates, outcome.pictures_refused, outcome.everybody_is_enrolled) == (1, 1, False)
    bench.gallery.error = None
    assert bench.run().everybody_is_enrolled


def test_the_journal_keeps_whom_somebody_looks_like(bench: Bench) -> None:
    """And where the pictures went; a line of an earlier version says neither, and is read."""
    with Journal(bench.journal, HERE) as journal:
        journal.record(
            SubjectResult("bob", BulkStatus.ENROLLED, (), request_id="r1", duplicates=("ada",), merged_into="ada")
        )
    line = json.loads(bench.journal.read_text())
    earlier = {name: value for name, value in line.items() if name not in {"duplicates", "merged_into"}}
    with bench.journal.open("a") as file:
        file.write(json.dumps(earlier | {"request_id": "r0"}) + "\n")
    done = read_done(bench.journal, HERE)
    assert (done["r1"].duplicates, done["r1"].merged_into) == (("ada",), "ada")
    assert (done["r0"].duplicates, done["r0"].merged_into) == ((), "")


def test_another_policy_is_another_request(bench: Bench) -> None:
    """And no policy is the request that it was before there were any: journals stay valid."""
    bench.person("ada", b"one")
    (ada,), files = bench.plan().subjects, [PictureFile("ada/0.jpg", sha256s(b"one")[0], 3)]
    policies: list[dict[str, Any]] = [
        {},
        *({"duplicate_policy": policy} for policy in DuplicatePolicy),
        *({"outlier_policy": policy} for policy in OutlierPolicy),
    ]
    ids = [request_id_of(ada, files, "", **named) for named in policies]
    assert len(set(ids)) == len(ids)
    told = {**asdict(ada), "pictures": [("ada/0.jpg", files[0].sha256)], "collection_id": "default"}
    as_before = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    assert ids[0] == f"bulk-{as_before}"
