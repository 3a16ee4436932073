"""What the workers of one process share, and how patient each of them is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from camera_ingest.announcing import Announcer
from camera_ingest.camera import Camera
from camera_ingest.encoding import EncodingParts
from camera_ingest.evidence.evidence import Evidence
from camera_ingest.evidence.vault import Vault
from camera_ingest.reading.feed import Feed
from tessera.client.stream_values import TrackletUpdate


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How patient a worker is."""

    silent_after_s: float = 4.5
    """A camera without a frame for so long is lost, even if its source says nothing."""
    frozen_after_s: float = 4.5
    """The same picture of a live source for so long is a freeze."""
    motion_every_s: float = 2.0
    """The motion gate lets a frame through at least so often."""
    scene_every_s: float = 1.0
    """Between two looks at the scene."""
    reconnect_least_s: float = 0.5
    reconnect_first_s: float = 1.0
    """The range of the first wait; it doubles with each attempt."""
    reconnect_longest_s: float = 30.0
    encoder_backoff_longest_s: float = 2.0
    drain_s: float = 2.0
    """At the end, frames with the encoder have so long to be answered."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What the workers of one process share."""

    encoding: EncodingParts
    looking: Executor
    """Where pictures are looked at."""
    submit: Callable[[TrackletUpdate], None]
    """Takes tracklet updates for the gallery."""
    announcer: Announcer
    feed_of: Callable[[Camera], Feed]
    """What a camera's frames are read from, once; nothing is opened yet."""
    settings: WorkerSettings
    evidence: Evidence | None = None
    """Where best shots and clips are kept; None: nowhere."""
    scenes: Vault | None = None
    """Where it is kept what scenes look like; None: nowhere."""
