"""Bytes to pixels, the first stage of a frame's way: within limits, upright, and never half a picture.

It refuses whatever it cannot decode in full. Nothing is decoded before the header has passed the limits. A picture that
is larger than the detector can use is decoded at a fraction of its size first, and in full once a face needs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason
from tessera.imaging.exif import far_sides, turns_sideways, upright
from tessera.imaging.headers import Header, ImageFormat, damaged, read_header, truncated
from tessera.imaging.wholeness import whole

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

_FACTORS = (8, 4, 2)


@dataclass(frozen=True, slots=True, eq=False)
class ScaledImage:
    """A picture as the detector needs it, upright."""

    image: Image
    """At 1/`factor` of its size, rounded up."""
    factor: int
    """Pixels of the full picture per pixel of `image`, along each side: 1, 2, 4 or 8. Times it, a place in `image` is
    the same place in the full picture."""
    height_px: int
    """Of the full upright picture."""
    width_px: int
    """Of the full upright picture."""


def decode(data: bytes, limits: DecodeLimits = DEFAULT_LIMITS) -> Image:
    """Decode a JPEG, PNG, WebP or BMP picture.

    Args:
        data: the picture as it was sent. Gray, palette and 16-bit pictures become 8-bit colour; alpha is dropped; EXIF
            orientation is honoured.
        limits: checked on the header, before any pixel is decoded.

    Returns:
        uint8 (height, width, 3), blue, green, red.

    Raises:
        ImageRejectedError: with the reason EMPTY_IMAGE, TOO_MANY_BYTES, NOT_AN_IMAGE, UNSUPPORTED_FORMAT,
            TRUNCATED_IMAGE, TOO_MANY_PIXELS or TOO_FEW_PIXELS. Animated pictures are UNSUPPORTED_FORMAT.
    """
    return _decode_at(data, _checked_header(data, limits), 1).image


def decode_for_detection(data: bytes, limits: DecodeLimits, detect_side_px: int) -> ScaledImage:
    """Decode a picture at the smallest size that still gives the detector all that it can use.

    Only a JPEG can be decoded at a fraction, 1/2, 1/4 or 1/8; everything else comes in full.

    Args:
        data: as for `decode`.
        limits: as for `decode`; they hold for the full size.
        detect_side_px: the longer side of the decoded picture is never below it, unless the full picture's is.

    Raises:
        ImageRejectedError: as `decode` does.
    """
    header = _checked_header(data, limits)
    return _decode_at(data, header, _factor(header, detect_side_px))


def _factor(header: Header, detect_side_px: int) -> int:
    if header.format is not ImageFormat.JPEG:
        return 1
    longer_px = max(header.height_px, header.width_px)
    # A last row or column that holds less than a whole step would shift every place once the picture is turned round.
    counted_from_far = zip((header.height_px, header.width_px), far_sides(header.orientation), strict=True)
    exact = [side_px for side_px, from_far in counted_from_far if from_far]
    fits = (f for f in _FACTORS if longer_px >= f * detect_side_px and all(side_px % f == 0 for side_px in exact))
    return next(fits, 1)


def _decode_at(data: bytes, header: Header, factor: int) -> ScaledImage:
    needed, orientation = whole(data, header)
    image = _decode_jpeg(needed, header, factor) if header.format is ImageFormat.JPEG else _decode_other(needed, header)
    height_px, width_px = header.height_px, header.width_px
    if turns_sideways(orientation):
        height_px, width_px = width_px, height_px
    return ScaledImage(upright(image, orientation), factor, height_px, width_px)


def _checked_header(data: bytes, limits: DecodeLimits) -> Header:
    if not data:
        raise ImageRejectedError(Reason.EMPTY_IMAGE, "got 0 bytes")
    if len(data) > limits.max_bytes:
        raise ImageRejectedError(
            Reason.TOO_MANY_BYTES, f"got {len(data):,} bytes; allowed: at most {limits.max_bytes:,}"
        )
    header = read_header(data)
    _check_size(header, limits)
    return header


def _check_size(header: Header, limits: DecodeLimits) -> None:
    size = f"{header.width_px} x {header.height_px} pixels"
    if header.width_px * header.height_px > limits.max_pixels:
        raise ImageRejectedError(Reason.TOO_MANY_PIXELS, f"got {size}; allowed: at most {limits.max_pixels:,} in all")
    if min(header.width_px, header.height_px) < limits.min_side_px:
        raise ImageRejectedError(
            Reason.TOO_FEW_PIXELS, f"got {size}; allowed: at least {limits.min_side_px} on the shorter side"
        )


def _decode_jpeg(data: bytes, header: Header, factor: int) -> Image:
    _require_stated_size(data, header)
    sides = {"min_height": -(-header.height_px // factor), "min_width": -(-header.width_px // factor)}
    try:
        image: Image = simplejpeg.decode_jpeg(data, "BGR", strict=True, **(sides if factor > 1 else {}))
    except (ValueError, KeyError) as error:
        raise _rejected_jpeg(data, str(error)) from error
    return image


def _require_stated_size(data: bytes, header: Header) -> None:
    # What passed the cap must be what the decoder allocates.
    try:
        height_px, width_px, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:  # simplejpeg 1.9: KeyError where the header ends before its colours
        raise _rejected_jpeg(data, str(error)) from error
    if (height_px, width_px) != (header.height_px, header.width_px):
        raise damaged("the JPEG states two sizes")


def _rejected_jpeg(data: bytes, warning: str) -> ImageRejectedError:
    cut = "premature end" in warning.lower() or not data.rstrip(b"\x00").endswith(b"\xff\xd9")
    why = f"the JPEG cannot be decoded in full: {warning}"
    return truncated(why) if cut else damaged(why)


def _decode_other(data: bytes, header: Header) -> Image:
    # The orientation is applied by us, the same way for every format.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise damaged(f"the {header.format} cannot be decoded: {error.err}") from error
    if image is None or image.shape[:2] != (header.height_px, header.width_px):
        raise damaged(f"the {header.format} is damaged and cannot be decoded")
    return image.astype(np.uint8, copy=False)
