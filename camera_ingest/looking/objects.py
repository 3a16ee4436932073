"""Things that were put down or taken away: places that stay other than they were, and lie still.

Two memories of the scene at two speeds. The quick one takes in within half a minute what stands still; the slow one
keeps what was there before, wherever the two disagree. A place where they disagree, and where nothing has moved for
three minutes, is something that was left or taken. People stand about, but not as still as a bag, nor for so long.

Which of the two it was is told by where there is more to see: sure before plain ground, a guess before a busy one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.looking.bands import Bands, Plane, tile_means
from camera_ingest.looking.changes import Region, SceneChange
from tessera.domain.camera_events import CameraEventKind

TILE_PX = 8
_NOISE = 1e-4

Tiles = npt.NDArray[np.bool_]
"""bool of shape (rows, columns): one for each tile."""


@dataclass(frozen=True, slots=True)
class ObjectConfig:
    """What is a thing. The benchmark `tamper` says what these are worth."""

    settle_s: float = 120.0
    """At first nothing is told, and then the scene is what was there most of this time: somebody may have stood about
    while it was learned."""
    settle_looks: int = 12
    lasting_s: float = 180.0
    """It has lain still for so long."""
    adopt_s: float = 1200.0
    """From then on it is a part of the scene."""
    quick_step: float = 0.02
    """Of the quick memory, a second."""
    slow_step: float = 0.0008
    other: float = 0.35
    """Correlation of a tile's two memories below which it is something else."""
    same: float = 0.6
    """Above which it is what it was."""
    still: float = 0.7
    """Correlation of a look with the quick memory above which nothing moves."""
    least_texture: float = 3e-3
    """Mean square of the middle band, of the thing or of what it hides."""
    least_tiles: int = 2
    most_share: float = 0.15
    """More of the picture than that is no thing."""
    brightest: float = 5.4
    """Log of light (+ 12) above which a tile may be dazzled: what is not seen there is not gone."""
    darkest: float = 3.3


@dataclass(slots=True)
class _Thing:
    """One that was told."""

    tiles: Tiles
    told_s: float
    kind: CameraEventKind
    gone_since_s: float | None = None


