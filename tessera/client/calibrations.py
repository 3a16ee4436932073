"""Calibrations of a running gallery: fit one, look at them, say which decides, go back to the one before.

Sends data and reads what came of it; fits nothing itself. `Tessera.calibrations` is one of these.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tessera.client import calibration_wire
from tessera.client.calibration_wire import CalibrationSource, StoredCalibration
from tessera.client.calls import Caller
from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.fitting import LabelledScores
from tessera.domain.ids import ModelId
from tessera.v1 import calibration_pb2, gallery_pb2_grpc

__all__ = ["Activation", "CalibrationSource", "Calibrations", "StoredCalibration"]


@dataclass(frozen=True, slots=True)
class Activation:
    """Which calibration decides from now on, and which one did before."""

    activated: StoredCalibration
    previous_calibration_id: str
    """Empty: none did."""


class Calibrations:
    """The calibrations of a gallery; made by `Tessera`.

    Args:
        caller: calls the gallery.
        stub: of the gallery.
    """

    def __init__(self, caller: Caller, stub: gallery_pb2_grpc.GalleryServiceStub) -> None:
        self._caller = caller
        self._stub = stub

    def fit_scores(
        self,
        scores: LabelledScores,
        model_id: str,
        *,
        data_name: str = "",
        data_digest: str = "",
        calibration_id: str = "",
        strictest_fmr: float | None = None,
        activate: bool = False,
        request_id: str = "",
    ) -> StoredCalibration:
        """Fit a calibration on scores.

        Args:
            scores: each in [-1, 1], with the subjects of each pair; `independent_scores` where no two share one.
            model_id: whose scores they are.
            data_name: for people to read.
            data_digest: sha256 of the data they came from, hex; empty: of the scores.
            calibration_id: its name; empty: one is made.
            strictest_fmr: refused when the data cannot carry it; None: whatever it carries.
            activate: let it decide from now on.
            request_id: a retry with the same id fits once; empty: a new one.

        Raises:
            BadInput: scores and subjects do not fit together, or the data cannot carry `strictest_fmr`.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        labelled = calibration_pb2.LabelledScores(
            mated=np.asarray(scores.mated).tolist(),
            non_mated=np.asarray(scores.non_mated).tolist(),
            data_digest=data_digest,
            data_name=data_name,
            mated_subjects=np.asarray(scores.mated_subjects).tolist(),
            first_subjects=np.asarray(scores.first_subjects).tolist(),
            second_subjects=np.asarray(scores.second_subjects).tolist(),
        )
        return self._fit(
            calibration_pb2.CalibrateRequest(model_id=model_id, scores=labelled),
            calibration_id=calibration_id,
            strictest_fmr=strictest_fmr,
            activate=activate,
            request_id=request_id,
        )

    def fit_embeddings(
        self,
        vectors: Vectors,
        subjects: Sequence[str],
        model_id: str,
        *,
        data_name: str = "",
        data_digest: str = "",
        calibration_id: str = "",
        strictest_fmr: float | None = None,
        activate: bool = False,
        request_id: str = "",
    ) -> StoredCalibration:
        """Fit a calibration on all pairs of labelled embeddings.

        Args:
            vectors: shape (n, d), n from 2 to 20,000.
            subjects: whose each row is.
            model_id: that made all of them.
            data_name: for people to read.
            data_digest: sha256 of the data they came from, hex; empty: of the embeddings.
            calibration_id: its name; empty: one is made.
            strictest_fmr: refused when the data cannot carry it; None: whatever it carries.
            activate: let it decide from now on.
            request_id: a retry with the same id fits once; empty: a new one.

        Raises:
            InvalidInputError: not one subject for each row.
            BadInput: the data cannot carry `strictest_fmr`, or is no calibration's data.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        if len(subjects) != len(vectors):
            raise InvalidInputError("subjects", len(subjects), f"one for each of {len(vectors)} embeddings")
        labelled = calibration_pb2.LabelledEmbeddings(
            embeddings=calibration_wire.embeddings_to_wire(vectors, ModelId(model_id)),
            subjects=subjects,
            data_name=data_name,
            data_digest=data_digest,
        )
        return self._fit(
            calibration_pb2.CalibrateRequest(model_id=model_id, embeddings=labelled),
            calibration_id=calibration_id,
            strictest_fmr=strictest_fmr,
            activate=activate,
            request_id=request_id,
        )

    def fit_collection(
        self,
        collection_id: str,
        *,
        model_id: str = "",
        calibration_id: str = "",
        strictest_fmr: float | None = None,
        activate: bool = False,
        request_id: str = "",
    ) -> StoredCalibration:
        """Fit a calibration on the templates that are enrolled: pairs of different subjects, and of the same.

        Args:
            collection_id: whose templates; empty: the collection "default".
            model_id: of them; empty: the collection's.
            calibration_id: its name; empty: one is made.
            strictest_fmr: refused when the data cannot carry it; None: whatever it carries.
            activate: let it decide from now on.
            request_id: a retry with the same id fits once; empty: a new one.

        Raises:
            NotFound: no such collection.
            BadInput: too few templates, or the data cannot carry `strictest_fmr`.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        return self._fit(
            calibration_pb2.CalibrateRequest(model_id=model_id, collection_id=collection_id or "default"),
            calibration_id=calibration_id,
            strictest_fmr=strictest_fmr,
            activate=activate,
            request_id=request_id,
        )

    def _fit(
        self,
        data: calibration_pb2.CalibrateRequest,
        *,
        calibration_id: str,
        strictest_fmr: float | None,
        activate: bool,
        request_id: str,
    ) -> StoredCalibration:
        """Ask for a calibration on data that the request already names."""
        data.calibration_id, data.activate = calibration_id, activate
        data.request_id = request_id or uuid.uuid4().hex
        if strictest_fmr is not None:
            data.strictest_fmr = strictest_fmr
        return calibration_wire.calibration_from_wire(self._caller.settle(self._stub.Calibrate, data).calibration)

    def list(self, model_id: str = "") -> tuple[StoredCalibration, ...]:
        """All calibrations by model, oldest first, without their points; of one model, or of all."""
        request = calibration_pb2.ListCalibrationsRequest(model_id=model_id)
        response = self._caller.call(self._stub.ListCalibrations, request)
        return tuple(calibration_wire.calibration_from_wire(message) for message in response.calibrations)

    def get(self, calibration_id: str) -> StoredCalibration:
        """One calibration with its points.

        Raises:
            NotFound: there is none of that id.
        """
        return self._get(calibration_pb2.GetCalibrationRequest(calibration_id=calibration_id))

    def active(self, model_id: str) -> StoredCalibration:
        """The one that decides for a model.

        Raises:
            NotFound: the model has none.
        """
        return self._get(calibration_pb2.GetCalibrationRequest(model_id=model_id))

    def _get(self, request: calibration_pb2.GetCalibrationRequest) -> StoredCalibration:
        response = self._caller.call(self._stub.GetCalibration, request)
        return calibration_wire.calibration_from_wire(response.calibration)

    def activate(self, calibration_id: str, *, expected_active_id: str = "", request_id: str = "") -> Activation:
        """Let a calibration decide for its model from now on.

        Args:
            calibration_id: which.
            expected_active_id: the one that was seen deciding; refused when another one does. Empty: whichever it is.
            request_id: a retry with the same id changes once; empty: a new one.

        Raises:
            NotFound: there is none of that id.
            NotAllowedNow: another one decides than was expected.
        """
        request = calibration_pb2.ActivateCalibrationRequest(
            calibration_id=calibration_id,
            expected_active_id=expected_active_id,
            request_id=request_id or uuid.uuid4().hex,
        )
        return self._activate(request)

    def roll_back(self, model_id: str, *, expected_active_id: str = "", request_id: str = "") -> Activation:
        """Let the calibration decide that did before the present one.

        Args:
            model_id: for which.
            expected_active_id: the one that was seen deciding; refused when another one does. Empty: whichever it is.
            request_id: a retry with the same id goes back once; empty: a new one.

        Raises:
            NotFound: the model has none before it.
            NotAllowedNow: another one decides than was expected.
        """
        request = calibration_pb2.ActivateCalibrationRequest(
            roll_back_model_id=model_id,
            expected_active_id=expected_active_id,
            request_id=request_id or uuid.uuid4().hex,
        )
        return self._activate(request)

    def _activate(self, request: calibration_pb2.ActivateCalibrationRequest) -> Activation:
        response = self._caller.settle(self._stub.ActivateCalibration, request)
        found = calibration_wire.calibration_from_wire(response.calibration)
        return Activation(found, response.previous_calibration_id)
