"""Sightings that were told, and the pictures that the camera's worker keeps of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import grpc

from tessera.client import answers as a
from tessera.client import answers_wire, wire
from tessera.client.connection import Connection
from tessera.client.errors import error_of
from tessera.domain.decision import Outcome
from tessera.v1 import biometrics_pb2, camera_pb2, events_pb2, events_pb2_grpc

_CLIP_LIMIT_S = 60.0


class Sightings(Connection):
    """Sightings of the gallery; best shots and clips of the camera worker."""

    def sightings(
        self,
        *,
        collection_id: str = "",
        camera_id: str = "",
        subject_id: str = "",
        outcome: Outcome | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[a.Event]:
        """Sightings, newest first, each in its newest revision, page after page.

        Args:
            collection_id: empty: of all collections.
            camera_id: empty: of all cameras.
            subject_id: only those that were matched with this subject.
            outcome: None: all of them.
            since: from this moment on.
            until: before this moment.
        """
        request = events_pb2.ListSightingsRequest(
            collection_id=collection_id,
            camera_id=camera_id,
            subject_id=subject_id,
            outcome=wire.outcome_to_wire(outcome) if outcome is not None else biometrics_pb2.OUTCOME_UNSPECIFIED,
            until=wire.time_to_wire(until) if until is not None else None,
        )
        if since is not None:
            getattr(request, "from").CopyFrom(wire.time_to_wire(since))
        stub = events_pb2_grpc.EventServiceStub(self._endpoints["gallery"].channel)
        for page in self._gallery.pages(stub.ListSightings, request):
            yield from (answers_wire.event_from_wire(event, replayed=True) for event in page.events)

    def shot(self, shot_id: str) -> a.Snapshot:
        """The best shot of a sighting, by its `best_shot_id`.

        Raises:
            NotFound: it was never kept, is too old, was erased, or is damaged.
        """
        response = self._ingest.call(self._ingest_stub.GetShot, camera_pb2.GetShotRequest(shot_id=shot_id))
        return a.Snapshot(response.image.data, wire.time_from_wire(response.capture_time))

    def clip(self, clip_id: str) -> bytes:
        """The clip around an event of a camera, by its `clip_id`, as an AVI file.

        Raises:
            NotFound: as for shots; or it is still being recorded.
        """
        try:
            pieces = self._ingest_stub.GetClip(camera_pb2.GetClipRequest(clip_id=clip_id), timeout=_CLIP_LIMIT_S)
            return b"".join(piece.data for piece in pieces)
        except grpc.RpcError as error:
            raise error_of(error, "ingest", self._ingest.address) from None
