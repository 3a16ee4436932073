"""Bytes to pixels, the first stage of a frame's way: within limits, upright, and never half a picture.

It refuses whatever it cannot decode in full. Nothing is decoded before the header has passed the limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason
from tessera.imaging.headers import Header, ImageFormat, read_header

Image = npt.NDArray[np.uint8]
"""uint8 of shape (height, width, 3): blue, green, red, 0 to 255."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a picture may be."""

    max_bytes: int = 20 * 1024 * 1024
    """Length as sent."""
    max_pixels: int = 50_000_000
    """Width x height."""
    min_side_px: int = 16
    """The shorter side."""


DEFAULT_LIMITS = DecodeLimits()

_TURNS = {
    3: cv2.ROTATE_180,
    4: cv2.ROTATE_180,
    5: cv2.ROTATE_90_CLOCKWISE,
    6: cv2.ROTATE_90_CLOCKWISE,
    7: cv2.ROTATE_90_COUNTERCLOCKWISE,
    8: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
_MIRRORED = frozenset({2, 4, 5, 7})


def decode(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> Image:
    """Decode a JPEG, PNG, WebP or BMP picture.

    Args:
        data: the picture as it was sent. Gray, palette and 16-bit pictures become 8-bit colour; alpha is dropped;
            a JPEG is turned upright as its EXIF orientation says.
        limits: checked on the header, before any pixel is decoded.

    Returns:
        uint8 (height, width, 3), blue, green, red.

    Raises:
        ImageRejectedError: with the reason EMPTY_IMAGE, TOO_MANY_BYTES, NOT_AN_IMAGE, UNSUPPORTED_FORMAT,
            TRUNCATED_IMAGE, TOO_MANY_PIXELS or TOO_FEW_PIXELS.
    """
    if not data:
        raise ImageRejectedError(Reason.EMPTY_IMAGE, "got 0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageRejectedError(
            Reason.TOO_MANY_BYTES, f"got {len(data):,} bytes; allowed: at most {limits.max_bytes:,}"
        )
    header = read_header(data)
    _check_size(header, limits)
    if header.format is ImageFormat.JPEG:
        return _upright(_decode_jpeg(data), header.orientation)
    return _decode_other(data, header)


def _check_size(header: Header, limits: DecodeLimits) -> None:
    size = f"{header.width_px} x {header.height_px} pixels"
    if header.width_px * header.height_px > limits.max_pixels:
        raise ImageRejectedError(Reason.TOO_MANY_PIXELS, f"got {size}; allowed: at most {limits.max_pixels:,} in all")
    if min(header.width_px, header.height_px) < limits.min_side_px:
        raise ImageRejectedError(
            Reason.TOO_FEW_PIXELS, f"got {size}; allowed: at least {limits.min_side_px} on the shorter side"
        )


def _decode_jpeg(data: bytes) -> Image:
    try:
        image: Image = simplejpeg.decode_jpeg(data, "BGR", strict=True)
    except (ValueError, KeyError) as error:
        return _decode_warned_jpeg(data, str(error))
    return image


def _decode_warned_jpeg(data: bytes, warning: str) -> Image:
    # Some cameras pad between segments; libjpeg warns of it, and every pixel is there.
    if "extraneous bytes" in warning:
        try:
            image: Image = simplejpeg.decode_jpeg(data, "BGR", strict=False)
        except (ValueError, KeyError) as error:
            raise ImageRejectedError(Reason.NOT_AN_IMAGE, f"the JPEG cannot be decoded: {error}") from error
        return image
    cut = "premature end" in warning.lower() or not data.rstrip(b"\x00").endswith(b"\xff\xd9")
    reason = Reason.TRUNCATED_IMAGE if cut else Reason.NOT_AN_IMAGE
    raise ImageRejectedError(reason, f"the JPEG cannot be decoded in full: {warning}")


def _decode_other(data: bytes, header: Header) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageRejectedError(Reason.NOT_AN_IMAGE, f"the {header.format} cannot be decoded: {error.err}") from error
    if image is None:
        raise ImageRejectedError(Reason.NOT_AN_IMAGE, f"the {header.format} is damaged and cannot be decoded")
    return image.astype(np.uint8, copy=False)


def _upright(image: Image, orientation: int) -> Image:
    turn = _TURNS.get(orientation)
    if turn is not None:
        image = cv2.rotate(image, turn).astype(np.uint8, copy=False)
    return cv2.flip(image, 1).astype(np.uint8, copy=False) if orientation in _MIRRORED else image
