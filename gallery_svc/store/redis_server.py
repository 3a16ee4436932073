"""One Redis or Valkey: commands and scripts asked of it, and one error for every way in which it can be away.

It stands only until the store goes through `redis_door`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from redis import exceptions as rx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gallery_svc.store.lua import load_scripts
from tessera.domain.errors import InvalidInputError, UnavailableError

# Replies of a server that is there and cannot serve: it is full, cannot write its file, or fails over.
_AWAY = (rx.OutOfMemoryError, rx.ReadOnlyError, rx.ClusterDownError, rx.TryAgainError, rx.MasterDownError)
_AWAY_PREFIXES = ("MISCONF", "NOREPLICAS", "BUSY", "OOM")


class RedisServer:
    """A server, and the scripts that it runs.

    Args:
        url: `redis://host:port/db`.
        timeout_s: a command that takes longer counts as an unavailable store.
        observe: told each call's operation (a script's name, or `read`) and its seconds.
    """

    def __init__(self, url: str, timeout_s: float, observe: Callable[[str, float], None] | None) -> None:
        try:
            self.commands = Redis.from_url(
                url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise InvalidInputError("store", url.partition("://")[0], "memory, or a redis:// URL") from error
        self._observe = observe
        self._scripts = {name: self.commands.register_script(script.text) for name, script in load_scripts().items()}

    async def close(self) -> None:
        """Close the connections."""
        await self.commands.aclose()

    async def ask(self, command: Any, operation: str = "read") -> Any:  # noqa: ANN401 - Redis
        """Await a command; whatever keeps the server from answering becomes one error.

        Raises:
            UnavailableError: it is away, full, or cannot write.
        """
        started_s = time.monotonic()
        try:
            return await command
        except (rx.ConnectionError, rx.TimeoutError, OSError) as error:
            raise UnavailableError("store", type(error).__name__) from error
        except rx.ResponseError as error:
            if isinstance(error, _AWAY) or str(error).startswith(_AWAY_PREFIXES):
                raise UnavailableError("store", type(error).__name__) from error
            raise
        finally:
            if self._observe is not None:
                self._observe(operation, time.monotonic() - started_s)

    async def run(self, name: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:  # noqa: ANN401 - Redis
        """Run one script; all of it happens, or nothing."""
        return await self.ask(self._scripts[name](keys=keys, args=cast("Any", arguments)), name)
