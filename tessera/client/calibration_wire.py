"""Calibrations to messages and back, for the SDK and for the gallery that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from tessera.client import wire
from tessera.domain.calibration import Calibration, CalibrationData, OperatingPoint, SearchPoint
from tessera.domain.embedding import Vectors
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId, ModelId
from tessera.v1 import biometrics_pb2, calibration_pb2


class CalibrationSource(StrEnum):
    """Where a calibration comes from."""

    UNSPECIFIED = "UNSPECIFIED"
    SHIPPED = "SHIPPED"
    """Came with its encoder."""
    FITTED = "FITTED"
    """Fitted here."""


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """A calibration as the gallery keeps it."""

    calibration: Calibration
    """Of a list: without its points."""
    active: bool
    """It decides for its model."""
    source: CalibrationSource
    activated_at: datetime | None = None
    """None: it has never decided."""


def calibration_to_wire(stored: StoredCalibration, *, with_points: bool = True) -> calibration_pb2.Calibration:
    """A calibration, for a list without its points."""
    calibration, data = stored.calibration, stored.calibration.data
    return calibration_pb2.Calibration(
        calibration_id=calibration.calibration_id,
        model_id=calibration.model_id,
        modality=wire.modality_to_wire(calibration.modality),
        created_at=wire.time_to_wire(_moment(calibration.created)),
        active=stored.active,
        data_name=data.name,
        data_digest=data.digest,
        subjects=data.subjects,
        samples=data.samples,
        mated_comparisons=data.mated,
        non_mated_comparisons=data.non_mated,
        points=[_point_to_wire(point) for point in calibration.points] if with_points else [],
        search_points=[_search_to_wire(point) for point in calibration.searches] if with_points else [],
        source=calibration_pb2.CalibrationSource.Value(f"CALIBRATION_SOURCE_{stored.source.value}"),
        activated_at=wire.time_to_wire(stored.activated_at) if stored.activated_at is not None else None,
        interval_method=calibration.interval_method,
        impostors=wire.impostors_to_wire(calibration.impostors),
    )


def calibration_from_wire(message: calibration_pb2.Calibration) -> StoredCalibration:
    """A calibration; a source that this version does not know is UNSPECIFIED.

    Raises:
        InvalidInputError: a moment or a modality that the contract does not have.
    """
    source = wire.enum_name(calibration_pb2.CalibrationSource, message.source, "CALIBRATION_SOURCE_")
    calibration = Calibration(
        calibration_id=CalibrationId(message.calibration_id),
        model_id=ModelId(message.model_id),
        modality=wire.modality_from_wire(message.modality),
        created=_date(wire.time_from_wire(message.created_at, "created_at")),
        data=CalibrationData(
            name=message.data_name,
            digest=message.data_digest,
            subjects=message.subjects,
            samples=message.samples,
            mated=message.mated_comparisons,
            non_mated=message.non_mated_comparisons,
        ),
        points=tuple(_point_from_wire(point) for point in message.points),
        searches=tuple(_search_from_wire(point) for point in message.search_points),
        interval_method=message.interval_method,
        impostors=wire.impostors_from_wire(message.impostors),
    )
    activated_at = wire.time_from_wire(message.activated_at) if message.HasField("activated_at") else None
    known = CalibrationSource.__members__.get(source, CalibrationSource.UNSPECIFIED)
    return StoredCalibration(calibration, message.active, known, activated_at)


def embeddings_to_wire(vectors: Vectors, model_id: ModelId) -> Sequence[biometrics_pb2.Embedding]:
    """One message for each row, all of one model."""
    return [biometrics_pb2.Embedding(values=row, model_id=model_id) for row in np.asarray(vectors).tolist()]


def _moment(created: str) -> datetime:
    moment = datetime.fromisoformat(created)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _date(moment: datetime) -> str:
    """A whole day as its date, as calibrations write it; otherwise the moment."""
    whole = (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)
    return moment.date().isoformat() if whole else moment.isoformat()


def _point_to_wire(point: OperatingPoint) -> calibration_pb2.CalibrationPoint:
    return calibration_pb2.CalibrationPoint(
        threshold=point.threshold,
        fmr=point.fmr,
        fmr_low=point.fmr_interval.low,
        fmr_high=point.fmr_interval.high,
        fnmr=point.fnmr,
        fnmr_low=point.fnmr_interval.low,
        fnmr_high=point.fnmr_interval.high,
    )


def _point_from_wire(point: calibration_pb2.CalibrationPoint) -> OperatingPoint:
    fmr, fnmr = Interval(point.fmr_low, point.fmr_high), Interval(point.fnmr_low, point.fnmr_high)
    return OperatingPoint(point.threshold, point.fmr, fmr, point.fnmr, fnmr)


def _search_to_wire(point: SearchPoint) -> calibration_pb2.CalibrationSearchPoint:
    return calibration_pb2.CalibrationSearchPoint(
        gallery_size=point.gallery_size,
        threshold=point.threshold,
        fpir=point.fpir,
        fpir_low=point.fpir_interval.low,
        fpir_high=point.fpir_interval.high,
    )


def _search_from_wire(point: calibration_pb2.CalibrationSearchPoint) -> SearchPoint:
    return SearchPoint(point.gallery_size, point.threshold, point.fpir, Interval(point.fpir_low, point.fpir_high))
