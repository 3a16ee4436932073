"""Cameras, their status and their events as messages, and back."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from camera_ingest.camera import DEFAULT_COLLECTION, Camera, CameraEvent, CameraState, CameraStatus, Zone
from camera_ingest.evidence.vault import Shown
from camera_ingest.registry import Change
from camera_ingest.sources.options import StreamOptions, Transport
from camera_ingest.sources.stream_clock import ClockReport
from tessera.chassis.status import detail_of
from tessera.client import wire
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError, UnavailableError
from tessera.domain.ids import CameraId, CollectionId
from tessera.v1 import camera_pb2 as pb
from tessera.v1 import events_pb2, events_pb2_grpc

PUBLISH_LIMIT_S = 5.0
_DEFAULT_RATE_HZ = 5.0
_DEFAULT_EXPIRES_AFTER_S = 1.0
_TRY_AGAIN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    }
)


def camera_from_wire(message: pb.Camera) -> Camera:
    """A camera with the contract's defaults filled in.

    Raises:
        InvalidInputError: a field holds something that it may not.
    """
    has_expiry = message.HasField("expires_after")
    modalities = tuple(wire.modality_from_wire(modality, "modalities") for modality in message.modalities)
    return Camera(
        camera_id=CameraId(message.camera_id),
        url=message.url,
        sample_rate_hz=message.sample_rate_hz or _DEFAULT_RATE_HZ,
        collection_id=CollectionId(message.collection_id) if message.collection_id else DEFAULT_COLLECTION,
        modalities=modalities or (Modality.FACE,),
        expires_after_s=wire.seconds_from_wire(message.expires_after) if has_expiry else _DEFAULT_EXPIRES_AFTER_S,
        zones=tuple(_zone_from_wire(zone) for zone in message.zones),
        min_side_px=message.min_side_px,
        labels=dict(message.labels),
        enabled=message.enabled if message.HasField("enabled") else True,
        loop=message.loop,
        motion_gate=message.motion_gate if message.HasField("motion_gate") else True,
        only_zones=message.only_zones,
        watch_scene=message.watch_scene if message.HasField("watch_scene") else True,
        stream=_stream_from_wire(message.stream),
        person_collection_id=CollectionId(message.person_collection_id)
        if message.person_collection_id
        else DEFAULT_COLLECTIONS[Modality.PERSON],
    )


def camera_changes(request: pb.UpdateCameraRequest) -> Change:
    """What an update makes of a camera: the fields of the mask are as in the message, unset ones take their default.

    Raises:
        InvalidInputError: the mask names nothing, or what cannot be changed.
    """
    allowed = [field.name for field in pb.Camera.DESCRIPTOR.fields if field.name != "camera_id"]
    paths = list(request.update_mask.paths)
    if not paths or set(paths) - set(allowed):
        raise InvalidInputError("update_mask", ",".join(paths), "one or more of " + ", ".join(allowed))

    def change(before: Camera) -> Camera:
        message = camera_to_wire(before)
        for path in paths:
            message.ClearField(path)  # type: ignore[arg-type]
        wanted = pb.Camera()
        request.update_mask.MergeMessage(request.camera, wanted)
        message.MergeFrom(wanted)
        if message.url == before.shown_url:  # unchanged, or given back as it was shown
            message.url = before.url
        elif "://***@" in message.url:
            raise InvalidInputError("url", "another camera's as it is shown", "a URL with its own credentials")
        if message.stream.sub_stream_url == before.shown_sub_stream_url:
            message.stream.sub_stream_url = before.stream.sub_stream_url
        elif "://***@" in message.stream.sub_stream_url:
            raise InvalidInputError(
                "stream.sub_stream_url", "another camera's as it is shown", "a URL with its own credentials"
            )
        return camera_from_wire(message)

    return change


def camera_to_wire(camera: Camera) -> pb.Camera:
    """A camera, its URL without credentials."""
    return pb.Camera(
        camera_id=camera.camera_id,
        url=camera.shown_url,
        sample_rate_hz=camera.sample_rate_hz,
        collection_id=camera.collection_id,
        modalities=[wire.modality_to_wire(modality) for modality in camera.modalities],
        expires_after=wire.seconds_to_wire(camera.expires_after_s),
        zones=[_zone_to_wire(zone) for zone in camera.zones],
        min_side_px=camera.min_side_px,
        labels=camera.labels,
        enabled=camera.enabled,
        loop=camera.loop,
        motion_gate=camera.motion_gate,
        only_zones=camera.only_zones,
        watch_scene=camera.watch_scene,
        stream=_stream_to_wire(camera),
        person_collection_id=camera.person_collection_id,
    )


def status_to_wire(status: CameraStatus) -> pb.CameraStatus:
    """How a camera does."""
    return pb.CameraStatus(
        camera_id=status.camera_id,
        state=_state_to_wire(status.state),
        detail=status.detail,
        state_since=wire.time_to_wire(status.state_since) if status.state_since else None,
        last_frame_time=wire.time_to_wire(status.last_frame_time) if status.last_frame_time else None,
        frames_sampled=status.frames_sampled,
        frames_encoded=status.frames_encoded,
        frames_skipped=status.frames_skipped,
        frames_expired=status.frames_expired,
        frames_failed=status.frames_failed,
        frames_in_flight=status.frames_in_flight,
        width_px=status.width_px,
        height_px=status.height_px,
        latency=wire.seconds_to_wire(status.latency_s) if status.latency_s is not None else None,
        active_tracklets=status.active_tracklets,
        reconnects=status.reconnects,
        skip_counts=[
            pb.SkipCount(reason=wire.reason_to_wire(reason), frames=frames)
            for reason, frames in sorted(status.skip_counts.items())
        ],
        sample_rate_hz=status.sample_rate_hz,
        scene=pb.SceneState.Value(f"SCENE_STATE_{status.scene.value}"),
        clock=_clock_to_wire(status.clock) if status.clock is not None else None,
        worker_address=status.worker_address,
        lease_token=status.lease_token,
        quarantined_pictures=status.quarantined_pictures,
    )


def silent_status(camera: Camera, address: str) -> pb.CameraStatus:
    """What is known of a camera whose worker does not answer."""
    detail = "its worker does not answer; if it is dead, another one takes the camera in some seconds"
    return pb.CameraStatus(
        camera_id=camera.camera_id, state=pb.CAMERA_STATE_WAITING, detail=detail, worker_address=address
    )


def entry_to_wire(camera: Camera, status: pb.CameraStatus) -> pb.CameraEntry:
    """A camera and how it does."""
    return pb.CameraEntry(camera=camera_to_wire(camera), status=status)


class EventPublisher:
    """Publishes camera events at the gallery.

    Args:
        channel: to the gallery.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = events_pb2_grpc.EventServiceStub(channel)

    async def publish(self, event: CameraEvent) -> None:
        """Publish one event; the same event again changes nothing.

        Raises:
            UnavailableError: the gallery is away.
            InvalidInputError: it refuses the event, and will again.
        """
        try:
            await self._stub.PublishCameraEvent(event_to_wire(event), timeout=PUBLISH_LIMIT_S)
        except grpc.aio.AioRpcError as error:
            detail = detail_of(error)
            if detail.code in _TRY_AGAIN:
                raise UnavailableError("gallery", detail.reason) from None
            raise InvalidInputError("event", event.told_as.value, detail.message) from None


