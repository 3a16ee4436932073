"""Traces across real gRPC hops with OpenTelemetry's own SDK, and nothing at all while they are off."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from tessera.chassis.channel import open_channel
from tessera.chassis.logs import configure_logs, get_logger
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.opentelemetry_tracing import OpenTelemetryTracing
from tessera.chassis.server import Server, ServerSettings
from tessera.chassis.tracing import CURRENT, OFF, Tracing, current_span, open_tracing, record
from tessera.domain import errors as e
from tessera.v1 import encoder_pb2 as pb
from tessera.v1 import encoder_pb2_grpc as rpc
from tests.eventually import eventually

SERVICE = pb.DESCRIPTOR.services_by_name["EncoderService"]
METHOD = f"{SERVICE.full_name}/Encode"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


class Encoder(rpc.EncoderServiceServicer):
    """Does what the model id says, or asks another encoder."""

    def __init__(self, tracing: Tracing, behind: grpc.aio.Channel | None = None) -> None:
        self._tracing = tracing
        self._behind = behind
        self.begun = asyncio.Event()

    async def Encode(self, request: pb.EncodeRequest, context: object) -> pb.EncodeResponse:
        self.begun.set()
        match request.options.model_id:
            case "unknown":
                raise e.NotFoundError("encoder", "alice")
            case "away":
                raise e.UnavailableError("store", "alice")
            case "defect":
                raise KeyError("alice")
            case "slow":
                await asyncio.Event().wait()
        if self._behind is not None:
            return await rpc.EncoderServiceStub(self._behind).Encode(request, metadata=(("x-own", "1"),))
        ended_s = time.monotonic()
        record("detect", ended_s - 0.2, ended_s - 0.1, {"batch": 4})
        await asyncio.create_task(self._embed(ended_s))
        return pb.EncodeResponse()

    async def _embed(self, ended_s: float) -> None:
        record("embed", ended_s - 0.1, ended_s, {"batch": 7})

    async def EncodeStream(
        self, requests: AsyncIterator[pb.EncodeStreamRequest], context: object
    ) -> AsyncIterator[pb.EncodeStreamResponse]:
        async for request in requests:
            with self._tracing.frame("frame"):
                record("detect", time.monotonic(), time.monotonic())
            yield pb.EncodeStreamResponse(result=pb.FrameResult(frame_id=request.frame.frame_id))


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exported: InMemorySpanExporter) -> Iterator[OpenTelemetryTracing]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    made = OpenTelemetryTracing(provider)
    yield made
    made.close()


@asynccontextmanager
async def serving(tracing: Tracing | None, encoder: Encoder) -> AsyncIterator[str]:
    server = Server(
        ServerSettings(),
        ServiceMetrics(CollectorRegistry(), "test"),
        [SERVICE],
        lambda at: rpc.add_EncoderServiceServicer_to_server(encoder, at),
        tracing,
    )
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def call(address: str, what: str = "", **more: object) -> grpc.StatusCode:
    async with open_channel(address) as channel:
        request = pb.EncodeRequest(options=pb.EncodeOptions(model_id=what))
        try:
            await rpc.EncoderServiceStub(channel).Encode(request, **more)  # type: ignore[arg-type]
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


async def ended(exported: InMemorySpanExporter, count: int) -> list[ReadableSpan]:
    """So many spans, in the order in which they ended: a call's may end after its client has the answer."""

    async def enough() -> bool:
        return len(exported.get_finished_spans()) == count

    await eventually(enough)
    return list(exported.get_finished_spans())


async def by_name(exported: InMemorySpanExporter, count: int) -> dict[str, ReadableSpan]:
    return {span.name: span for span in await ended(exported, count)}


async def test_a_call_has_one_span_below_its_callers(
    tracing: OpenTelemetryTracing, exported: InMemorySpanExporter
) -> None:
    """It takes its place by the metadata's traceparent, and tells service, method and code."""
    async with serving(tracing, Encoder(tracing)) as address:
        assert await call(address, metadata=(("traceparent", TRACEPARENT),)) is grpc.StatusCode.OK
        span = (await by_name(exported, 3))[METHOD]
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == CALLER
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": SERVICE.full_name,
        "rpc.method": "Encode",
        "rpc.grpc.status_code": 0,
    }


