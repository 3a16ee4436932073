"""The cameras of this process: those that the registry holds and the leases give it, each with its worker.

What is to be watched comes from two sides, from people through the registry and from other workers through the leases;
`follow` brings what is watched in line with both, and is called after each change of either. Leases are renewed
elsewhere: however long a camera takes to stop, its lease is good meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from camera_ingest.camera import Camera, CameraState, CameraStatus, idle_status
from camera_ingest.leases.keeper import Lease, LeaseKeeper
from camera_ingest.metrics import IngestMetrics
from camera_ingest.quarantine import Quarantine
from camera_ingest.registry import CameraRegistry, Change
from camera_ingest.worker import CameraWorker
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import first_end
from tessera.client.stream_values import TrackletDecision, TrackletUpdate
from tessera.domain.errors import NotFoundError, OverloadedError, UnavailableError
from tessera.domain.ids import CameraId

log = get_logger()

_LOOK_EVERY_S = 0.5
"""So soon a camera stops whose lease has ended."""
_READ_EVERY_S = 10.0
"""A worker of an older version changes cameras without a word to the others."""


class Fleet:
    """Cameras and their workers. Used from one event loop.

    Args:
        registry: where cameras are kept.
        keeper: which of them are this process's.
        make_worker: makes the worker of a camera, under a lease.
        quarantine: pictures that are held back, of all cameras.
        metrics: forget the cameras that are watched no more.
        clock: for when cameras are read again.
    """

    def __init__(
        self,
        *,
        registry: CameraRegistry,
        keeper: LeaseKeeper,
        make_worker: Callable[[Camera, Lease], CameraWorker],
        quarantine: Quarantine,
        metrics: IngestMetrics,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._keeper = keeper
        self._make_worker = make_worker
        self._quarantine = quarantine
        self._metrics = metrics
        self._clock = clock
        self._cameras: dict[CameraId, Camera] = {}
        self._workers: dict[CameraId, CameraWorker] = {}
        self._rested: dict[CameraId, CameraWorker] = {}
        self._unwatchable: list[Camera] = []
        self._read_revision = -1
        self._read_s: float | None = None
        self._is_stopped = False
        self._changing = asyncio.Lock()

    @property
    def is_loaded(self) -> bool:
        """Whether the cameras have been read once."""
        return self._read_s is not None

    @property
    def other_addresses(self) -> frozenset[str]:
        """Where the other workers listen."""
        return self._keeper.addresses

    # ---- life

    async def run(self) -> None:
        """Follow what others change, for ever."""
        while True:
            await first_end(self._keeper.changed.wait(), asyncio.sleep(_LOOK_EVERY_S))
            self._keeper.changed.clear()
            try:
                await self.follow()
            except Exception:  # the edge of a task: one bad moment must not end it
                log.exception("cameras.follow_failed")

    async def load(self) -> None:
        """Read the cameras, take this worker's share, and watch it.

        Raises:
            UnavailableError: the store is away.
        """
        async with self._changing:
            await self._read()
            await self._keeper.beat()
            await self._settle()
        log.info("cameras.loaded", cameras=len(self._cameras), watched=len(self._workers))

    async def follow(self) -> None:
        """Bring what is watched in line with the registry and the leases."""
        async with self._changing:
            if self._is_stopped or not self.is_loaded:
                return
            await self._quarantine.save()
            try:
                if self._is_old:
                    await self._read()
            except UnavailableError:
                pass  # the keeper says so; what is known goes on for as long as its leases do
            await self._settle()

    async def stop(self) -> None:
        """Stop every worker, all at once, and let go of the leases; a worker that fails to stop holds up no other."""
        async with self._changing:
            self._is_stopped = True
            await self._end(list(self._workers))
            try:
                await self._keeper.leave()
            except UnavailableError as error:
                log.warning("leases.not_given_back", error=str(error))

    # ---- what people change

    async def add(self, camera: Camera) -> None:
        """Keep a camera; a worker with room watches it.

        Raises:
            AlreadyExistsError: another camera of this id is there.
            OverloadedError: there are as many cameras as all workers together may watch.
            UnavailableError: the store is away.
        """
        async with self._changing:
            await self._read()
            if camera.camera_id not in self._cameras and len(self._cameras) >= self._keeper.total_capacity:
                raise OverloadedError("cameras", self._keeper.total_capacity)
            await self._registry.put(camera)
            await self._take_in(camera)

    async def change(self, camera_id: CameraId, change: Change) -> Camera:
        """Change a camera, and what watches it as far as it must; returns what it is now.

        Raises:
            NotFoundError: there is no such camera.
            InvalidInputError: the change is none that a camera allows; everything stays.
            UnavailableError: the store is away; everything stays.
        """
        async with self._changing:
            camera = await self._registry.change(camera_id, change)
            await self._take_in(camera)
            return camera

    async def remove(self, camera_id: CameraId) -> bool:
        """Forget a camera and stop watching it; returns whether it was there.

        Raises:
            UnavailableError: the store is away; the camera stays.
        """
        async with self._changing:
            was_kept = await self._registry.remove(camera_id)
            await self._quarantine.forget(camera_id)
            was_known = self._cameras.pop(camera_id, None) is not None
            self._keeper.want(self._enabled())
            await self._settle()
            return was_kept or was_known

    # ---- what people ask

    async def camera(self, camera_id: CameraId) -> Camera:
        """A camera as it is kept.

        Raises:
            NotFoundError: there is no such camera.
        """
        if camera_id not in self._cameras or self._is_unheld(camera_id):
            await self._look_again()
        camera = self._cameras.get(camera_id)
        if camera is None:
            raise NotFoundError("camera", camera_id)
        return camera

    async def cameras_after(self, camera_id: str, limit: int) -> list[Camera]:
        """Up to `limit` cameras by id, from the one after `camera_id` on."""
        await self._look_again()
        return [self._cameras[key] for key in sorted(self._cameras) if key > camera_id][:limit]

    def watched(self) -> list[Camera]:
        """The cameras that are watched here, by id."""
        return [self._workers[key].camera for key in sorted(self._workers)]

    async def snapshot(self, camera: Camera) -> tuple[bytes, datetime]:
        """The newest sampled frame of a camera as a JPEG, and its capture time.

        Raises:
            UnavailableError: nobody has a frame of it.
        """
        worker = self._workers.get(camera.camera_id) or self._rested.get(camera.camera_id)
        if worker is None:
            raise UnavailableError("frame", "nobody watches the camera by now")
        return await worker.snapshot()

    def accept_scene(self, camera: Camera) -> None:
        """What a camera shows now is its scene.

        Raises:
            PreconditionError: its scene is not watched.
            UnavailableError: nobody watches it.
        """
        worker = self._workers.get(camera.camera_id)
        if worker is None:
            raise UnavailableError("worker", "nobody watches the camera by now")
        worker.accept_scene()

    def holder_address(self, camera_id: CameraId) -> str | None:
        """Where the worker listens that watches a camera, when it is another one."""
        return None if camera_id in self._workers else self._keeper.holder_address(camera_id)

    def worker(self, camera_id: CameraId) -> CameraWorker:
        """The worker of a camera.

        Raises:
            NotFoundError: no such camera is watched here.
        """
        worker = self._workers.get(camera_id)
        if worker is None:
            raise NotFoundError("camera", camera_id, "none of this id is watched here")
        return worker

    def status(self, camera: Camera) -> CameraStatus:
        """How a camera does, as far as this process knows."""
        worker = self._workers.get(camera.camera_id)
        if worker is not None:
            return replace(
                worker.status(),
                worker_address=self._keeper.address,
                lease_token=worker.lease.token,
                quarantined_pictures=self._quarantine.count(camera.camera_id),
            )
        if not camera.enabled:
            return idle_status(camera, CameraState.DISABLED, "")
        rested = self._rested.get(camera.camera_id)
        if rested is not None:
            return rested.status()
        failed = camera in self._unwatchable
        detail = "internal error; the log has it" if failed else "no worker watches it by now"
        return idle_status(camera, CameraState.WAITING, detail)

    def watched_camera(self, camera_id: CameraId) -> Camera | None:
        """A camera that is watched here; None: it is not."""
        worker = self._workers.get(camera_id)
        return worker.camera if worker is not None else None

    def decide(self, update: TrackletUpdate, decision: TrackletDecision) -> None:
        """Pass a decision to the camera that the update came from; one of a removed camera is too late."""
        worker = self._workers.get(update.camera_id)
        if worker is not None:
            worker.decide(decision, update.collection_id)

    # ---- inside

    @property
    def _is_old(self) -> bool:
        read_s, revision = self._read_s, self._keeper.revision
        return read_s is None or revision != self._read_revision or self._clock.monotonic_s() - read_s > _READ_EVERY_S

    def _enabled(self) -> list[CameraId]:
        return [camera_id for camera_id, camera in self._cameras.items() if camera.enabled]

    async def _read(self) -> None:
        revision = self._keeper.revision  # before the cameras: what changes meanwhile is read again
        self._cameras = {camera.camera_id: camera for camera in await self._registry.load_all()}
        await self._quarantine.settle()
        self._read_revision, self._read_s = revision, self._clock.monotonic_s()
        self._keeper.want(self._enabled())

    async def _look_again(self) -> None:
        """Read what another worker may have changed a moment ago; without the store, what is known is told."""
        async with self._changing:
            try:
                await self._read()
                if any(map(self._is_unheld, self._cameras)):
                    await self._keeper.beat()
            except UnavailableError:
                if not self.is_loaded:
                    raise

    def _is_unheld(self, camera_id: CameraId) -> bool:
        """Whether nobody is known to watch a camera that somebody should."""
        is_wanted = camera_id in self._cameras and self._cameras[camera_id].enabled
        return is_wanted and camera_id not in self._workers and self._keeper.holder_address(camera_id) is None

    async def _take_in(self, camera: Camera) -> None:
        self._cameras[camera.camera_id] = camera
        self._keeper.want(self._enabled())
        await self._keeper.beat()
        await self._settle()

    async def _settle(self) -> None:
        """Stop what is no longer ours, let go of it, change what was changed, and start what is new."""
        held, leaving = self._keeper.held(), self._keeper.leaving()
        wanted = set(self._enabled())
        mine = {key: lease for key, lease in held.items() if key in wanted and key not in leaving}
        await self._rest([key for key in self._workers if key in wanted and key not in held])
        await self._end([key for key, worker in self._workers.items() if mine.get(key) is not worker.lease])
        await self._give_back(lease for key, lease in held.items() if key not in mine)
        for key in [key for key in self._rested if key not in wanted or self._keeper.holder_address(key)]:
            del self._rested[key]
            self._metrics.forget_camera(key)
        for key, lease in mine.items():
            await self._watch_or_tell(self._cameras[key], lease)
        for worker in self._rested.values():
            worker.tell_age()

    async def _rest(self, camera_ids: list[CameraId]) -> None:
        """Stop cameras whose lease has ended, and keep how they stood, with their newest frame."""
        workers = {key: self._workers[key] for key in camera_ids}
        await self._end(camera_ids, forget=False)
        for key, worker in workers.items():
            worker.rest("its lease has ended: the store is away, or another worker takes it")
            self._rested[key] = worker

    async def _end(self, camera_ids: list[CameraId], *, forget: bool = True) -> None:
        workers = [self._workers[key] for key in camera_ids]
        ends = await asyncio.gather(*(worker.stop() for worker in workers), return_exceptions=True)
        for key, end in zip(camera_ids, ends, strict=True):
            if isinstance(end, BaseException):  # it is watched no more, whatever it left behind
                log.error("camera.stop_failed", camera=key, exc_info=end)
            del self._workers[key]
            if forget:
                self._metrics.forget_camera(key)

    async def _give_back(self, leases: Iterable[Lease]) -> None:
        try:
            await self._keeper.give_back(leases)
        except UnavailableError as error:
            log.warning("leases.not_given_back", error=str(error))

    async def _watch_or_tell(self, camera: Camera, lease: Lease) -> None:
        try:
            await self._watch(camera, lease)
        except Exception:  # one camera that cannot be watched must not keep the others from it
            if camera not in self._unwatchable:
                log.exception("camera.not_watched", camera=camera.camera_id)
            self._unwatchable = [*(one for one in self._unwatchable if one.camera_id != camera.camera_id), camera]

    async def _watch(self, camera: Camera, lease: Lease) -> None:
        worker = self._workers.get(camera.camera_id)
        if worker is not None and (worker.camera == camera or worker.take_over(camera)):
            return
        if worker is not None:
            await self._end([camera.camera_id])
        self._rested.pop(camera.camera_id, None)
        worker = self._make_worker(camera, lease)
        try:
            worker.start()
        except BaseException:
            await worker.stop()
            raise
        self._workers[camera.camera_id] = worker
