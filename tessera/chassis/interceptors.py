"""What stands around every RPC: counting, a span, and turning errors into statuses. Servicers only raise."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc

from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.rpc_counting import CountedCall, CountedMethod
from tessera.chassis.status import rich_status, status_of
from tessera.chassis.tracing import OFF, Span, Tracing

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """Counts each RPC once with its true code, also when it was cancelled or a stream broke, and answers errors.

    Args:
        metrics: where it counts.
        max_deadline_s: a unary call whose client set no deadline, or a longer one, is ended after this. One that
            streams its request takes as long as its client gives it.
        tracing: makes one span for each call.
        longer_s: unary methods that may take longer than that, such as `tessera.v1.EncoderService/Explain`: how long.
    """

    def __init__(
        self,
        metrics: ServiceMetrics,
        max_deadline_s: float,
        tracing: Tracing,
        longer_s: Mapping[str, float] | None = None,
    ) -> None:
        self._metrics = metrics
        self._longer_s = dict(longer_s or {})
        self._max_deadline_s = max_deadline_s
        self._tracing = tracing
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the handler of this call: once for each method, since gRPC comes with the same one each time."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        known = self._wrapped.get(handler_call_details.method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = self._wrap(handler, handler_call_details.method)
        self._wrapped[handler_call_details.method] = handler, wrapped
        return wrapped

    def _wrap(self, handler: Any, path: str) -> Handler:  # noqa: ANN401 - four shapes of handler
        counted = CountedMethod(self._metrics, path)
        return self._streaming(handler, counted) if handler.response_streaming else self._single(handler, counted)

    def _single(self, handler: Any, method: CountedMethod) -> grpc.RpcMethodHandler[Any, Any]:  # noqa: ANN401 - four shapes of handler
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
        limit_s = None if handler.request_streaming else self._longer_s.get(method.name, self._max_deadline_s)

        async def call(request: Any, context: Any) -> Any:  # noqa: ANN401 - whatever message the method has
            with self._span(method, context) as span, CountedCall(method, span, context) as count:
                try:
                    async with asyncio.timeout(_budget_s(context, limit_s)) as budget:
                        return await inner(request, context)
                except Exception as error:  # noqa: BLE001 - the edge of a call
                    # A TimeoutError of something inside is no deadline of this call: it is a defect and is logged.
                    if isinstance(error, TimeoutError) and budget.expired():
                        count.code = grpc.StatusCode.DEADLINE_EXCEEDED
                        await context.abort(count.code, "the deadline passed")
                    _answer(error, context, count)

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(call, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: Any, method: CountedMethod) -> grpc.RpcMethodHandler[Any, Any]:  # noqa: ANN401 - four shapes of handler
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def call(request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - whatever message the method has
            with self._span(method, context) as span, CountedCall(method, span, context) as count:
                try:
                    answering = inner(request, context)
                    if inspect.isawaitable(answering):  # it writes to the context, as grpc's own health service
                        await answering
                        return
                    # Closed here and now: what a handler does at its end must not wait for the garbage collector.
                    async with contextlib.aclosing(answering) as responses:
                        async for response in responses:
                            yield response
                except Exception as error:  # noqa: BLE001 - the edge of a stream
                    _answer(error, context, count)

        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return make(call, handler.request_deserializer, handler.response_serializer)

    def _span(self, method: CountedMethod, context: grpc.aio.ServicerContext[Any, Any]) -> Span:
        if not self._tracing.on:
            return OFF
        return self._tracing.call(method.name, context.invocation_metadata())


def _budget_s(context: grpc.aio.ServicerContext[Any, Any], limit_s: float | None) -> float | None:
    remaining_s: float | None = context.time_remaining()
    if remaining_s is None or limit_s is None:
        return limit_s if remaining_s is None else remaining_s
    return min(remaining_s, limit_s)


def _answer(error: Exception, context: Any, count: CountedCall) -> None:  # noqa: ANN401 - grpc's context
    if isinstance(error, grpc.aio.AbortError):
        count.code = _code_of(context)
        raise error
    detail = status_of(error)
    count.code = detail.code
    # Not `abort`: its exception and the context hold each other, and with them the request's pictures, until the
    # garbage collector runs: a hundred refused pictures of 15 MB took 1.3 GB.
    status = rich_status(detail)
    context.set_code(status.code)
    context.set_details(status.details)
    context.set_trailing_metadata(status.trailing_metadata)


def _code_of(context: Any) -> grpc.StatusCode:  # noqa: ANN401 - grpc's context
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN
