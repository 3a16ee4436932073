"""The connection to the store that keeps cameras and leases: one server, a primary that Sentinels name, or a cluster.

All keys share one hash tag, so that one script reaches them together in a cluster too. The tag is the name that the
hash of cameras has had from the first version on. A call has its answer within a limit or fails as `UnavailableError`;
nothing is tried again here, for all that is asked may be repeated by who asks.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import RedisError

from tessera.chassis.redis_client import open_redis
from tessera.chassis.store_address import read_address
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
        self._client = open_redis(read_address(url), _TIMEOUT_S)

    async def run(self, script: str, *args: str | int) -> Any:  # noqa: ANN401 - Redis
        """Run a script over `KEYS`; text comes as str.

        Raises:
            UnavailableError: the store is away, or did not answer in time.
            asyncio.CancelledError: whoever asks is to end. The library awaits with `asyncio.wait_for`, which until
                Python 3.12 loses a cancellation that comes with the answer (python/cpython#86296).
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                told = await self._client.asking.eval(script, len(KEYS), *KEYS, *map(str, args))
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            # RuntimeError is uvloop's word for a connection that was just lost. The text may name the server's URL.
            raise UnavailableError("store", type(error).__name__) from error
        asking = asyncio.current_task()
        if asking is not None and asking.cancelling():
            raise asyncio.CancelledError
        return told

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
