"""Which cameras are to be watched: kept in Redis, so that they are watched again after a restart or a kill -9.

One hash holds each camera as JSON under its id. Who watches it stands beside it, in the table of leases. Credentials
that stand in a URL are kept as they are; `${NAME}` keeps them out of the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from camera_ingest.camera import Camera, dump_camera, load_camera
from camera_ingest.store import CAMERAS_KEY, StoreConnection
from tessera.chassis.logs import get_logger
from tessera.domain.errors import AlreadyExistsError, NotFoundError, StoreCorruptError, UnavailableError
from tessera.domain.ids import CameraId

log = get_logger()

_CHANGES_AT_ONCE = 20

Change = Callable[[Camera], Camera]
"""Makes another camera of the same id of one."""


class CameraRegistry(Protocol):
    """Where cameras are kept."""

    async def load_all(self) -> list[Camera]:
        """Every camera, by id.

        Raises:
            UnavailableError: the store is away.
        """
        ...

    async def put(self, camera: Camera) -> bool:
        """Keep a camera.

        Returns:
            True when it is new, False when the same camera was there.

        Raises:
            AlreadyExistsError: another camera of this id is there.
            UnavailableError: the store is away.
        """
        ...

    async def change(self, camera_id: CameraId, change: Change) -> Camera:
        """Change a camera, as it is kept by then; returns what it is now.

        Args:
            camera_id: which.
            change: may be called again, when somebody else changed the camera meanwhile.

        Raises:
            NotFoundError: there is no such camera.
            StoreCorruptError: its entry is of a newer version, and is left alone.
            UnavailableError: the store is away, or others change the camera all the time.
        """
        ...

    async def remove(self, camera_id: CameraId) -> bool:
        """Forget a camera; returns whether it was there.

        Raises:
            UnavailableError: the store is away.
        """
        ...

    async def check(self) -> None:
        """Ask the store for a sign of life.

        Raises:
            UnavailableError: it is away.
        """
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


class MemoryCameraRegistry:
    """Cameras for as long as the process lives."""

    def __init__(self) -> None:
        self._cameras: dict[CameraId, Camera] = {}

    async def load_all(self) -> list[Camera]:
        """Every camera, by id."""
        return [self._cameras[camera_id] for camera_id in sorted(self._cameras)]

    async def put(self, camera: Camera) -> bool:
        """Keep a camera; False when the same camera was there."""
        before = self._cameras.setdefault(camera.camera_id, camera)
        if before != camera:
            raise AlreadyExistsError("camera", camera.camera_id)
        return before is camera

    async def change(self, camera_id: CameraId, change: Change) -> Camera:
        """Change a camera; returns what it is now."""
        if camera_id not in self._cameras:
            raise NotFoundError("camera", camera_id)
        self._cameras[camera_id] = change(self._cameras[camera_id])
        return self._cameras[camera_id]

    async def remove(self, camera_id: CameraId) -> bool:
        """Forget a camera; returns whether it was there."""
        return self._cameras.pop(camera_id, None) is not None

    async def check(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """Nothing is held."""


_LOAD = "return redis.call('HGETALL', KEYS[1])"
_PUT = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return redis.call('HGET', KEYS[1], ARGV[1]) end
redis.call('INCR', KEYS[2])
return false
"""
_FIND = "return redis.call('HGET', KEYS[1], ARGV[1])"
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('INCR', KEYS[2])
return 1
"""
_REMOVE = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('INCR', KEYS[2])
return 1
"""


class RedisCameraRegistry:
    """Cameras in one Redis hash; a number beside it grows with each change, so that other workers look.

    Args:
        store: the connection.
    """

    def __init__(self, store: StoreConnection) -> None:
        self._store = store
        self._told: frozenset[str] = frozenset()

    async def load_all(self) -> list[Camera]:
        """Every camera, by id; an entry that this version cannot read is told in the log once and left where it is."""
        flat = await self._store.run(_LOAD)
        cameras, unread = [], set()
        for camera_id, text in sorted(zip(flat[::2], flat[1::2], strict=True)):
            try:
                cameras.append(load_camera(text, _place(camera_id)))
            except StoreCorruptError as error:
                unread.add(camera_id)
                if camera_id not in self._told:
                    log.error("registry.unread", error=str(error))  # noqa: TRY400 - the sentence says it all
        self._told = frozenset(unread)
        return cameras

    async def put(self, camera: Camera) -> bool:
        """Keep a camera; False when the same camera was there."""
        before = await self._store.run(_PUT, camera.camera_id, dump_camera(camera))
        if before is not None and load_camera(before, _place(camera.camera_id)) != camera:
            raise AlreadyExistsError("camera", camera.camera_id)
        return before is None

    async def change(self, camera_id: CameraId, change: Change) -> Camera:
        """Change a camera; returns what it is now."""
        for _ in range(_CHANGES_AT_ONCE):
            before = await self._store.run(_FIND, camera_id)
            if before is None:
                raise NotFoundError("camera", camera_id)
            after = change(load_camera(before, _place(camera_id)))
            if await self._store.run(_REPLACE, camera_id, before, dump_camera(after)):
                return after
        raise UnavailableError("store", f"camera {camera_id} is changed by others all the time")

    async def remove(self, camera_id: CameraId) -> bool:
        """Forget a camera; returns whether it was there."""
        return bool(await self._store.run(_REMOVE, camera_id))

    async def check(self) -> None:
        """Ask the server that holds the cameras for a sign of life."""
        await self._store.run("return 1")

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()


def _place(camera_id: str) -> str:
    return f"{CAMERAS_KEY}[{camera_id}]"
