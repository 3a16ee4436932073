"""Siamese change maps: one description for each tile of two pictures of a scene, and how far apart the two lie.

After `registration`, before `tessera.domain.change`, which knows what is usual. Both pictures go through the same
description. The one here is of the gradients of the logarithm of light, so that a lamp, a cloud or a shadow's soft edge
changes little, and soft over places, so that a pixel or two of shift change little. Or the caller gives an embedding
for each tile. Says nothing of what the thing is that changed, nor whether anybody should be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.change import ChangeCalibration, Distances
from tessera.domain.errors import InvalidInputError
from tessera.imaging.decode import Image
from tessera.imaging.registration import Luminance, luminance

TILE_PX = 16
_DIRECTIONS = 8
_SMOOTH_PX = 1.2
_DARK = 16.0
"""Added to the light before the logarithm: what a dark place's noise is not told apart from."""
_NOISE = 0.25
"""Length of a description below which a tile is as good as flat."""
_ALL_CHANGED = 0.6
_LIGHT_LEVELS = 12.0
_GAINED = 1.25

Tiles = npt.NDArray[np.bool_]
"""Shape (rows, columns)."""
Descriptions = npt.NDArray[np.float32]
"""float32 of shape (rows, columns, d): one row for each tile."""


class Verdict(StrEnum):
    """What a look at a scene says, against its reference."""

    SAME = "SAME"
    LIGHT = "LIGHT"
    """The light is another one; what stands there is the same."""
    LOCAL = "LOCAL"
    """Something changed in one or more places."""
    WHOLE = "WHOLE"
    """Most of the scene: moved, covered or defocused, or another scene."""


class Kind(StrEnum):
    """What happened at a place, by where its edges are: told for plain surroundings, a guess before a busy one."""

    APPEARED = "APPEARED"
    VANISHED = "VANISHED"
    REPLACED = "REPLACED"
    """Neither look has clearly more edges there."""


