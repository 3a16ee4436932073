"""What can happen to a camera: the words that workers, the event log and alert rules share."""

from __future__ import annotations

from enum import StrEnum


class CameraEventKind(StrEnum):
    """What happened to a camera."""

    ONLINE = "ONLINE"
    LOST = "LOST"
    FROZEN = "FROZEN"
    COVERED = "COVERED"
    DEFOCUSED = "DEFOCUSED"
    MOVED = "MOVED"
    OBJECT_LEFT = "OBJECT_LEFT"
    OBJECT_REMOVED = "OBJECT_REMOVED"
    ENDED = "ENDED"
    SCENE_CLEAR = "SCENE_CLEAR"
    """What was told of the scene before is over."""
    CLOCK_OFFSET = "CLOCK_OFFSET"
    """Its clock and that of another camera of the same view are apart."""
