"""Decisions, rates and reasons in words: the same ones in every command and in the view of `tessera up`."""

from __future__ import annotations

from tessera.client.answers import Answer, Event
from tessera.client.joint_answers import JointVerification, PieceOfDecision
from tessera.client.person_values import AnonymousPerson, BodyNameBasis
from tessera.domain.calibration import Impostors, RateKind, Threshold
from tessera.domain.decision import Outcome
from tessera.domain.error_rates import Interval
from tessera.domain.joint import JointThreshold
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason

_REASONS = {
    Reason.EMPTY_IMAGE: "the picture has no bytes",
    Reason.TRUNCATED_IMAGE: "the picture's end is missing",
    Reason.NOT_AN_IMAGE: "it is not a picture",
    Reason.UNSUPPORTED_FORMAT: "it is not a JPEG, PNG, WebP or BMP",
    Reason.TOO_MANY_BYTES: "the picture has too many bytes",
    Reason.TOO_MANY_PIXELS: "the picture has too many pixels",
    Reason.TOO_FEW_PIXELS: "the picture has too few pixels",
    Reason.NO_FACE: "no face is seen",
    Reason.EXCEEDS_MAX_FACES: "several faces are seen where one is expected",
    Reason.NO_SIGNATURE: "no signature is found: dark ink on light paper is looked for",
    Reason.EXCEEDS_MAX_SIGNATURES: "several signatures are found where one is expected: cut the picture to one",
    Reason.NO_PERSON: "no person is seen",
    Reason.EXCEEDS_MAX_PERSONS: "several persons are seen where one is expected",
    Reason.LOW_SHARPNESS: "the face is blurred",
    Reason.LOW_BRIGHTNESS: "the face is too dark",
    Reason.HIGH_BRIGHTNESS: "the face is too bright",
    Reason.LOW_CONTRAST: "the face has too little contrast",
    Reason.SMALL_BOUNDING_BOX: "it is too small in the picture: go nearer, or scan it larger",
    Reason.EXTREME_POSE: "the face is turned away",
    Reason.LOW_DETECTION_PROBABILITY: "it is hardly a face",
    Reason.LOW_FIDELITY: "compression has damaged the face",
    Reason.OCCLUDED: "something covers the face",
    Reason.FAINT_INK: "the strokes hardly stand out from the paper: scan it darker, or sign with another pen",
    Reason.CUT_OFF: "the signature runs over the edge of the picture: leave some paper around it",
    Reason.PRINTED_TEXT: "it was printed and not written: cut the picture to the signature",
    Reason.DUPLICATE: "it is somebody else who is enrolled",
    Reason.OUTLIER: "it does not look like the person's others",
    Reason.NO_TEMPLATE: "the subject has no template of this model",
    Reason.EMPTY_COLLECTION: "nobody is enrolled",
    Reason.NOT_VALID_NOW: "the subject is not valid now",
    Reason.PARTIAL_GALLERY: "a part of the gallery could not be asked",
    Reason.MODEL_MISMATCH: "two models met",
    Reason.NO_CALIBRATION: "the model has no calibration",
    Reason.CALIBRATION_TOO_SMALL: "the calibration cannot prove this error rate",
    Reason.TOO_FEW_FRAMES: "too few usable frames so far",
    Reason.NO_CREDIT: "no credit",
    Reason.NEWER_FRAME: "a newer frame took its place",
    Reason.EXPIRED: "it came too late",
    Reason.NO_MOTION: "nothing moved",
    Reason.RATE_REDUCED: "fewer frames are looked at while the encoder has no room",
    Reason.ENCODER_UNAVAILABLE: "the encoder is away",
    Reason.SHUTTING_DOWN: "the service was ending",
    Reason.INTERNAL: "an internal error",
    Reason.LEASE_SUPERSEDED: "another worker watches the camera by now",
    Reason.QUARANTINED: "the picture crashed whoever looked at it, and is held back",
}

TITLES = {
    Outcome.MATCH: "MATCH",
    Outcome.NO_MATCH: "NO MATCH",
    Outcome.UNKNOWN: "UNKNOWN",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
}


def reason_text(reason: Reason) -> str:
    """A reason code as a phrase."""
    return _REASONS[reason]


def rate_text(rate: float) -> str:
    """`0.01`, `1e-4`, `9.7e-5`: two digits, no zeros that say nothing."""
    if rate == 0 or rate >= 1e-3:
        return f"{rate:.2g}"
    mantissa, _, exponent = f"{rate:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def target_text(threshold: Threshold | None) -> str:
    """The error rate that a decision stands for: `FPIR <= 0.01`, `FMR <= 0.05 against skilled forgers`."""
    if threshold is None:
        return ""
    return f"{threshold.kind} <= {rate_text(threshold.target_rate)}{against_text(threshold.impostors)}"


def against_text(impostors: Impostors) -> str:
    """Whose false matches a rate counts, where it is not people as they are."""
    return " against skilled forgers" if impostors is Impostors.SKILLED else ""


def threshold_text(threshold: Threshold) -> str:
    """The rate that was asked for, and what was measured; or that no data carries it."""
    how = "extrapolated" if threshold.extrapolated else "measured"
    of_one = f"{how} {_with_interval(threshold.fmr, threshold.fmr_interval)}"
    if threshold.kind is RateKind.FMR:
        return f"{target_text(threshold)} ({of_one})"
    people = "1 subject" if threshold.gallery_size == 1 else f"{threshold.gallery_size} subjects"
    head = f"{target_text(threshold)} among {people}"
    if threshold.fpir is None or threshold.fpir_interval is None:
        return f"{head} (FMR of one comparison: {of_one})"
    # From measured searches where there are some, else a bound from comparisons: the answer does not say which.
    how = "extrapolated" if threshold.extrapolated else "estimated"
    return f"{head} ({how} {_with_interval(threshold.fpir, threshold.fpir_interval)})"