class SightingsCheck:
    """Asks the gallery which sightings are no longer kept, and which subjects are no longer there.

    Args:
        channel: to the gallery.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = events_pb2_grpc.EventServiceStub(channel)

    async def __call__(self, shown: Sequence[Shown]) -> frozenset[Shown]:
        """Those that are gone.

        Args:
            shown: at most 1000.

        Raises:
            UnavailableError: the gallery does not say.
        """
        request = events_pb2.CheckSightingsRequest(
            event_ids=[one[0] for one in shown if len(one) == 1],
            subjects=[
                events_pb2.SightedSubject(collection_id=one[0], subject_id=one[1]) for one in shown if len(one) == 2
            ],
        )
        try:
            answer = await self._stub.CheckSightings(request, timeout=PUBLISH_LIMIT_S)
        except grpc.aio.AioRpcError as error:
            raise UnavailableError("gallery", detail_of(error).reason) from None
        subjects = {(subject.collection_id, subject.subject_id) for subject in answer.gone_subjects}
        return frozenset({*subjects, *((event_id,) for event_id in answer.gone_event_ids)})


def event_to_wire(event: CameraEvent) -> events_pb2.PublishCameraEventRequest:
    """An event of a camera."""
    told = events_pb2.CameraEvent(
        kind=events_pb2.CameraEventKind.Value(f"CAMERA_EVENT_KIND_{event.told_as.value}"),
        state=_state_to_wire(event.state),
        detail=event.detail,
        regions=[wire.box_to_wire(region) for region in event.regions],
        probability=event.probability,
        clip_id=event.clip_id,
    )
    return events_pb2.PublishCameraEventRequest(
        event_id=event.event_id,
        camera_id=event.camera_id,
        event_time=wire.time_to_wire(event.event_time),
        event=told,
        lease_token=event.lease_token,
    )


def _stream_from_wire(message: pb.StreamOptions) -> StreamOptions:
    transports = {
        pb.STREAM_TRANSPORT_UNSPECIFIED: Transport.TCP,
        pb.STREAM_TRANSPORT_TCP: Transport.TCP,
        pb.STREAM_TRANSPORT_UDP: Transport.UDP,
    }
    if message.transport not in transports:
        raise InvalidInputError("stream.transport", message.transport, "TCP or UDP")
    return StreamOptions(
        transport=transports[message.transport],
        key_frames_only=message.key_frames_only,
        sub_stream_url=message.sub_stream_url,
        hardware_decode=message.hardware_decode,
        as_fast_as_possible=message.as_fast_as_possible,
    )


def _stream_to_wire(camera: Camera) -> pb.StreamOptions:
    stream = camera.stream
    return pb.StreamOptions(
        transport=pb.StreamTransport.Value(f"STREAM_TRANSPORT_{stream.transport.value}"),
        key_frames_only=stream.key_frames_only,
        sub_stream_url=camera.shown_sub_stream_url,
        hardware_decode=stream.hardware_decode,
        as_fast_as_possible=stream.as_fast_as_possible,
    )


def _clock_to_wire(clock: ClockReport) -> pb.CameraClock:
    offset_s = clock.sender_offset_s
    return pb.CameraClock(
        kind=pb.CameraClockKind.Value(f"CAMERA_CLOCK_KIND_{clock.kind.value}"),
        drift_ppm=clock.drift_ppm,
        delay=wire.seconds_to_wire(clock.delay_s),
        sender_offset=wire.seconds_to_wire(offset_s) if offset_s is not None else None,
        host_clock_jumps=clock.host_jumps,
    )


def _state_to_wire(state: CameraState) -> pb.CameraState.ValueType:
    return pb.CameraState.Value(f"CAMERA_STATE_{state.value}")


def _zone_from_wire(zone: pb.Zone) -> Zone:
    return Zone(zone.name, tuple((corner.x, corner.y) for corner in zone.corners), zone.masked)


def _zone_to_wire(zone: Zone) -> pb.Zone:
    corners = [pb.FractionPoint(x=x, y=y) for x, y in zone.corners]
    return pb.Zone(name=zone.name, corners=corners, masked=zone.masked)
