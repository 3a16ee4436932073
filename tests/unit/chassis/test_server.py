"""One small real service on the chassis: statuses, counting, health, ports, drain."""

from __future__ import annotations

import asyncio
import gc
import urllib.request
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from tessera.chassis.channel import open_channel
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.server import Server, ServerSettings
from tessera.chassis.status import detail_of, status_of
from tessera.domain import errors as e
from tessera.domain.reasons import Reason
from tessera.v1 import encoder_pb2 as pb
from tessera.v1 import encoder_pb2_grpc as rpc
from tests.eventually import eventually

SERVICE = pb.DESCRIPTOR.services_by_name["EncoderService"]
NAME = SERVICE.full_name


class Servicer(rpc.EncoderServiceServicer):
    """Does what the model id says."""

    def __init__(self) -> None:
        self.last_error: weakref.ref[Exception] | None = None

    def _remembered(self, error: Exception) -> Exception:
        self.last_error = weakref.ref(error)
        return error

    async def has_let_go(self) -> bool:
        return self.last_error is not None and self.last_error() is None

    async def Encode(self, request: pb.EncodeRequest, context: object) -> pb.EncodeResponse:
        what = request.options.model_id
        if what == "image":
            raise self._remembered(e.ImageRejectedError(Reason.TRUNCATED_IMAGE, "ends after 3 bytes"))
        if len(what) > 1000:
            raise e.NotFoundError("encoder", what)
        if what == "defect":
            raise KeyError("a secret detail")
        if what == "inner timeout":
            raise TimeoutError("of a part, long before the deadline")
        if what == "slow":
            await asyncio.Event().wait()
        return pb.EncodeResponse(model_id=what)

    async def EncodeStream(
        self, requests: AsyncIterator[pb.EncodeStreamRequest], context: object
    ) -> AsyncIterator[pb.EncodeStreamResponse]:
        async for request in requests:
            if request.frame.frame_id == 13:
                raise e.OverloadedError("streams", 1)
            yield pb.EncodeStreamResponse(result=pb.FrameResult(frame_id=request.frame.frame_id))


@pytest.fixture
def metrics() -> ServiceMetrics:
    return ServiceMetrics(CollectorRegistry(), "test")


@asynccontextmanager
async def serving(
    metrics: ServiceMetrics, settings: ServerSettings, servicer: Servicer | None = None
) -> AsyncIterator[Server]:
    does = servicer or Servicer()
    server = Server(settings, metrics, [SERVICE], lambda s: rpc.add_EncoderServiceServicer_to_server(does, s))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def handled(metrics: ServiceMetrics, method: str, code: str) -> float:
    labels = {"grpc_service": NAME, "grpc_method": method, "grpc_code": code}
    return metrics.registry.get_sample_value("grpc_server_handled_total", labels) or 0.0


def encode(what: str) -> pb.EncodeRequest:
    return pb.EncodeRequest(options=pb.EncodeOptions(model_id=what))


async def test_an_error_reaches_the_peer_with_its_reason(metrics: ServiceMetrics) -> None:
    """Code, reason and the field's name arrive; the call is counted under its true code."""
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await rpc.EncoderServiceStub(channel).Encode(encode("image"))
    detail = detail_of(raised.value)
    assert detail.code is grpc.StatusCode.INVALID_ARGUMENT
    assert detail.reason == "TRUNCATED_IMAGE"
    assert detail.metadata["field"] == "image"
    assert handled(metrics, "Encode", "INVALID_ARGUMENT") == 1


async def test_an_error_about_a_long_value_arrives(metrics: ServiceMetrics) -> None:
    """What the caller sent comes back shortened: a status above the limit on metadata would be lost."""
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await rpc.EncoderServiceStub(channel).Encode(encode("m" * 100_000))
    detail = detail_of(raised.value)
    assert detail.reason == "ENCODER_NOT_FOUND"
    assert detail.metadata["value"] == "m" * 196 + " ..."


