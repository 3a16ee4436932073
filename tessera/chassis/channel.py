"""Channels to other services: limits, keepalive that the server allows, retries for what may be tried again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tessera.chassis.limits import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES
from tessera.chassis.tracing import TRACEPARENT, Tracing, current_span

_RETRY = {
    # grpc caps maxAttempts at 5. UNAVAILABLE alone; it may also follow a write whose answer was lost, so that every
    # write over these channels may be repeated: by its request id or event id, or since it names a state to reach.
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_SERVICE_CONFIG = {
    "methodConfig": [{"name": [{}], "retryPolicy": _RETRY}],
    "loadBalancingConfig": [{"round_robin": {}}],
}
CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # After a restart of the server a client is back within a second and not after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class _PassOn(grpc.aio.UnaryUnaryClientInterceptor):
    """Tells the server below which span its own stands."""

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[grpc.aio.UnaryUnaryCall[Any, Any]]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,  # noqa: ANN401 - whatever message the method has
    ) -> grpc.aio.UnaryUnaryCall[Any, Any]:
        traceparent = current_span().traceparent()
        if traceparent is not None:
            asked = client_call_details
            client_call_details = grpc.aio.ClientCallDetails(
                method=asked.method,
                timeout=asked.timeout,
                metadata=grpc.aio.Metadata(*(asked.metadata or ()), (TRACEPARENT, traceparent)),
                credentials=asked.credentials,
                wait_for_ready=asked.wait_for_ready,
            )
        return await continuation(client_call_details, request)


def open_channel(address: str, tracing: Tracing | None = None) -> grpc.aio.Channel:
    """An asyncio channel to `host:port`; nothing is connected before the first call.

    Args:
        address: `host:port`.
        tracing: when it is on, single calls made in the service of another call belong to that one's trace.
    """
    passing_on = [_PassOn()] if tracing is not None and tracing.on else None
    return grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS, interceptors=passing_on)


def open_blocking_channel(address: str) -> grpc.Channel:
    """A channel for threads, to `host:port`."""
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
