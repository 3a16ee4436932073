"""Gallery, ingest and encoder over real gRPC whose answers a test writes down; errors travel as the real ones do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tessera.chassis.status import rich_status, status_of
from tessera.v1 import camera_pb2_grpc, encoder_pb2_grpc, events_pb2_grpc, gallery_pb2_grpc, persons_pb2_grpc

Answer = Any
"""A message, a list of messages for a stream, an error to raise, or a function of the request that gives one."""


class Script:
    """What each method answers, and what it was asked.

    A stream whose list of answers ends stays open until its client leaves, unless the last answer is an error.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[Any] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def unary(self, name: str) -> Callable[[Any, Any], Any]:
        """The handler of a unary method."""

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            answer = self._answer(name, request)
            if isinstance(answer, Exception):
                context.abort_with_status(rich_status(status_of(answer)))
            return answer

        return handle

    def stream(self, name: str) -> Callable[[Any, Any], Iterator[Any]]:
        """The handler of a method that answers with a stream."""

        def handle(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            gone = threading.Event()
            context.add_callback(gone.set)
            for answer in self._answer(name, request):
                if isinstance(answer, Exception):
                    context.abort_with_status(rich_status(status_of(answer)))
                yield answer
            while not gone.wait(0.05) and not self.ended.is_set():
                pass

        return handle

    def _answer(self, name: str, request: Any) -> Answer:
        with self.lock:
            self.requests.append(request)
        answer = self.answers[name]
        return answer(request) if callable(answer) else answer


def _servicer(base: type, script: Script, streams: tuple[str, ...] = ()) -> Any:
    """A servicer of a generated class, each of its methods answered by the script."""
    servicer = base()
    for name in [name for name in vars(base) if not name.startswith("_")]:
        setattr(servicer, name, script.stream(name) if name in streams else script.unary(name))
    return servicer


@contextmanager
def serving(script: Script, port: int = 0) -> Iterator[str]:
    """Serve the script on a free port, or on a given one; gives the address."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    gallery_pb2_grpc.add_GalleryServiceServicer_to_server(
        _servicer(gallery_pb2_grpc.GalleryServiceServicer, script), server
    )
    events_pb2_grpc.add_EventServiceServicer_to_server(
        _servicer(events_pb2_grpc.EventServiceServicer, script, ("WatchEvents",)), server
    )
    persons_pb2_grpc.add_PersonServiceServicer_to_server(
        _servicer(persons_pb2_grpc.PersonServiceServicer, script), server
    )
    camera_pb2_grpc.add_CameraServiceServicer_to_server(
        _servicer(camera_pb2_grpc.CameraServiceServicer, script), server
    )
    encoder_pb2_grpc.add_EncoderServiceServicer_to_server(
        _servicer(encoder_pb2_grpc.EncoderServiceServicer, script), server
    )
    healthy = health.HealthServicer()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield address
    finally:
        script.ended.set()
        server.stop(grace=None).wait()
        script.ended.clear()
