"""The encoder as an asyncio caller sees it: one picture in, observations out; every failure an error of the domain."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

import grpc

from tessera.chassis.status import StatusDetail, detail_of
from tessera.client import wire
from tessera.client.explanation_wire import explain_request, explanation_from_wire
from tessera.client.explanations import Explanation
from tessera.client.stream_values import StageTimes
from tessera.client.stream_wire import persons_from_wire, stage_times_from_wire
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.errors import (
    ExpiredError,
    ImageRejectedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    PreconditionError,
    UnavailableError,
)
from tessera.domain.ids import CalibrationId, ModelId
from tessera.domain.observation import Observation
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2, encoder_pb2, encoder_pb2_grpc


class Priority(StrEnum):
    """Whose work goes first."""

    INTERACTIVE = "INTERACTIVE"
    """Somebody stands at a door."""
    ENROLMENT = "ENROLMENT"
    """Somebody enrols people."""
    STREAM = "STREAM"
    """A camera looks on."""


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """What the encoder saw in one picture."""

    observations: tuple[Observation, ...]
    """Largest box first; empty when nothing was found."""
    model_id: ModelId
    width_px: int
    """Of the picture, after EXIF orientation."""
    height_px: int
    stage_times: StageTimes
    persons: tuple[Observation, ...] | None = None
    """Largest box first; None: nobody asked for them beside faces."""


class EncoderState(StrEnum):
    """Whether an encoder takes work."""

    UNSPECIFIED = "UNSPECIFIED"
    LOADING = "LOADING"
    WARMING_UP = "WARMING_UP"
    READY = "READY"
    DRAINING = "DRAINING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """One encoder that the service has."""

    model_id: ModelId
    name: str
    modality: Modality
    dimensions: int
    """Length of its embeddings."""
    state: EncoderState
    default: bool
    """The modality's default."""
    device: str
    """`cpu`, `cuda:0`, ..."""
    calibration_id: CalibrationId | None
    state_detail: str = ""
    """Why it failed; empty otherwise."""
    priority: int = 0
    """Among encoders that wait for the same device, within one class of work: lower goes first."""
    runtime: str = ""
    """How its networks run: `eager`, `compiled`, `cuda-graphs`; empty: not known yet."""
    licences: tuple[str, ...] = ()
    """SPDX ids of its weights' licences."""


