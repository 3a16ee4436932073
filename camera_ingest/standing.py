"""How a camera stands, and what the world is told of it: each change once, with a clip where there was something."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime

from camera_ingest.announcing import Announcer
from camera_ingest.backlog import SampledFrame
from camera_ingest.camera import CameraEvent, CameraState
from camera_ingest.looking.changes import SceneChange
from camera_ingest.metrics import IngestMetrics
from camera_ingest.pictures import size_px
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.ids import CameraId

log = get_logger()

_ANNOUNCED = frozenset({CameraState.ONLINE, CameraState.LOST, CameraState.FROZEN, CameraState.ENDED})
_FILMED = frozenset({CameraState.LOST, CameraState.FROZEN})
"""A clip of what came before is kept of these."""


class Standing:
    """The state of one camera. Used from one event loop.

    Args:
        camera_id: whose.
        state: at first.
        announcer: tells the world.
        lease_token: under which the camera is watched.
        begin_clip: begins a clip and answers its id; None: none are kept.
        clock: for when.
        metrics: where it is shown.
    """

    def __init__(
        self,
        camera_id: CameraId,
        state: CameraState,
        *,
        announcer: Announcer,
        lease_token: int,
        begin_clip: Callable[[str], str] | None,
        clock: Clock,
        metrics: IngestMetrics,
    ) -> None:
        self._camera_id = camera_id
        self._announcer = announcer
        self._lease_token = lease_token
        self._begin_clip = begin_clip
        self._clock = clock
        self._metrics = metrics
        self.state = state
        self.since: datetime = clock.now()
        self.detail = ""
        """Why, in words."""

    def show(self) -> None:
        """Put it on the metrics page."""
        self._metrics.camera_up.labels(self._camera_id).set(int(self.state is CameraState.ONLINE))
        self._metrics.camera_frozen.labels(self._camera_id).set(int(self.state is CameraState.FROZEN))

    def enter(self, state: CameraState, detail: str) -> None:
        """Be in a state; the world is told where it is another one than before."""
        self.detail = detail
        if state is self.state:
            return
        self.state, self.since = state, self._clock.now()
        self.show()
        log.info("camera.state", camera=self._camera_id, state=state.value, detail=detail)
        if state in _ANNOUNCED:
            clip_id = self._clip(state in _FILMED)
            event_id = _new_event_id()
            event = CameraEvent(
                event_id, self._camera_id, self.since, state, detail, self._lease_token, clip_id=clip_id
            )
            self._announcer.announce(event)

    def tell_scene(self, frame: SampledFrame, change: SceneChange) -> None:
        """Something happened to the scene: the world is told."""
        width_px, height_px = size_px(frame.picture)
        log.info("camera.scene", camera=self._camera_id, kind=change.kind.value, detail=change.detail)
        self._announcer.announce(
            CameraEvent(
                event_id=_new_event_id(),
                camera_id=self._camera_id,
                event_time=frame.capture_time,
                state=self.state,
                detail=change.detail,
                lease_token=self._lease_token,
                kind=change.kind,
                regions=tuple(region.box(width_px, height_px) for region in change.regions),
                probability=change.probability,
                clip_id=self._clip(change.kind is not CameraEventKind.SCENE_CLEAR),
            )
        )

    def _clip(self, is_wanted: bool) -> str:
        return self._begin_clip(self._camera_id) if self._begin_clip is not None and is_wanted else ""


def _new_event_id() -> str:
    return f"cam-{secrets.token_hex(12)}"
