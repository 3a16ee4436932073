"""A calibration turns a target error rate into a threshold, for one model, on stated data, and refuses all else."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval, comparisons_needed, fmr_for_fpir
from tessera.domain.errors import (
    ArtifactError,
    CalibrationTooSmallError,
    InvalidInputError,
    ModelMismatchError,
)
from tessera.domain.ids import CalibrationId, ModelId

SCHEMA = 1
DEFAULT_TARGET_FMR = 1e-4
DEFAULT_TARGET_FPIR = 1e-2


class RateKind(StrEnum):
    """Which error rate a threshold stands for."""

    FMR = "FMR"
    FPIR = "FPIR"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score, and the error rate that it stands for."""

    score: float
    """A comparison matches when its score is at least this."""
    kind: RateKind
    """FMR for one comparison, FPIR for a search."""
    target_rate: float
    """The rate that was asked for."""
    fmr: float
    """The FMR of one comparison at this score, as measured on the calibration's data."""
    fmr_interval: Interval
    """Its 95 % interval, by subject bootstrap."""
    gallery_size: int
    """Subjects searched; 1 for a verification."""
    model_id: ModelId
    calibration_id: CalibrationId


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One row of a calibration: a score and the error rates that were measured at it."""

    threshold: float
    fmr: float
    fmr_interval: Interval
    fnmr: float
    fnmr_interval: Interval


@dataclass(frozen=True, slots=True)
class CalibrationData:
    """What a calibration was measured on."""

    name: str
    digest: str
    """sha256 over the names and digests of the samples that were compared."""
    subjects: int
    samples: int
    mated: int
    """Mated comparisons."""
    non_mated: int
    """Non-mated comparisons."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured operating points of one model, from the loosest to the strictest."""

    calibration_id: CalibrationId
    model_id: ModelId
    modality: Modality
    created: str
    """Date, ISO 8601."""
    data: CalibrationData
    points: tuple[OperatingPoint, ...]

    def require_model(self, model_id: ModelId) -> None:
        """Refuse any model but the one this was measured on.

        Raises:
            ModelMismatchError: `model_id` is another.
        """
        if model_id != self.model_id:
            raise ModelMismatchError(self.model_id, model_id, "calibration")

    def threshold_for_fmr(self, target_fmr: float = DEFAULT_TARGET_FMR) -> Threshold:
        """The loosest measured threshold whose FMR is at most the target.

        Args:
            target_fmr: in (0, 1).

        Raises:
            InvalidInputError: the target is no rate.
            CalibrationTooSmallError: the data cannot carry it (rule of 3): nothing is extrapolated.
        """
        if not 0.0 < target_fmr < 1.0:
            raise InvalidInputError("target_fmr", target_fmr, "a rate in (0, 1)")
        point = self._point(target_fmr)
        return self._threshold(point, RateKind.FMR, target_fmr, gallery_size=1)

    def threshold_for_fpir(self, target_fpir: float, gallery_size: int) -> Threshold:
        """The threshold that keeps a search of `gallery_size` subjects at the target FPIR.

        Raises:
            InvalidInputError: the target is no rate, or the gallery is empty.
            CalibrationTooSmallError: so large a gallery needs a lower FMR than the data can carry.
        """
        point = self._point(fmr_for_fpir(target_fpir, gallery_size))
        return self._threshold(point, RateKind.FPIR, target_fpir, gallery_size)

    def _point(self, fmr: float) -> OperatingPoint:
        needed = comparisons_needed(fmr)
        at = bisect.bisect_left(self.points, -fmr, key=lambda point: -point.fmr)
        if needed > self.data.non_mated or at == len(self.points):
            raise CalibrationTooSmallError(fmr, needed, self.data.non_mated)
        return self.points[at]

    def _threshold(self, point: OperatingPoint, kind: RateKind, target_rate: float, gallery_size: int) -> Threshold:
        return Threshold(
            score=point.threshold,
            kind=kind,
            target_rate=target_rate,
            fmr=point.fmr,
            fmr_interval=point.fmr_interval,
            gallery_size=gallery_size,
            model_id=self.model_id,
            calibration_id=self.calibration_id,
        )


def dump_calibration(calibration: Calibration) -> str:
    """Write a calibration as JSON that `load_calibration` reads."""
    c = calibration
    rows = [
        [
            p.threshold,
            p.fmr,
            p.fmr_interval.low,
            p.fmr_interval.high,
            p.fnmr,
            p.fnmr_interval.low,
            p.fnmr_interval.high,
        ]
        for p in c.points
    ]
    head = {
        "schema": SCHEMA,
        "calibration_id": c.calibration_id,
        "model_id": c.model_id,
        "modality": c.modality.value,
        "created": c.created,
        "data": {
            "name": c.data.name,
            "digest": c.data.digest,
            "subjects": c.data.subjects,
            "samples": c.data.samples,
            "mated": c.data.mated,
            "non_mated": c.data.non_mated,
        },
        "columns": ["threshold", "fmr", "fmr_low", "fmr_high", "fnmr", "fnmr_low", "fnmr_high"],
    }
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    return json.dumps(head, indent=1)[:-2] + f',\n "points": [\n  {lines}\n ]\n}}\n'


def load_calibration(text: str, source: str) -> Calibration:
    """Read a calibration.

    Args:
        text: what `dump_calibration` wrote.
        source: the file it came from, for the error.

    Raises:
        ArtifactError: it is not a calibration, or its points are out of order.
    """
    try:
        return _parse(json.loads(text))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ArtifactError(source, f"not a calibration of schema {SCHEMA}: {error}") from error


def _parse(raw: Mapping[str, Any]) -> Calibration:
    if raw["schema"] != SCHEMA:
        raise ValueError(f"schema {raw['schema']!r}")
    points = tuple(_parse_point(row) for row in raw["points"])
    if not points:
        raise ValueError("no points")
    for earlier, later in itertools.pairwise(points):
        if not (earlier.threshold < later.threshold and earlier.fmr > later.fmr):
            raise ValueError("points must go from the loosest to the strictest")
    return Calibration(
        calibration_id=CalibrationId(str(raw["calibration_id"])),
        model_id=ModelId(str(raw["model_id"])),
        modality=Modality(raw["modality"]),
        created=str(raw["created"]),
        data=CalibrationData(**{key: raw["data"][key] for key in CalibrationData.__dataclass_fields__}),
        points=points,
    )


def _parse_point(row: Sequence[float]) -> OperatingPoint:
    threshold, fmr, fmr_low, fmr_high, fnmr, fnmr_low, fnmr_high = (float(value) for value in row)
    return OperatingPoint(threshold, fmr, Interval(fmr_low, fmr_high), fnmr, Interval(fnmr_low, fnmr_high))