async def test_a_refused_request_is_let_go_at_once(metrics: ServiceMetrics) -> None:
    """Nothing of a refused call waits for the garbage collector: its pictures are megabytes that it does not see."""
    servicer = Servicer()
    async with (
        serving(metrics, ServerSettings(), servicer) as server,
        open_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        gc.disable()
        try:
            with pytest.raises(grpc.aio.AioRpcError):
                await rpc.EncoderServiceStub(channel).Encode(encode("image"))
            await eventually(servicer.has_let_go)
        finally:
            gc.enable()


async def test_a_defect_tells_an_incident_and_nothing_else(metrics: ServiceMetrics) -> None:
    """What went wrong inside stays inside; the peer gets an id to ask for."""
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await rpc.EncoderServiceStub(channel).Encode(encode("defect"))
    detail = detail_of(raised.value)
    assert detail.code is grpc.StatusCode.INTERNAL
    assert detail.metadata["incident_id"] in detail.message
    assert "secret" not in detail.message


@pytest.mark.parametrize(
    "settings",
    [ServerSettings(max_deadline_s=0.2), ServerSettings(longer_s={"tessera.v1.EncoderService/Encode": 0.2})],
    ids=["of all methods", "of this method"],
)
async def test_a_call_without_deadline_ends_anyway(metrics: ServiceMetrics, settings: ServerSettings) -> None:
    """The server's own limit holds; a method may have one of its own instead."""
    async with serving(metrics, settings) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await rpc.EncoderServiceStub(channel).Encode(encode("slow"))
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert handled(metrics, "Encode", "DEADLINE_EXCEEDED") == 1


async def test_a_timeout_inside_is_no_deadline(metrics: ServiceMetrics) -> None:
    """A part that timed out by itself is a defect: it is logged, and the caller is not blamed for a deadline."""
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await rpc.EncoderServiceStub(channel).Encode(encode("inner timeout"))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert handled(metrics, "Encode", "DEADLINE_EXCEEDED") == 0


async def test_health_can_be_watched(metrics: ServiceMetrics) -> None:
    """A client that balances by health hears of each turn; grpc's own service writes where ours yield."""
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
        before = await watch.read()
        await server.set_ready(True)
        after = await watch.read()
        watch.cancel()
    assert (before.status, after.status) == (
        health_pb2.HealthCheckResponse.NOT_SERVING,
        health_pb2.HealthCheckResponse.SERVING,
    )


async def test_a_broken_stream_counts_once_with_its_code(metrics: ServiceMetrics) -> None:
    """Answers given before the error arrive; then the status."""

    def frames() -> Iterator[pb.EncodeStreamRequest]:
        for frame_id in (1, 2, 13):
            yield pb.EncodeStreamRequest(frame=pb.Frame(frame_id=frame_id))

    answered = []
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for response in rpc.EncoderServiceStub(channel).EncodeStream(frames()):
                answered.append(response.result.frame_id)
    assert answered == [1, 2]
    assert detail_of(raised.value).reason == "QUEUE_FULL"
    assert handled(metrics, "EncodeStream", "RESOURCE_EXHAUSTED") == 1


async def test_health_follows_readiness(metrics: ServiceMetrics) -> None:
    """NOT_SERVING until ready; the gauge says the same."""
    async with serving(metrics, ServerSettings()) as server, open_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        before = await stub.Check(health_pb2.HealthCheckRequest(service=NAME))
        await server.set_ready(True)
        after = await stub.Check(health_pb2.HealthCheckRequest(service=NAME))
        page = await asyncio.to_thread(read_page, server.metrics_port)
    assert before.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert after.status == health_pb2.HealthCheckResponse.SERVING
    assert "tessera_ready 1.0" in page


def read_page(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("which", ["port", "metrics_port"])
async def test_a_port_in_use_is_named(metrics: ServiceMetrics, which: str) -> None:
    """A second server on the same port is refused at once and says which port."""
    async with serving(metrics, ServerSettings()) as first:
        taken = getattr(first, which)
        other = ServiceMetrics(CollectorRegistry(), "other")
        second = Server(ServerSettings(**{which: taken}), other, [SERVICE], lambda s: None)
        with pytest.raises(e.InvalidInputError, match=str(taken)) as raised:
            await second.start()
        await second.stop()
    assert raised.value.field == which


async def test_stop_lets_calls_finish(metrics: ServiceMetrics) -> None:
    """A stream that is open when the server stops may end by itself within the drain time."""
    async with (
        serving(metrics, ServerSettings(drain_s=5)) as server,
        open_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = rpc.EncoderServiceStub(channel).EncodeStream()
        await call.write(pb.EncodeStreamRequest(frame=pb.Frame(frame_id=1)))
        await call.read()
        stopping = asyncio.create_task(server.stop())
        await call.write(pb.EncodeStreamRequest(frame=pb.Frame(frame_id=2)))
        answer = await call.read()
        await call.done_writing()
        await stopping
    assert answer.result.frame_id == 2
    assert handled(metrics, "EncodeStream", "OK") == 1


ALL_ERRORS = [
    e.InvalidInputError("f", 1, "2"),
    e.ImageRejectedError(Reason.NO_FACE, "none"),
    e.NotFoundError("subject", "x"),
    e.AlreadyExistsError("camera", "x"),
    e.RequestIdReusedError("r"),
    e.ModelMismatchError("a", "b"),
    e.NoCalibrationError("m"),
    e.CalibrationTooSmallError(1e-6, 3_000_000, 10),
    e.UnavailableError("store"),
    e.OverloadedError("q", 1),
    e.ExpiredError("embed"),
    e.NotBuiltError("Reembed"),
]


@pytest.mark.parametrize("error", ALL_ERRORS, ids=lambda error: type(error).__name__)
def test_each_error_has_a_place_in_the_table(error: e.TesseraError) -> None:
    """None that a caller can cause is told as INTERNAL."""
    detail = status_of(error)
    assert detail.code is not grpc.StatusCode.INTERNAL
    assert detail.reason == detail.reason.upper()
    assert detail.message == str(error)
