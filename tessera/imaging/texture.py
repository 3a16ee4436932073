"""Edges and texture as numbers: what the papers feed to a network beside, or in place of, the pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError
from tessera.imaging.filters import rescale
from tessera.imaging.pixels import Bytes, Floats, gray, require_bytes, require_within

UNIFORM_PATTERNS = 59
"""58 patterns that change at most twice around the circle, and one for all others."""

_STEEPEST = 4.0 * math.sqrt(2.0)
_CIRCLE = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Right, and on around by eighths of a turn."""


def sobel_magnitude(picture: Bytes | Floats) -> Floats:
    """How steep the luminance is at each pixel.

    Args:
        picture: any; its border is mirrored without repeating the outermost pixel.

    Returns:
        float32 (height, width) in [0, 1]: the length of the Sobel gradient against 4 sqrt(2), which none exceeds.

    Raises:
        InvalidInputError: it is no picture.
    """
    luminance = _luminance(picture)
    across, down = (cv2.Sobel(luminance, cv2.CV_32F, *order, borderType=cv2.BORDER_REFLECT_101) for order in _ORDERS)
    return (np.hypot(across, down) / _STEEPEST).astype(np.float32)


_ORDERS = ((1, 0), (0, 1))


def canny_edges(picture: Bytes, low: float = 50.0, high: float = 150.0) -> Bytes:
    """The lines along which the luminance is steepest.

    Args:
        picture: uint8; of a colour picture the luminance.
        low: of the gradient's length (Sobel, levels of 0 to 255), 0 to `high`: a line goes on while it is above.
        high: up to 1,443: a line begins where it is above.

    Returns:
        uint8 (height, width): 255 on a line, else 0.

    Raises:
        InvalidInputError: it is no picture of uint8, or the bounds are out of range.

    Source: Canny, "A computational approach to edge detection", IEEE Trans. PAMI 8 (1986), as OpenCV computes it.
    """
    require_bytes(picture)
    require_within("high", high, 0.0, 1443.0)
    require_within("low", low, 0.0, high)
    return np.asarray(cv2.Canny(gray(picture), low, high, L2gradient=True), np.uint8)


def binary_patterns(picture: Bytes | Floats) -> Bytes:
    """For each pixel which of its eight neighbours are as bright as it or brighter.

    Args:
        picture: any, of 3 pixels or more to a side.

    Returns:
        uint8 (height - 2, width - 2), one bit for each neighbour, the lowest to the right, on clockwise; the outermost
        pixels have no code.

    Raises:
        InvalidInputError: it is no picture, or too small.

    Source: Ojala, Pietikainen and Maenpaa, "Multiresolution gray-scale and rotation invariant texture classification
    with local binary patterns", IEEE Trans. PAMI 24 (2002), with the eight neighbours of the pixel grid as circle.
    """
    levels = _luminance(picture)
    height_px, width_px = levels.shape
    if min(height_px, width_px) < 3:
        raise InvalidInputError("picture", f"shape {picture.shape}", "3 pixels or more to a side")
    middle = levels[1:-1, 1:-1]
    codes = np.zeros(middle.shape, np.uint8)
    for bit, (down, right) in enumerate(_CIRCLE):
        neighbour = levels[1 + down : height_px - 1 + down, 1 + right : width_px - 1 + right]
        codes |= (neighbour >= middle).astype(np.uint8) << np.uint8(bit)
    return codes


def pattern_histogram(picture: Bytes | Floats, cells: int = 1) -> Floats:
    """How often each uniform binary pattern is found, place by place.

    Args:
        picture: any, of `cells` + 2 pixels or more to a side.
        cells: places along each side, 1 to 32.

    Returns:
        float32 (cells * cells * 59,); each place's 59 shares add up to 1, row by row of places.

    Raises:
        InvalidInputError: it is no picture or too small, or `cells` is out of range.

    Source: Ahonen, Hadid and Pietikainen, "Face description with local binary patterns", IEEE Trans. PAMI 28 (2006).
    """
    require_within("cells", cells, 1, 32)
    patterns = _UNIFORM[binary_patterns(picture)]
    if min(patterns.shape) < cells:
        raise InvalidInputError("picture", f"shape {picture.shape}", f"{cells + 2} pixels or more to a side")
    places = [part for rows in np.array_split(patterns, cells) for part in np.array_split(rows, cells, axis=1)]
    counts = [np.bincount(place.ravel(), minlength=UNIFORM_PATTERNS) / place.size for place in places]
    return np.concatenate(counts).astype(np.float32)


def gabor_energy(
    picture: Bytes | Floats, wavelengths_px: Sequence[float] = (4.0, 8.0), orientations: int = 4
) -> Floats:
    """How strong stripes of each width and direction are, wherever in the picture they lie.

    Args:
        picture: any; its border is mirrored without repeating the outermost pixel.
        wavelengths_px: from stripe to stripe, each 2 to 64.
        orientations: directions, evenly over half a turn, 1 to 16; the first varies along the rows (upright stripes).

    Returns:
        float32 (len(wavelengths_px), orientations): the mean length of the answers of an even and an odd filter. A
        picture of one level has 0 throughout, and adding light to a picture changes nothing.

    Raises:
        InvalidInputError: it is no picture, or a setting is out of range.

    Source: Daugman, "Uncertainty relation for resolution in space, spatial frequency, and orientation", JOSA A 2
    (1985); energy of a quadrature pair after Adelson and Bergen (1985).
    """
    require_within("orientations", orientations, 1, 16)
    for wavelength_px in wavelengths_px:
        require_within("wavelengths_px", wavelength_px, 2.0, 64.0)
    luminance = _luminance(picture)
    turns = [math.pi * at / orientations for at in range(orientations)]
    rows = [[_energy(luminance, wavelength_px, turn) for turn in turns] for wavelength_px in wavelengths_px]
    return np.array(rows, np.float32).reshape(len(wavelengths_px), orientations)


def _energy(luminance: Floats, wavelength_px: float, turn: float) -> float:
    even, odd = (
        cv2.filter2D(luminance, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
        for kernel in gabor_pair(wavelength_px, turn)
    )
    return float(np.hypot(even, odd).mean())


def gabor_pair(wavelength_px: float, turn: float) -> tuple[Floats, Floats]:
    """The even and the odd filter for one width and direction; each adds up to 0, its positive part to at most 1.

    Args:
        wavelength_px: from stripe to stripe; the envelope's deviation is half of it, the reach 1.5 of it.
        turn: in radians; 0 varies along the rows.
    """
    reach = math.ceil(1.5 * wavelength_px)
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    along = across * math.cos(turn) + down * math.sin(turn)
    envelope: npt.NDArray[np.float64] = np.exp(-(across**2 + down**2) / (2.0 * (wavelength_px / 2.0) ** 2))
    envelope /= envelope.sum()
    phase = 2.0 * math.pi * along / wavelength_px
    even = envelope * np.cos(phase)
    even -= envelope * even.sum()  # the envelope adds up to 1: what is left answers to no light that is even
    return even.astype(np.float32), (envelope * np.sin(phase)).astype(np.float32)


def _luminance(picture: Bytes | Floats) -> Floats:
    return gray(rescale(picture))


def _uniform_table() -> npt.NDArray[np.int64]:
    codes = np.arange(256)
    turned = (codes >> 1) | ((codes & 1) << 7)
    changes = np.array([int(code).bit_count() for code in codes ^ turned])
    table = np.full(256, UNIFORM_PATTERNS - 1, np.int64)
    table[changes <= 2] = np.arange(UNIFORM_PATTERNS - 1)
    return table


_UNIFORM = _uniform_table()
