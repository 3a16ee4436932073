"""What the parts of `Tessera` share: a channel to each service, opened at the first call, and the calls through it.

Knows addresses and deadlines; what is asked and answered is in the modules beside it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

from tessera.chassis.channel import open_blocking_channel
from tessera.client.calls import Caller
from tessera.v1 import camera_pb2_grpc, encoder_pb2_grpc, gallery_pb2_grpc, notifications_pb2_grpc

DEFAULT_ENCODER = "127.0.0.1:7001"
DEFAULT_GALLERY = "127.0.0.1:7002"
DEFAULT_INGEST = "127.0.0.1:7003"
DEFAULT_GATEWAY = "127.0.0.1:7004"
DEFAULT_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One service: its channel and the calls to it."""

    channel: grpc.Channel
    caller: Caller


class Connection:
    """Channels to the four services.

    Args:
        gallery: `host:port` of gallery_svc.
        ingest: `host:port` of camera_ingest.
        encoder: `host:port` of encoder_svc.
        gateway: `host:port` of gateway_svc.
        deadline_s: a call without an answer after so long fails.
    """

    def __init__(
        self,
        gallery: str = DEFAULT_GALLERY,
        *,
        ingest: str = DEFAULT_INGEST,
        encoder: str = DEFAULT_ENCODER,
        gateway: str = DEFAULT_GATEWAY,
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> None:
        self._channels = ExitStack()
        addresses = {"encoder": encoder, "gallery": gallery, "ingest": ingest, "gateway": gateway}
        self._endpoints = {
            name: Endpoint(
                self._channels.enter_context(open_blocking_channel(address)), Caller(name, address, deadline_s)
            )
            for name, address in addresses.items()
        }
        self._gallery = self._endpoints["gallery"].caller
        self._ingest = self._endpoints["ingest"].caller
        self._encoder = self._endpoints["encoder"].caller
        self._gateway = self._endpoints["gateway"].caller
        self._gallery_stub = gallery_pb2_grpc.GalleryServiceStub(self._endpoints["gallery"].channel)
        self._ingest_stub = camera_pb2_grpc.CameraServiceStub(self._endpoints["ingest"].channel)
        self._encoder_stub = encoder_pb2_grpc.EncoderServiceStub(self._endpoints["encoder"].channel)
        self._gateway_stub = notifications_pb2_grpc.NotificationServiceStub(self._endpoints["gateway"].channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._channels.close()
