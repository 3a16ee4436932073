"""An encoder and a gallery that find one face in each frame, decide nothing of worth, and remember who sent what when.

They stand in for the real ones where the question is who watches which camera: their record is the only witness that
no worker can talk over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, groupby, pairwise

import grpc

from tessera.v1 import biometrics_pb2 as bio
from tessera.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    events_pb2,
    events_pb2_grpc,
    gallery_pb2_grpc,
    matching_pb2,
)

_MODEL = "test@1"
_STREAMS = 64
_STREAM_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class SeenFrame:
    """A frame that came to the encoder."""

    camera_id: str
    peer: str
    """The connection that it came over: one for each worker process."""
    at_s: float
    """When it came."""
    captured_s: float
    """When it was taken, by the clock of the worker's machine."""
    stream: int
    """Of which encode stream; a worker that stops and starts watching a camera opens another one."""


@dataclass(frozen=True, slots=True)
class SeenUpdate:
    """A tracklet's update that came to the gallery."""

    camera_id: str
    peer: str
    lease_token: int
    at_s: float


@dataclass(slots=True)
class Record:
    """What came, in order."""

    frames: list[SeenFrame] = field(default_factory=list)
    updates: list[SeenUpdate] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def frames_of(self, camera_id: str, since_s: float = 0.0) -> list[SeenFrame]:
        """The frames of a camera that came after a moment."""
        with self.lock:
            return [frame for frame in self.frames if frame.camera_id == camera_id and frame.at_s > since_s]

    def cameras_since(self, since_s: float) -> set[str]:
        """The cameras of which a frame came after a moment."""
        with self.lock:
            return {frame.camera_id for frame in reversed(self.frames) if frame.at_s > since_s}

    def watched_by_two(self) -> int:
        """Frames of a worker that were taken while another one was at the same camera: within one of its streams.

        When they were taken counts, and not when they came: a worker's last frame may still be on its way.
        """
        with self.lock:
            frames = sorted(self.frames, key=lambda frame: (frame.camera_id, frame.captured_s))
        twice = 0
        for _, of_camera in groupby(frames, key=lambda frame: frame.camera_id):
            taken = list(of_camera)
            spans: dict[int, tuple[SeenFrame, SeenFrame]] = {}
            for frame in taken:
                spans[frame.stream] = (spans.get(frame.stream, (frame, frame))[0], frame)
            twice += sum(
                any(
                    first.peer != frame.peer and first.captured_s < frame.captured_s < last.captured_s
                    for first, last in spans.values()
                )
                for frame in taken
            )
        return twice

    def older_leases(self) -> int:
        """Updates of a camera under an older lease than one that was heard of before."""
        with self.lock:
            updates = sorted(self.updates, key=lambda update: update.camera_id)
        return sum(
            later.camera_id == earlier.camera_id and later.lease_token < earlier.lease_token
            for earlier, later in pairwise(updates)
        )


class ListeningEncoder(encoder_pb2_grpc.EncoderServiceServicer):
    """Finds the same face in each frame.

    Args:
        record: where it remembers.
        crash: told of each picture before it is answered; may end what serves it.
    """

    def __init__(self, record: Record, crash: Callable[[bytes], None] | None = None) -> None:
        self._record = record
        self._crash = crash

    def EncodeStream(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[encoder_pb2.EncodeStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[encoder_pb2.EncodeStreamResponse]:
        """Answer each frame at once."""
        camera_id, stream = "", next(_STREAM_NUMBERS)
        for request in request_iterator:
            if request.HasField("open"):
                camera_id = request.open.camera_id
                opened = encoder_pb2.StreamOpened(stream_id="s", model_id=_MODEL, credits=1)
                yield encoder_pb2.EncodeStreamResponse(opened=opened)
                continue
            picture = request.frame.image.data
            with self._record.lock:
                self._record.frames.append(
                    SeenFrame(camera_id, context.peer(), time.monotonic(), _seconds(request.frame), stream)
                )
            if self._crash is not None:
                self._crash(picture)
            yield encoder_pb2.EncodeStreamResponse(result=_one_face(request.frame))
            yield encoder_pb2.EncodeStreamResponse(credit=encoder_pb2.Credit(credits=1))


class ListeningGallery(gallery_pb2_grpc.GalleryServiceServicer, events_pb2_grpc.EventServiceServicer):
    """Knows nobody.

    Args:
        record: where it remembers.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    def MatchStream(  # noqa: N802 - gRPC's name
        self, request_iterator: Iterator[matching_pb2.MatchStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[matching_pb2.MatchStreamResponse]:
        """UNKNOWN, each time."""
        for request in request_iterator:
            if request.HasField("open"):
                yield matching_pb2.MatchStreamResponse(opened=matching_pb2.MatchStreamOpened(max_in_flight=8))
                continue
            update = request.update
            with self._record.lock:
                self._record.updates.append(
                    SeenUpdate(update.camera_id, context.peer(), update.lease_token, time.monotonic())
                )
            decision = bio.Decision(outcome=bio.OUTCOME_UNKNOWN, model_id=_MODEL)
            yield matching_pb2.MatchStreamResponse(
                decision=matching_pb2.TrackletDecision(
                    tracklet_id=update.tracklet_id, sequence=update.sequence, revision=1, decision=decision
                )
            )

    def PublishCameraEvent(  # noqa: N802 - gRPC's name
        self, request: events_pb2.PublishCameraEventRequest, context: grpc.ServicerContext
    ) -> events_pb2.PublishCameraEventResponse:
        """Thanks."""
        del request, context
        return events_pb2.PublishCameraEventResponse(cursor="1")


@contextmanager
def listening(record: Record) -> Iterator[tuple[str, str]]:
    """Both, in this process, on ports that the system chooses.

    Args:
        record: where they remember.

    Yields:
        The addresses of the encoder and of the gallery.
    """
    servers = [_server(), _server()]
    # The methods that they lack answer UNIMPLEMENTED.
    encoder = ListeningEncoder(record)  # type: ignore[abstract]
    gallery = ListeningGallery(record)  # type: ignore[abstract]
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(encoder, servers[0])
    gallery_pb2_grpc.add_GalleryServiceServicer_to_server(gallery, servers[1])
    events_pb2_grpc.add_EventServiceServicer_to_server(gallery, servers[1])
    try:
        bound = [server.add_insecure_port("127.0.0.1:0") for server in servers]
        for server in servers:
            server.start()
        yield f"127.0.0.1:{bound[0]}", f"127.0.0.1:{bound[1]}"
    finally:
        for server in servers:
            server.stop(None).wait()


def _server() -> grpc.Server:
    return grpc.server(ThreadPoolExecutor(_STREAMS), options=[("grpc.so_reuseport", 0)])


def _seconds(frame: encoder_pb2.Frame) -> float:
    return frame.capture_time.seconds + frame.capture_time.nanos / 1e9


def _one_face(frame: encoder_pb2.Frame) -> encoder_pb2.FrameResult:
    result = encoder_pb2.FrameResult(frame_id=frame.frame_id, capture_time=frame.capture_time)
    result.encoded.width_px, result.encoded.height_px = 64, 48
    quality = bio.Quality(sharpness=0.8, brightness=0.5, contrast=0.8, size=0.8, pose=0.9, overall=0.8)
    embedding = bio.Embedding(values=[1.0] + [0.0] * 31, model_id=_MODEL)
    box = bio.Box(x_px=10, y_px=10, width_px=20, height_px=24)
    face = bio.Observation(box=box, detection_probability=0.9, quality=quality, embedding=embedding)
    result.encoded.observations.append(face)
    return result
