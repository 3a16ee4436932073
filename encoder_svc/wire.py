"""The encoder's messages to its own values and back. Only this module and the servicer touch messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from encoder_svc.encoders import EncoderStatus
from encoder_svc.explaining import ExplainQuestion, Explanation
from encoder_svc.frames import EncodedFrame, EncodeOptions, SeenSample
from encoder_svc.scheduling.work import WorkClass
from encoder_svc.streams import CreditGrant, ExpiredFrame, FailedFrame, FrameAnswer, SkippedFrame, StreamFrame
from tessera.client import wire
from tessera.client.explanation_wire import map_to_wire
from tessera.client.stream_values import KnownTracklet
from tessera.client.stream_wire import stage_times_to_wire
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import TrackletId, checked_id
from tessera.domain.person_detector import sources_of
from tessera.v1 import biometrics_pb2
from tessera.v1 import encoder_pb2 as pb

DEFAULT_EXPIRES_AFTER_S = 1.0
MAX_EXPIRES_AFTER_S = 60.0
MAX_OBSERVATIONS = 64
MAX_KNOWN_TRACKLETS = 1024
"""Of one frame; each of its faces is compared with each of them."""

_WORK_CLASSES = {
    pb.PRIORITY_UNSPECIFIED: WorkClass.INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: WorkClass.INTERACTIVE,
    pb.PRIORITY_ENROLMENT: WorkClass.ENROLMENT,
    pb.PRIORITY_STREAM: WorkClass.STREAM,
}


def work_class_from_wire(priority: int) -> WorkClass:
    """Whose work it is.

    Raises:
        InvalidInputError: a number that the contract does not have.
    """
    if priority not in _WORK_CLASSES:
        raise InvalidInputError("priority", priority, ", ".join(pb.Priority.keys()))
    return _WORK_CLASSES[priority]  # type: ignore[index]  # a plain number is what arrives


def options_from_wire(message: pb.EncodeOptions, field: str = "options") -> EncodeOptions:
    """What to find and how much to do.

    Args:
        message: as sent; what is absent takes the contract's default.
        field: that held it, for errors.

    Raises:
        InvalidInputError: a field is outside of what the contract allows.
    """
    defaults = EncodeOptions()
    probability = message.min_detection_probability if message.HasField("min_detection_probability") else None
    if probability is not None and not 0.0 < probability <= 1.0:
        raise InvalidInputError(f"{field}.min_detection_probability", probability, "more than 0, at most 1")
    embedded = message.min_embedded_probability
    if message.HasField("min_embedded_probability") and not 0.0 < embedded <= 1.0:
        raise InvalidInputError(f"{field}.min_embedded_probability", embedded, "more than 0, at most 1")
    if message.max_observations > MAX_OBSERVATIONS:
        raise InvalidInputError(f"{field}.max_observations", message.max_observations, f"1 to {MAX_OBSERVATIONS}")
    return EncodeOptions(
        max_observations=message.max_observations or defaults.max_observations,
        min_detection_probability=probability,
        min_side_px=float(message.min_side_px),
        with_embedding=not message.without_embedding,
        min_embedded_probability=embedded,
    )


@dataclass(frozen=True, slots=True)
class PersonsWanted:
    """What is asked of persons beside faces."""

    options: EncodeOptions
    wanted: str
    """A model id or a name; empty: the default."""


def persons_from_wire(asked: pb.EncodeRequest | pb.StreamOpen) -> PersonsWanted | None:
    """What is asked of persons beside faces; None: nothing.

    Raises:
        InvalidInputError: a field is outside of what the contract allows, or it is not faces that they are beside.
    """
    if not asked.HasField("persons"):
        return None
    modality = modality_wanted(asked.options)
    if modality is not Modality.FACE:
        raise InvalidInputError("persons", "set", f"absent beside {modality.value}: persons go beside FACE")
    if asked.persons.modality not in {biometrics_pb2.MODALITY_UNSPECIFIED, biometrics_pb2.MODALITY_PERSON}:
        raise InvalidInputError("persons.modality", asked.persons.modality, "MODALITY_PERSON, or absent")
    return PersonsWanted(options_from_wire(asked.persons, "persons"), asked.persons.model_id)


def modality_wanted(message: pb.EncodeOptions) -> Modality:
    """Of which modality the encoder is to be.

    Raises:
        InvalidInputError: a number that the contract does not have.
    """
    return wire.modality_from_wire(message.modality, "options.modality")


def stream_open_from_wire(message: pb.EncodeStreamRequest) -> pb.StreamOpen:
    """The opening of a stream.

    Raises:
        InvalidInputError: the first message is no opening, or its camera_id is no id.
    """
    if message.WhichOneof("message") != "open":
        raise InvalidInputError("message", message.WhichOneof("message"), "open, as the first message of a stream")
    if message.open.camera_id:
        checked_id("open.camera_id", message.open.camera_id)
    return message.open


async def frames_from_wire(messages: AsyncIterator[pb.EncodeStreamRequest]) -> AsyncIterator[StreamFrame]:
    """The frames after the opening.

    Raises:
        InvalidInputError: a message is no frame, or a frame's field is outside of what the contract allows.
    """
    async for message in messages:
        if message.WhichOneof("message") != "frame":
            raise InvalidInputError("message", message.WhichOneof("message"), "frame, after the opening")
        yield frame_from_wire(message.frame)


def frame_from_wire(message: pb.Frame) -> StreamFrame:
    """One frame.

    Raises:
        InvalidInputError: expires_after is outside of (0, 60 s], a predicted box belongs to no tracklet, or there are
            too many of them.
    """
    expires_after_s = DEFAULT_EXPIRES_AFTER_S
    if message.HasField("expires_after"):
        expires_after_s = wire.seconds_from_wire(message.expires_after)
    if not 0.0 < expires_after_s <= MAX_EXPIRES_AFTER_S:
        allowed = f"more than 0, at most {MAX_EXPIRES_AFTER_S:g} s"
        raise InvalidInputError("frame.expires_after", expires_after_s, allowed)
    if len(message.known_tracklets) > MAX_KNOWN_TRACKLETS:
        count = len(message.known_tracklets)
        raise InvalidInputError("frame.known_tracklets", f"{count} tracklets", f"at most {MAX_KNOWN_TRACKLETS}")
    known = tuple(
        KnownTracklet(
            TrackletId(checked_id(f"frame.known_tracklets[{at}].tracklet_id", tracklet.tracklet_id)),
            wire.box_from_wire(tracklet.predicted_box),
            tracklet.best_quality,
            _tracklet_modality(tracklet, f"frame.known_tracklets[{at}].modality"),
        )
        for at, tracklet in enumerate(message.known_tracklets)
    )
    captured = wire.time_from_wire(message.capture_time) if message.HasField("capture_time") else None
    return StreamFrame(
        message.frame_id,
        message.image.data,
        captured,
        expires_after_s,
        known,
        message.dropped_since_last,
        message.traceparent,
    )


def _tracklet_modality(message: pb.KnownTracklet, field: str) -> Modality | None:
    if message.modality == biometrics_pb2.MODALITY_UNSPECIFIED:
        return None
    return wire.modality_from_wire(message.modality, field)


def encode_response(frame: EncodedFrame, model_id: str) -> pb.EncodeResponse:
    """The answer to one picture."""
    return pb.EncodeResponse(
        observations=[_observation(sample) for sample in frame.samples],
        model_id=model_id,
        width_px=frame.width_px,
        height_px=frame.height_px,
        stage_times=stage_times_to_wire(frame.times),
        persons=_persons(frame),
    )


def stream_event_to_wire(event: FrameAnswer | CreditGrant) -> pb.EncodeStreamResponse:
    """An answer or a credit."""
    if isinstance(event, CreditGrant):
        return pb.EncodeStreamResponse(credit=pb.Credit(credits=event.credits))
    result = pb.FrameResult(frame_id=event.frame_id)
    if event.capture_time is not None:
        result.capture_time.CopyFrom(wire.time_to_wire(event.capture_time))
    match event.outcome:
        case EncodedFrame() as frame:
            observations = [_observation(sample) for sample in frame.samples]
            sides = {"width_px": frame.width_px, "height_px": frame.height_px}
            result.encoded.CopyFrom(pb.Encoded(observations=observations, persons=_persons(frame), **sides))
            result.stage_times.CopyFrom(stage_times_to_wire(frame.times))
        case SkippedFrame(reason):
            result.skipped.reason = wire.reason_to_wire(reason)
        case ExpiredFrame(age_s):
            result.expired.age.CopyFrom(wire.seconds_to_wire(age_s))
        case FailedFrame(reason, detail):
            result.failed.CopyFrom(pb.Failed(reason=wire.reason_to_wire(reason), detail=detail))
    return pb.EncodeStreamResponse(result=result)


def explain_question(message: pb.ExplainRequest, expires_at_s: float | None) -> ExplainQuestion:
    """What is to be explained.

    Raises:
        InvalidInputError: there is no reference, or it is no embedding.
    """
    match message.reference.WhichOneof("sample"):
        case "image":
            reference: bytes | Embedding = message.reference.image.data
        case "embedding":
            reference = wire.embedding_from_wire(message.reference.embedding, "reference.embedding")
        case _:
            raise InvalidInputError("reference", "neither", "an image or an embedding")
    return ExplainQuestion(
        picture=message.image.data,
        reference=reference,
        modality=wire.modality_from_wire(message.modality),
        wanted=message.model_id,
        grid=message.grid,
        expires_at_s=expires_at_s,
    )


def explain_response(explanation: Explanation) -> pb.ExplainResponse:
    """An explanation; it holds no score and no embedding."""
    return pb.ExplainResponse(
        map=map_to_wire(explanation.map),
        observation=wire.observation_to_wire(explanation.observation),
        model_id=explanation.model_id,
    )


def encoder_to_wire(status: EncoderStatus) -> pb.Encoder:
    """One encoder and its state."""
    manifest = status.facts.manifest
    return pb.Encoder(
        model_id=manifest.model_id,
        name=manifest.name,
        modality=wire.modality_to_wire(manifest.modality),
        dimensions=manifest.dimensions,
        state=pb.EncoderState.Value(f"ENCODER_STATE_{status.state.value}"),
        state_detail=status.detail,
        licences=list(dict.fromkeys(source.licence for source in sources_of(manifest))),
        weights=[pb.WeightFile(name=s.file, sha256=s.sha256, source=s.requirement) for s in sources_of(manifest)],
        device=status.device,
        default=status.default,
        calibration_id=status.facts.calibration_id,
        priority=status.priority,
        runtime=status.runtime,
    )


def wanted_modality(message: pb.ListEncodersRequest) -> Modality | None:
    """The modality that is asked for; None: all.

    Raises:
        InvalidInputError: a number that the contract does not have.
    """
    if message.modality == biometrics_pb2.MODALITY_UNSPECIFIED:
        return None
    return wire.modality_from_wire(message.modality)


def _persons(frame: EncodedFrame) -> pb.Persons | None:
    if frame.persons is None:
        return None
    observations = [_observation(sample) for sample in frame.persons.samples]
    return pb.Persons(observations=observations, model_id=frame.persons.model_id)


def _observation(face: SeenSample) -> biometrics_pb2.Observation:
    return wire.observation_to_wire(face.observation, face.tracklet_id or "")
