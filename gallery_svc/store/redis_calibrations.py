"""Calibrations in Redis: a key for each that was fitted, and one for each model that says which decides.

The directories are written first and promise nothing; the records decide.
"""

from __future__ import annotations

from gallery_svc.store import codec
from gallery_svc.store.calibration_records import CalibrationChoice, CalibrationRecord
from gallery_svc.store.redis_keys import GLOBAL_TAG, ROOT
from gallery_svc.store.redis_parts import RedisParts
from tessera.domain.errors import AlreadyExistsError, RevisionChangedError
from tessera.domain.ids import CalibrationId, ModelId

CALIBRATIONS = ROOT + "calibrations"
CHOICES = ROOT + "calibration-choices"


class RedisCalibrations(RedisParts):
    """Calibrations; see `Store` for what each method promises."""

    async def add_calibration(self, record: CalibrationRecord) -> None:
        """Keep a calibration."""
        await self._door.read(GLOBAL_TAG, [("SADD", CALIBRATIONS, record.calibration_id)])
        reply = await self._door.write("write_record", [_key(record.calibration_id)], ["", codec.dump(record)])
        if reply[0] != b"ok" and reply[1] != codec.dump(record).encode():
            raise AlreadyExistsError("calibration", record.calibration_id)

    async def find_calibration(self, calibration_id: CalibrationId) -> CalibrationRecord | None:
        """A calibration, or None."""
        (raw,) = await self._door.read(GLOBAL_TAG, [("GET", _key(calibration_id))])
        return None if raw is None else codec.load(CalibrationRecord, raw, _key(calibration_id))

    async def list_calibrations(self) -> tuple[CalibrationRecord, ...]:
        """All calibrations, oldest first."""
        (names,) = await self._door.read(GLOBAL_TAG, [("SMEMBERS", CALIBRATIONS)])
        found = [await self.find_calibration(CalibrationId(name.decode())) for name in names]
        there = [record for record in found if record is not None]
        return tuple(sorted(there, key=lambda record: (record.created_at, record.calibration_id)))

    async def calibration_choices(self) -> dict[ModelId, CalibrationChoice]:
        """Which calibration decides, for each model for which one was ever chosen."""
        (names,) = await self._door.read(GLOBAL_TAG, [("SMEMBERS", CHOICES)])
        models = sorted(name.decode() for name in names)
        raws = await self._door.read(GLOBAL_TAG, [("GET", _choice_key(model)) for model in models]) if models else []
        choices = [codec.load(CalibrationChoice, raw, CHOICES) for raw in raws if raw is not None]
        return {choice.model_id: choice for choice in choices}

    async def choose_calibration(self, choice: CalibrationChoice) -> None:
        """Write which calibration decides."""
        key = _choice_key(choice.model_id)
        _, raw = await self._door.read(GLOBAL_TAG, [("SADD", CHOICES, choice.model_id), ("GET", key)])
        before = codec.load(CalibrationChoice, raw, key) if raw is not None else CalibrationChoice(choice.model_id)
        if before == choice:  # a retry
            return
        if before.revision != choice.revision - 1:
            raise RevisionChangedError("calibration", choice.active_id, choice.revision - 1, before.revision)
        reply = await self._door.write("write_record", [key], [raw or "", codec.dump(choice)])
        if reply[0] != b"ok" and reply[1] != codec.dump(choice).encode():
            found = codec.load(CalibrationChoice, reply[1], key) if reply[1] else before
            raise RevisionChangedError("calibration", choice.active_id, choice.revision - 1, found.revision)


def _key(calibration_id: CalibrationId) -> str:
    return f"{ROOT}calibration:{calibration_id}"


def _choice_key(model_id: str) -> str:
    return f"{ROOT}calibration-choice:{model_id}"
