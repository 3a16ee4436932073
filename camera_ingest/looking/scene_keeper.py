"""Keeps what a camera's scene is known to look like, so that a worker that starts again knows it at once.

Sealed on this machine's disk, beside best shots and clips. A camera that another machine's worker takes is learned
anew there. What cannot be kept or read costs sixteen seconds of learning, and is told in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from camera_ingest.camera import Camera
from camera_ingest.evidence.vault import Kind, NotKeptError, Piece, Vault
from camera_ingest.looking.album import Album
from camera_ingest.looking.scene import SceneWatch
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import NotFoundError

log = get_logger()

Answer = TypeVar("Answer")

SAVED_EVERY_S = 60.0


class SceneKeeper:
    """Keeps the scene of one camera. Used from one event loop.

    Args:
        camera: whose.
        scene: watches it.
        vault: on disk, open.
        executor: where files are read and written.
        clock: for the pieces' ages.
    """

    def __init__(self, camera: Camera, scene: SceneWatch, vault: Vault, executor: Executor, clock: Clock) -> None:
        self._camera_id = camera.camera_id
        self._scene = scene
        self._vault = vault
        self._executor = executor
        self._clock = clock
        self._piece_id = piece_id_of(camera)
        self._saved = 0

    async def recall(self) -> None:
        """Hand what is kept to the watch; to be called before its first look."""
        try:
            _, data = await self._do(lambda: self._vault.get(Kind.SCENE, self._piece_id))
            self._scene.album = await self._do(lambda: Album.load(data))
        except NotFoundError:
            return
        except ValueError as error:
            log.warning("scene.unreadable", camera=self._camera_id, error=str(error))

    async def run(self) -> None:
        """Keep what is new, now and then, for ever."""
        while True:
            await asyncio.sleep(SAVED_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Keep what is new."""
        changes, now = self._scene.album.changes, self._clock.now()
        if changes == self._saved:
            return
        piece = Piece(self._piece_id, Kind.SCENE, self._camera_id, now, now)
        try:
            await self._do(lambda: self._vault.put(piece, self._scene.album.dump()))
            self._saved = changes
        except NotKeptError as error:
            log.warning("scene.not_kept", camera=self._camera_id, trouble=error.trouble.value)

    async def _do(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def piece_id_of(camera: Camera) -> str:
    """Of the scene that a camera's settings make: another stream or another mask is another scene."""
    places = tuple((zone.masked, zone.corners) for zone in camera.zones if zone.masked or camera.only_zones)
    source = (camera.camera_id, camera.shown_url, camera.shown_sub_stream_url, places)
    return hashlib.blake2b(repr(source).encode(), digest_size=16).hexdigest()
