"""From a score to an answer: the two comparisons, and the one rule about weak probes.

A match at the stated error rate stays a match however weak the probe: the rate was measured over weak probes too, and
a poor picture makes people look less like themselves, not more like others. That nobody was recognised says little
when the picture could not show anybody: a NO_MATCH or UNKNOWN that rests on a probe whose quality has reasons is
INCONCLUSIVE, with these reasons (docs/adr/0005-inconclusive-answers.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from gallery_svc.gallery_size import GallerySize
from gallery_svc.index.protocol import Hit
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.thresholds import Thresholds
from tessera.chassis.clock import Clock
from tessera.domain.calibration import Threshold
from tessera.domain.decision import (
    Candidate,
    Decision,
    Outcome,
    decide_identification,
    decide_verification,
    inconclusive,
)
from tessera.domain.errors import CalibrationTooSmallError
from tessera.domain.reasons import Reason


def judge_comparison(score: float, threshold: Threshold, reasons: Sequence[Reason]) -> Decision:
    """1:1, with what is weak about the probe."""
    return _weakened(decide_verification(score, threshold), reasons)


def judge_search(hits: Sequence[Hit], threshold: Threshold, reasons: Sequence[Reason]) -> Decision:
    """1:N over an open set, with what is weak about the probe; `hits` best first."""
    best = Candidate(hits[0].subject_id, hits[0].score) if hits else None
    return _weakened(decide_identification(best, threshold), reasons)


def comparison_threshold(
    thresholds: Thresholds,
    record: CollectionRecord,
    asked: float | None,
    *,
    camera_id: str = "",
    templates: int = 1,
) -> Threshold | Decision:
    """The threshold of a verification: of the rate that was asked for, else of the policy for the camera that asks.

    Args:
        thresholds: the error rates.
        record: of the collection.
        asked: the rate that the caller named; None: the policy's.
        camera_id: that asks; empty: no camera does.
        templates: of the subject; the best of them counts.

    Returns:
        INCONCLUSIVE (CALIBRATION_TOO_SMALL) when the policy's rate cannot be kept.

    Raises:
        CalibrationTooSmallError: the rate that was asked for cannot be kept.
        NoCalibrationError: the model has no calibration.
    """
    policy = record.policy_for(camera_id)
    rate = policy.verify_target_fmr if asked is None else asked
    try:
        return thresholds.for_comparison(
            record.model_id,
            rate,
            impostors=policy.impostors,
            templates=templates,
            allow_extrapolation=policy.allow_extrapolation,
        )
    except CalibrationTooSmallError:
        if asked is not None:
            raise
        return inconclusive(Reason.CALIBRATION_TOO_SMALL, model_id=record.model_id)


def search_threshold(
    thresholds: Thresholds,
    record: CollectionRecord,
    size: GallerySize,
    asked: float | None = None,
    *,
    camera_id: str = "",
) -> Threshold | Decision:
    """The threshold of a search: for the larger of the planned and the present gallery.

    Args:
        thresholds: the error rates.
        record: of the collection.
        size: that it has now.
        asked: the rate that the caller named; None: that of the policy for the camera that asks.
        camera_id: that asks; empty: no camera does.

    Returns:
        INCONCLUSIVE: EMPTY_COLLECTION when nobody is enrolled; CALIBRATION_TOO_SMALL when the policy's rate cannot be
        kept for so many subjects.

    Raises:
        CalibrationTooSmallError: the rate that was asked for cannot be kept.
        NoCalibrationError: the model has no calibration.
    """
    policy = record.policy_for(camera_id)
    rate = policy.identify_target_fpir if asked is None else asked
    try:
        threshold = thresholds.for_search(
            record.model_id,
            rate,
            size.compared(policy.planned_gallery_size),
            allow_extrapolation=policy.allow_extrapolation,
        )
    except CalibrationTooSmallError:
        if asked is not None:
            raise
        return inconclusive(Reason.CALIBRATION_TOO_SMALL, model_id=record.model_id)
    if size.subjects == 0:
        return inconclusive(Reason.EMPTY_COLLECTION, model_id=record.model_id, threshold=threshold)
    return threshold


def valid_at(clock: Clock) -> datetime:
    """The moment for which validity is asked: the second that has begun.

    Searches that come close together ask for the same, so that they can be done together; nobody is found more than a
    second after the end of his validity.
    """
    return clock.now().replace(microsecond=0)


def _weakened(decision: Decision, reasons: Sequence[Reason]) -> Decision:
    if not reasons:
        return decision
    outcome = Outcome.MATCH if decision.outcome is Outcome.MATCH else Outcome.INCONCLUSIVE
    return replace(decision, outcome=outcome, reasons=tuple(reasons))
