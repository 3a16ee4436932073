"""A decision says what, why, against which threshold; the score stays apart from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tessera.domain.calibration import Threshold
from tessera.domain.ids import ModelId, SubjectId
from tessera.domain.reasons import Reason


class Outcome(StrEnum):
    """The four answers. UNKNOWN and INCONCLUSIVE are answers, not failures."""

    MATCH = "MATCH"
    """Same person, at the stated error rate."""
    NO_MATCH = "NO_MATCH"
    """1:1 only: the claim is not confirmed."""
    UNKNOWN = "UNKNOWN"
    """1:N only: nobody who is enrolled."""
    INCONCLUSIVE = "INCONCLUSIVE"
    """No decision can be taken; the reasons say why."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One enrolled subject that a search found."""

    subject_id: SubjectId
    score: float


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer and everything that it rests on."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    """Why it is inconclusive; for the other outcomes, what weakened it."""
    threshold: Threshold | None
    """None only when inconclusive before any threshold was chosen."""
    score: float | None
    """The highest score that was compared with the threshold; None when nothing was compared."""
    model_id: ModelId | None


def decide_verification(score: float, threshold: Threshold) -> Decision:
    """1:1: match when the score reaches the threshold."""
    outcome = Outcome.MATCH if score >= threshold.score else Outcome.NO_MATCH
    return Decision(outcome, (), threshold, score, threshold.model_id)


def decide_identification(best: Candidate | None, threshold: Threshold) -> Decision:
    """1:N over an open set: the best candidate when it reaches the threshold, else unknown."""
    if best is None or best.score < threshold.score:
        return Decision(Outcome.UNKNOWN, (), threshold, best.score if best else None, threshold.model_id)
    return Decision(Outcome.MATCH, (), threshold, best.score, threshold.model_id)


def inconclusive(*reasons: Reason, model_id: ModelId | None = None, threshold: Threshold | None = None) -> Decision:
    """No decision, and why."""
    return Decision(Outcome.INCONCLUSIVE, reasons, threshold, None, model_id)
