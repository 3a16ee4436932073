"""Domain values to messages and back: the shared words of `biometrics.proto`, for every service and the SDK."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue

from tessera.domain.calibration import Impostors, RateKind, Threshold
from tessera.domain.decision import Decision, Outcome
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.error_rates import Interval
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.observation import Box, Observation, Quality
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2 as pb

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# ---- enums: the same names on both sides


def enum_name(enum: Any, number: int, prefix: str) -> str:  # noqa: ANN401 - protobuf's enums share no type
    """The name of a number without its prefix; empty for a number that this version does not know."""
    return str(enum.Name(number)).removeprefix(prefix) if number in enum.values() else ""


_REASONS = {reason: pb.Reason.Value(f"REASON_{reason.value}") for reason in Reason}
_OUTCOMES = {outcome: pb.Outcome.Value(f"OUTCOME_{outcome.value}") for outcome in Outcome}


def reason_to_wire(reason: Reason) -> pb.Reason.ValueType:
    """`Reason.NO_FACE` as `REASON_NO_FACE`."""
    return _REASONS[reason]


def reason_from_wire(reason: int) -> Reason:
    """`REASON_NO_FACE` as `Reason.NO_FACE`; a reason that this version does not know as `INTERNAL`."""
    return Reason.__members__.get(enum_name(pb.Reason, reason, "REASON_"), Reason.INTERNAL)


def modality_to_wire(modality: Modality) -> pb.Modality.ValueType:
    """`Modality.FACE` as `MODALITY_FACE`."""
    return pb.Modality.Value(f"MODALITY_{modality.value}")


def modality_from_wire(modality: int, field: str = "modality") -> Modality:
    """`MODALITY_FACE` as `Modality.FACE`; unspecified is FACE.

    Raises:
        InvalidInputError: a number that the contract does not have.
    """
    if modality == pb.MODALITY_UNSPECIFIED:
        return Modality.FACE
    name = enum_name(pb.Modality, modality, "MODALITY_")
    if name not in Modality.__members__:
        raise InvalidInputError(field, modality, ", ".join(Modality))
    return Modality[name]


def impostors_to_wire(impostors: Impostors | None) -> pb.Impostors.ValueType:
    """`Impostors.SKILLED` as `IMPOSTORS_SKILLED`; None is unspecified."""
    return pb.IMPOSTORS_UNSPECIFIED if impostors is None else pb.Impostors.Value(f"IMPOSTORS_{impostors.value}")


def impostors_from_wire(number: int, default: Impostors = Impostors.RANDOM, field: str = "impostors") -> Impostors:
    """`IMPOSTORS_SKILLED` as `Impostors.SKILLED`; unspecified is the default.

    Raises:
        InvalidInputError: a number that the contract does not have.
    """
    if number == pb.IMPOSTORS_UNSPECIFIED:
        return default
    name = enum_name(pb.Impostors, number, "IMPOSTORS_")
    if name not in Impostors.__members__:
        raise InvalidInputError(field, number, ", ".join(Impostors))
    return Impostors[name]


def outcome_to_wire(outcome: Outcome) -> pb.Outcome.ValueType:
    """`Outcome.MATCH` as `OUTCOME_MATCH`."""
    return _OUTCOMES[outcome]


def outcome_from_wire(outcome: int) -> Outcome:
    """`OUTCOME_MATCH` as `Outcome.MATCH`; an outcome that this version does not know as `INCONCLUSIVE`."""
    return Outcome.__members__.get(enum_name(pb.Outcome, outcome, "OUTCOME_"), Outcome.INCONCLUSIVE)


# ---- time


def time_to_wire(moment: datetime) -> Timestamp:
    """A moment with its zone as a Timestamp."""
    # Not `FromDatetime`, which goes by way of a calendar and takes four times as long.
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def time_from_wire(timestamp: Timestamp, field: str = "timestamp") -> datetime:
    """A Timestamp as a moment in UTC.

    Raises:
        InvalidInputError: a moment before the year 1 or after 9999.
    """
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(field, timestamp.seconds, "a moment in the years 1 to 9999") from None


def seconds_to_wire(seconds: float) -> Duration:
    """Seconds as a Duration."""
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def seconds_from_wire(duration: Duration) -> float:
    """A Duration as seconds."""
    return duration.seconds + duration.nanos / 1e9


# ---- values


def embedding_to_wire(embedding: Embedding) -> pb.Embedding:
    """A unit vector and its model."""
    return pb.Embedding(values=embedding.vector.tolist(), model_id=embedding.model_id)


def embedding_from_wire(message: pb.Embedding, field: str = "embedding") -> Embedding:
    """A checked, normalised embedding.

    Raises:
        InvalidInputError: no model id, or values that are no vector.
    """
    if not message.model_id:
        raise InvalidInputError(f"{field}.model_id", "", "the model that made the embedding")
    return Embedding.from_raw(_float_values(message), ModelId(message.model_id), field)


def _float_values(message: pb.Embedding) -> npt.NDArray[np.float32]:
    """An embedding's numbers, without a Python object for each, which takes ten times as long.

    On the wire, packed numbers are one run of bytes in field 1, as `BytesValue` has it; however they came, protobuf
    writes them so.

    Source: https://protobuf.dev/programming-guides/encoding/#packed
    """
    packed = BytesValue.FromString(message.SerializeToString()).value
    return np.frombuffer(packed, dtype="<f4").astype(np.float32, copy=False)


def box_to_wire(box: Box) -> pb.Box:
    """A rectangle."""
    return pb.Box(x_px=box.x_px, y_px=box.y_px, width_px=box.width_px, height_px=box.height_px)


def box_from_wire(message: pb.Box) -> Box:
    """A rectangle."""
    return Box(message.x_px, message.y_px, message.width_px, message.height_px)


def quality_to_wire(quality: Quality) -> pb.Quality:
    """The measures of a sample."""
    return pb.Quality(
        sharpness=quality.sharpness,
        brightness=quality.brightness,
        contrast=quality.contrast,
        size=quality.size,
        pose=quality.pose,
        overall=quality.overall,
        reasons=[reason_to_wire(reason) for reason in quality.reasons],
        occlusion=quality.occlusion,
        fidelity=quality.fidelity,
    )


def quality_from_wire(message: pb.Quality) -> Quality:
    """The measures of a sample."""
    return Quality(
        sharpness=message.sharpness,
        brightness=message.brightness,
        contrast=message.contrast,
        size=message.size,
        pose=message.pose,
        overall=message.overall,
        reasons=tuple(reason_from_wire(reason) for reason in message.reasons),
        occlusion=message.occlusion if message.HasField("occlusion") else None,
        fidelity=message.fidelity if message.HasField("fidelity") else None,
    )


def observation_to_wire(observation: Observation, tracklet_id: str = "") -> pb.Observation:
    """One face (signature, person) in one picture."""
    return pb.Observation(
        box=box_to_wire(observation.box),
        landmarks=[pb.Point(x_px=float(x), y_px=float(y)) for x, y in observation.landmarks],
        detection_probability=observation.detection_probability,
        quality=quality_to_wire(observation.quality),
        embedding=embedding_to_wire(observation.embedding) if observation.embedding is not None else None,
        tracklet_id=tracklet_id,
        bona_fide_probability=observation.bona_fide_probability,
        person=observation.person,
    )


def observation_from_wire(message: pb.Observation) -> Observation:
    """One face (signature, person) in one picture."""
    landmarks = np.array([(point.x_px, point.y_px) for point in message.landmarks], dtype=np.float32)
    return Observation(
        box=box_from_wire(message.box),
        landmarks=landmarks.reshape(-1, 2),
        detection_probability=message.detection_probability,
        quality=quality_from_wire(message.quality),
        embedding=embedding_from_wire(message.embedding) if message.HasField("embedding") else None,
        bona_fide_probability=message.bona_fide_probability if message.HasField("bona_fide_probability") else None,
        person=message.person if message.HasField("person") else None,
    )


def threshold_to_wire(threshold: Threshold) -> pb.Threshold:
    """A score and the error rate that it stands for."""
    message = pb.Threshold(
        score=threshold.score,
        fmr=threshold.fmr,
        fmr_low=threshold.fmr_interval.low,
        fmr_high=threshold.fmr_interval.high,
        gallery_size=threshold.gallery_size,
        calibration_id=threshold.calibration_id,
        extrapolated=threshold.extrapolated,
        template_count=threshold.templates,
        impostors=impostors_to_wire(threshold.impostors),
    )
    if threshold.kind is RateKind.FMR:
        message.target_fmr = threshold.target_rate
        return message
    message.target_fpir = threshold.target_rate
    if threshold.fpir is not None and threshold.fpir_interval is not None:
        message.fpir = threshold.fpir
        message.fpir_low, message.fpir_high = threshold.fpir_interval.low, threshold.fpir_interval.high
    return message


def threshold_from_wire(message: pb.Threshold, model_id: ModelId) -> Threshold:
    """A score and the error rate that it stands for."""
    kind = RateKind.FPIR if message.WhichOneof("target") == "target_fpir" else RateKind.FMR
    return Threshold(
        score=message.score,
        kind=kind,
        target_rate=message.target_fpir if kind is RateKind.FPIR else message.target_fmr,
        fmr=message.fmr,
        fmr_interval=Interval(message.fmr_low, message.fmr_high),
        gallery_size=message.gallery_size,
        model_id=model_id,
        calibration_id=CalibrationId(message.calibration_id),
        fpir=message.fpir if message.HasField("fpir") else None,
        fpir_interval=Interval(message.fpir_low, message.fpir_high) if message.HasField("fpir") else None,
        extrapolated=message.extrapolated,
        templates=max(1, message.template_count),
        impostors=impostors_from_wire(message.impostors),
    )


def decision_to_wire(decision: Decision, evidence_id: str, decided_at: datetime, *, with_score: bool) -> pb.Decision:
    """One answer; its score only when the caller asked for it."""
    return pb.Decision(
        outcome=outcome_to_wire(decision.outcome),
        reasons=[reason_to_wire(reason) for reason in decision.reasons],
        threshold=threshold_to_wire(decision.threshold) if decision.threshold is not None else None,
        score=decision.score if with_score else None,
        model_id=decision.model_id or "",
        evidence_id=evidence_id,
        decided_at=time_to_wire(decided_at),
    )


def decision_from_wire(message: pb.Decision) -> Decision:
    """One answer; the score is None unless it was sent."""
    model_id = ModelId(message.model_id)
    return Decision(
        outcome=outcome_from_wire(message.outcome),
        reasons=tuple(reason_from_wire(reason) for reason in message.reasons),
        threshold=threshold_from_wire(message.threshold, model_id) if message.HasField("threshold") else None,
        score=message.score if message.HasField("score") else None,
        model_id=model_id or None,
    )
