"""CameraService: translates and delegates to the fleet."""

from __future__ import annotations

from typing import Any

from camera_ingest import wire
from camera_ingest.fleet import Fleet
from tessera.client.wire import time_to_wire
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import CameraId, checked_id
from tessera.v1 import biometrics_pb2, camera_pb2_grpc
from tessera.v1 import camera_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["CameraService"]
MAX_PAGE_SIZE = 1000
_DEFAULT_PAGE_SIZE = 100


class CameraServicer(camera_pb2_grpc.CameraServiceServicer):
    """The cameras of one process.

    Args:
        fleet: does the work.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def AddCamera(self, request: pb.AddCameraRequest, context: Any) -> pb.AddCameraResponse:  # noqa: ANN401
        """Keep a camera and watch it."""
        camera = wire.camera_from_wire(request.camera)
        await self._fleet.add(camera)
        return pb.AddCameraResponse(camera=wire.camera_to_wire(camera))

    async def UpdateCamera(self, request: pb.UpdateCameraRequest, context: Any) -> pb.UpdateCameraResponse:  # noqa: ANN401
        """Change the fields that the mask names."""
        camera_id = CameraId(checked_id("camera.camera_id", request.camera.camera_id))
        camera = await self._fleet.change(camera_id, wire.camera_changes(request))
        return pb.UpdateCameraResponse(camera=wire.camera_to_wire(camera))

    async def ListCameras(self, request: pb.ListCamerasRequest, context: Any) -> pb.ListCamerasResponse:  # noqa: ANN401
        """One page of cameras by id."""
        if request.page_size > MAX_PAGE_SIZE:
            raise InvalidInputError("page_size", request.page_size, f"1 to {MAX_PAGE_SIZE}; 0 for the default")
        size = request.page_size or _DEFAULT_PAGE_SIZE
        workers = self._fleet.workers_after(request.page_token, size + 1)
        page = workers[:size]
        return pb.ListCamerasResponse(
            entries=[wire.entry_to_wire(worker) for worker in page],
            next_page_token=page[-1].camera.camera_id if len(workers) > size else "",
        )

    async def RemoveCamera(self, request: pb.RemoveCameraRequest, context: Any) -> pb.RemoveCameraResponse:  # noqa: ANN401
        """Forget a camera."""
        camera_id = checked_id("camera_id", request.camera_id)
        return pb.RemoveCameraResponse(removed=await self._fleet.remove(CameraId(camera_id)))

    async def GetCameraStatus(self, request: pb.GetCameraStatusRequest, context: Any) -> pb.GetCameraStatusResponse:  # noqa: ANN401
        """How one camera does."""
        worker = self._fleet.worker(CameraId(checked_id("camera_id", request.camera_id)))
        return pb.GetCameraStatusResponse(status=wire.status_to_wire(worker.status()))

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: Any) -> pb.GetSnapshotResponse:  # noqa: ANN401
        """The newest sampled frame."""
        worker = self._fleet.worker(CameraId(checked_id("camera_id", request.camera_id)))
        jpeg, capture_time = await worker.snapshot()
        image = biometrics_pb2.Image(data=jpeg)
        return pb.GetSnapshotResponse(image=image, capture_time=time_to_wire(capture_time))
