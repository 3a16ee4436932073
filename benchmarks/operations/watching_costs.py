"""What metrics and traces cost an encoder at load: one that is scraped, and that signals switch between three states.

Blocks of the same calls in each state in turn, with the processor time of the process read around each. What is sent
off late belongs to the block that made it: each block ends with a rest in which nothing else is done.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure
from benchmarks.operations.switched_encoder import BOTH, METRICS, NEITHER
from benchmarks.parts import Context
from benchmarks.services import Service, service
from tessera.chassis.limits import MAX_MESSAGE_BYTES
from tessera.demo.portraits import fetch_portraits
from tessera.v1 import biometrics_pb2, encoder_pb2, encoder_pb2_grpc

STATES = (NEITHER, METRICS, BOTH)
ROUNDS, CALLS_A_BLOCK, AT_ONCE = 40, 24, 4
SEND_EVERY_S = 1.5
"""Spans are sent so often: with OpenTelemetry's default of 5 s a block's spans would be sent in a later block. Sending
costs per message, so that this tells rather too much."""
REST_S = 1.8
PAGES = 200
SCRAPED_EVERY_S = 5.0
BAR = 0.02
_HANDLED = 'grpc_server_handled_total{grpc_code="OK",grpc_method="Encode",grpc_service="tessera.v1.EncoderService"}'


def run(context: Context) -> list[Figure]:
    """Ask in each state, and compare."""
    picture = next(iter(fetch_portraits().values())).read_bytes()
    with ExitStack() as stack:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(_trace_sink()),
            "OTEL_BSP_SCHEDULE_DELAY": str(round(1e3 * SEND_EVERY_S)),
        }
        stack.enter_context(_environ(environ))
        settings = {"RUNTIME": "eager", "LOG_LEVEL": "warning"}
        encoder = stack.enter_context(service("benchmarks.operations.switched_encoder", "TESSERA_ENCODER_", settings))
        stack.enter_context(_scraped(encoder))
        channel = stack.enter_context(
            grpc.insecure_channel(encoder.address, [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)])
        )
        asking = _Asking(encoder, encoder_pb2_grpc.EncoderServiceStub(channel), picture)
        asking.check_switches()
        spent = np.array([asking.round(number) for number in range(round(context.seconds(ROUNDS, 4)))])
        page_s = asking.page_s()
    return _figures(context, spent / CALLS_A_BLOCK, page_s)


class _Asking:
    """Calls of one encoder."""

    def __init__(self, encoder: Service, stub: encoder_pb2_grpc.EncoderServiceStub, picture: bytes) -> None:
        self._encoder = encoder
        self._stub = stub
        self._request = encoder_pb2.EncodeRequest(image=biometrics_pb2.Image(data=picture))

    def check_switches(self) -> None:
        """Make sure that a switched off counter stands, and another does not; it warms the encoder as well."""
        self._block(BOTH)
        before = _counted(self._encoder)
        self._block(NEITHER)
        assert _counted(self._encoder) == before, "the switch does not switch"
        self._block(BOTH)
        assert _counted(self._encoder) == before + CALLS_A_BLOCK

    def round(self, number: int) -> list[float]:
        """Seconds of processor time of a block in each state, beginning with another one each time."""
        order = [STATES[(at + number) % len(STATES)] for at in range(len(STATES))]
        spent = {state: self._block(state) for state in order}
        return [spent[state] for state in STATES]

    def page_s(self) -> float:
        """Seconds of processor time of one scrape, while nothing else is asked."""
        before_s = _whole_cpu_s(self._encoder.pid)
        for _ in range(PAGES):
            _counted(self._encoder)
        return (_whole_cpu_s(self._encoder.pid) - before_s) / PAGES

    def _block(self, state: signal.Signals) -> float:
        self._encoder.process.send_signal(state)
        time.sleep(0.3)
        before_s = _cpu_s(self._encoder.pid)
        with ThreadPoolExecutor(AT_ONCE) as callers:
            list(callers.map(lambda _: self._stub.Encode(self._request, timeout=60.0), range(CALLS_A_BLOCK)))
        time.sleep(REST_S)
        return _cpu_s(self._encoder.pid) - before_s


def _counted(encoder: Service) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{encoder.metrics_port}/metrics", timeout=30) as told:
        lines = told.read().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(_HANDLED)), 0.0)


@contextmanager
def _environ(values: dict[str, str]) -> Iterator[None]:
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


@contextmanager
def _trace_sink() -> Iterator[str]:
    """A collector that takes every span and keeps none."""
    taken: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(lambda *_: b"")
    name = "opentelemetry.proto.collector.trace.v1.TraceService"
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": taken}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextmanager
def _scraped(encoder: Service) -> Iterator[None]:
    """As a Prometheus does, in whichever state: no switch takes that cost away, and a page takes some milliseconds."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(SCRAPED_EVERY_S):
            _counted(encoder)

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _cpu_s(pid: int) -> float:
    """Processor time of all threads of a process that are there; one that serves a page comes and goes uncounted."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _whole_cpu_s(pid: int) -> float:
    """The same with the threads that ended, in the system's ticks: each page is served by one.

    Source: proc(5), /proc/pid/stat.
    """
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _figures(context: Context, spent: npt.NDArray[np.float64], page_s: float) -> list[Figure]:
    """`spent`: shape (rounds, 3), seconds a picture in each of `STATES`."""
    bare = spent[:, 0]
    figures = [
        context.figure(
            f"processor time of {words}, at load",
            "{:.1%} ({:.1%} to {:.1%})".format(*_share(spent[:, at], bare)),
            "of the rest",
            f"under {BAR:.0%}, its interval too",
            holds=_share(spent[:, at], bare)[2] < BAR,
        )
        for at, words in ((1, "metrics"), (2, "metrics and traces, every call traced"))
    ]
    bare_ms = round(float(bare.mean()) * 1e3, 1)
    return [
        *figures,
        context.figure("processor time of a picture without either", bare_ms, "ms"),
        context.figure("processor time of a scrape, one in 5 s, in every state", round(page_s * 1e3, 1), "ms"),
    ]


def _share(watched: npt.NDArray[np.float64], bare: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """What is added to the rest, with its 95 % interval over rounds (bootstrap)."""
    picks = np.random.default_rng(1).integers(0, len(bare), (2000, len(bare)))
    low, high = np.quantile(watched[picks].mean(axis=1) / bare[picks].mean(axis=1) - 1.0, [0.025, 0.975])
    return float(watched.mean() / bare.mean() - 1.0), float(low), float(high)
