"""What is told of a scene: values only."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.domain.camera_events import CameraEventKind
from tessera.domain.observation import Box


@dataclass(frozen=True, slots=True)
class Region:
    """A place in the picture, in fractions of its width and height."""

    x: float
    y: float
    width: float
    height: float

    def box(self, width_px: int, height_px: int) -> Box:
        """The same in pixels of a picture."""
        return Box(self.x * width_px, self.y * height_px, self.width * width_px, self.height * height_px)


WHOLE = Region(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class SceneChange:
    """Something to be told of a scene."""

    kind: CameraEventKind
    probability: float
    """How clear the evidence is, in [0, 1]."""
    regions: tuple[Region, ...]
    detail: str
