"""Whether something large is before the camera: a region in which neither the pattern nor the light is as it was.

Where a scene has a pattern, a cover is a pattern that is gone. Where it has none, it is another light with a sharp rim:
a lamp's light falls off softly, and leaves the patterns in it as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from camera_ingest.looking.bands import Bands, Plane, tile_means
from camera_ingest.looking.comparing import Comparison
from camera_ingest.looking.reference import TILE_PX, Mask, Reference

_OTHER_LIGHT = 0.35
"""Log of light beside what the rest of the picture did."""
_SHARP_RIM = 0.2
"""Mean step of light from tile to tile along the rim of a region."""
_PATTERNS_LEFT = 0.4
_LEAST_PATTERNS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """The largest region that is something else."""

    tiles: Mask
    share: float
    """Of all tiles."""


def largest_cover(reference: Reference, look: Bands, comparison: Comparison) -> Cover:
    """The largest region of a look that is not the scene; empty where patterns go on through it, or its rim is soft."""
    light = tile_means(look.light, TILE_PX) - reference.light
    lost = reference.reliable & ~comparison.matched
    other = np.abs(light - comparison.lighter) > _OTHER_LIGHT
    foreign = np.where(reference.textured, lost, other)
    closed = cv2.morphologyEx(foreign.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    nothing = Cover(np.zeros_like(foreign), 0.0)
    if count < 2:
        return nothing
    tiles: Mask = labels == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    patterns = reference.reliable & tiles
    shows_through = int(patterns.sum()) >= _LEAST_PATTERNS and comparison.matched[patterns].mean() > _PATTERNS_LEFT
    if shows_through or _rim_step(light, tiles) < _SHARP_RIM:
        return nothing
    return Cover(tiles, float(tiles.mean()))


def _rim_step(light: Plane, tiles: Mask) -> float:
    steps = []
    for axis in (0, 1):
        rim = np.diff(tiles.astype(np.int8), axis=axis) != 0
        steps.append(np.abs(np.diff(light, axis=axis))[rim])
    found = np.concatenate(steps)
    return float(found.mean()) if found.size else float("inf")
