"""A look against what is usual, tile by tile: a Siamese comparison, both through the same bands.

Three numbers come of it. How many of the tiles that can be relied on show their pattern again; how much of their fine
detail is left, beside their coarser one; and where something else is. None of them is a verdict.

A lens out of focus takes fine detail away (its energy falls) and takes it away from the pattern itself (the look's
share of the reference's detail falls too). Noise and a lamp change the first alone, a shake the second alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from camera_ingest.looking.bands import Bands, Plane, tile_means
from camera_ingest.looking.reference import TILE_PX, Mask, Reference

MATCHED = 0.5
"""Correlation of a tile's middle band with the usual one."""
_SURELY = 0.6
_NOISE_MIDDLE = 1e-4
_NOISE_FINE = 2e-5
_LEAST_TILES = 6
_COARSE_PX = 2.5
_PLAINEST = 5.0
"""Per cent of the tiles."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What a look shows of what is usual."""

    matched: Mask
    """The tiles whose pattern is there."""
    kept: float
    """Of the reliable tiles, the share that is matched."""
    detail: float
    """Log of the energy of fine detail over that of coarser detail, beside the reference's own; 0: as it was, below:
    softer. NaN: too few tiles to tell."""
    sharpness: float
    """Share of the reference's fine detail that is met again, beside that of the coarser; 1: all. NaN as above."""
    lighter: float
    """Log of the light of the matched tiles over the usual one."""


def compare(reference: Reference, look: Bands) -> Comparison:
    """Compare a look with what is usual; both of one size."""
    middle, across = _energy(look.middle), tile_means(look.middle * reference.middle, TILE_PX)
    likeness = across / np.sqrt((middle + _NOISE_MIDDLE) * (reference.middle_energy + _NOISE_MIDDLE))
    matched: Mask = likeness > MATCHED
    reliable = reference.reliable
    kept = float(matched[reliable].mean()) if reliable.any() else 0.0
    sure = reliable & (likeness > _SURELY)
    if int(sure.sum()) < _LEAST_TILES:
        return Comparison(matched, kept, float("nan"), float("nan"), 0.0)
    light = tile_means(look.light, TILE_PX)
    fine = _without_noise(_energy(look.fine), light)[sure] + _NOISE_FINE
    usual_fine = reference.fine_energy[sure] + _NOISE_FINE
    fine_across = tile_means(look.fine * reference.fine, TILE_PX)[sure]
    gain = middle[sure] / reference.middle_energy[sure]
    sharpness = (fine_across / usual_fine) / (across[sure] / reference.middle_energy[sure])
    lighter = (light - reference.light)[sure]
    return Comparison(
        matched,
        kept,
        float(np.median(np.log(fine / usual_fine) - np.log(gain))),
        float(np.median(sharpness)),
        float(np.median(lighter)),
    )


def coarsely_kept(reference: Reference, look: Bands) -> float:
    """Of the reliable tiles, the share whose pattern is there once both are blurred: a lens far out of focus."""
    one, other = (
        np.asarray(cv2.GaussianBlur(middle, (0, 0), _COARSE_PX), dtype=np.float32)
        for middle in (reference.middle, look.middle)
    )
    energies = np.sqrt((_energy(one) + 0.1 * _NOISE_MIDDLE) * (_energy(other) + 0.1 * _NOISE_MIDDLE))
    reliable = reference.reliable
    likeness = tile_means(one * other, TILE_PX) / energies
    return float((likeness[reliable] > MATCHED).mean()) if reliable.any() else 0.0


def softness(reference: Reference, look: Bands) -> float:
    """Log of the energy of fine detail over the usual one, over all reliable tiles at once."""
    reliable = reference.reliable
    usual = float(reference.fine_energy[reliable].sum()) + _NOISE_FINE
    left = _without_noise(_energy(look.fine), tile_means(look.light, TILE_PX))[reliable]
    return float(np.log((float(left.sum()) + _NOISE_FINE) / usual))


def _without_noise(fine: Plane, light: Plane) -> Plane:
    """Energy of fine detail less that of the sensor's noise, which is what the plainest tiles have; a tenth is left.

    The same noise is stronger in the logarithm where it is darker.
    """
    darker = np.exp(-2.0 * light)
    noise = float(np.percentile(fine / darker, _PLAINEST)) * darker
    return np.asarray(np.maximum(fine - noise, 0.1 * fine), dtype=np.float32)


def _energy(band: Plane) -> Plane:
    return tile_means(band * band, TILE_PX)
