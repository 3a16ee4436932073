"""What metrics and traces cost: encoders beside each other that count, trace and are scraped, and one that does not.

All are asked the same in turn, a block each, so that whatever else the machine does meets all; the processor time of
each process is read before and after its blocks.
"""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure
from benchmarks.operations.context import Context
from benchmarks.services import Service, service
from tessera.chassis.limits import MAX_MESSAGE_BYTES
from tessera.demo.portraits import fetch_portraits
from tessera.v1 import biometrics_pb2, encoder_pb2, encoder_pb2_grpc

BLOCKS, CALLS_A_BLOCK, AT_ONCE = 24, 16, 4
SCRAPED_EVERY_S = 5.0
BAR = 0.02
ADVISED = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
"""What docs/tracing.md advises for a busy encoder."""


def run(context: Context) -> list[Figure]:
    """Ask all of them, and compare each with the one that counts nothing."""
    blocks = round(context.seconds(BLOCKS, 4))
    picture = next(iter(fetch_portraits().values())).read_bytes()
    with ExitStack() as stack:
        endpoint = stack.enter_context(_trace_sink())
        traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        running = [
            stack.enter_context(_encoder(module, environ))
            for module, environ in (
                ("encoder_svc", traced),
                ("encoder_svc", {**traced, **ADVISED}),
                ("benchmarks.operations.uncounted", {}),
            )
        ]
        stack.enter_context(_scraped(running[:2]))
        asked = [stack.enter_context(_asking(one, picture)) for one in running]
        for one in asked:
            one.block()  # warm
        spent = np.array([_round(asked, number) for number in range(blocks)]) / CALLS_A_BLOCK
    return _figures(context, spent)


def _round(asked: list[_Asking], number: int) -> list[float]:
    """A block of each, beginning with another one each time; in the order of `asked`."""
    order = [(at + number) % len(asked) for at in range(len(asked))]
    spent = {at: asked[at].block() for at in order}
    return [spent[at] for at in range(len(asked))]


class _Asking:
    """Calls of one encoder."""

    def __init__(self, one: Service, picture: bytes, stub: encoder_pb2_grpc.EncoderServiceStub) -> None:
        self._pid = one.pid
        self._stub = stub
        self._request = encoder_pb2.EncodeRequest(image=biometrics_pb2.Image(data=picture))

    def block(self) -> float:
        """Seconds of processor time that a block of calls took the encoder."""
        before_s = _cpu_s(self._pid)
        with ThreadPoolExecutor(AT_ONCE) as callers:
            list(callers.map(lambda _: self._stub.Encode(self._request, timeout=60.0), range(CALLS_A_BLOCK)))
        return _cpu_s(self._pid) - before_s


@contextmanager
def _asking(one: Service, picture: bytes) -> Iterator[_Asking]:
    with grpc.insecure_channel(one.address, [("grpc.max_send_message_length", MAX_MESSAGE_BYTES)]) as channel:
        yield _Asking(one, picture, encoder_pb2_grpc.EncoderServiceStub(channel))


@contextmanager
def _encoder(module: str, environ: dict[str, str]) -> Iterator[Service]:
    """An eager one, so that nothing is compiled beside the measurement."""
    settings = {"RUNTIME": "eager", "LOG_LEVEL": "warning"}
    with _environ(environ), service(module, "TESSERA_ENCODER_", settings) as one:
        yield one


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
def _scraped(running: list[Service]) -> Iterator[None]:
    """As a Prometheus does."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(SCRAPED_EVERY_S):
            for one in running:
                with urllib.request.urlopen(f"http://127.0.0.1:{one.metrics_port}/metrics", timeout=30) as told:
                    told.read()

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _cpu_s(pid: int) -> float:
    """Processor time of all threads of a process: those that ended take theirs along, and an encoder ends none."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _figures(context: Context, spent: npt.NDArray[np.float64]) -> list[Figure]:
    """`spent`: shape (blocks, 3), seconds a picture: all traced, traced as advised, bare."""
    figures = [
        context.figure(
            f"processor time of metrics and traces at load, {words}",
            _told(spent[:, at], spent[:, 2]),
            "of it",
            f"under {BAR:.0%}",
            holds=bool(spent[:, at].mean() < (1.0 + BAR) * spent[:, 2].mean()),
        )
        for at, words in enumerate(("every call traced", "1 call of 100 traced (docs/tracing.md)"))
    ]
    bare_ms = round(float(spent[:, 2].mean()) * 1e3, 1)
    return [*figures, context.figure("processor time of a picture without either", bare_ms, "ms")]


def _told(watched: npt.NDArray[np.float64], bare: npt.NDArray[np.float64]) -> str:
    """The share with its 95 % interval over blocks (bootstrap)."""
    picks = np.random.default_rng(1).integers(0, len(bare), (2000, len(bare)))
    low, high = np.quantile(watched[picks].mean(axis=1) / bare[picks].mean(axis=1) - 1.0, [0.025, 0.975])
    return f"{watched.mean() / bare.mean() - 1.0:.1%} ({low:.1%} to {high:.1%})"
