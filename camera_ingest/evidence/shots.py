"""The best shot of each tracklet: chosen by quality while the tracklet grows, kept once its sighting was told.

Until then it is in memory alone: of people who passed without a decision nothing reaches the disk. A shot shows the
face with some of what is around it, never the whole picture, and never what a mask hides.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime

import cv2
import numpy as np

from camera_ingest.evidence.keeper import Keeper
from camera_ingest.evidence.vault import Kind, Piece, Shown, new_piece_id
from camera_ingest.pictures import to_file
from camera_ingest.sources.source import Image, Picture
from camera_ingest.tracker import BEGIN_PROBABILITY, TrackerStep
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.client.stream_values import TrackletDecision
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box, Observation
from tessera.imaging.decode import decode

log = get_logger()

CLEARLY_BETTER = 0.05
"""How much `Quality.overall` must rise before another shot takes the place of the best."""
AROUND = 2.0
"""Side of a shot, in longer sides of its face."""
MAX_SIDE_PX = 480
MAX_TRACKLETS = 512
REMEMBERED_S = 60.0
"""So long after its end a tracklet may still be decided."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One look at a face."""

    jpeg: bytes
    capture_time: datetime
    camera_id: str


@dataclass(slots=True)
class _Best:
    shot_id: str
    camera_id: str
    quality: float = -1.0
    shot: Shot | None = None
    shows: tuple[Shown, ...] = ()
    ended_s: float | None = None


class Shots:
    """The best shots of all cameras of this process. Used from one event loop.

    Args:
        keeper: where they are kept.
        executor: where pictures are cut.
        clock: for how long a tracklet that ended is remembered.
    """

    def __init__(self, keeper: Keeper, executor: Executor, clock: Clock) -> None:
        self._keeper = keeper
        self._executor = executor
        self._clock = clock
        self._best: OrderedDict[TrackletId, _Best] = OrderedDict()
        self._cutting: set[asyncio.Task[None]] = set()

    def id_of(self, camera_id: str, tracklet_id: TrackletId) -> str:
        """The id of a tracklet's best shot, whichever that will be."""
        return self._of(camera_id, tracklet_id).shot_id

    def take(self, camera_id: str, step: TrackerStep, picture: Picture) -> None:
        """Look whether a frame has a better shot of anybody.

        Args:
            camera_id: of the frame.
            step: what the tracker made of it.
            picture: that frame, as it was encoded.
        """
        for tracklet, seen in step.seen:
            best = self._of(camera_id, tracklet.tracklet_id)
            sure = seen.detection_probability >= BEGIN_PROBABILITY
            if sure and seen.quality.overall > best.quality + (CLEARLY_BETTER if best.quality >= 0 else 0.0):
                best.quality = seen.quality.overall
                task = asyncio.create_task(self._cut(best, picture, seen, tracklet.last_seen))
                self._cutting.add(task)
                task.add_done_callback(self._cutting.discard)
        for tracklet in step.ended:
            self.ended(tracklet.tracklet_id)

    def ended(self, tracklet_id: TrackletId) -> None:
        """A tracklet has ended; its last decision may still come."""
        if tracklet_id in self._best:
            self._best[tracklet_id].ended_s = self._clock.monotonic_s()
        self._forget_silent()

    def told(self, decision: TrackletDecision, collection_id: str) -> bool:
        """The sighting of a tracklet was told: its shot is kept from now on. Returns whether it is the first time."""
        best = self._best.get(decision.tracklet_id)
        if best is None or decision.event_id is None:
            return False
        is_first, shows = not best.shows, list[Shown]([(decision.event_id,)])
        if decision.subject_id is not None:
            shows.append((collection_id, decision.subject_id))
        if not set(shows) <= set(best.shows):
            best.shows = tuple(dict.fromkeys((*best.shows, *shows)))
            self._keep(best)
        return is_first

    def forget(self, gone: frozenset[Shown]) -> None:
        """Let go of what shows these."""
        for best in [best for best in self._best.values() if not gone.isdisjoint(best.shows)]:
            # A new id: what is seen from now on is another picture, and the old one is never found again.
            best.shot, best.quality, best.shows, best.shot_id = None, -1.0, (), new_piece_id()

    def find(self, shot_id: str) -> Shot | None:
        """A shot that is in memory."""
        return next((best.shot for best in self._best.values() if best.shot_id == shot_id), None)

    def shown_at(self, camera_id: str) -> tuple[Shown, ...]:
        """Who is before a camera now, or was a moment ago, as far as it was told."""
        self._forget_silent()
        return tuple(shown for best in self._best.values() if best.camera_id == camera_id for shown in best.shows)

    async def flush(self) -> None:
        """Wait until everything that was seen so far is cut."""
        await asyncio.gather(*self._cutting, return_exceptions=True)

    def _of(self, camera_id: str, tracklet_id: TrackletId) -> _Best:
        best = self._best.get(tracklet_id)
        if best is None:
            best = self._best[tracklet_id] = _Best(new_piece_id(), camera_id)
            while len(self._best) > MAX_TRACKLETS:
                self._best.popitem(last=False)
        return best

    async def _cut(self, best: _Best, picture: Picture, seen: Observation, capture_time: datetime) -> None:
        loop = asyncio.get_running_loop()
        try:
            jpeg = await loop.run_in_executor(self._executor, cut_out, picture, seen.box)
        except Exception:  # the edge of a task: a shot less, and the camera goes on
            log.exception("shot.failed", camera=best.camera_id)
            return
        if seen.quality.overall >= best.quality:
            best.shot = Shot(jpeg, capture_time, best.camera_id)
            self._keep(best)

    def _keep(self, best: _Best) -> None:
        shot = best.shot
        if shot is None or not best.shows:
            return
        now = self._clock.now()
        piece = Piece(best.shot_id, Kind.SHOT, best.camera_id, shot.capture_time, now, best.shows)
        self._keeper.keep(piece, lambda: shot.jpeg)

    def _forget_silent(self) -> None:
        latest_s = self._clock.monotonic_s() - REMEMBERED_S
        for key in [key for key, best in self._best.items() if best.ended_s is not None and best.ended_s < latest_s]:
            del self._best[key]


def cut_out(picture: Picture, box: Box) -> bytes:
    """The face in a box and what is around it, as a JPEG of at most 480 px a side.

    Raises:
        ImageRejectedError: the picture is a file, and no picture.
    """
    pixels: Image = decode(picture) if isinstance(picture, bytes) else picture
    half = AROUND * max(box.width_px, box.height_px) / 2
    middle_x, middle_y = box.x_px + box.width_px / 2, box.y_px + box.height_px / 2
    top, left = (max(0, round(middle - half)) for middle in (middle_y, middle_x))
    bottom = max(top + 1, min(pixels.shape[0], round(middle_y + half)))
    right = max(left + 1, min(pixels.shape[1], round(middle_x + half)))
    cut = pixels[min(top, pixels.shape[0] - 1) : bottom, min(left, pixels.shape[1] - 1) : right]
    scale = MAX_SIDE_PX / max(cut.shape[:2])
    if scale < 1.0:
        cut = np.asarray(cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return to_file(cut)
