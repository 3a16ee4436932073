"""All cameras of this process: those that the registry holds, each with its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from camera_ingest.camera import Camera
from camera_ingest.metrics import IngestMetrics
from camera_ingest.registry import CameraRegistry, Change
from camera_ingest.worker import CameraWorker
from tessera.chassis.logs import get_logger
from tessera.client.stream_values import TrackletDecision, TrackletUpdate
from tessera.domain.errors import NotFoundError, OverloadedError
from tessera.domain.ids import CameraId

log = get_logger()


class Fleet:
    """Cameras and their workers. Used from one event loop.

    Args:
        registry: where cameras are kept.
        make_worker: makes the worker of a camera.
        metrics: forget the cameras that are removed.
        max_cameras: one more is refused.
    """

    def __init__(
        self,
        registry: CameraRegistry,
        make_worker: Callable[[Camera], CameraWorker],
        metrics: IngestMetrics,
        max_cameras: int,
    ) -> None:
        self._registry = registry
        self._make_worker = make_worker
        self._metrics = metrics
        self._max_cameras = max_cameras
        self._workers: dict[CameraId, CameraWorker] = {}
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Watch every camera that the registry holds; those that are watched already go on.

        Raises:
            UnavailableError: the store is away.
        """
        async with self._changing:
            for camera in await self._registry.load_all():
                self._watch(camera)
        log.info("cameras.loaded", cameras=len(self._workers))

    async def stop(self) -> None:
        """Stop every worker, all at once; one that fails to stop keeps none of the others from it."""
        async with self._changing:
            workers = list(self._workers.values())
            ends = await asyncio.gather(*(worker.stop() for worker in workers), return_exceptions=True)
            for worker, end in zip(workers, ends, strict=True):
                if isinstance(end, BaseException):
                    log.error("camera.stop_failed", camera=worker.camera.camera_id, exc_info=end)

    async def add(self, camera: Camera) -> None:
        """Keep a camera and watch it.

        Raises:
            AlreadyExistsError: another camera of this id is there.
            OverloadedError: there are as many cameras as this process may watch.
            UnavailableError: the store is away.
        """
        async with self._changing:
            if camera.camera_id not in self._workers and len(self._workers) >= self._max_cameras:
                raise OverloadedError("cameras", self._max_cameras)
            await self._registry.put(camera)
            self._watch(camera)

    async def change(self, camera_id: CameraId, change: Change) -> Camera:
        """Change a camera, and what watches it as far as it must; returns what it is now.

        Raises:
            NotFoundError: there is no such camera.
            InvalidInputError: the change is none that a camera allows; everything stays.
            UnavailableError: the store is away; everything stays.
        """
        async with self._changing:
            camera = await self._registry.change(camera_id, change)
            worker = self._workers.get(camera_id)
            if worker is None or not worker.take_over(camera):
                await self._end(camera_id)
                self._watch(camera)
            return camera

    async def remove(self, camera_id: CameraId) -> bool:
        """Forget a camera and stop watching it; returns whether it was there.

        Raises:
            UnavailableError: the store is away; the camera stays.
        """
        async with self._changing:
            was_kept = await self._registry.remove(camera_id)
            was_watched = await self._end(camera_id)
            if was_watched:
                self._metrics.forget_camera(camera_id)
            return was_kept or was_watched

    def worker(self, camera_id: CameraId) -> CameraWorker:
        """The worker of a camera.

        Raises:
            NotFoundError: there is no such camera.
        """
        worker = self._workers.get(camera_id)
        if worker is None:
            raise NotFoundError("camera", camera_id)
        return worker

    def workers_after(self, camera_id: str, limit: int) -> list[CameraWorker]:
        """Up to `limit` workers by camera id, from the one after `camera_id` on."""
        return [self._workers[key] for key in sorted(self._workers) if key > camera_id][:limit]

    def decide(self, update: TrackletUpdate, decision: TrackletDecision) -> None:
        """Pass a decision to the camera that the update came from; one of a removed camera is too late."""
        worker = self._workers.get(update.camera_id)
        if worker is not None:
            worker.decide(decision)

    async def _end(self, camera_id: CameraId) -> bool:
        worker = self._workers.pop(camera_id, None)
        if worker is None:
            return False
        try:
            await worker.stop()
        except Exception:  # it is watched no more, whatever it left behind
            log.exception("camera.stop_failed", camera=camera_id)
        return True

    def _watch(self, camera: Camera) -> None:
        if camera.camera_id not in self._workers:
            worker = self._make_worker(camera)
            self._workers[camera.camera_id] = worker
            worker.start()
