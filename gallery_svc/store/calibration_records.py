"""What the gallery keeps of calibrations: each one as it was fitted, and for each model which one decides.

A calibration is never changed and never removed: evidence of old decisions names it. Knows nothing of error rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tessera.domain.ids import CalibrationId, ModelId

SHIPPED = CalibrationId("")
"""Stands for the calibration that came with the encoder, whichever version of it is installed."""

MAX_EARLIER = 32
"""Choices that a roll back can go through."""


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """One calibration that was fitted here."""

    calibration_id: CalibrationId
    model_id: ModelId
    created_at: datetime
    text: str
    """What `tessera.domain.calibration.dump_calibration` wrote."""
    request_id: str = ""
    request_digest: str = ""
    """Of what the request asked for: the same id with another content is told."""


@dataclass(frozen=True, slots=True)
class CalibrationChoice:
    """Which calibration decides for a model."""

    model_id: ModelId
    active_id: CalibrationId = SHIPPED
    earlier: tuple[CalibrationId, ...] = ()
    """Those that decided before, the newest last."""
    activated_at: datetime | None = None
    revision: int = 0
    """Grows with each choice; 0: none was ever made."""

    def choosing(self, calibration_id: CalibrationId, at: datetime) -> CalibrationChoice:
        """The choice after this one."""
        earlier = (*self.earlier, self.active_id)[-MAX_EARLIER:]
        return CalibrationChoice(self.model_id, calibration_id, earlier, at, self.revision + 1)

    def rolled_back(self, at: datetime) -> CalibrationChoice | None:
        """The choice that goes back by one; None: there is nothing earlier."""
        if not self.earlier:
            return None
        return CalibrationChoice(self.model_id, self.earlier[-1], self.earlier[:-1], at, self.revision + 1)
