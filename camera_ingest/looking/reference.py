"""What a camera usually shows: the scene without who passes, and how far each place of it can be relied on.

Learned as the median of the first looks, then followed in small steps of one size, each a few seconds: whoever stands
in the way for a while moves it by a step or two, the sun in the course of an hour as far as need be (a running median,
Manzanera and Richefeu, "A new motion detection algorithm based on sigma-delta background estimation", 2007). Refuses to
judge: it says what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from camera_ingest.looking.bands import Bands, Plane, tile_means

TILE_PX = 16
LEAST_TEXTURE = 8e-4
"""Mean square of a tile's middle band from which it has a pattern that can be met again."""
_MIDDLE_STEP = 0.004
_FINE_STEP = 0.002
_RELIABLE = 0.9
_TRUST_S = 60.0

Mask = npt.NDArray[np.bool_]
"""bool of shape (rows, columns): one for each tile."""


class Reference:
    """The usual bands of one scene. Used by one thread at a time.

    Args:
        looks: the first ones, of one size; the more, the less of those who passed stays in it.
    """

    def __init__(self, looks: Sequence[Bands]) -> None:
        fine: Plane = np.median(np.stack([look.fine for look in looks]), axis=0)
        middle: Plane = np.median(np.stack([look.middle for look in looks]), axis=0)
        light: Plane = np.median(np.stack([tile_means(look.light, TILE_PX) for look in looks]), axis=0)
        self._set(middle, fine, light, np.ones_like(light))

    @classmethod
    def of(cls, middle: Plane, fine: Plane, light: Plane, trusted: Plane) -> Reference:
        """The reference that had these planes: float32, those of tiles smaller by `TILE_PX`.

        Raises:
            ValueError: they are not of one scene.
        """
        tiles = tuple(side // TILE_PX for side in middle.shape)
        if middle.ndim != 2 or fine.shape != middle.shape or light.shape != tiles or trusted.shape != tiles:
            raise ValueError(f"planes of {middle.shape}, {fine.shape}, {light.shape} and {trusted.shape}")
        reference = cls.__new__(cls)
        reference._set(middle, fine, light, trusted)
        return reference

    def copy(self) -> Reference:
        """One that follows the scene on its own."""
        return Reference.of(self.middle.copy(), self.fine.copy(), self.light.copy(), self.trusted.copy())

    def _set(self, middle: Plane, fine: Plane, light: Plane, trusted: Plane) -> None:
        self.middle, self.fine, self.light, self.trusted = middle, fine, light, trusted
        self.fine_energy = self.middle_energy = light
        self.textured: Mask = np.zeros(light.shape, np.bool_)
        self._measure()

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width) of its bands."""
        return self.middle.shape

    @property
    def reliable(self) -> Mask:
        """The tiles whose pattern is there in most looks: where people pass all the time, it is not."""
        return self.textured & (self.trusted > _RELIABLE)

    @property
    def dependable(self) -> Plane:
        """The middle band of the reliable tiles; 0 elsewhere."""
        height_px, width_px = self.shape
        whole = np.zeros(self.shape, np.float32)
        mask = self.reliable.repeat(TILE_PX, 0).repeat(TILE_PX, 1)
        whole[: mask.shape[0], : mask.shape[1]] = mask
        return np.asarray(self.middle * whole[:height_px, :width_px], dtype=np.float32)

    def trust(self, matched: Mask, since_s: float) -> None:
        """Learn from a look which tiles show what they usually do.

        Args:
            matched: those that did.
            since_s: since the look before.
        """
        self.trusted += np.float32(1.0 - math.exp(-since_s / _TRUST_S)) * (matched - self.trusted)

    def follow(self, look: Bands) -> None:
        """Take a step towards an undisturbed look."""
        self.middle += np.clip(look.middle - self.middle, -_MIDDLE_STEP, _MIDDLE_STEP)
        self.fine += np.clip(look.fine - self.fine, -_FINE_STEP, _FINE_STEP)
        self.light += np.float32(0.1) * (tile_means(look.light, TILE_PX) - self.light)
        self._measure()

    def _measure(self) -> None:
        self.fine_energy = tile_means(self.fine * self.fine, TILE_PX)
        self.middle_energy = tile_means(self.middle * self.middle, TILE_PX)
        self.textured = self.middle_energy > LEAST_TEXTURE
