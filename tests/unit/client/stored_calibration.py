"""A calibration as a gallery keeps it, for tests of those who ask for it."""

from __future__ import annotations

from datetime import UTC, datetime

from tessera.client.calibration_wire import CalibrationSource, StoredCalibration
from tessera.domain.calibration import Calibration, CalibrationData, OperatingPoint, SearchPoint
from tessera.domain.embedding import Modality
from tessera.domain.error_rates import Interval
from tessera.domain.ids import CalibrationId, ModelId

POINTS = (
    OperatingPoint(0.2, 0.1, Interval(0.09, 0.12), 0.01, Interval(0.0, 0.02)),
    OperatingPoint(0.3, 0.01, Interval(0.008, 0.013), 0.02, Interval(0.01, 0.04)),
)
SEARCHES = (SearchPoint(100, 0.35, 0.01, Interval(0.007, 0.014)),)
DATA = CalibrationData("door 7", "ab" * 32, 40, 200, 400, 19_500)
STORED = StoredCalibration(
    Calibration(CalibrationId("cal-1"), ModelId("m@1"), Modality.FACE, "2026-11-22", DATA, POINTS, SEARCHES),
    active=True,
    source=CalibrationSource.FITTED,
    activated_at=datetime(2026, 11, 23, 8, 30, tzinfo=UTC),
)
