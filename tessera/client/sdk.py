"""The Python SDK: `Tessera`, blocking and safe to share between threads.

It sends pictures and reads decisions; it decides nothing itself and keeps nothing. Its methods are in the modules of
their themes, which this one joins. Services call each other through `tessera.client.encoder` and
`tessera.client.streams` instead.
"""

from __future__ import annotations

from tessera.client.alerts import Alerts
from tessera.client.calibrations import Calibrations
from tessera.client.cameras import Cameras
from tessera.client.collections import Collections
from tessera.client.connection import (
    DEFAULT_DEADLINE_S,
    DEFAULT_ENCODER,
    DEFAULT_GALLERY,
    DEFAULT_GATEWAY,
    DEFAULT_INGEST,
)
from tessera.client.enrolling import Enrolling
from tessera.client.notifications import Notifications
from tessera.client.persons import Persons
from tessera.client.questions import Questions
from tessera.client.samples import Sample
from tessera.client.services import Services
from tessera.client.sightings import Sightings
from tessera.client.subjects import Subjects

__all__ = [
    "DEFAULT_DEADLINE_S",
    "DEFAULT_ENCODER",
    "DEFAULT_GALLERY",
    "DEFAULT_GATEWAY",
    "DEFAULT_INGEST",
    "Sample",
    "Tessera",
]


class Tessera(
    Questions, Enrolling, Subjects, Collections, Cameras, Sightings, Persons, Alerts, Notifications, Services
):
    """A connection to a Tessera: verify, identify, enrol, watch.

        with Tessera() as tessera:
            answer = tessera.verify("alice", Path("door.jpg"))
            if answer.is_match: ...

    Nothing is connected before the first call. May be used from several threads at once.

    Args:
        gallery: `host:port` of gallery_svc, which answers everything about people and events.
        ingest: `host:port` of camera_ingest, which watches cameras.
        gateway: `host:port` of gateway_svc, which notifies.
        encoder: `host:port` of encoder_svc; only `status` and what is about encoders ask it directly.
        deadline_s: a call without an answer after so long fails; a watch has no deadline.
    """

    def __init__(
        self,
        gallery: str = DEFAULT_GALLERY,
        *,
        ingest: str = DEFAULT_INGEST,
        encoder: str = DEFAULT_ENCODER,
        gateway: str = DEFAULT_GATEWAY,
        deadline_s: float = DEFAULT_DEADLINE_S,
    ) -> None:
        super().__init__(gallery, ingest=ingest, encoder=encoder, gateway=gateway, deadline_s=deadline_s)
        self.calibrations = Calibrations(self._gallery, self._gallery_stub)
