"""Calibrations over real gRPC: what is sent, what comes back, and that a message keeps all of a calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from unit.client.fake_services import Script, serving
from unit.client.stored_calibration import STORED

from tessera.client import Tessera
from tessera.client.calibration_wire import CalibrationSource, calibration_from_wire, calibration_to_wire
from tessera.client.errors import NotFound
from tessera.domain.errors import InvalidInputError, NotFoundError
from tessera.domain.fitting import LabelledScores
from tessera.v1 import calibration_pb2


@pytest.fixture
def script() -> Script:
    """What the fake gallery answers."""
    return Script()


@pytest.fixture
def tessera(script: Script) -> Iterator[Tessera]:
    """A connection to it."""
    with serving(script) as address, Tessera(address, ingest=address, encoder=address) as connected:
        yield connected


@pytest.mark.parametrize("source", CalibrationSource)
def test_a_message_keeps_all_of_a_calibration(source: CalibrationSource) -> None:
    """There and back again it is the same; a list leaves the points out and nothing else."""
    stored = replace(STORED, source=source)
    assert calibration_from_wire(calibration_to_wire(stored)) == stored
    short = calibration_from_wire(calibration_to_wire(stored, with_points=False))
    assert short == replace(stored, calibration=replace(stored.calibration, points=(), searches=()))


def test_one_that_never_decided_has_no_moment() -> None:
    """And is not active."""
    stored = replace(STORED, active=False, activated_at=None)
    assert calibration_from_wire(calibration_to_wire(stored)) == stored


def test_a_source_of_a_later_version_is_unspecified() -> None:
    """Nothing fails on it."""
    message = calibration_to_wire(STORED)
    message.source = 99  # type: ignore[assignment]  # a number that this version does not know
    assert calibration_from_wire(message).source is CalibrationSource.UNSPECIFIED


def test_embeddings_go_with_their_subjects(tessera: Tessera, script: Script) -> None:
    """Every row, its model, whose it is; a request id of its own each time."""
    script.answers["Calibrate"] = calibration_pb2.CalibrateResponse(calibration=calibration_to_wire(STORED))
    vectors = np.eye(3, dtype=np.float32)
    for _ in range(2):
        told = tessera.calibrations.fit_embeddings(vectors, ["a", "a", "b"], "m@1", strictest_fmr=0.1, activate=True)
        assert told == STORED
    first, second = script.requests
    assert [list(one.values) for one in first.embeddings.embeddings] == vectors.tolist()
    assert {one.model_id for one in first.embeddings.embeddings} == {"m@1"}
    assert list(first.embeddings.subjects) == ["a", "a", "b"]
    assert (first.strictest_fmr, first.activate) == (0.1, True)
    assert first.request_id
    assert first.request_id != second.request_id


def test_a_row_without_a_subject_is_not_sent(tessera: Tessera, script: Script) -> None:
    """It is refused here."""
    with pytest.raises(InvalidInputError, match="one for each of 3"):
        tessera.calibrations.fit_embeddings(np.eye(3, dtype=np.float32), ["a", "b"], "m@1")
    assert script.requests == []


def test_scores_go_with_the_subjects_of_their_pairs(tessera: Tessera, script: Script) -> None:
    """And without a strictest FMR none is sent."""
    script.answers["Calibrate"] = calibration_pb2.CalibrateResponse(calibration=calibration_to_wire(STORED))
    scores = LabelledScores(
        np.array([0.9]),
        np.array([0], np.intp),
        np.array([0.1, 0.2]),
        np.array([0, 0], np.intp),
        np.array([1, 2], np.intp),
    )
    tessera.calibrations.fit_scores(scores, "m@1", data_name="door 7", request_id="again")
    (request,) = script.requests
    assert (list(request.scores.mated), list(request.scores.non_mated)) == ([0.9], [0.1, 0.2])
    assert list(request.scores.mated_subjects) == [0]
    assert list(zip(request.scores.first_subjects, request.scores.second_subjects, strict=True)) == [(0, 1), (0, 2)]
    assert not request.HasField("strictest_fmr")
    assert request.request_id == "again"


def test_a_collection_goes_by_its_name(tessera: Tessera, script: Script) -> None:
    """The default one where none is named: an empty one would be no choice at all."""
    script.answers["Calibrate"] = calibration_pb2.CalibrateResponse(calibration=calibration_to_wire(STORED))
    tessera.calibrations.fit_collection("")
    assert script.requests[0].WhichOneof("data") == "collection_id"
    assert script.requests[0].collection_id == "default"


def test_which_one_decides_is_chosen_and_taken_back(tessera: Tessera, script: Script) -> None:
    """An id activates, a model goes back; both may say whom they saw deciding."""
    script.answers["ActivateCalibration"] = calibration_pb2.ActivateCalibrationResponse(
        calibration=calibration_to_wire(STORED), previous_calibration_id="cal-0"
    )
    changed = tessera.calibrations.activate("cal-1", expected_active_id="cal-0")
    assert (changed.activated, changed.previous_calibration_id) == (STORED, "cal-0")
    tessera.calibrations.roll_back("m@1")
    first, second = script.requests
    assert (first.WhichOneof("choice"), first.calibration_id) == ("calibration_id", "cal-1")
    assert first.expected_active_id == "cal-0"
    assert (second.WhichOneof("choice"), second.roll_back_model_id) == ("roll_back_model_id", "m@1")


def test_one_is_asked_for_by_id_or_by_model(tessera: Tessera, script: Script) -> None:
    """And all are listed; one that is not there is an error of the SDK."""
    script.answers["GetCalibration"] = calibration_pb2.GetCalibrationResponse(calibration=calibration_to_wire(STORED))
    script.answers["ListCalibrations"] = calibration_pb2.ListCalibrationsResponse(
        calibrations=[calibration_to_wire(STORED, with_points=False)]
    )
    assert tessera.calibrations.get("cal-1") == STORED
    assert tessera.calibrations.active("m@1") == STORED
    assert [one.active for one in tessera.calibrations.list("m@1")] == [True]
    assert [one.calibration_id for one in script.requests[:1]] == ["cal-1"]
    assert [one.model_id for one in script.requests[1:]] == ["m@1", "m@1"]
    script.answers["GetCalibration"] = NotFoundError("calibration", "cal-9")
    with pytest.raises(NotFound):
        tessera.calibrations.get("cal-9")
