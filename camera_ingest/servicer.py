"""CameraService: translates and delegates, to the fleet, or to the worker that watches the camera."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from camera_ingest import wire
from camera_ingest.camera import Camera
from camera_ingest.evidence.evidence import Evidence, no_evidence
from camera_ingest.evidence.vault import Kind
from camera_ingest.fleet import Fleet
from camera_ingest.peers import Peers, is_passed_on
from tessera.client.wire import time_to_wire
from tessera.domain.errors import InvalidInputError, NotFoundError, UnavailableError
from tessera.domain.ids import CameraId, checked_id
from tessera.v1 import biometrics_pb2, camera_pb2_grpc
from tessera.v1 import camera_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["CameraService"]
MAX_PAGE_SIZE = 1000
_DEFAULT_PAGE_SIZE = 100
_CLIP_PIECE_BYTES = 256 << 10


class CameraServicer(camera_pb2_grpc.CameraServiceServicer):
    """The cameras of all workers of a store, those of this process at first hand.

    Args:
        fleet: does the work.
        peers: the other workers.
        check: refuses cameras that may not be reached; raises `InvalidInputError`.
        evidence: best shots and clips of this process; None: it keeps none.
    """

    def __init__(
        self, fleet: Fleet, peers: Peers, check: Callable[[Camera], None], evidence: Evidence | None = None
    ) -> None:
        self._fleet = fleet
        self._peers = peers
        self._check = check
        self._evidence = evidence

    async def AddCamera(self, request: pb.AddCameraRequest, context: Any) -> pb.AddCameraResponse:  # noqa: ANN401
        """Keep a camera, for a worker with room to watch it."""
        camera = wire.camera_from_wire(request.camera)
        self._check(camera)
        await self._fleet.add(camera)
        return pb.AddCameraResponse(camera=wire.camera_to_wire(camera))

    async def UpdateCamera(self, request: pb.UpdateCameraRequest, context: Any) -> pb.UpdateCameraResponse:  # noqa: ANN401
        """Change the fields that the mask names."""
        camera_id = CameraId(checked_id("camera.camera_id", request.camera.camera_id))
        change = wire.camera_changes(request)

        def checked(before: Camera) -> Camera:
            after = change(before)
            self._check(after)
            return after

        camera = await self._fleet.change(camera_id, checked)
        return pb.UpdateCameraResponse(camera=wire.camera_to_wire(camera))

    async def ListCameras(self, request: pb.ListCamerasRequest, context: Any) -> pb.ListCamerasResponse:  # noqa: ANN401
        """One page of cameras by id; in another worker's name, only of those that are watched here."""
        if request.page_size > MAX_PAGE_SIZE:
            raise InvalidInputError("page_size", request.page_size, f"1 to {MAX_PAGE_SIZE}; 0 for the default")
        size = request.page_size or _DEFAULT_PAGE_SIZE
        if is_passed_on(context.invocation_metadata()):
            return pb.ListCamerasResponse(entries=await self._entries(self._fleet.watched()[:size]))
        cameras = await self._fleet.cameras_after(request.page_token, size + 1)
        page = cameras[:size]
        return pb.ListCamerasResponse(
            entries=await self._entries(page),
            next_page_token=page[-1].camera_id if len(cameras) > size else "",
        )

    async def RemoveCamera(self, request: pb.RemoveCameraRequest, context: Any) -> pb.RemoveCameraResponse:  # noqa: ANN401
        """Forget a camera."""
        camera_id = checked_id("camera_id", request.camera_id)
        return pb.RemoveCameraResponse(removed=await self._fleet.remove(CameraId(camera_id)))

    async def GetCameraStatus(self, request: pb.GetCameraStatusRequest, context: Any) -> pb.GetCameraStatusResponse:  # noqa: ANN401
        """How one camera does."""
        camera = await self._fleet.camera(CameraId(checked_id("camera_id", request.camera_id)))
        address = self._holder_address(camera, context)
        if address is None:
            return pb.GetCameraStatusResponse(status=wire.status_to_wire(self._fleet.status(camera)))
        try:
            return pb.GetCameraStatusResponse(status=await self._peers.status(address, camera.camera_id))
        except UnavailableError:
            return pb.GetCameraStatusResponse(status=wire.silent_status(camera, address))

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: Any) -> pb.GetSnapshotResponse:  # noqa: ANN401
        """The newest sampled frame."""
        camera = await self._fleet.camera(CameraId(checked_id("camera_id", request.camera_id)))
        address = self._holder_address(camera, context)
        if address is not None:
            return await self._peers.snapshot(address, camera.camera_id)
        jpeg, capture_time = await self._fleet.snapshot(camera)
        image = biometrics_pb2.Image(data=jpeg)
        return pb.GetSnapshotResponse(image=image, capture_time=time_to_wire(capture_time))

    async def AcceptScene(self, request: pb.AcceptSceneRequest, context: Any) -> pb.AcceptSceneResponse:  # noqa: ANN401
        """What a camera shows now is its scene."""
        camera = await self._fleet.camera(CameraId(checked_id("camera_id", request.camera_id)))
        address = self._holder_address(camera, context)
        if address is not None:
            return await self._peers.accept_scene(address, camera.camera_id)
        self._fleet.accept_scene(camera)
        return pb.AcceptSceneResponse()

    async def GetShot(self, request: pb.GetShotRequest, context: Any) -> pb.GetShotResponse:  # noqa: ANN401
        """A best shot, from whichever worker keeps it."""
        shot_id = checked_id("shot_id", request.shot_id)
        try:
            shot = await self._own_evidence(Kind.SHOT, shot_id).shot(shot_id)
        except NotFoundError:
            found = await self._peers.shot(self._others(context), request)
            if found is None:
                raise
            return found
        return pb.GetShotResponse(
            image=biometrics_pb2.Image(data=shot.jpeg),
            capture_time=time_to_wire(shot.capture_time),
            camera_id=shot.camera_id,
        )

    async def GetClip(self, request: pb.GetClipRequest, context: Any) -> AsyncIterator[pb.GetClipResponse]:  # noqa: ANN401
        """A clip in pieces, from whichever worker keeps it."""
        clip_id = checked_id("clip_id", request.clip_id)
        try:
            avi = await self._own_evidence(Kind.CLIP, clip_id).clip(clip_id)
        except NotFoundError:
            is_found = False
            async for piece in self._peers.clip(self._others(context), request):
                is_found = True
                yield piece
            if not is_found:
                raise
            return
        for at in range(0, len(avi), _CLIP_PIECE_BYTES):
            yield pb.GetClipResponse(data=avi[at : at + _CLIP_PIECE_BYTES])

    def _own_evidence(self, kind: Kind, evidence_id: str) -> Evidence:
        if self._evidence is None:
            raise no_evidence(kind, evidence_id)
        return self._evidence

    def _others(self, context: Any) -> frozenset[str]:  # noqa: ANN401
        """The workers that may be asked in this call's name."""
        return frozenset() if is_passed_on(context.invocation_metadata()) else self._fleet.other_addresses

    def _holder_address(self, camera: Camera, context: Any) -> str | None:  # noqa: ANN401
        is_final = not camera.enabled or is_passed_on(context.invocation_metadata())
        return None if is_final else self._fleet.holder_address(camera.camera_id)

    async def _entries(self, cameras: list[Camera]) -> list[pb.CameraEntry]:
        asked: dict[str, list[CameraId]] = {}
        holders = {camera.camera_id: self._fleet.holder_address(camera.camera_id) for camera in cameras}
        for camera_id, address in holders.items():
            if address is not None:
                asked.setdefault(address, []).append(camera_id)
        told = await self._peers.statuses(asked)
        return [
            wire.entry_to_wire(camera, told.get(camera.camera_id) or self._status(camera, holders[camera.camera_id]))
            for camera in cameras
        ]

    def _status(self, camera: Camera, holder: str | None) -> pb.CameraStatus:
        if holder is not None and camera.enabled:
            return wire.silent_status(camera, holder)
        return wire.status_to_wire(self._fleet.status(camera))
