"""Channels to other services: limits, keepalive that the server allows, retries for what may be tried again.

An address is `host:port`, and calls go in turn to all that the name stands for. Where several are meant, it is written
`dns:///host:port`, or as a list of IP addresses, `10.0.0.1:7001,10.0.0.2:7001`: then each is also watched by its health
check, and one whose calls fail while the others' do not is left out for a while (ADR 0032).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from tessera.chassis.limits import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES
from tessera.chassis.tracing import TRACEPARENT, Tracing, current_span
from tessera.domain.errors import InvalidInputError

_RETRY = {
    # grpc caps maxAttempts at 5. UNAVAILABLE alone; it may also follow a write whose answer was lost, so that every
    # write over these channels may be repeated: by its request id or event id, or since it names a state to reach.
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_IN_TURN: dict[str, Any] = {"round_robin": {}}
_OUTLIERS = {
    # Whoever fails five in six of its calls while another does not is left out: 5 s, then 10, ... up to 60. Never more
    # than half of them, since calls also fail by their callers' fault, and then everywhere.
    "interval": "1s",
    "baseEjectionTime": "5s",
    "maxEjectionTime": "60s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {
        "threshold": 83,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 5,
    },
    "childPolicy": [_IN_TURN],
}
_ONE: dict[str, Any] = {
    "methodConfig": [{"name": [{}], "retryPolicy": _RETRY}],
    "loadBalancingConfig": [_IN_TURN],
}
_SEVERAL = {
    **_ONE,
    "loadBalancingConfig": [{"outlier_detection_experimental": _OUTLIERS}, _IN_TURN],
    "healthCheckConfig": {"serviceName": ""},
}
CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_ONE)),
    # After a restart of the server a client is back within a second and not after two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
_FOR_SEVERAL = [option for option in CHANNEL_OPTIONS if option[0] != "grpc.service_config"]
_FOR_SEVERAL.append(("grpc.service_config", json.dumps(_SEVERAL)))


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
    """An asyncio channel; nothing is connected before the first call.

    Args:
        address: of one service or several, as the module says.
        tracing: when it is on, single calls made in the service of another call belong to that one's trace.
    """
    passing_on = [_PassOn()] if tracing is not None and tracing.on else None
    target, options = _target(address)
    return grpc.aio.insecure_channel(target, options=options, interceptors=passing_on)


def open_blocking_channel(address: str) -> grpc.Channel:
    """A channel for threads, to the same kinds of address."""
    target, options = _target(address)
    return grpc.insecure_channel(target, options=options)


def _target(address: str) -> tuple[str, list[tuple[str, Any]]]:
    """What gRPC calls an address, and how calls are shared out.

    Source: gRPC A17 (client-side health checks), A50 (outlier detection), naming.md (`dns:`, `ipv4:`, `ipv6:`).

    Raises:
        InvalidInputError: a list of something else than IP addresses.
    """
    listed = [part.strip() for part in address.split(",")]
    if len(listed) == 1:
        return address, _FOR_SEVERAL if address.startswith("dns:") else CHANNEL_OPTIONS
    kinds = {_kind(part) for part in listed}
    if len(kinds) != 1 or "" in kinds:
        allowed = "HOST:PORT, dns:///HOST:PORT, or IP addresses of one kind with their ports and commas between"
        raise InvalidInputError("address", address, allowed)
    return f"{kinds.pop()}:{','.join(listed)}", _FOR_SEVERAL


def _kind(part: str) -> str:
    host, colon, port = part.rpartition(":")
    try:
        return f"ipv{ipaddress.ip_address(host.strip('[]')).version}" if colon and port.isdecimal() else ""
    except ValueError:
        return ""
