"""The other workers: a question about a camera that one of them watches is passed on to it, once.

Who watches what may change between two looks: a worker that is asked in another's name answers for itself and asks
nobody. Changes of cameras need not be passed on: they go through the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress

import grpc

from tessera.chassis.channel import open_channel
from tessera.chassis.status import detail_of
from tessera.domain.errors import NotFoundError, PreconditionError, TesseraError, UnavailableError
from tessera.domain.ids import CameraId
from tessera.v1 import camera_pb2 as pb
from tessera.v1 import camera_pb2_grpc

PASSED_ON = "tessera-passed-on"
"""In a call's metadata: it comes from another worker."""
_LIMIT_S = 2.0
_CLIP_LIMIT_S = 30.0


class Peers:
    """Channels to the other workers, by address. Used from one event loop."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def keep_only(self, addresses: Collection[str]) -> None:
        """Close the channels to workers that are there no longer."""
        for address in self._channels.keys() - set(addresses):
            await self._channels.pop(address).close()

    async def close(self) -> None:
        """Close every channel."""
        await self.keep_only(())

    async def status(self, address: str, camera_id: CameraId) -> pb.CameraStatus:
        """How a camera does, as the worker says that watches it.

        Raises:
            NotFoundError: it has been told of its removal.
            UnavailableError: it does not answer.
        """
        request = pb.GetCameraStatusRequest(camera_id=camera_id)
        try:
            answer = await self._stub(address).GetCameraStatus(request, timeout=_LIMIT_S, metadata=_PASSED_ON)
        except grpc.aio.AioRpcError as error:
            raise _told(error, address, camera_id) from None
        return answer.status

    async def snapshot(self, address: str, camera_id: CameraId) -> pb.GetSnapshotResponse:
        """The newest frame of a camera, from the worker that watches it.

        Raises:
            NotFoundError: it has been told of its removal.
            UnavailableError: it does not answer, or has no frame.
        """
        request = pb.GetSnapshotRequest(camera_id=camera_id)
        try:
            return await self._stub(address).GetSnapshot(request, timeout=_LIMIT_S, metadata=_PASSED_ON)
        except grpc.aio.AioRpcError as error:
            raise _told(error, address, camera_id) from None

    async def accept_scene(self, address: str, camera_id: CameraId) -> pb.AcceptSceneResponse:
        """Have the worker that watches a camera take its scene as it is.

        Raises:
            NotFoundError: it has been told of its removal.
            PreconditionError: the scene is not watched.
            UnavailableError: it does not answer.
        """
        request = pb.AcceptSceneRequest(camera_id=camera_id)
        try:
            return await self._stub(address).AcceptScene(request, timeout=_LIMIT_S, metadata=_PASSED_ON)
        except grpc.aio.AioRpcError as error:
            raise _told(error, address, camera_id) from None

    async def statuses(self, asked: dict[str, list[CameraId]]) -> dict[CameraId, pb.CameraStatus]:
        """How cameras do, with one call to each worker that watches some; those of silent workers are left out.

        Args:
            asked: the cameras by the address of their worker, each list in order.
        """
        answers = await asyncio.gather(*(self._page(address, cameras) for address, cameras in asked.items()))
        return {camera_id: status for answer in answers for camera_id, status in answer.items()}

    async def shot(self, addresses: Collection[str], request: pb.GetShotRequest) -> pb.GetShotResponse | None:
        """A best shot, from whichever of these workers keeps it; None: none of those that answer does."""

        async def ask(address: str) -> pb.GetShotResponse | None:
            with suppress(grpc.aio.AioRpcError):
                return await self._stub(address).GetShot(request, timeout=_LIMIT_S, metadata=_PASSED_ON)
            return None

        answers = await asyncio.gather(*map(ask, addresses))
        return next((answer for answer in answers if answer is not None), None)

    async def clip(self, addresses: Collection[str], request: pb.GetClipRequest) -> AsyncIterator[pb.GetClipResponse]:
        """The pieces of a clip, from whichever of these workers keeps it; nothing when none does.

        Raises:
            UnavailableError: its worker went silent in the middle.
        """
        for address in sorted(addresses):
            has_begun = False
            try:
                async for piece in self._stub(address).GetClip(request, timeout=_CLIP_LIMIT_S, metadata=_PASSED_ON):
                    has_begun = True
                    yield piece
            except grpc.aio.AioRpcError:
                if has_begun:
                    raise UnavailableError("worker", f"{address} keeps the clip and does not answer") from None
            if has_begun:
                return

    async def _page(self, address: str, cameras: list[CameraId]) -> dict[CameraId, pb.CameraStatus]:
        wanted, found = set(cameras), {}
        request = pb.ListCamerasRequest(page_size=1000)
        try:
            answer = await self._stub(address).ListCameras(request, timeout=_LIMIT_S, metadata=_PASSED_ON)
        except grpc.aio.AioRpcError:
            return {}
        for entry in answer.entries:
            if entry.camera.camera_id in wanted:
                found[CameraId(entry.camera.camera_id)] = entry.status
        return found

    def _stub(self, address: str) -> camera_pb2_grpc.CameraServiceAsyncStub:
        if address not in self._channels:
            self._channels[address] = open_channel(address)
        return camera_pb2_grpc.CameraServiceStub(self._channels[address])


_PASSED_ON = ((PASSED_ON, "1"),)


def is_passed_on(metadata: Collection[tuple[str, str | bytes]] | None) -> bool:
    """Whether a call comes from another worker."""
    return any(key == PASSED_ON for key, _ in metadata or ())


def _told(error: grpc.aio.AioRpcError, address: str, camera_id: CameraId) -> TesseraError:
    detail = detail_of(error)
    if detail.code is grpc.StatusCode.NOT_FOUND:
        return NotFoundError("camera", camera_id)
    if detail.reason == "SCENE_UNWATCHED":
        return PreconditionError(detail.reason, "camera_id", camera_id, "a camera whose scene is watched")
    if detail.reason == "FRAME_UNAVAILABLE":
        return UnavailableError("frame", "none has come yet")
    return UnavailableError("worker", f"{address} watches the camera and does not answer")
