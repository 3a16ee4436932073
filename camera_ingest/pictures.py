"""Pictures as JPEG files: what the encoder is sent and what a snapshot shows. Runs off the event loop."""

from __future__ import annotations

import numpy as np
import simplejpeg

from camera_ingest.sources.source import Picture
from tessera.domain.errors import ImageRejectedError
from tessera.imaging.decode import decode
from tessera.imaging.headers import ImageFormat, read_header

JPEG_QUALITY = 90


def to_file(picture: Picture) -> bytes:
    """A picture as a file: pixels as a JPEG of quality 90, a file as it is."""
    if isinstance(picture, bytes):
        return picture
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), JPEG_QUALITY, "BGR", "420")
    return jpeg


def to_jpeg(picture: Picture) -> bytes:
    """A picture as a JPEG, whatever it was.

    Raises:
        ImageRejectedError: it is a file, and no picture.
    """
    if isinstance(picture, bytes) and read_header(picture).format is not ImageFormat.JPEG:
        return to_file(decode(picture))
    return to_file(picture)


def size_px(picture: Picture) -> tuple[int, int]:
    """(width, height) of a picture; (0, 0) for a file that is none."""
    if not isinstance(picture, bytes):
        return picture.shape[1], picture.shape[0]
    try:
        header = read_header(picture)
    except ImageRejectedError:
        return 0, 0
    return header.width_px, header.height_px