async def test_stages_stand_below_their_call_at_their_own_times(
    tracing: OpenTelemetryTracing, exported: InMemorySpanExporter
) -> None:
    """What was measured on the monotonic clock is told in wall time, also from a task that the call made."""
    before_ns = time.time_ns()
    async with serving(tracing, Encoder(tracing)) as address:
        await call(address)
        told = await by_name(exported, 3)
    for name, batch in (("detect", 4), ("embed", 7)):
        stage, parent = told[name], told[METHOD]
        assert stage.parent is not None
        assert stage.parent.span_id == parent.context.span_id
        assert dict(stage.attributes or {}) == {"batch": batch}
        assert (stage.end_time or 0) - (stage.start_time or 0) == pytest.approx(0.1e9, abs=1e3)
    assert told["detect"].end_time == pytest.approx(told["embed"].start_time, abs=1e3)
    assert before_ns - 0.5e9 < (told["detect"].start_time or 0) < time.time_ns()


async def test_two_services_share_one_trace(tracing: OpenTelemetryTracing, exported: InMemorySpanExporter) -> None:
    """A call made in the service of another stands below it, and keeps the metadata that it was made with."""
    async with (
        serving(tracing, Encoder(tracing)) as behind,
        open_channel(behind, tracing) as channel,
        serving(tracing, Encoder(tracing, channel)) as address,
    ):
        assert await call(address) is grpc.StatusCode.OK
        inner, outer = (span for span in await ended(exported, 4) if span.name == METHOD)
    assert outer.parent is None
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert inner.context.trace_id == outer.context.trace_id


@pytest.mark.parametrize(
    ("what", "code", "status"),
    [
        ("unknown", grpc.StatusCode.NOT_FOUND, StatusCode.UNSET),
        ("away", grpc.StatusCode.UNAVAILABLE, StatusCode.ERROR),
        ("defect", grpc.StatusCode.INTERNAL, StatusCode.ERROR),
    ],
)
async def test_errors_are_told_without_whom_they_were_about(
    tracing: OpenTelemetryTracing,
    exported: InMemorySpanExporter,
    what: str,
    code: grpc.StatusCode,
    status: StatusCode,
) -> None:
    """The code; ERROR for what the server answers for; never the error's text, which may name somebody."""
    async with serving(tracing, Encoder(tracing)) as address:
        assert await call(address, what, timeout=30) is code
        (span,) = await ended(exported, 1)
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == code.value[0]
    assert span.status.status_code is status
    assert "alice" not in span.to_json()


async def test_a_cancelled_call_is_told_as_such(tracing: OpenTelemetryTracing, exported: InMemorySpanExporter) -> None:
    """Its client went away: CANCELLED, and no error of the server."""
    encoder = Encoder(tracing)
    async with serving(tracing, encoder) as address, open_channel(address) as channel:
        request = pb.EncodeRequest(options=pb.EncodeOptions(model_id="slow"))
        under_way = rpc.EncoderServiceStub(channel).Encode(request)  # begins at once
        await encoder.begun.wait()
        under_way.cancel()
        (span,) = await ended(exported, 1)
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]
    assert span.status.status_code is StatusCode.UNSET


async def test_each_frame_of_a_stream_is_a_trace_of_its_own(
    tracing: OpenTelemetryTracing, exported: InMemorySpanExporter
) -> None:
    """It links to the stream's call, for that one may last for days; its stages stand below it."""
    async with serving(tracing, Encoder(tracing)) as address, open_channel(address) as channel:
        requests = [pb.EncodeStreamRequest(frame=pb.Frame(frame_id=n)) for n in (1, 2)]
        answers = [answer async for answer in rpc.EncoderServiceStub(channel).EncodeStream(iter(requests))]
        told = await ended(exported, 5)
    assert len(answers) == 2
    (stream,) = (span for span in told if span.name.endswith("EncodeStream"))
    frames = [span for span in told if span.name == "frame"]
    assert len({span.context.trace_id for span in (stream, *frames)}) == 3
    assert [span.links[0].context.span_id for span in frames] == [stream.context.span_id] * 2
    detects = [span.parent.span_id for span in told if span.name == "detect" and span.parent]
    assert detects == [span.context.span_id for span in frames]


def test_a_frame_may_come_from_somewhere(tracing: OpenTelemetryTracing, exported: InMemorySpanExporter) -> None:
    """With a traceparent it stands below that; with a broken one it begins a trace."""
    for traceparent in (TRACEPARENT, "no traceparent"):
        with tracing.frame("frame", traceparent):
            pass
    known, unknown = exported.get_finished_spans()
    assert f"{known.context.trace_id:032x}" == TRACE
    assert unknown.parent is None


