"""One trace from a camera's frame to the notification of who was on it, through real processes to a real collector."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from benchmarks.operations.site import running_site
from tessera.cli.demo_people import DEMO_URL, enrol_demo_people
from tessera.demo.portraits import fetch_portraits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_LIMIT_S = 90.0
_PATH = [("tessera-ingest", "camera frame"), ("tessera-gallery", "tracklet"), ("tessera-gateway", "notification")]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span: by its id, the service that made it, its name, its trace and its parent."""

    def __init__(self) -> None:
        self.spans: dict[str, tuple[str, str, str, str]] = {}

    def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, _: object) -> object:
        for resource in request.resource_spans:
            (service,) = [one.value.string_value for one in resource.resource.attributes if one.key == "service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    told = (service, span.name, span.trace_id.hex(), span.parent_span_id.hex())
                    self.spans[span.span_id.hex()] = told
        return trace_service_pb2.ExportTraceServiceResponse()

    def path_to(self, span_id: str) -> list[tuple[str, str]]:
        """From the root to a span: service and name of each; as far as they have come."""
        path: list[tuple[str, str]] = []
        while span_id in self.spans:
            service, name, _, span_id = self.spans[span_id]
            path.insert(0, (service, name))
        return path


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the services' environment names."""
    kept = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    yield kept
    server.stop(1).wait()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mapping[str, str]]]:
    """The headers of each webhook that the gateway sends; it tells of sightings."""
    heard: list[Mapping[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            heard.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: tests print enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    targets = tmp_path / "targets.yaml"
    targets.write_text(
        "targets:\n  - name: door\n    type: webhook\n    secret: a-secret-of-this-test-alone\n"
        f"    url: http://127.0.0.1:{server.server_port}/\n    only: {{kinds: [sighting]}}\n"
    )
    monkeypatch.setenv("TESSERA_GATEWAY_TARGETS", str(targets))
    monkeypatch.setenv("TESSERA_GATEWAY_ALLOWED_NETWORKS", "127.0.0.0/8")
    yield heard
    server.shutdown()
    server.server_close()


def test_a_notification_leads_back_to_the_cameras_frame(collector: Collector, told: list[Mapping[str, str]]) -> None:
    """A webhook names its trace. In it the gateway's span stands below the gallery's, which stands below the camera
    worker's for the frame; the encoder's span of that frame stands below the same."""
    with running_site(1) as site, site.connect() as tessera:
        enrol_demo_people(tessera, fetch_portraits())
        tessera.add_camera("demo", DEMO_URL, sample_rate_hz=2.0, loop=True)
        wanted = [
            ("tessera-ingest", "camera frame"),
            ("tessera-gallery", "tracklet"),
            ("tessera-gateway", "notification"),
        ]
        sent = _first_with_path(collector, told, wanted)
        trace_id = sent.split("-")[1]
        in_trace = {(service, name) for service, name, trace, _ in collector.spans.values() if trace == trace_id}
        assert ("tessera-encoder", "frame") in in_trace
        assert ("tessera-encoder", "detect") in in_trace


def _first_with_path(collector: Collector, told: list[Mapping[str, str]], wanted: list[tuple[str, str]]) -> str:
    """The `traceparent` of the first webhook whose spans have all come.

    Raises:
        AssertionError: none had within the limit.
    """
    until_s = time.monotonic() + _LIMIT_S
    while time.monotonic() < until_s:
        for headers in list(told):
            parent = headers.get("traceparent", "")
            if parent and collector.path_to(parent.split("-")[2]) == wanted:
                return parent
        threading.Event().wait(0.1)
    found = [collector.path_to(headers.get("traceparent", "---").split("-")[2]) for headers in told]
    raise AssertionError(f"{len(told)} webhooks, whose paths are {found[:5]}")
