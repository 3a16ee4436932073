"""Ills of scans and photographs, each of one fixed strength, set before anything was measured with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from tessera.imaging.decode import Image
from tessera.imaging.pixels import Bytes

SCANNED_DPI = 300
"""What BHSig260 was scanned at."""

Ill = Callable[[Bytes, np.random.Generator], Bytes]


def jpeg_30(picture: Bytes, rng: np.random.Generator) -> Bytes:  # noqa: ARG001 - all are called alike
    """Saved as JPEG of quality 30."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)


def half_resolution(picture: Bytes, rng: np.random.Generator) -> Bytes:  # noqa: ARG001 - all are called alike
    """150 dpi instead of 300."""
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def phone_shading(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Photographed: light that falls off to a half, a shadow's soft edge, a slight blur, and noise of 6 levels."""
    height_px, width_px = picture.shape[:2]
    rows, columns = np.mgrid[0 : 1 : height_px * 1j, 0 : 1 : width_px * 1j].astype(np.float32)
    angle = rng.uniform(0.0, 2.0 * np.pi)
    along = (columns - 0.5) * np.cos(angle) + (rows - 0.5) * np.sin(angle)
    light = 0.75 - 0.35 * along
    light *= 1.0 - 0.3 / (1.0 + np.exp(-(along - rng.uniform(-0.2, 0.2)) * 30.0))
    inked = cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.float32)
    seen = (20.0 + inked * (220.0 / 255.0)) * (light if picture.ndim == 2 else light[..., None])
    noisy: Bytes = np.clip(seen + rng.normal(0.0, 6.0, picture.shape), 0, 255).astype(np.uint8)
    return noisy


def ruled_paper(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Gray lines of 2 pixels every 90, slightly askew, under the ink."""
    ruled = np.full_like(picture, 255)
    tilt = round(rng.uniform(-0.008, 0.008) * picture.shape[1])
    for row in range(int(rng.integers(5, 90)), picture.shape[0] + 20, 90):
        cv2.line(ruled, (0, row), (picture.shape[1] - 1, row + tilt), (110, 110, 110), 2, cv2.LINE_AA)
    return np.minimum(picture, ruled)


def blue_ink(picture: Bytes, rng: np.random.Generator) -> Bytes:
    """Black becomes the blue of a ball pen, on paper that is not quite white."""
    levels = picture if picture.ndim == 2 else picture.min(2)
    ink = np.array([175.0, 80.0, 45.0]) + rng.normal(0.0, 10.0, 3)
    paper = np.array([238.0, 243.0, 245.0])
    share = (levels.astype(np.float64) / 255.0)[..., None]
    blue: Image = np.clip(ink + (paper - ink) * share, 0, 255).astype(np.uint8)
    return blue


ILLS: Mapping[str, Ill] = {
    "jpeg_q30": jpeg_30,
    "dpi_150": half_resolution,
    "phone_shading": phone_shading,
    "ruled_paper": ruled_paper,
    "blue_ink": blue_ink,
}
