"""redis-py's client of one server, a primary that Sentinels name, or a cluster: for who asks a store now and then.

The camera worker's registry and the gateway's outbox stand on it; the gallery has a line of its own (ADR 0013). Nothing
is tried again in here: who asks knows what may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from tessera.chassis.store_address import StoreAddress


@dataclass(frozen=True, slots=True)
class RedisClient:
    """A client, and what must be closed with it."""

    asking: redis.asyncio.Redis | RedisCluster
    sentinel: Sentinel | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self.asking.aclose()
        for sentinel in self.sentinel.sentinels if self.sentinel else ():
            await sentinel.aclose()


def open_redis(address: StoreAddress, timeout_s: float) -> RedisClient:
    """A client; nothing is connected before the first command.

    Args:
        address: as `read_address` reads it.
        timeout_s: for connecting, and for each answer.
    """
    who: dict[str, Any] = {
        "username": address.credentials.user or None,
        "password": address.credentials.password or None,
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "protocol": 2,
        **_tls(address),
    }
    if address.kind == "cluster":
        nodes = [ClusterNode(endpoint.host, endpoint.port) for endpoint in address.endpoints]
        return RedisClient(RedisCluster(startup_nodes=nodes, require_full_coverage=False, **who))
    once = Retry(NoBackoff(), 0)
    if address.kind == "sentinel":
        own = address.sentinel_credentials
        asked = {**who, "username": own.user or None, "password": own.password or None, "retry": once}
        hosts = [(endpoint.host, endpoint.port) for endpoint in address.endpoints]
        sentinel = Sentinel(hosts, sentinel_kwargs=asked, db=address.database, retry=once, **who)  # type: ignore[no-untyped-call]
        return RedisClient(sentinel.master_for(address.primary), sentinel)
    endpoint = address.endpoints[0]
    if endpoint.path:
        return RedisClient(redis.asyncio.Redis(unix_socket_path=endpoint.path, db=address.database, retry=once, **who))
    return RedisClient(
        redis.asyncio.Redis(host=endpoint.host, port=endpoint.port, db=address.database, retry=once, **who)
    )


def _tls(address: StoreAddress) -> Mapping[str, Any]:
    if address.credentials.tls is None:
        return {}
    options: dict[str, Any] = {name: value for name, value in address.tls_options if name != "ssl_check_hostname"}
    return {"ssl": True, "ssl_check_hostname": address.credentials.tls.check_hostname, **options}
