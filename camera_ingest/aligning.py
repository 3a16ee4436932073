"""Whether the clocks of cameras agree that look at the same place, judged by when both saw the same people.

Cameras are compared that carry the same label `view`: who is before one of them is before the others too. A person
comes into one picture before the other and leaves it later, where that shows more of the place; a clock that is ahead
moves both moments the same way. So the offset is the mean of the two, and an alarm asks that both say so. What chance
would explain, or two lags, says nothing (`tessera.domain.alignment_in_time`).
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations

from camera_ingest.camera import Camera, CameraEvent, CameraState
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.client.stream_values import TrackletDecision, TrackletUpdate
from tessera.domain.alignment_in_time import ClockOffset, estimate_offset
from tessera.domain.camera_events import CameraEventKind
from tessera.domain.ids import CameraId, TrackletId

log = get_logger()

VIEW_LABEL = "view"
ALARM_S = 0.5
CALM_S = 0.35
"""Below it an alarm is over; in between it stays as it is."""
LARGEST_S = 60.0
"""Offsets beyond are not looked for."""
TOLERANCE_S = 0.3
"""Two cameras of 5 frames a second may see the same moment so far apart."""
REMEMBERED = 100
"""Passages of a camera; older ones say nothing of its clock of today."""


@dataclass(frozen=True, slots=True)
class _Passage:
    person: str
    first_seen: datetime
    last_seen: datetime


class ClockWatch:
    """Compares the clocks of cameras. Used from one event loop.

    Args:
        camera_of: a camera that is watched here; None: it is not.
        announce: tells an event of a camera to the world.
        clock: for the moments of events.
        metrics: where offsets are shown.
    """

    def __init__(
        self,
        camera_of: Callable[[CameraId], Camera | None],
        announce: Callable[[CameraEvent], None],
        clock: Clock,
        metrics: IngestMetrics,
    ) -> None:
        self._camera_of = camera_of
        self._announce = announce
        self._clock = clock
        self._metrics = metrics
        self._passages: dict[CameraId, OrderedDict[TrackletId, _Passage]] = {}
        self._alarmed: set[tuple[CameraId, CameraId]] = set()

    def take(self, update: TrackletUpdate, decision: TrackletDecision) -> None:
        """Take in how a tracklet ended, and who it was."""
        person = decision.subject_id or decision.link_id
        camera = self._camera_of(update.camera_id)
        if not update.ended or not person or camera is None or not camera.labels.get(VIEW_LABEL):
            return
        passages = self._passages.setdefault(camera.camera_id, OrderedDict())
        passages[update.tracklet_id] = _Passage(person, update.first_seen, update.last_seen)
        while len(passages) > REMEMBERED:
            passages.popitem(last=False)
        self._compare(camera)

    def _compare(self, camera: Camera) -> None:
        same_view = []
        for camera_id in list(self._passages):
            other = self._camera_of(camera_id)
            if other is None:
                del self._passages[camera_id]
            elif other.labels.get(VIEW_LABEL) == camera.labels[VIEW_LABEL]:
                same_view.append(camera_id)
        for first, second in combinations(sorted(same_view), 2):
            if camera.camera_id in {first, second}:
                self._judge(first, second)

    def _judge(self, first: CameraId, second: CameraId) -> None:
        offset_s = offset_of(list(self._passages[first].values()), list(self._passages[second].values()))
        if offset_s is None:
            return
        self._metrics.clock_offset_s.labels(second, first).set(offset_s)
        pair = (first, second)
        if abs(offset_s) < CALM_S:
            self._alarmed.discard(pair)
        elif abs(offset_s) > ALARM_S and pair not in self._alarmed:
            self._alarmed.add(pair)
            self._tell(first, second, offset_s)

    def _tell(self, first: CameraId, second: CameraId, offset_s: float) -> None:
        way = "ahead of" if offset_s > 0 else "behind"
        detail = f"its clock is {abs(offset_s):.1f} s {way} that of {first}, which sees the same place"
        log.warning("camera.clock_offset", camera=second, other=first, offset_s=round(offset_s, 3))
        self._announce(
            CameraEvent(
                event_id=f"clock-{secrets.token_hex(12)}",
                camera_id=second,
                event_time=self._clock.now(),
                state=CameraState.ONLINE,
                detail=detail,
                kind=CameraEventKind.CLOCK_OFFSET,
            )
        )


def offset_of(first: list[_Passage], second: list[_Passage]) -> float | None:
    """How far the second camera's clock is ahead of the first's; None where what both saw does not tell.

    Where arrivals and departures disagree on the way, the smaller says how far the clocks are apart at least: 0.
    """
    both = {one.person for one in first} & {one.person for one in second}
    seen = [[one for one in passages if one.person in both] for passages in (first, second)]
    arrivals, departures = (
        _estimate([getattr(one, name) for one in seen[0]], [getattr(one, name) for one in seen[1]])
        for name in ("first_seen", "last_seen")
    )
    if arrivals.doubt is not None or departures.doubt is not None:
        return None
    if arrivals.offset_s * departures.offset_s < 0:
        return 0.0
    return (arrivals.offset_s + departures.offset_s) / 2


def _estimate(first: list[datetime], second: list[datetime]) -> ClockOffset:
    return estimate_offset(
        [moment.timestamp() for moment in first],
        [moment.timestamp() for moment in second],
        LARGEST_S,
        TOLERANCE_S,
    )
