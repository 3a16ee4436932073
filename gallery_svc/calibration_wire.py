"""Messages of calibrations to domain values and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from gallery_svc.calibrations import ActivationOrder, FitOrder, KeptCalibration
from gallery_svc.labelled import GivenScores, LabelledSamples
from gallery_svc.wire import optional, request_id_from
from tessera.client import wire
from tessera.domain.calibration import OperatingPoint, SearchPoint
from tessera.domain.errors import InvalidInputError
from tessera.domain.fitting import LabelledScores, independent_scores
from tessera.domain.ids import CalibrationId, CollectionId, ModelId, checked_id
from tessera.v1 import calibration_pb2

MAX_SAMPLES = 20_000


def fit_order(message: calibration_pb2.CalibrateRequest, caller: str) -> FitOrder:
    """What a caller wants fitted.

    Raises:
        InvalidInputError: no data, or data that is no labelled data.
    """
    wanted = checked_id("calibration_id", message.calibration_id) if message.calibration_id else None
    return FitOrder(
        data=_data(message),
        data_digest=hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest(),
        model_id=ModelId(message.model_id) if message.model_id else None,
        strictest_fmr=optional(message, "strictest_fmr"),
        activate=message.activate,
        calibration_id=CalibrationId(wanted) if wanted else None,
        request_id=request_id_from(message.request_id) or "",
        caller=caller,
    )


def activation_order(message: calibration_pb2.ActivateCalibrationRequest, caller: str) -> ActivationOrder:
    """Which calibration a caller wants to decide."""
    choice = message.WhichOneof("choice")
    return ActivationOrder(
        calibration_id=CalibrationId(checked_id("calibration_id", message.calibration_id))
        if choice == "calibration_id"
        else None,
        roll_back=ModelId(message.roll_back_model_id) if choice == "roll_back_model_id" else None,
        expected_active_id=CalibrationId(message.expected_active_id) if message.expected_active_id else None,
        request_id=request_id_from(message.request_id) or "",
        caller=caller,
    )


def calibration_to_wire(kept: KeptCalibration) -> calibration_pb2.Calibration:
    """A calibration with its points."""
    calibration, data = kept.calibration, kept.calibration.data
    created = kept.created_at or datetime.fromisoformat(calibration.created)
    shipped, fitted = calibration_pb2.CALIBRATION_SOURCE_SHIPPED, calibration_pb2.CALIBRATION_SOURCE_FITTED
    return calibration_pb2.Calibration(
        calibration_id=calibration.calibration_id,
        model_id=calibration.model_id,
        modality=wire.modality_to_wire(calibration.modality),
        created_at=wire.time_to_wire(created if created.tzinfo else created.replace(tzinfo=UTC)),
        active=kept.is_active,
        data_name=data.name,
        data_digest=data.digest,
        subjects=data.subjects,
        samples=data.samples,
        mated_comparisons=data.mated,
        non_mated_comparisons=data.non_mated,
        points=[_point(point) for point in calibration.points],
        search_points=[_search_point(point) for point in calibration.searches],
        source=shipped if kept.is_shipped else fitted,
        activated_at=wire.time_to_wire(kept.activated_at) if kept.activated_at else None,
        interval_method=calibration.interval_method,
        impostors=wire.impostors_to_wire(calibration.impostors),
    )


def _point(point: OperatingPoint) -> calibration_pb2.CalibrationPoint:
    return calibration_pb2.CalibrationPoint(
        threshold=point.threshold,
        fmr=point.fmr,
        fmr_low=point.fmr_interval.low,
        fmr_high=point.fmr_interval.high,
        fnmr=point.fnmr,
        fnmr_low=point.fnmr_interval.low,
        fnmr_high=point.fnmr_interval.high,
    )


def _search_point(point: SearchPoint) -> calibration_pb2.CalibrationSearchPoint:
    return calibration_pb2.CalibrationSearchPoint(
        gallery_size=point.gallery_size,
        threshold=point.threshold,
        fpir=point.fpir,
        fpir_low=point.fpir_interval.low,
        fpir_high=point.fpir_interval.high,
    )


def _data(message: calibration_pb2.CalibrateRequest) -> CollectionId | LabelledSamples | GivenScores:
    match message.WhichOneof("data"):
        case "collection_id":
            return CollectionId(checked_id("collection_id", message.collection_id))
        case "scores":
            return _scores(message.scores)
        case "embeddings":
            return _embeddings(message.embeddings)
        case _:
            raise InvalidInputError("data", "", "collection_id, scores, or embeddings")


def _scores(message: calibration_pb2.LabelledScores) -> GivenScores:
    digest = message.data_digest or hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()
    return GivenScores(_labelled(message), message.data_name or "scores", digest)


def _labelled(message: calibration_pb2.LabelledScores) -> LabelledScores:
    mated, non_mated = np.array(message.mated, np.float64), np.array(message.non_mated, np.float64)
    if message.pairs_are_independent:
        return independent_scores(mated, non_mated)
    return LabelledScores(
        mated,
        _numbers("scores.mated_subjects", message.mated_subjects, mated.size),
        non_mated,
        _numbers("scores.first_subjects", message.first_subjects, non_mated.size),
        _numbers("scores.second_subjects", message.second_subjects, non_mated.size),
    )


def _numbers(field: str, values: Sequence[int], wanted: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    if len(values) != wanted:
        allowed = f"one for each of {wanted} scores; or pairs_are_independent, where no two pairs share a subject"
        raise InvalidInputError(field, f"{len(values)} numbers", allowed)
    return np.array(values, np.intp)


def _embeddings(message: calibration_pb2.LabelledEmbeddings) -> LabelledSamples:
    count = len(message.embeddings)
    if not 2 <= count <= MAX_SAMPLES:
        raise InvalidInputError("embeddings.embeddings", f"{count} embeddings", f"2 to {MAX_SAMPLES}")
    if len(message.subjects) != count:
        raise InvalidInputError("embeddings.subjects", f"{len(message.subjects)} names", f"one for each of {count}")
    read = [
        wire.embedding_from_wire(each, f"embeddings.embeddings[{at}]") for at, each in enumerate(message.embeddings)
    ]
    sizes = sorted({each.vector.size for each in read})
    models = sorted({each.model_id for each in read})
    if len(models) > 1 or len(sizes) > 1:
        raise InvalidInputError("embeddings.embeddings", f"{', '.join(models)}; {sizes}", "embeddings of one model")
    vectors = np.stack([each.vector for each in read])
    told = vectors.tobytes() + repr(list(message.subjects)).encode()
    return LabelledSamples(
        vectors=vectors,
        subjects=tuple(message.subjects),
        model_id=models[0],
        name=message.data_name or "embeddings",
        digest=message.data_digest or hashlib.sha256(told).hexdigest(),
    )
