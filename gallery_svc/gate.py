"""The gate before enrolment: is this sample good enough to stand for a person, and if not, why and what would be.

The encoder measures and has a gate of its own; a collection may set another limit for a measure, which then decides
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from gallery_svc.probes import Sample, Seen
from gallery_svc.store.collection_records import GateRecord
from tessera.domain.embedding import Modality
from tessera.domain.not_one import NOT_ONE
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason

HINTS = {
    Reason.NO_FACE: "no face was found; allowed: exactly one",
    Reason.EXCEEDS_MAX_FACES: "several faces were found; allowed: exactly one",
    Reason.NO_SIGNATURE: "no signature was found; allowed: exactly one",
    Reason.EXCEEDS_MAX_SIGNATURES: "several signatures were found; allowed: exactly one",
    Reason.NO_PERSON: "no person was found; allowed: exactly one",
    Reason.EXCEEDS_MAX_PERSONS: "several persons were found; allowed: exactly one",
    Reason.LOW_SHARPNESS: "the face is blurred; a sharper picture is needed",
    Reason.LOW_BRIGHTNESS: "the face is too dark; more light is needed",
    Reason.HIGH_BRIGHTNESS: "the face is too bright; less light is needed",
    Reason.LOW_CONTRAST: "the face has too little contrast; more even light is needed",
    Reason.SMALL_BOUNDING_BOX: "the face is too small; come closer, or send a larger picture",
    Reason.EXTREME_POSE: "the face is turned away; look into the camera",
    Reason.LOW_DETECTION_PROBABILITY: "it is not clear that this is a face",
    Reason.LOW_FIDELITY: "the picture is compressed too much; send it at a higher quality",
    Reason.OCCLUDED: "something covers the face; take it off",
    Reason.FAINT_INK: "the strokes hardly stand out from the paper; scan it darker, or sign with another pen",
    Reason.CUT_OFF: "the signature runs over the edge of the picture; leave some paper around it",
    Reason.PRINTED_TEXT: "this was printed and not written; cut the picture to the signature",
    Reason.OUTLIER: "it does not look like the subject's other samples; is it the same person?",
}

_OF_SIGNATURES = {
    Reason.LOW_SHARPNESS: "the strokes are blurred; hold the camera still, or scan it",
    Reason.LOW_BRIGHTNESS: "the paper is too dark; more light is needed",
    Reason.HIGH_BRIGHTNESS: "the paper is too bright; less light is needed",
    Reason.LOW_CONTRAST: "the strokes have too little contrast; scan it darker",
    Reason.SMALL_BOUNDING_BOX: "the signature is too small; scan it at more dots per inch, or go nearer",
}
"""What is said otherwise of a signature than of a face."""


def hint_of(reason: Reason, modality: Modality) -> str:
    """What is wrong with a sample, and what would be right."""
    told = _OF_SIGNATURES.get(reason) if modality is Modality.SIGNATURE else None
    return told or HINTS.get(reason, reason.value)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a sample may be enrolled."""

    reasons: tuple[Reason, ...]
    """Why not; empty: it may."""
    detail: str


def judge_sample(seen: Seen, gate: GateRecord) -> tuple[Sample | None, Judgement]:
    """The one sample that was seen, and whether it may be enrolled."""
    sample, reason = seen.only()
    if sample is None or reason is not None:
        why = reason or NOT_ONE[seen.modality].none
        return None, Judgement((why,), HINTS[why])
    if sample.quality is None:
        return sample, Judgement((), "")
    reasons = _reasons(sample.quality, gate)
    return sample, Judgement(reasons, "; ".join(hint_of(why, seen.modality) for why in reasons))


def _reasons(quality: Quality, gate: GateRecord) -> tuple[Reason, ...]:
    limits = (
        (gate.min_sharpness, quality.sharpness, Reason.LOW_SHARPNESS, False),
        (gate.min_brightness, quality.brightness, Reason.LOW_BRIGHTNESS, False),
        (gate.max_brightness, quality.brightness, Reason.HIGH_BRIGHTNESS, True),
        (gate.min_contrast, quality.contrast, Reason.LOW_CONTRAST, False),
        (gate.min_size, quality.size, Reason.SMALL_BOUNDING_BOX, False),
        (gate.min_pose, quality.pose, Reason.EXTREME_POSE, False),
    )
    own = {reason for limit, _, reason, _ in limits if limit is not None}
    kept = [reason for reason in quality.reasons if reason not in own]
    failed = [
        reason
        for limit, value, reason, is_upper in limits
        if limit is not None and (value > limit if is_upper else value < limit)
    ]
    return (*kept, *failed)
