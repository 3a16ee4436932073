"""EXIF orientation: the one thing that a picture's metadata is asked. A block that makes no sense says upright."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import numpy.typing as npt

_ORIENTATION = 0x0112
_ENTRY_BYTES = 12
_MAX_ENTRIES = 1024
_TURNS = {
    3: cv2.ROTATE_180,
    4: cv2.ROTATE_180,
    5: cv2.ROTATE_90_CLOCKWISE,
    6: cv2.ROTATE_90_CLOCKWISE,
    7: cv2.ROTATE_90_COUNTERCLOCKWISE,
    8: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
_MIRRORED = frozenset({2, 4, 5, 7})


def orientation_of(tiff: bytes) -> int:
    """The orientation that an EXIF block states.

    Args:
        tiff: the block without the `Exif` mark before it.

    Returns:
        1 to 8; 1 = upright, and where it states none.

    Source: CIPA DC-008 (Exif 2.32), tag 0x0112.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    if first + 2 > len(tiff):
        return 1
    (entries,) = struct.unpack_from(order + "H", tiff, first)
    start = first + 2
    for at in range(start, start + min(entries, _MAX_ENTRIES) * _ENTRY_BYTES, _ENTRY_BYTES):
        if at + _ENTRY_BYTES > len(tiff):
            break
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, at)
        if tag == _ORIENTATION:
            return value if 1 <= value <= 8 else 1
    return 1


def turns_sideways(orientation: int) -> bool:
    """Whether height and width change places."""
    return orientation >= 5


def upright(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn and mirror a picture as its orientation says.

    Args:
        image: (height, width, 3), as it was stored.
        orientation: 1 to 8.
    """
    turn = _TURNS.get(orientation)
    if turn is not None:
        image = cv2.rotate(image, turn).astype(np.uint8, copy=False)
    return cv2.flip(image, 1).astype(np.uint8, copy=False) if orientation in _MIRRORED else image


def far_sides(orientation: int) -> tuple[bool, bool]:
    """Whether the stored picture's last row, and its last column, become an edge from which places are counted.

    Returns:
        (rows, columns): True where the stored axis is counted from its far end in the upright picture.
    """
    return orientation in {3, 4, 6, 7}, orientation in {2, 3, 7, 8}
