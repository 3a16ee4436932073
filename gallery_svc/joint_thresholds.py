"""Calibrations as evidence, and thresholds of sums, remembered: the same pieces come again with every claim."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from gallery_svc.thresholds import Thresholds
from tessera.domain.calibration import Impostors
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.joint import JointThreshold, Piece, ScoreEvidence, evidence_of, joint_threshold

_REMEMBERED = 256
"""Thresholds; each takes 2 to 30 ms of processor time to find again."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the scores of a model say, and by which calibration."""

    model_id: ModelId
    calibration_id: CalibrationId
    scores: ScoreEvidence
    impostors: Impostors = Impostors.RANDOM
    """Whose scores those of one person are held against."""


class JointThresholds:
    """Evidence of models, and what sums of it must reach.

    Args:
        thresholds: knows which calibration decides for each model.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._evidence: dict[tuple[ModelId, Impostors], Evidence] = {}
        self._known: OrderedDict[tuple[object, ...], JointThreshold] = OrderedDict()

    def evidence(self, model_id: ModelId, impostors: Impostors = Impostors.RANDOM) -> Evidence:
        """By the calibration that decides for the model now, against these impostors.

        Raises:
            NoCalibrationError: the model has none.
            PreconditionError: it was measured without mated comparisons (NO_EVIDENCE).
        """
        calibration = self._thresholds.calibration(model_id, impostors)
        known = self._evidence.get((model_id, impostors))
        if known is None or known.calibration_id != calibration.calibration_id:
            known = Evidence(model_id, calibration.calibration_id, evidence_of(calibration), impostors)
            self._evidence[model_id, impostors] = known
        return known

    async def threshold(self, pieces: Sequence[tuple[Evidence, int]], target_fmr: float) -> JointThreshold:
        """What the sum over pieces must reach; see `joint_threshold`.

        Args:
            pieces: the evidence of each, and how many templates its probe is compared with.
            target_fmr: of the whole claim.

        Raises:
            InvalidInputError: the target is no rate.
            CalibrationTooSmallError: these pieces cannot carry it.
        """
        key = (target_fmr, *sorted((one.calibration_id, templates) for one, templates in pieces))
        found = self._known.get(key)
        if found is None:
            wanted = [Piece(one.scores, templates) for one, templates in pieces]
            found = await asyncio.to_thread(joint_threshold, wanted, target_fmr)
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found
