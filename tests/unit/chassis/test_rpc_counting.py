"""Every RPC is counted once, with the code that its client saw: over real gRPC, in all four shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from tessera.chassis.interceptors import RpcInterceptor
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.opentelemetry_tracing import OpenTelemetryTracing
from tessera.chassis.tracing import Tracing
from tests.eventually import eventually

SERVICE = "tests.Counted"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class _Handlers:
    """Does what the first message says."""

    async def answer(self, what: bytes, context: Any) -> bytes:
        if what == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "nobody")
        if what == b"set":
            context.set_code(grpc.StatusCode.ALREADY_EXISTS)
        if what == b"defect":
            raise KeyError("a defect")
        if what == b"for ever":
            await asyncio.Event().wait()
        return what

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        return await self.answer(request, context)

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        yield await self.answer(request, context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return [await self.answer(request, context) async for request in requests][-1]

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield await self.answer(request, context)


class _World:
    def __init__(self, metrics: ServiceMetrics, channel: grpc.aio.Channel) -> None:
        self.metrics = metrics
        self._channel = channel

    def call(self, shape: str, requests: Iterable[bytes], timeout_s: float | None = 30.0) -> Any:
        """Begin a call; the client's stream ends after the requests."""
        method = getattr(self._channel, shape)(f"/{SERVICE}/{shape}")
        sent = list(requests)
        return method(iter(sent) if shape.startswith("stream") else sent[0], timeout=timeout_s)

    async def code(self, call: Any, shape: str) -> grpc.StatusCode:
        """What the client saw at the end."""
        try:
            if shape.endswith("stream"):
                async for _ in call:
                    pass
            else:
                await call
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass
        code: grpc.StatusCode = await call.code()
        return code

    def handled(self, shape: str) -> dict[str, float]:
        """Calls that ended, by code."""
        samples = (sample for family in self.metrics.rpc_handled.collect() for sample in family.samples)
        return {s.labels["grpc_code"]: s.value for s in samples if s.labels["grpc_method"] == shape}

    async def has_handled(self, shape: str, expected: dict[str, float]) -> None:
        """Wait until so many calls have ended so: a client hears of the end before the server has counted it."""

        async def told() -> bool:
            return self.handled(shape) == expected

        await eventually(told)

    async def has_begun(self, shape: str) -> None:
        async def told() -> bool:
            return self.number("grpc_server_started_total", shape) == 1.0

        await eventually(told)

    def number(self, name: str, shape: str) -> float:
        labels = {"grpc_service": SERVICE, "grpc_method": shape}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(tracing: Tracing | None = None) -> AsyncIterator[_World]:
    metrics, handlers = ServiceMetrics(CollectorRegistry(), "test"), _Handlers()
    server = grpc.aio.server(interceptors=[RpcInterceptor(metrics, 60.0, tracing or Tracing())])
    made = {shape: getattr(grpc, f"{shape}_rpc_method_handler")(getattr(handlers, shape)) for shape in SHAPES}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, made),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield _World(metrics, channel)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("what", "code"), [(b"fine", "OK"), (b"abort", "NOT_FOUND"), (b"set", "ALREADY_EXISTS"), (b"defect", "INTERNAL")]
)
async def test_a_call_counts_with_its_code(shape: str, what: bytes, code: str) -> None:
    """Answered, aborted, with a code that was set, or broken by a defect: counted as the client saw it, with its time.

    A client that has sent all and goes on reading ends its stream in order: that is OK.
    """
    async with serving() as world:
        seen = await world.code(world.call(shape, [what]), shape)
        await world.has_handled(shape, {code: 1.0})
        assert seen.name == code
        assert world.number("grpc_server_started_total", shape) == 1.0
        assert world.number("grpc_server_handling_seconds_count", shape) == 1.0


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_client_that_goes_away_counts_as_cancelled(shape: str) -> None:
    """A call is under way until its client cancels it; then it has ended, once, as CANCELLED."""
    async with serving() as world:
        call = world.call(shape, [b"for ever"])
        reading = asyncio.create_task(world.code(call, shape))
        await world.has_begun(shape)
        assert world.handled(shape) == {}
        call.cancel()
        await reading
        await world.has_handled(shape, {"CANCELLED": 1.0})
        assert world.number("grpc_server_handling_seconds_count", shape) == 1.0


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_deadline_that_passes_counts_as_that(shape: str) -> None:
    """Also of a stream, whose handler gRPC merely cancels."""
    async with serving() as world:
        seen = await world.code(world.call(shape, [b"for ever"], timeout_s=0.5), shape)
        await world.has_handled(shape, {"DEADLINE_EXCEEDED": 1.0})
        assert seen is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_stream_counts_once_however_many_messages() -> None:
    """Messages are no calls."""
    async with serving() as world:
        call = world.call("stream_stream", [b"%d" % number for number in range(50)])
        assert len([message async for message in call]) == 50
        await world.has_handled("stream_stream", {"OK": 1.0})


async def test_the_time_of_a_traced_call_has_its_trace() -> None:
    """In OpenMetrics the bucket of a call names its trace; without traces there is no exemplar."""
    async with serving(OpenTelemetryTracing(TracerProvider())) as world:
        await world.code(world.call("unary_unary", [b"fine"]), "unary_unary")
        await world.has_handled("unary_unary", {"OK": 1.0})
        traced = generate_latest(world.metrics.registry).decode()
    async with serving() as world:
        await world.code(world.call("unary_unary", [b"fine"]), "unary_unary")
        await world.has_handled("unary_unary", {"OK": 1.0})
        plain = generate_latest(world.metrics.registry).decode()

    buckets = [line for line in traced.splitlines() if line.startswith("grpc_server_handling_seconds_bucket")]
    told = [line for line in buckets if " # " in line]
    assert len(told) == 1
    assert '{trace_id="' in told[0]
    assert "trace_id" not in plain