class ObjectWatch:
    """The things of one scene. Used by one thread at a time, with undisturbed looks.

    Args:
        middle: the usual middle band.
        config: what is a thing.
    """

    def __init__(self, middle: Plane, config: ObjectConfig | None = None) -> None:
        self._config = config or ObjectConfig()
        self._slow, self._quick = middle.copy(), middle.copy()
        self._still_s = np.zeros_like(tile_means(middle, TILE_PX))
        self._looked_s: float | None = None
        self._settled_s = 0.0
        self._early: list[npt.NDArray[np.float16]] = []
        self._things: list[_Thing] = []

    def look(self, bands: Bands, captured_s: float) -> tuple[SceneChange, ...]:
        """Take in an undisturbed look; returns what is to be told now."""
        since_s = min(5.0, captured_s - self._looked_s) if self._looked_s is not None else 0.0
        self._looked_s = captured_s
        step = np.float32(self._config.quick_step * since_s)
        self._quick += np.clip(bands.middle - self._quick, -step, step)
        if self._settled_s < self._config.settle_s:
            return self._settle(bands, since_s)
        quick, slow = (tile_means(memory * memory, TILE_PX) for memory in (self._quick, self._slow))
        alike = _likeness(self._quick, self._slow, quick, slow)
        seen = tile_means(bands.middle * bands.middle, TILE_PX)
        still = _likeness(self._quick, bands.middle, quick, seen) > self._config.still
        light = tile_means(bands.light, TILE_PX)
        visible = (light < self._config.brightest) & (light > self._config.darkest)
        textured = np.maximum(quick, slow) > self._config.least_texture
        # Where a thing was taken from plain ground there is nothing left to be still.
        plain = (quick <= self._config.least_texture) & (seen <= self._config.least_texture)
        lies = (alike < self._config.other) & textured & visible & (still | plain)
        self._still_s = np.where(lies, self._still_s + since_s, np.maximum(0.0, self._still_s - 3.0 * since_s))
        agree = (alike > self._config.same) | ~textured
        self._keep(agree, since_s)
        return self._new(quick, slow, captured_s) + self._over(agree, captured_s)

    def _settle(self, bands: Bands, since_s: float) -> tuple[SceneChange, ...]:
        self._settled_s += since_s
        if self._settled_s * self._config.settle_looks >= self._config.settle_s * len(self._early):
            self._early.append(bands.middle.astype(np.float16))
        if self._settled_s >= self._config.settle_s:
            self._slow = np.median(np.stack(self._early), axis=0).astype(np.float32)
            self._early.clear()
        return ()

    def _keep(self, agree: Tiles, since_s: float) -> None:
        """The slow memory follows the light where the two agree, and stays as it is where they do not."""
        step = np.float32(self._config.slow_step * since_s)
        self._slow += np.clip(self._quick - self._slow, -step, step) * _pixels(agree, self._slow.shape)

    def _new(self, quick: Plane, slow: Plane, captured_s: float) -> tuple[SceneChange, ...]:
        lasting = self._still_s >= self._config.lasting_s
        whole = _around(self._still_s >= self._config.lasting_s / 3.0)
        for thing in self._things:
            whole &= ~_around(_around(thing.tiles))
        if not (lasting & whole).any() or lasting.mean() > self._config.most_share:
            return ()
        count, labels = cv2.connectedComponents(whole.astype(np.uint8), connectivity=8)
        told = []
        for label in range(1, count):
            tiles = (labels == label) & (self._still_s >= self._config.lasting_s / 3.0)
            if int(tiles.sum()) < self._config.least_tiles or not (tiles & lasting).any():
                continue
            after, before = float(quick[tiles].sum()), float(slow[tiles].sum())
            kind = CameraEventKind.OBJECT_LEFT if after >= before else CameraEventKind.OBJECT_REMOVED
            self._things.append(_Thing(tiles, captured_s, kind))
            sure = abs(after - before) / max(after + before, 1e-9)
            told.append(
                SceneChange(kind, 0.5 + 0.5 * sure, (_region(tiles),), f"still for {self._config.lasting_s:g} s")
            )
        return tuple(told)

    def _over(self, agree: Tiles, captured_s: float) -> tuple[SceneChange, ...]:
        """What was told and is as before, or has become a part of the scene."""
        told, left = [], []
        for thing in self._things:
            as_before = float(agree[thing.tiles].mean()) > 0.5
            thing.gone_since_s = (thing.gone_since_s or captured_s) if as_before else None
            if thing.gone_since_s is not None and captured_s - thing.gone_since_s >= 5.0:
                self._still_s[_around(thing.tiles)] = 0.0
                detail = f"{thing.kind}: the place is as it was"
                told.append(SceneChange(CameraEventKind.SCENE_CLEAR, 1.0, (_region(thing.tiles),), detail))
            elif captured_s - thing.told_s >= self._config.adopt_s:
                where = _pixels(_around(thing.tiles), self._slow.shape) > 0
                self._slow[where] = self._quick[where]
                detail = f"{thing.kind} is a part of the scene by now"
                told.append(SceneChange(CameraEventKind.SCENE_CLEAR, 1.0, (_region(thing.tiles),), detail))
            else:
                left.append(thing)
        self._things = left
        return tuple(told)


def _around(tiles: Tiles) -> Tiles:
    return np.asarray(cv2.dilate(tiles.astype(np.uint8), np.ones((3, 3), np.uint8)), dtype=np.bool_)


def _likeness(one: Plane, other: Plane, energy: Plane, other_energy: Plane) -> Plane:
    across = tile_means(one * other, TILE_PX)
    return np.asarray(across / np.sqrt((energy + _NOISE) * (other_energy + _NOISE)), dtype=np.float32)


def _pixels(tiles: Tiles, shape: tuple[int, ...]) -> Plane:
    """A mask of tiles as one of pixels; what is left at the right and below belongs to none."""
    whole = np.zeros(shape, np.float32)
    mask = tiles.repeat(TILE_PX, 0).repeat(TILE_PX, 1)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    return whole


def _region(tiles: Tiles) -> Region:
    rows, columns = np.nonzero(tiles)
    down, across = tiles.shape
    x, y = float(columns.min()) / across, float(rows.min()) / down
    return Region(x, y, float(columns.max() + 1) / across - x, float(rows.max() + 1) / down - y)
