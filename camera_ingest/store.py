"""The connection to the store that keeps cameras and leases: one server, a primary that Sentinels name, or a cluster.

All keys share one hash tag, so that one script reaches them together in a cluster too. The tag is the name that the
hash of cameras has had from the first version on. A call has its answer within a limit or fails as `UnavailableError`;
nothing is tried again here, for all that is asked may be repeated by who asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from tessera.chassis.store_address import StoreAddress, read_address
from tessera.domain.errors import UnavailableError

CAMERAS_KEY = "tessera:ingest:cameras"
_TAG = f"{{{CAMERAS_KEY}}}"
KEYS = (CAMERAS_KEY, f"{_TAG}:revision", f"{_TAG}:leases", f"{_TAG}:workers", f"{_TAG}:token", f"{_TAG}:quarantine")
"""What every script is given, in this order."""
_TIMEOUT_S = 1.5


class StoreConnection:
    """Runs scripts on the server that holds the cameras.

    Args:
        url: where the store is; as `store_address` reads it.

    Raises:
        InvalidInputError: the URL is none.
    """

    def __init__(self, url: str) -> None:
        self._client, self._sentinel = _client_of(read_address(url))

    async def run(self, script: str, *args: str | int) -> Any:  # noqa: ANN401 - Redis
        """Run a script over `KEYS`; text comes as str.

        Raises:
            UnavailableError: the store is away, or did not answer in time.
            asyncio.CancelledError: whoever asks is to end. The library awaits with `asyncio.wait_for`, which until
                Python 3.12 loses a cancellation that comes with the answer (python/cpython#86296).
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                told = await self._client.eval(script, len(KEYS), *KEYS, *map(str, args))
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            # RuntimeError is uvloop's word for a connection that was just lost. The text may name the server's URL.
            raise UnavailableError("store", type(error).__name__) from error
        asking = asyncio.current_task()
        if asking is not None and asking.cancelling():
            raise asyncio.CancelledError
        return told

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel else ():
            await sentinel.aclose()


def _client_of(address: StoreAddress) -> tuple[redis.asyncio.Redis | RedisCluster, Sentinel | None]:
    tls = _tls(address)
    who: dict[str, Any] = {
        "username": address.credentials.user or None,
        "password": address.credentials.password or None,
        "decode_responses": True,
        "socket_timeout": _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
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
