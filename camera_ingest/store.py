"""The store that keeps cameras and leases: scripts over a few keys, one after the other.

All keys share one hash tag, so that one script reaches them together in a cluster too. The tag is the name that the
hash of cameras has had from the first version on.
"""

from __future__ import annotations

from typing import Any

from tessera.chassis.store_client import StoreClient

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
        self._client = StoreClient(url, _TIMEOUT_S)

    async def run(self, script: str, *args: str | int) -> Any:  # noqa: ANN401 - Redis
        """Run a script over `KEYS`; text comes as str.

        Raises:
            UnavailableError: the store is away, or did not answer in time.
            asyncio.CancelledError: whoever asks is to end.
        """
        return await self._client.answer(self._client.commands.eval(script, len(KEYS), *KEYS, *map(str, args)))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
