"""The store, for services that ask it for a little: one server, a primary that Sentinels name, or a cluster.

A question has its answer within a limit or fails as `UnavailableError`; nothing is tried again here, for whoever asks
knows whether that may be repeated. The gallery, which lives by its store, has a line of its own (ADR 0013).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tessera.chassis.store_address import StoreAddress, read_address
from tessera.domain.errors import UnavailableError

Commands = redis.asyncio.Redis | RedisCluster


class StoreClient:
    """Asks the servers behind one address.

    Args:
        url: where the store is; as `store_address` reads it.
        timeout_s: for each answer.

    Raises:
        InvalidInputError: the URL is none.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.commands, self._sentinel = _client_of(read_address(url), timeout_s)
        """The library's own commands; text comes as str."""

    async def answer(self, asked: Awaitable[Any]) -> Any:  # noqa: ANN401 - redis types its answers as several things at once
        """What the store answers to one of `commands`.

        Raises:
            UnavailableError: the store is away, did not answer in time, or answers with an error.
            asyncio.CancelledError: whoever asks is to end. The library awaits with `asyncio.wait_for`, which until
                Python 3.12 loses a cancellation that comes with the answer (python/cpython#86296): who asks in a loop
                would never end.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                told = await asked
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            # RuntimeError is uvloop's word for a connection that was just lost. The text may name the server's URL.
            raise UnavailableError("store", type(error).__name__) from error
        asking = asyncio.current_task()
        if asking is not None and asking.cancelling():
            raise asyncio.CancelledError
        return told

    async def close(self) -> None:
        """Close the connections."""
        await self.commands.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel else ():
            await sentinel.aclose()


def _client_of(address: StoreAddress, timeout_s: float) -> tuple[Commands, Sentinel | None]:
    tls = _tls(address)
    who: dict[str, Any] = {
        "username": address.credentials.user or None,
        "password": address.credentials.password or None,
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,
        **tls,
    }
    if address.kind == "cluster":
        nodes = [ClusterNode(endpoint.host, endpoint.port) for endpoint in address.endpoints]
        return RedisCluster(startup_nodes=nodes, require_full_coverage=False, **who), None
    once = Retry(NoBackoff(), 0)
    if address.kind == "sentinel":
        own = address.sentinel_credentials
        asked = {**who, "username": own.user or None, "password": own.password or None, "retry": once}
        hosts = [(endpoint.host, endpoint.port) for endpoint in address.endpoints]
        sentinel = Sentinel(hosts, sentinel_kwargs=asked, db=address.database, retry=once, **who)  # type: ignore[no-untyped-call]
        return sentinel.master_for(address.primary), sentinel
    endpoint = address.endpoints[0]
    if endpoint.path:
        return redis.asyncio.Redis(unix_socket_path=endpoint.path, db=address.database, retry=once, **who), None
    return redis.asyncio.Redis(host=endpoint.host, port=endpoint.port, db=address.database, retry=once, **who), None


def _tls(address: StoreAddress) -> Mapping[str, Any]:
    if address.credentials.tls is None:
        return {}
    options: dict[str, Any] = {name: value for name, value in address.tls_options if name != "ssl_check_hostname"}
    return {"ssl": True, "ssl_check_hostname": address.credentials.tls.check_hostname, **options}
