"""Cameras, and what happens in front of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import field_mask_pb2

from tessera.client import answers as a
from tessera.client import answers_wire, wire
from tessera.client.connection import Connection
from tessera.client.events import FROM_NOW, EventKind, EventWatch, WatchFilter
from tessera.domain.embedding import Modality
from tessera.v1 import camera_pb2


class Cameras(Connection):
    """Cameras of the camera worker, and the gallery's events."""

    def add_camera(
        self,
        camera_id: str,
        url: str,
        *,
        sample_rate_hz: float = 0.0,
        collection_id: str = "",
        loop: bool = False,
        zones: Sequence[a.Zone] = (),
        only_zones: bool = False,
        min_side_px: int = 0,
        motion_gate: bool = True,
        watch_scene: bool = True,
        stream: a.StreamOptions | None = None,
        modalities: Sequence[Modality] = (),
        person_collection_id: str = "",
    ) -> a.Camera:
        """Watch a camera; it need not answer yet. The same camera with the same content may be added again.

        Args:
            camera_id: its name.
            url: rtsp://, rtsps://, http://, https://, a file path, v4l2:/dev/video0, folder:PATH or demo:.
            sample_rate_hz: frames a second to look at, at most 30; 0: 5.
            collection_id: where its people are looked for; empty: the collection "default".
            loop: files and folders start again at their end.
            zones: places with names, and masks: what lies in a mask is not looked at.
            only_zones: what lies in no zone is not looked at either.
            min_side_px: smaller faces are not worth an embedding.
            motion_gate: frames in which nothing moves are not encoded.
            watch_scene: tell when the camera is covered, defocused or moved, and when a thing is left or taken.
            stream: how its stream is read; None: as `StreamOptions()` says.
            modalities: what is looked for: FACE, PERSON or both; empty: faces.
            person_collection_id: where persons are looked for; empty: the collection "persons".

        Raises:
            BadInput: no camera can have such a URL.
            AlreadyExists: there is another camera of that name.
        """
        camera = camera_pb2.Camera(
            camera_id=camera_id,
            url=url,
            sample_rate_hz=sample_rate_hz,
            collection_id=collection_id,
            loop=loop,
            zones=[answers_wire.zone_to_wire(zone) for zone in zones],
            only_zones=only_zones,
            min_side_px=min_side_px,
            motion_gate=motion_gate,
            watch_scene=watch_scene,
            stream=answers_wire.stream_to_wire(stream) if stream is not None else None,
            modalities=[wire.modality_to_wire(modality) for modality in modalities],
            person_collection_id=person_collection_id,
        )
        response = self._ingest.call(self._ingest_stub.AddCamera, camera_pb2.AddCameraRequest(camera=camera))
        return answers_wire.camera_from_wire(response.camera)

    def update_camera(
        self,
        camera_id: str,
        *,
        url: str | None = None,
        sample_rate_hz: float | None = None,
        collection_id: str | None = None,
        expires_after_s: float | None = None,
        min_side_px: int | None = None,
        labels: Mapping[str, str] | None = None,
        zones: Sequence[a.Zone] | None = None,
        only_zones: bool | None = None,
        motion_gate: bool | None = None,
        watch_scene: bool | None = None,
        loop: bool | None = None,
        enabled: bool | None = None,
        stream: a.StreamOptions | None = None,
        modalities: Sequence[Modality] | None = None,
        person_collection_id: str | None = None,
    ) -> a.Camera:
        """Change what is given of a camera; the rest stays, and goes on as far as the change allows.

        Args:
            camera_id: which.
            url: where it is; as `cameras` shows it, without its credentials, it stays as it is.
            sample_rate_hz: frames a second to look at, at most 30.
            collection_id: where its people are looked for.
            expires_after_s: a frame older than this is of no use, at most 60.
            min_side_px: shorter side of the smallest face that is worth encoding.
            labels: in place of those that it has.
            zones: in place of those that it has, masks too.
            only_zones: what lies in no zone is not looked at.
            motion_gate: frames in which nothing moves are not encoded.
            watch_scene: tell when the camera is covered, defocused or moved, and when a thing is left or taken.
            loop: files and folders start again at their end.
            enabled: False: it is kept and not watched.
            stream: how its stream is read, all of it.
            modalities: what is looked for, all of it.
            person_collection_id: where persons are looked for.

        Raises:
            NotFound: no such camera.
            BadInput: nothing is given, or something that no camera can have.
        """
        given = {
            "url": url,
            "sample_rate_hz": sample_rate_hz,
            "collection_id": collection_id,
            "expires_after": None if expires_after_s is None else wire.seconds_to_wire(expires_after_s),
            "min_side_px": min_side_px,
            "labels": labels,
            "zones": None if zones is None else [answers_wire.zone_to_wire(zone) for zone in zones],
            "only_zones": only_zones,
            "motion_gate": motion_gate,
            "watch_scene": watch_scene,
            "loop": loop,
            "enabled": enabled,
            "stream": None if stream is None else answers_wire.stream_to_wire(stream),
            "modalities": None if modalities is None else [wire.modality_to_wire(one) for one in modalities],
            "person_collection_id": person_collection_id,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        request = camera_pb2.UpdateCameraRequest(
            camera=camera_pb2.Camera(camera_id=camera_id, **changes),
            update_mask=field_mask_pb2.FieldMask(paths=list(changes)),
        )
        return answers_wire.camera_from_wire(self._ingest.call(self._ingest_stub.UpdateCamera, request).camera)

    def cameras(self) -> Iterator[a.Camera]:
        """Every camera by id with its status, page after page."""
        for page in self._ingest.pages(self._ingest_stub.ListCameras, camera_pb2.ListCamerasRequest()):
            yield from map(answers_wire.camera_entry_from_wire, page.entries)

    def remove_camera(self, camera_id: str) -> bool:
        """Stop watching a camera and forget it.

        Returns:
            False: it was not there.
        """
        request = camera_pb2.RemoveCameraRequest(camera_id=camera_id)
        return self._ingest.call(self._ingest_stub.RemoveCamera, request).removed

    def camera_status(self, camera_id: str) -> a.CameraStatus:
        """How a camera does.

        Raises:
            NotFound: no such camera.
        """
        request = camera_pb2.GetCameraStatusRequest(camera_id=camera_id)
        return answers_wire.camera_status_from_wire(
            self._ingest.call(self._ingest_stub.GetCameraStatus, request).status
        )

    def snapshot(self, camera_id: str) -> a.Snapshot:
        """The newest sampled frame of a camera.

        Raises:
            NotFound: no such camera.
            ServiceUnavailable: there is no frame yet.
        """
        request = camera_pb2.GetSnapshotRequest(camera_id=camera_id)
        response = self._ingest.call(self._ingest_stub.GetSnapshot, request)
        return a.Snapshot(response.image.data, wire.time_from_wire(response.capture_time))

    def accept_scene(self, camera_id: str) -> None:
        """What a camera shows now is its scene: an alarm that it was covered or moved is over, and it is learned anew.

        Raises:
            NotFound: no such camera.
            NotAllowedNow: its scene is not watched.
        """
        self._ingest.call(self._ingest_stub.AcceptScene, camera_pb2.AcceptSceneRequest(camera_id=camera_id))

    def watch(
        self,
        *,
        after_cursor: str = FROM_NOW,
        camera_ids: Sequence[str] = (),
        kinds: Sequence[EventKind] = (),
        collection_id: str = "",
        patience_s: float | None = None,
    ) -> EventWatch:
        """Events as they happen; after a broken connection it goes on from the last one, and tells none twice.

        Args:
            after_cursor: `FROM_NOW`, `FROM_OLDEST`, or the cursor of the last event that you have seen.
            camera_ids: only these; empty: all.
            kinds: only these; empty: all.
            collection_id: only this one; empty: all.
            patience_s: how long a broken connection is tried again; None: for ever.
        """
        endpoint = self._endpoints["gallery"]
        wanted = WatchFilter(camera_ids, kinds, collection_id)
        return EventWatch(endpoint.channel, endpoint.caller.address, after_cursor, wanted, patience_s=patience_s)