class EncoderClient:
    """Calls `EncoderService`.

    Args:
        channel: to the encoder; stays the caller's to close.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = encoder_pb2_grpc.EncoderServiceStub(channel)

    async def encode(
        self,
        image: bytes,
        *,
        priority: Priority,
        deadline_s: float,
        modality: Modality = Modality.FACE,
        model_id: ModelId | None = None,
        max_observations: int = 16,
        field: str = "image",
        with_persons: bool = False,
    ) -> EncodedImage:
        """Encode one picture.

        Args:
            image: a file: JPEG, PNG, WebP or BMP.
            priority: whose work goes first.
            deadline_s: how long the answer is wanted.
            modality: what to look for.
            model_id: the encoder; None: the modality's default.
            max_observations: at most so many, largest first; 1 to 64.
            field: the request field that held the picture, for errors.
            with_persons: look for persons beside the faces as well, and say whose each face is.

        Raises:
            ImageRejectedError: the bytes cannot be used.
            InvalidInputError: an option cannot be used.
            NotFoundError: there is no such encoder.
            OverloadedError: the encoder's queue is full.
            ExpiredError: the deadline passed.
            UnavailableError: the encoder is away, warming up or draining.
        """
        request = encoder_pb2.EncodeRequest(
            image=biometrics_pb2.Image(data=image),
            options=encoder_pb2.EncodeOptions(
                modality=wire.modality_to_wire(modality), model_id=model_id or "", max_observations=max_observations
            ),
            priority=encoder_pb2.Priority.Value(f"PRIORITY_{priority.value}"),
            persons=encoder_pb2.EncodeOptions(modality=wire.modality_to_wire(Modality.PERSON))
            if with_persons
            else None,
        )
        try:
            response = await self._stub.Encode(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            _raise(error, field)
        return EncodedImage(
            observations=tuple(wire.observation_from_wire(message) for message in response.observations),
            model_id=ModelId(response.model_id),
            width_px=response.width_px,
            height_px=response.height_px,
            stage_times=stage_times_from_wire(response.stage_times),
            persons=persons_from_wire(response),
        )

    async def explain(
        self,
        image: bytes,
        reference: Embedding,
        *,
        deadline_s: float,
        modality: Modality = Modality.FACE,
        grid: int = 0,
        field: str = "image",
    ) -> Explanation:
        """Ask what in a picture makes it look like, or unlike, a reference; made behind all other work.

        Args:
            image: a file with exactly one face.
            reference: made by the encoder that is asked.
            deadline_s: how long the answer is wanted.
            modality: what to look for.
            grid: rows and columns of the map, 4 to 28; 0: 14.
            field: the request field that held the picture, for errors.

        Raises:
            ImageRejectedError: the bytes cannot be used; NO_FACE and EXCEEDS_MAX_FACES too.
            InvalidInputError: an option cannot be used.
            PreconditionError: the encoder of that name is of another model now (MODEL_MISMATCH).
            NotFoundError: there is no encoder of the reference's model.
            OverloadedError: too many explanations wait.
            ExpiredError: the deadline passed.
            UnavailableError: the encoder is away, warming up or draining.
        """
        request = explain_request(image, reference, modality, reference.model_id, grid)
        try:
            response = await self._stub.Explain(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            _raise(error, field)
        return explanation_from_wire(response)

    async def list_encoders(self, modality: Modality | None = None, deadline_s: float = 5.0) -> tuple[EncoderInfo, ...]:
        """The encoders and their state; of one modality, or of all.

        Raises:
            ExpiredError: the deadline passed.
            UnavailableError: the encoder is away.
        """
        request = encoder_pb2.ListEncodersRequest()
        if modality is not None:
            request.modality = wire.modality_to_wire(modality)
        try:
            response = await self._stub.ListEncoders(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            _raise(error, "modality")
        return tuple(encoder_info(message) for message in response.encoders)

    async def load_encoder(
        self, name: str, *, make_default: bool = False, priority: int | None = None, deadline_s: float = 5.0
    ) -> EncoderInfo:
        """Begin to load an encoder, or to load it anew; `list_encoders` tells how it goes.

        Args:
            name: of one that ships or was imported.
            make_default: make it its modality's default once it is ready.
            priority: lower goes first; None: what it had before, else 0.
            deadline_s: how long the answer is wanted; loading goes on after it.

        Raises:
            NotFoundError: there is no such encoder.
            PreconditionError: it is being loaded (ENCODER_LOADING).
            InvalidInputError: an option cannot be used.
            ExpiredError: the deadline passed.
            UnavailableError: the encoder service is away or draining.
        """
        request = encoder_pb2.LoadEncoderRequest(name=name, priority=priority, make_default=make_default)
        try:
            response = await self._stub.LoadEncoder(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            _raise(error, "name")
        return encoder_info(response.encoder)

    async def unload_encoder(self, model_id: ModelId, deadline_s: float = 5.0) -> bool:
        """Take an encoder out of service; what it has begun is finished.

        Returns:
            False: it was not there.

        Raises:
            PreconditionError: it is its modality's default (ENCODER_IS_DEFAULT).
            ExpiredError: the deadline passed.
            UnavailableError: the encoder service is away or draining.
        """
        request = encoder_pb2.UnloadEncoderRequest(model_id=model_id)
        try:
            response = await self._stub.UnloadEncoder(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            _raise(error, "model_id")
        return response.unloaded


def encoder_info(message: encoder_pb2.Encoder) -> EncoderInfo:
    """An encoder out of its message."""
    name = wire.enum_name(encoder_pb2.EncoderState, message.state, "ENCODER_STATE_")
    return EncoderInfo(
        model_id=ModelId(message.model_id),
        name=message.name,
        modality=wire.modality_from_wire(message.modality),
        dimensions=message.dimensions,
        state=EncoderState.__members__.get(name, EncoderState.UNSPECIFIED),
        default=message.default,
        device=message.device,
        calibration_id=CalibrationId(message.calibration_id) if message.calibration_id else None,
        state_detail=message.state_detail,
        priority=message.priority,
        runtime=message.runtime,
        licences=tuple(message.licences),
    )


def _raise(error: grpc.aio.AioRpcError, field: str) -> NoReturn:
    detail = detail_of(error)
    told = _told(detail, field)
    if told is None:
        raise error  # INTERNAL and the like: a defect, which the caller's own edge reports under an incident id
    raise told from error


def _told(detail: StatusDetail, field: str) -> Exception | None:
    if detail.code is grpc.StatusCode.INVALID_ARGUMENT:
        return _refused(detail, field)
    if detail.code is grpc.StatusCode.FAILED_PRECONDITION:
        known = {key: detail.metadata.get(key, "") for key in ("field", "value", "allowed")}
        return PreconditionError(detail.reason, known["field"] or field, known["value"], known["allowed"])
    limit = detail.metadata.get("limit", "")
    errors = {
        grpc.StatusCode.NOT_FOUND: NotFoundError("encoder", detail.metadata.get("value", "")),
        grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError("encoder", int(limit) if limit.isdigit() else 0),
        grpc.StatusCode.DEADLINE_EXCEEDED: ExpiredError("encode"),
        grpc.StatusCode.UNAVAILABLE: UnavailableError("encoder", detail.message),
    }
    return errors.get(detail.code)


def _refused(detail: StatusDetail, field: str) -> Exception:
    allowed = detail.metadata.get("allowed", detail.message)
    if detail.reason in Reason.__members__:
        return ImageRejectedError(Reason[detail.reason], allowed, field)
    return InvalidInputError(detail.metadata.get("field", field), detail.metadata.get("value", ""), allowed)
