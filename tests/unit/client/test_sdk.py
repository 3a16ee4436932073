"""The SDK over real gRPC: what it sends, what it answers, and how a failure looks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from unit.client.fake_messages import identified, subject, verified
from unit.client.fake_services import Script, serving

from tessera.client import Tessera
from tessera.client.answers import SearchMode, ServiceState
from tessera.client.errors import (
    AlreadyExists,
    BadInput,
    DeadlinePassed,
    NotFound,
    OutcomeUnknown,
    ServiceFailed,
    ServiceUnavailable,
    TesseraCallError,
)
from tessera.domain import errors as e
from tessera.domain.decision import Outcome
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason
from tessera.v1 import camera_pb2, matching_pb2, subject_pb2


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def tessera(script: Script) -> Iterator[Tessera]:
    """A connection to the fake services."""
    with serving(script) as address, Tessera(address, ingest=address, encoder=address) as connected:
        yield connected


def test_a_verification_answers_in_the_fields_words(tessera: Tessera, script: Script) -> None:
    """Outcome, rate and interval are there; the score is absent unless it was asked for."""
    script.answers["Verify"] = verified("MATCH")
    answer = tessera.verify("alice", b"jpeg")
    assert answer.is_match
    assert answer.outcome is Outcome.MATCH
    assert answer.score is None
    assert answer.threshold is not None
    assert (answer.threshold.target_rate, answer.threshold.fmr_interval.high) == (1e-4, 1.5e-4)
    assert answer.evidence_id == "evidence-1"


def test_an_inconclusive_answer_is_an_answer(tessera: Tessera, script: Script) -> None:
    """It says why, and is no match and no exception."""
    script.answers["Verify"] = verified("INCONCLUSIVE", "NO_FACE")
    answer = tessera.verify("alice", b"jpeg")
    assert not answer.is_match
    assert answer.reasons == (Reason.NO_FACE,)


@pytest.mark.parametrize("kind", ["path", "text", "bytes"])
def test_a_picture_may_be_a_path_or_bytes(tessera: Tessera, script: Script, tmp_path: Path, kind: str) -> None:
    """Each way sends the bytes of the file."""
    path = tmp_path / "face.jpg"
    path.write_bytes(b"the picture")
    script.answers["Verify"] = verified("MATCH")
    tessera.verify("alice", {"path": path, "text": str(path), "bytes": b"the picture"}[kind])
    assert script.requests[0].probe.image.data == b"the picture"


def test_a_vector_is_sent_normalised_with_its_model(tessera: Tessera, script: Script) -> None:
    """An array needs the model that made it; without one nothing is sent."""
    script.answers["Compare"] = matching_pb2.CompareResponse(decision=verified("NO_MATCH").decision)
    vector = np.array([3.0, 4.0], dtype=np.float32)
    assert tessera.compare(vector, vector, model_id="m@1").outcome is Outcome.NO_MATCH
    assert list(script.requests[0].first.embedding.values) == pytest.approx([0.6, 0.8])
    assert script.requests[0].first.embedding.model_id == "m@1"
    with pytest.raises(InvalidInputError, match="model_id"):
        tessera.compare(vector, vector)
    assert len(script.requests) == 1


def test_each_face_is_identified(tessera: Tessera, script: Script) -> None:
    """A match names its subject; an unknown names nobody."""
    script.answers["Identify"] = identified("MATCH", "UNKNOWN")
    first, second = tessera.identify(b"jpeg")
    assert (first.subject_id, first.display_name) == ("alice", "Alice Adams")
    assert (second.outcome, second.subject_id) == (Outcome.UNKNOWN, "")


def test_each_enrolment_has_an_id_of_its_own(tessera: Tessera, script: Script) -> None:
    """Two calls are two requests; a retry inside of one call carries the same id, and so writes once."""
    seen: list[str] = []

    def answer(request: subject_pb2.EnrollSubjectRequest) -> object:
        seen.append(request.request_id)
        if len(seen) == 1:
            return e.UnavailableError("store")
        return subject_pb2.EnrollSubjectResponse(subject=subject("alice"), results=[subject_pb2.SampleResult()])

    script.answers["EnrollSubject"] = answer
    enrolment = tessera.enroll("alice", [b"one", b"two"])
    assert seen == [enrolment.request_id] * 2
    assert tessera.enroll("alice", b"one").request_id != enrolment.request_id


def test_an_unknown_outcome_is_settled_with_the_same_id(script: Script) -> None:
    """The write is sent until somebody can say whether it holds; what is said meanwhile says nothing of it."""
    seen: list[str] = []

    def answer(request: subject_pb2.EnrollSubjectRequest) -> object:
        seen.append(request.request_id)
        if len(seen) <= 6:
            return e.OutcomeUnknownError(request.request_id, "WAIT", 0, 1)
        if len(seen) <= 11:
            return e.UnavailableError("store")
        return subject_pb2.EnrollSubjectResponse(subject=subject("alice"), replayed=True)

    script.answers["EnrollSubject"] = answer
    with serving(script) as address, Tessera(address, deadline_s=20.0) as tessera:
        enrolment = tessera.enroll("alice", b"one")
    assert (enrolment.replayed, set(seen)) == (True, {enrolment.request_id})
    assert len(seen) == 12


def test_an_outcome_that_stays_unknown_is_told_with_its_id(script: Script) -> None:
    """At the deadline, also when the last answer was another refusal."""
    seen: list[str] = []

    def answer(request: subject_pb2.EnrollSubjectRequest) -> object:
        seen.append(request.request_id)
        if len(seen) <= 5:  # the channel itself sends it again a few times
            return e.OutcomeUnknownError(request.request_id, "WAIT", 0, 1)
        return e.UnavailableError("store")

    script.answers["EnrollSubject"] = answer
    with (
        serving(script) as address,
        Tessera(address, deadline_s=8.0) as tessera,
        pytest.raises(OutcomeUnknown) as told,
    ):
        tessera.enroll("alice", b"one")
    assert told.value.details["request_id"] == seen[0]
    assert len(seen) > 5


def test_an_answer_says_what_it_rests_on(tessera: Tessera, script: Script) -> None:
    """Coverage and positions come with it; a gallery of an earlier version tells none."""
    script.answers["Verify"] = verified("MATCH")
    assert tessera.verify("alice", b"jpeg").coverage is None
    answer = identified("MATCH", "UNKNOWN")
    answer.coverage.shards_total, answer.coverage.mode = 4, matching_pb2.SEARCH_MODE_APPROXIMATE
    answer.coverage.behind.FromMilliseconds(1500)
    answer.positions.extend([3, 1 << 48])
    script.answers["Identify"] = answer
    faces = tessera.identify(b"jpeg", labels=["staff"], camera_id="door", min_positions=[3], include_not_valid=True)
    assert faces[0].coverage == faces[1].coverage
    assert faces[0].coverage is not None
    assert (faces[0].coverage.mode, faces[0].coverage.behind_s) == (SearchMode.APPROXIMATE, 1.5)
    assert faces[0].positions == (3, 1 << 48)
    asked = script.requests[-1]
    assert (list(asked.labels), asked.camera_id, list(asked.min_positions)) == (["staff"], "door", [3])


def test_a_change_names_only_what_it_changes(tessera: Tessera, script: Script) -> None:
    """What is not given stays; an empty value and "always" are values."""
    script.answers["UpdateSubject"] = subject_pb2.UpdateSubjectResponse(subject=subject("alice"), position=9)
    changed = tessera.update_subject("alice", display_name="", camera_ids=["door"], valid_until="always")
    asked = script.requests[0]
    assert set(asked.update_mask.paths) == {"display_name", "camera_ids", "valid_until"}
    assert (asked.subject.display_name, list(asked.subject.camera_ids)) == ("", ["door"])
    assert (changed.position, changed.subject.subject_id) == (9, "alice")
    assert asked.request_id


def test_subjects_come_page_after_page(tessera: Tessera, script: Script) -> None:
    """The iterator asks for the next page until there is none."""
    pages = {"": (["a", "b"], "next"), "next": (["c"], "")}

    def answer(request: subject_pb2.ListSubjectsRequest) -> object:
        ids, token = pages[request.page_token]
        return subject_pb2.ListSubjectsResponse(subjects=[subject(name) for name in ids], next_page_token=token)

    script.answers["ListSubjects"] = answer
    assert [found.subject_id for found in tessera.subjects()] == ["a", "b", "c"]


def test_a_camera_tells_how_its_frames_fared(tessera: Tessera, script: Script) -> None:
    """Counts, reasons and the state come as values."""
    status = camera_pb2.CameraStatus(camera_id="door", state=camera_pb2.CAMERA_STATE_LOST, frames_sampled=9)
    status.skip_counts.add(reason=41, frames=4)
    entry = camera_pb2.CameraEntry(camera=camera_pb2.Camera(camera_id="door", url="rtsp://***@x/1"), status=status)
    script.answers["ListCameras"] = camera_pb2.ListCamerasResponse(entries=[entry])
    (camera,) = tessera.cameras()
    assert camera.status is not None
    assert (camera.status.state, camera.status.skip_counts) == ("LOST", {Reason.NEWER_FRAME: 4})


@pytest.mark.parametrize(
    ("raised", "expected", "reason"),
    [
        (e.NotFoundError("subject", "bob"), NotFound, "SUBJECT_NOT_FOUND"),
        (e.ImageRejectedError(Reason.NOT_AN_IMAGE, "no picture"), BadInput, "NOT_AN_IMAGE"),
        (e.RequestIdReusedError("r1"), AlreadyExists, "REQUEST_ID_REUSED"),
        (e.UnavailableError("encoder"), ServiceUnavailable, "ENCODER_UNAVAILABLE"),
        (e.OverloadedError("queue", 1), ServiceUnavailable, "QUEUE_FULL"),
        (ValueError("a defect"), ServiceFailed, "INTERNAL"),
    ],
)
def test_a_failure_has_a_type_and_says_what_and_why(
    tessera: Tessera, script: Script, raised: Exception, expected: type[TesseraCallError], reason: str
) -> None:
    """The service's error arrives as the exception that tells the caller what can be done."""
    script.answers["Verify"] = raised
    with pytest.raises(expected) as caught:
        tessera.verify("bob", b"jpeg")
    assert caught.value.reason == reason
    assert "a defect" not in caught.value.message


