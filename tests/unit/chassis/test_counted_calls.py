"""What is kept from call to call: the children of metrics, and the handlers that count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter

from tessera.chassis.interceptors import RpcInterceptor
from tessera.chassis.metrics import Children, ServiceMetrics
from tessera.chassis.tracing import Tracing

PATH = "/tessera.v1.GalleryService/Verify"


def test_a_child_is_the_metrics_own() -> None:
    """What is counted by a child that was kept is told with its labels, and by no other child."""
    registry = CollectorRegistry()
    children = Children(Counter("answers", "Answers.", ["method", "outcome"], registry=registry))

    for _ in range(3):
        children.of("verify", "MATCH").inc()
    children.of("verify", "NO_MATCH").inc()

    told = {o: registry.get_sample_value("answers_total", {"method": "verify", "outcome": o}) for o in _OUTCOMES}
    assert told == {"MATCH": 3.0, "NO_MATCH": 1.0}
    assert children.of("verify", "MATCH") is children.of("verify", "MATCH")


async def test_a_handler_is_wrapped_once() -> None:
    """The same handler of a method comes back as the same one; another handler under that name is another one."""
    interceptor = RpcInterceptor(ServiceMetrics(CollectorRegistry(), "test"), 30.0, Tracing())
    one, other = _handler(b"one"), _handler(b"other")

    first = await _wrapped(interceptor, one)
    assert await _wrapped(interceptor, one) is first
    assert await _answer(first) == b"one"
    assert await _answer(await _wrapped(interceptor, other)) == b"other"
    assert await _answer(await _wrapped(interceptor, one)) == b"one"


async def test_calls_of_one_method_are_counted_each() -> None:
    """Calls that share their wrapped handler are counted one by one, each with its own code."""
    metrics = ServiceMetrics(CollectorRegistry(), "test")
    interceptor = RpcInterceptor(metrics, 30.0, Tracing())

    for body in (b"fine", b"fine", b"fail"):
        wrapped = await _wrapped(interceptor, _HANDLER)
        await wrapped.unary_unary(body, _Context())

    labels = {"grpc_service": "tessera.v1.GalleryService", "grpc_method": "Verify"}
    counted = [
        metrics.registry.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": code})
        for code in ("OK", "INTERNAL")
    ]
    assert counted == [2.0, 1.0]
    assert metrics.registry.get_sample_value("grpc_server_started_total", labels) == 3.0
    assert metrics.registry.get_sample_value("grpc_server_handling_seconds_count", labels) == 3.0


_OUTCOMES = ("MATCH", "NO_MATCH")


class _Context:
    """As much of a call as the interceptor asks for."""

    def time_remaining(self) -> float:
        return 5.0

    def code(self) -> None:
        return None

    def set_code(self, code: grpc.StatusCode) -> None: ...

    def set_details(self, details: str) -> None: ...

    def set_trailing_metadata(self, metadata: object) -> None: ...


async def _echo(request: bytes, context: object) -> bytes:
    if request == b"fail":
        raise KeyError("a defect")
    return request


_HANDLER: Any = grpc.unary_unary_rpc_method_handler(_echo)


def _handler(answer: bytes) -> Any:
    async def answered(request: bytes, context: object) -> bytes:
        return answer

    return grpc.unary_unary_rpc_method_handler(answered)


async def _wrapped(interceptor: RpcInterceptor, handler: Any) -> Any:
    async def found(details: object) -> Any:
        return handler

    details: Any = SimpleNamespace(method=PATH, invocation_metadata=())
    return await interceptor.intercept_service(found, details)


async def _answer(handler: Any) -> bytes:
    answer: bytes = await handler.unary_unary(b"", _Context())
    return answer