@dataclass(frozen=True, slots=True)
class Region:
    """A place that changed."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    tiles: int
    peak: float
    """The highest excess in it, in deviations of an undisturbed tile."""
    kind: Kind


@dataclass(frozen=True, slots=True)
class Judgement:
    """What changed between a reference and a look, and how surely."""

    verdict: Verdict
    score: float
    """Of the change calibration; changed from its threshold on."""
    light: float
    """Median change of the light, in levels of 255; negative: darker."""
    regions: tuple[Region, ...]
    """Strongest first; empty unless the verdict is LOCAL."""


def describe(picture: Image, tile_px: int = TILE_PX) -> Descriptions:
    """Describe every tile by the directions and strengths of its edges.

    Args:
        picture: uint8 (h, w) or (h, w, 3).
        tile_px: side of a tile; what is left at the right and at the bottom belongs to none.

    Returns:
        float32 (h // tile_px, w // tile_px, 32): eight directions (light to dark is another one than dark to light) in
        four quarters that overlap; its length says how much there is to see.

    Raises:
        InvalidInputError: the picture is smaller than a tile, or a tile is below 8 pixels.

    Source: after Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
    """
    if tile_px < 8 or tile_px % 2 or min(picture.shape[:2]) < tile_px:
        raise InvalidInputError("tile_px", tile_px, f"even, from 8 to the picture's side {min(picture.shape[:2])}")
    light = np.log(_DARK + cv2.GaussianBlur(luminance(picture), (0, 0), _SMOOTH_PX)).astype(np.float32, copy=False)
    planes = _by_direction(light)
    half = tile_px // 2
    # Weighed softly around the middle of each quarter: an edge that crosses a border changes little.
    spread = [cv2.GaussianBlur(plane, (0, 0), tile_px / 4.0) for plane in planes]
    soft = np.stack(spread, axis=2).astype(np.float32, copy=False) * np.float32(tile_px)
    rows, columns = (side // tile_px for side in light.shape)
    at = soft[half // 2 : rows * tile_px : half, half // 2 : columns * tile_px : half]
    quarters = at[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, _DIRECTIONS)
    described: Descriptions = np.ascontiguousarray(quarters.swapaxes(1, 2)).reshape(rows, columns, 4 * _DIRECTIONS)
    return described


def distance_map(first: Descriptions, second: Descriptions, seen: Tiles | None = None) -> Distances:
    """How unlike each tile of two pictures is.

    Args:
        first: float32 (rows, columns, d), from `describe`.
        second: the same shape.
        seen: (rows, columns), the tiles that the second picture shows, as `tiles_seen` says; None: all.

    Returns:
        Shape (rows, columns), in [0, 1]: |a - b| / (|a| + |b| + noise). 0 for equal tiles and symmetric; two flat tiles
        are near 0 whatever their noise. NaN for tiles that were not seen.

    Raises:
        InvalidInputError: shapes differ.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise InvalidInputError("second", second.shape, f"(rows, columns, d), as the first {first.shape}")
    one, other = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(one, axis=2) + np.linalg.norm(other, axis=2)
    return _where_seen(np.linalg.norm(one - other, axis=2) / (lengths + _NOISE), seen)


def embedding_distance_map(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], seen: Tiles | None = None
) -> Distances:
    """The same from embeddings that the caller made of each tile: half of 1 - cosine, in [0, 1].

    Args:
        first: float32 (rows, columns, d), any length but 0.
        second: the same shape.
        seen: as for `distance_map`.

    Raises:
        InvalidInputError: shapes differ, or an embedding has no length.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise InvalidInputError("second", second.shape, f"(rows, columns, d), as the first {first.shape}")
    lengths = np.linalg.norm(first, axis=2), np.linalg.norm(second, axis=2)
    if not all(bool((length > 0.0).all()) for length in lengths):
        raise InvalidInputError("embeddings", "a row of zeros", "embeddings of a length above 0")
    cosine = (first * second).sum(axis=2) / (lengths[0] * lengths[1])
    return _where_seen(np.clip((1.0 - cosine.astype(np.float64)) / 2.0, 0.0, 1.0), seen)


def scene_of(pictures: Sequence[Image]) -> Image:
    """The scene without who passes through: the median of each pixel over several pictures of one size.

    Raises:
        InvalidInputError: there is none, or sizes differ.
    """
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise InvalidInputError("pictures", len(pictures), "one or more of one size")
    median: Image = np.median(np.stack(pictures), axis=0).astype(np.uint8)
    return median


def tiles_seen(covered: npt.NDArray[np.bool_], tile_px: int = TILE_PX) -> Tiles:
    """The tiles of which every pixel is there.

    Args:
        covered: (h, w), as `registration.warped` gives it.
        tile_px: side of a tile.
    """
    rows, columns = (side // tile_px for side in covered.shape)
    cut = covered[: rows * tile_px, : columns * tile_px]
    return np.asarray(cut.reshape(rows, tile_px, columns, tile_px).all(axis=(1, 3)), dtype=np.bool_)


def tiles_of(picture: Image, tile_px: int = TILE_PX) -> Image:
    """Every whole tile as a picture of its own, for an encoder: (rows, columns, tile_px, tile_px, ...)."""
    rows, columns = (side // tile_px for side in picture.shape[:2])
    cut = picture[: rows * tile_px, : columns * tile_px]
    parts = cut.reshape(rows, tile_px, columns, tile_px, *picture.shape[2:])
    return np.ascontiguousarray(parts.swapaxes(1, 2))


def judge(
    reference: Image,
    look: Image,
    calibration: ChangeCalibration,
    distances: Distances | None = None,
    tile_px: int = TILE_PX,
) -> Judgement:
    """Say what changed between two registered pictures.

    Args:
        reference: the undisturbed scene, uint8.
        look: of the same size, brought onto the reference.
        calibration: of undisturbed looks at the scene, over the same tiles.
        distances: as they were measured, or `settled` over several looks; None: measured here.
        tile_px: side of a tile.

    Raises:
        InvalidInputError: sizes or grids differ.
    """
    before, after = describe(reference, tile_px), describe(look, tile_px)
    found = distance_map(before, after) if distances is None else distances
    score, light = calibration.score(found), _light(reference, look)
    changed = calibration.changed(found)
    if score < calibration.threshold:
        return Judgement(Verdict.LIGHT if abs(light) >= _LIGHT_LEVELS else Verdict.SAME, score, light, ())
    seen = ~np.isnan(found)
    if changed[seen].mean() >= _ALL_CHANGED:
        return Judgement(Verdict.WHOLE, score, light, ())
    return Judgement(
        Verdict.LOCAL, score, light, _regions(changed, calibration.excess(found), (before, after), tile_px)
    )


def _regions(
    changed: npt.NDArray[np.bool_], excess: Distances, looks: tuple[Descriptions, Descriptions], tile_px: int
) -> tuple[Region, ...]:
    count, labels, facts, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8), connectivity=8)
    regions = []
    for label in range(1, count):
        x, y, width, height, tiles = (int(fact) for fact in facts[label])
        inside = labels == label
        before, after = (float(np.linalg.norm(look[inside], axis=1).sum()) for look in looks)
        sides_px = (x * tile_px, y * tile_px, width * tile_px, height * tile_px)
        regions.append(Region(*sides_px, tiles, float(excess[inside].max()), _kind(before, after)))
    return tuple(sorted(regions, key=lambda region: -region.peak))


def _kind(edges_before: float, edges_after: float) -> Kind:
    if edges_after > _GAINED * edges_before:
        return Kind.APPEARED
    return Kind.VANISHED if edges_before > _GAINED * edges_after else Kind.REPLACED


def _light(reference: Image, look: Image) -> float:
    return float(np.median(luminance(look) - luminance(reference)))


def _by_direction(light: Luminance) -> Sequence[Luminance]:
    across, down = (cv2.Sobel(light, cv2.CV_32F, x, 1 - x, scale=0.25) for x in (1, 0))
    strength, angle = cv2.cartToPolar(across, down)
    position = (angle * (_DIRECTIONS / (2 * np.pi))).astype(np.float32)
    # Shared between the two nearest directions; the first is next to the last.
    shares = [np.maximum(0.0, 1.0 - np.abs(position - direction)) for direction in range(_DIRECTIONS)]
    shares[0] += np.maximum(0.0, position - (_DIRECTIONS - 1))
    return [(strength * share).astype(np.float32, copy=False) for share in shares]


def _where_seen(distances: Distances, seen: Tiles | None) -> Distances:
    if seen is None:
        return distances
    if seen.shape != distances.shape:
        raise InvalidInputError("seen", seen.shape, f"one for each tile, {distances.shape}")
    return np.where(seen, distances, np.nan)
