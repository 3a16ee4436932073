"""The services themselves: which encoders there are, and whether each service takes work."""

from __future__ import annotations

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tessera.client import answers as a
from tessera.client.calls import Caller
from tessera.client.connection import Connection
from tessera.client.encoder import EncoderInfo, encoder_info
from tessera.client.errors import TesseraCallError
from tessera.v1 import encoder_pb2

_HEALTH_DEADLINE_S = 2.0


class Services(Connection):
    """Encoders, and the health of services."""

    def encoders(self) -> tuple[EncoderInfo, ...]:
        """The encoders of the encoder service and their state.

        Raises:
            TesseraCallError: as `tessera.client.errors` tells.
        """
        response = self._encoder.call(self._encoder_stub.ListEncoders, encoder_pb2.ListEncodersRequest())
        return tuple(encoder_info(message) for message in response.encoders)

    def load_encoder(self, name: str, *, make_default: bool = False, priority: int | None = None) -> EncoderInfo:
        """Begin to load an encoder, or to load it anew, while the others go on; `encoders` tells how it goes.

        Args:
            name: of one that ships or was imported.
            make_default: make it its modality's default once it is ready.
            priority: among encoders that wait for the same device, lower goes first; None: what it had, else 0.

        Raises:
            NotFound: there is no such encoder.
            NotAllowedNow: it is being loaded.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = encoder_pb2.LoadEncoderRequest(name=name, priority=priority, make_default=make_default)
        return encoder_info(self._encoder.call(self._encoder_stub.LoadEncoder, request).encoder)

    def unload_encoder(self, model_id: str) -> bool:
        """Take an encoder out of service; what it has begun is finished.

        Returns:
            False: it was not there.

        Raises:
            NotAllowedNow: it is its modality's default.
            TesseraCallError: as `tessera.client.errors` tells.
        """
        request = encoder_pb2.UnloadEncoderRequest(model_id=model_id)
        return self._encoder.call(self._encoder_stub.UnloadEncoder, request).unloaded

    def status(self) -> tuple[a.ServiceStatus, ...]:
        """Whether each service takes work; one that is away is an answer, not an error."""
        return tuple(self._service_status(name) for name in self._endpoints)

    def _service_status(self, name: str) -> a.ServiceStatus:
        endpoint = self._endpoints[name]
        caller = Caller(name, endpoint.caller.address, _HEALTH_DEADLINE_S)
        stub = health_pb2_grpc.HealthStub(endpoint.channel)
        try:
            response = caller.call(stub.Check, health_pb2.HealthCheckRequest())
        except TesseraCallError:
            return a.ServiceStatus(name, caller.address, a.ServiceState.UNREACHABLE)
        serving = response.status == health_pb2.HealthCheckResponse.SERVING
        state = a.ServiceState.SERVING if serving else a.ServiceState.NOT_SERVING
        return a.ServiceStatus(name, caller.address, state)
