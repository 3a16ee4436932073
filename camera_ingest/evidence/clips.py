"""Clips around events of a camera: the frames of some seconds before, which are held in memory, and of some after.

They are the frames as they went to the encoder, masks included: nothing is coded twice. A clip is written once its time
is over, and goes when anybody whom it may show is erased.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from camera_ingest.evidence.avi import to_avi
from camera_ingest.evidence.keeper import Keeper
from camera_ingest.evidence.vault import Kind, Piece, Shown, new_piece_id
from tessera.chassis.clock import Clock

MAX_RING_BYTES = 6 << 20
"""Of frames of one camera that are held in memory."""
MAX_CLIP_BYTES = 24 << 20

Frame = tuple[datetime, bytes]


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How much of an event is kept."""

    before_s: float = 4.0
    after_s: float = 4.0


@dataclass(slots=True)
class _Recording:
    clip_id: str
    until_s: float
    frames: list[Frame]
    size_bytes: int = 0
    shows: set[Shown] = field(default_factory=set)


@dataclass(slots=True)
class _Ring:
    frames: deque[Frame] = field(default_factory=deque)
    size_bytes: int = 0
    recordings: list[_Recording] = field(default_factory=list)


class Clips:
    """The clips of all cameras of this process. Used from one event loop.

    Args:
        keeper: where they are kept.
        settings: how much of an event.
        clock: for when a clip is whole.
        shown_at: who is before a camera now.
    """

    def __init__(
        self, keeper: Keeper, settings: ClipSettings, clock: Clock, shown_at: Callable[[str], tuple[Shown, ...]]
    ) -> None:
        self._keeper = keeper
        self._settings = settings
        self._clock = clock
        self._shown_at = shown_at
        self._rings: dict[str, _Ring] = {}

    def add(self, camera_id: str, capture_time: datetime, jpeg: bytes) -> None:
        """A frame went to the encoder."""
        if not jpeg.startswith(b"\xff\xd8"):
            return
        ring = self._rings.setdefault(camera_id, _Ring())
        ring.frames.append((capture_time, jpeg))
        ring.size_bytes += len(jpeg)
        oldest = capture_time - timedelta(seconds=self._settings.before_s)
        while ring.frames and (ring.frames[0][0] < oldest or ring.size_bytes > MAX_RING_BYTES):
            ring.size_bytes -= len(ring.frames.popleft()[1])
        for recording in ring.recordings:
            if recording.size_bytes + len(jpeg) <= MAX_CLIP_BYTES:
                recording.frames.append((capture_time, jpeg))
                recording.size_bytes += len(jpeg)

    def begin(self, camera_id: str) -> str:
        """Something happened to a camera: a clip of it begins. Returns the clip's id; empty where there is no frame."""
        ring = self._rings.get(camera_id)
        if ring is None or not ring.frames:
            return ""
        until_s = self._clock.monotonic_s() + self._settings.after_s
        recording = _Recording(new_piece_id(), until_s, list(ring.frames), ring.size_bytes)
        recording.shows.update(self._shown_at(camera_id))
        ring.recordings.append(recording)
        return recording.clip_id

    def tick(self, camera_id: str) -> None:
        """Keep the clips of a camera whose time is over."""
        ring = self._rings.get(camera_id)
        if ring is None:
            return
        now_s = self._clock.monotonic_s()
        for recording in [one for one in ring.recordings if one.until_s <= now_s]:
            ring.recordings.remove(recording)
            self._keep(camera_id, recording)

    def end(self, camera_id: str) -> None:
        """A camera is no longer watched: what was begun is kept as it is, and its frames are let go."""
        ring = self._rings.pop(camera_id, None)
        for recording in ring.recordings if ring else ():
            self._keep(camera_id, recording)

    def _keep(self, camera_id: str, recording: _Recording) -> None:
        recording.shows.update(self._shown_at(camera_id))
        first = recording.frames[0][0]
        shows = tuple(sorted(recording.shows))
        piece = Piece(recording.clip_id, Kind.CLIP, camera_id, first, self._clock.now(), shows)
        self._keeper.keep(piece, partial(to_avi, sorted(recording.frames, key=lambda frame: frame[0])))