def test_health_checks_leave_no_span(tracing: OpenTelemetryTracing) -> None:
    """They come every few seconds, and nobody asks where their time went."""
    assert tracing.call("grpc.health.v1.Health/Check", ()) is OFF


def test_after_a_call_nothing_is_current(tracing: OpenTelemetryTracing) -> None:
    """Inside, a record goes below it; outside, nowhere."""
    with tracing.call(METHOD, None) as span:
        assert current_span() is span
    assert current_span() is OFF


# ---- off


async def test_off_every_call_has_the_same_span_that_does_nothing(exported: InMemorySpanExporter) -> None:
    """No object is made for a call, the context stays untouched, and a channel gets no interceptor."""
    off = Tracing()
    assert off.call(METHOD, None) is off.frame("frame") is OFF
    with OFF as span:
        span.set("batch", 1)
        record("detect", 0.0, 1.0)
        assert CURRENT.get() is OFF
    assert OFF.traceparent() is None
    async with open_channel("127.0.0.1:1", off) as with_tracing, open_channel("127.0.0.1:1") as without:
        assert type(with_tracing.unary_unary("/a/b")) is type(without.unary_unary("/a/b"))
        assert vars(with_tracing)["_unary_unary_interceptors"] == []
    async with serving(None, Encoder(off)) as address:
        assert await call(address, metadata=(("traceparent", TRACEPARENT),)) is grpc.StatusCode.OK
    assert exported.get_finished_spans() == ()


def test_off_opentelemetry_is_not_imported() -> None:
    """Servers and channels load without it: it is an extra."""
    code = (
        "import sys; import tessera.chassis.server, tessera.chassis.channel; "
        "from tessera.chassis.tracing import Tracing; "
        "assert not Tracing.from_environment('x', {}).on; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=110)
    assert done.stdout.strip() == "[]"


# ---- the switch


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4317"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"}, False),
    ],
)
def test_opentelemetrys_own_variables_switch_it(environ: dict[str, str], on: bool) -> None:
    """An endpoint or an exporter; `none` and OTEL_SDK_DISABLED have the last word."""
    made = Tracing.from_environment("encoder", environ)
    assert made.on is on
    made.close()


@pytest.mark.parametrize(
    ("environ", "field"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_start(environ: dict[str, str], field: str) -> None:
    """The variable, its value, and what is allowed."""
    with pytest.raises(e.InvalidInputError) as refused:
        Tracing.from_environment("encoder", environ)
    assert refused.value.field == field


def test_without_the_extra_a_service_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some clusters set the variables everywhere."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "tessera.chassis.opentelemetry_tracing")
    assert not Tracing.from_environment("encoder", {"OTEL_TRACES_EXPORTER": "otlp"}).on


async def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over OTLP, with the service's name and the stages' attributes."""
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_rpc

    received: list[otlp.ExportTraceServiceRequest] = []

    class Collector(otlp_rpc.TraceServiceServicer):
        async def Export(self, request: otlp.ExportTraceServiceRequest, context: object) -> object:
            received.append(request)
            return otlp.ExportTraceServiceResponse()

    collector = grpc.aio.server()
    otlp_rpc.add_TraceServiceServicer_to_server(Collector(), collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    await collector.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    async with open_tracing("encoder") as tracing:
        with tracing.call(METHOD, None):
            record("detect", time.monotonic(), time.monotonic(), {"batch": 3})
    await collector.stop(None)
    (resource,) = received[0].resource_spans
    facts = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
    assert facts["service.name"] == "tessera-encoder"
    told = {span.name: span for scope in resource.scope_spans for span in scope.spans}
    assert set(told) == {METHOD, "detect"}
    assert told["detect"].parent_span_id == told[METHOD].span_id
    assert told["detect"].attributes[0].value.int_value == 3


def test_a_log_line_names_its_trace(tracing: OpenTelemetryTracing, capsys: pytest.CaptureFixture[str]) -> None:
    """What is logged in the service of a call or frame has the id of its trace; what is logged outside has none."""
    before = structlog.get_config()
    try:
        configure_logs("test", as_json=True)
        with tracing.frame("frame", TRACEPARENT):
            get_logger().warning("frame.failed", reason="NO_FACE")
        get_logger().warning("store.away")
    finally:
        structlog.configure(**before)
        structlog.contextvars.clear_contextvars()
    inside, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert (inside["event"], inside["trace_id"]) == ("frame.failed", TRACE)
    assert "trace_id" not in outside
