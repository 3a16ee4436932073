"""Which cameras are to be watched: kept in Redis, so that they are watched again after a restart or a kill -9.

One hash holds each camera as JSON under its id. Leases, by which several workers share the cameras, come later and
need no change here. Credentials that stand in a URL are kept as they are; `${NAME}` keeps them out of the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import redis.asyncio
from redis.exceptions import RedisError

from camera_ingest.camera import Camera, dump_camera, load_camera
from tessera.chassis.logs import get_logger
from tessera.chassis.settings import MEMORY
from tessera.domain.errors import AlreadyExistsError, NotFoundError, StoreCorruptError, UnavailableError
from tessera.domain.ids import CameraId

log = get_logger()

KEY = "tessera:ingest:cameras"
_TIMEOUT_S = 3.0
_CHANGES_AT_ONCE = 20
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

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


class RedisCameraRegistry:
    """Cameras in one Redis hash.

    Args:
        url: of the server, such as `redis://127.0.0.1:7379/0`.
    """

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, decode_responses=True, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    async def load_all(self) -> list[Camera]:
        """Every camera, by id; an entry that is none is told in the log and left where it is."""
        try:
            entries = await self._redis.hgetall(KEY)
        except (RedisError, OSError) as error:
            raise _away(error) from error
        cameras = []
        for camera_id, text in sorted((str(key), str(value)) for key, value in entries.items()):
            try:
                cameras.append(load_camera(text, f"{KEY}[{camera_id}]"))
            except StoreCorruptError as error:
                log.error("registry.corrupt", error=str(error))  # noqa: TRY400 - the sentence says it all
        return cameras

    async def put(self, camera: Camera) -> bool:
        """Keep a camera; False when the same camera was there."""
        try:
            is_new = bool(await self._redis.hsetnx(KEY, camera.camera_id, dump_camera(camera)))
            before = None if is_new else await self._redis.hget(KEY, camera.camera_id)
        except (RedisError, OSError) as error:
            raise _away(error) from error
        if not is_new and (before is None or load_camera(str(before), f"{KEY}[{camera.camera_id}]") != camera):
            raise AlreadyExistsError("camera", camera.camera_id)
        return is_new

    async def change(self, camera_id: CameraId, change: Change) -> Camera:
        """Change a camera; returns what it is now."""
        for _ in range(_CHANGES_AT_ONCE):
            try:
                before = await self._redis.hget(KEY, camera_id)
            except (RedisError, OSError) as error:
                raise _away(error) from error
            if before is None:
                raise NotFoundError("camera", camera_id)
            after = change(load_camera(str(before), f"{KEY}[{camera_id}]"))
            if await self._replace(str(before), after):
                return after
        raise UnavailableError("store", f"camera {camera_id} is changed by others all the time")

    async def _replace(self, before: str, after: Camera) -> bool:
        try:
            return bool(await self._redis.eval(_REPLACE, 1, KEY, after.camera_id, before, dump_camera(after)))
        except (RedisError, OSError) as error:
            raise _away(error) from error

    async def remove(self, camera_id: CameraId) -> bool:
        """Forget a camera; returns whether it was there."""
        try:
            return bool(await self._redis.hdel(KEY, camera_id))
        except (RedisError, OSError) as error:
            raise _away(error) from error

    async def check(self) -> None:
        """Ping the server."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def open_registry(url: str) -> CameraRegistry:
    """The registry that a store URL names; `memory` keeps nothing."""
    return MemoryCameraRegistry() if url == MEMORY else RedisCameraRegistry(url)


def _away(error: Exception) -> UnavailableError:
    # The text may name the server's URL; its kind is enough.
    return UnavailableError("store", type(error).__name__)
