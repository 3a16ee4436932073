"""A door to the store's servers that counts the writes of which nobody can say whether they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gallery_svc.metrics import GalleryMetrics
from gallery_svc.store.door import Command, Door, NodeInfo
from tessera.domain.errors import OutcomeUnknownError


class CountedDoor:
    """Passes everything on.

    Args:
        door: to whom.
        metrics: where it counts.
    """

    def __init__(self, door: Door, metrics: GalleryMetrics) -> None:
        self._door = door
        self._metrics = metrics

    async def read(self, tag: str, commands: Sequence[Command], *, blocking_s: float = 0.0) -> list[Any]:
        """Send commands that change nothing."""
        return await self._door.read(tag, commands, blocking_s=blocking_s)

    async def read_raw(self, tag: str, command: Command) -> list[bytes]:
        """Send a command that changes nothing; its reply is not taken apart."""
        return await self._door.read_raw(tag, command)

    async def run(self, script: str, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:  # noqa: ANN401 - Redis
        """Run a script that writes nothing durable."""
        return await self._door.run(script, keys, args)

    async def write(
        self,
        script: str,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        request_id: str = "",
        *,
        wrote: Callable[[Any], bool] | None = None,
    ) -> Any:  # noqa: ANN401 - Redis
        """Run a script that writes; count it when its outcome is unknown."""
        try:
            return await self._door.write(script, keys, args, request_id, wrote=wrote)
        except OutcomeUnknownError as error:
            self._metrics.outcome_unknown.labels(error.cause).inc()
            raise

    async def nodes(self) -> list[NodeInfo]:
        """Each server that is known of."""
        return await self._door.nodes()

    async def rewrite_files(self, limit_s: float = 60.0) -> None:
        """Rewrite the append-only file of every node."""
        await self._door.rewrite_files(limit_s)

    async def prepare(self) -> None:
        """Check that the servers can keep what durability asks for."""
        await self._door.prepare()

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()