def test_a_failure_names_field_value_and_what_is_allowed(tessera: Tessera, script: Script) -> None:
    """What the service says of a field is there as attributes."""
    script.answers["GetSubject"] = e.InvalidInputError("subject_id", "a b", "no spaces")
    with pytest.raises(BadInput) as caught:
        tessera.get_subject("a b")
    assert (caught.value.field, caught.value.value, caught.value.allowed) == ("subject_id", "'a b'", "no spaces")


def test_a_call_ends_at_its_deadline(script: Script) -> None:
    """A service that does not answer costs no more than the deadline."""
    script.answers["Verify"] = lambda _: script.ended.wait(20)
    with serving(script) as address, Tessera(address, deadline_s=0.2) as tessera, pytest.raises(DeadlinePassed):
        tessera.verify("alice", b"jpeg")


def test_nobody_there_is_told_with_the_address() -> None:
    """The message names what was called and where."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with Tessera(address) as tessera, pytest.raises(ServiceUnavailable, match=f"gallery at {address}"):
            tessera.get_subject("alice")


def test_the_status_of_a_service_that_is_away_is_an_answer(tessera: Tessera, script: Script) -> None:
    """One address serves, the others do not."""
    with (
        serving(script) as address,
        Tessera(address, ingest="127.0.0.1:1", encoder=address, gateway="127.0.0.1:1") as connected,
    ):
        states = {service.name: service.state for service in connected.status()}
    assert states == {
        "encoder": ServiceState.SERVING,
        "gallery": ServiceState.SERVING,
        "ingest": ServiceState.UNREACHABLE,
        "gateway": ServiceState.UNREACHABLE,
    }


def test_a_picture_that_fits_no_message_is_refused_by_name() -> None:
    """It never leaves the process: the error says how large it is and what is allowed, not what gRPC calls it."""
    with Tessera("127.0.0.1:1") as tessera, pytest.raises(InvalidInputError, match=r"image.*67,108,864") as raised:
        tessera.verify("ada", bytes(64 * 1024 * 1024))
    assert raised.value.field == "image"