def _with_interval(rate: float, interval: Interval) -> str:
    return f"{rate_text(rate)}, 95 % {rate_text(interval.low)}..{rate_text(interval.high)}"


def decision_text(answer: Answer, who: str = "", *, with_score: bool = False) -> str:
    """One decision, the error rate it stands for, and why.

    Args:
        answer: what was decided.
        who: the subject that matched or was claimed; empty: nobody is named.
        with_score: show the score beside the threshold.
    """
    parts = [TITLES[answer.outcome], who]
    if answer.threshold is not None and answer.outcome is not Outcome.INCONCLUSIVE:
        parts.append(f"at {threshold_text(answer.threshold)}")
    line = " ".join(part for part in parts if part)
    if answer.reasons:
        line += ": " + "; ".join(reason_text(reason) for reason in answer.reasons)
    if with_score and answer.score is not None:
        line += f"\n  score {answer.score:.4f}"
        line += f", threshold {answer.threshold.score:.4f}" if answer.threshold is not None else ""
    return line


def joint_text(answer: JointVerification, who: str) -> str:
    """One decision over several pieces of evidence: the rate it stands for and what that assumes, then each piece.

    Args:
        answer: what was decided; log-likelihood ratios are shown where they were asked for.
        who: the subject that was claimed.
    """
    line = f"{TITLES[answer.outcome]} {who}"
    if answer.threshold is not None and answer.outcome is not Outcome.INCONCLUSIVE:
        line += f" at {_joint_threshold_text(answer.threshold)}"
    if answer.reasons:
        line += ": " + "; ".join(reason_text(reason) for reason in answer.reasons)
    if answer.llr is not None and answer.threshold is not None:
        line += f"\n  evidence {answer.llr:+.2f}, threshold {answer.threshold.llr:+.2f} (log-likelihood ratios)"
    return "\n".join([line, *(_piece_text(piece) for piece in answer.pieces)])


def _joint_threshold_text(threshold: JointThreshold) -> str:
    head = f"{RateKind.FMR} <= {rate_text(threshold.target_fmr)}"
    if threshold.pieces == 1:
        return f"{head} (measured {_with_interval(threshold.fmr, threshold.fmr_interval)})"
    stated = _with_interval(threshold.fmr, threshold.fmr_interval)
    otherwise = rate_text(threshold.fmr_any_dependence)
    return f"{head} (if they err independently {stated}; however they do, at most {otherwise})"


def _piece_text(piece: PieceOfDecision) -> str:
    line = f"  {piece.collection_id} ({piece.modality.lower()}): " + ("counted" if piece.counted else "not counted")
    line += f", evidence {piece.llr:+.2f}" if piece.llr is not None else ""
    return line + (f": {'; '.join(reason_text(reason) for reason in piece.reasons)}" if piece.reasons else "")


def quality_text(quality: Quality) -> str:
    """The quality of a sample, and what is weak about it."""
    weak = "; ".join(reason_text(reason) for reason in quality.reasons)
    return f"quality {quality.overall:.2f}" + (f" ({weak})" if weak else "")


def event_text(event: Event) -> str:
    """One event on one line: `14:03:22 demo  MATCH  Barack Obama  5 frames  FPIR <= 0.01  132 ms`."""
    head = f"{event.event_time.astimezone():%H:%M:%S} {event.camera_id:<12}"
    if event.alert is not None:
        alert = event.alert
        return f"{head} {'ALERT':<12} {alert.change} {alert.severity} {alert.title}: {alert.summary}"
    if event.verify_failure is not None:
        failure = event.verify_failure
        return f"{head} {'NO MATCH':<12} a claim to be {failure.display_name or failure.subject_id}"
    if event.sighting is None:
        change = event.camera_change
        return f"{head} {'CAMERA':<12} " + (f"{change.kind} {change.detail}".strip() if change else "another event")
    seen = event.sighting
    frames = "1 frame" if seen.frame_count == 1 else f"{seen.frame_count} frames"
    latency = f"{seen.capture_to_decision_ms:.0f} ms" if seen.capture_to_decision_ms is not None else ""
    columns = [
        head,
        f"{TITLES[seen.answer.outcome]:<12}",
        f"{whom_text(event):<20}",
        f"{frames:>10} ",
        f"{target_text(seen.answer.threshold):<13}",
        f"{latency:>7}",
    ]
    return " ".join(columns).rstrip()


def whom_text(event: Event) -> str:
    """Who was matched; for an inconclusive sighting why; empty for an unknown."""
    if event.sighting is None:
        return ""
    if event.sighting.answer.outcome is Outcome.INCONCLUSIVE:
        return "; ".join(reason_text(reason) for reason in event.sighting.answer.reasons)
    return event.sighting.display_name or event.sighting.subject_id or person_text(event.sighting.person)


def person_text(person: AnonymousPerson | None) -> str:
    """Who a body is taken for: `person-3f2a (Ada, by the face at door)`; empty where it is not told."""
    if person is None:
        return ""
    name = person.name
    if name is None:
        return person.person_id
    called = name.display_name or name.subject_id
    how = "by its face" if name.basis is BodyNameBasis.OWN_FACE else f"by the face at {name.face_camera_id}"
    return f"{person.person_id} ({called}, {how})"
