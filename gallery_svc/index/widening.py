"""float16 to float32 for matrix products: three passes over integers, which take a quarter of NumPy's own conversion.

A float16 number's bits, moved 13 to the left, are those of a float32 number that is 2^112 times smaller; only the
copies of the sign that widening an int16 leaves behind must go. The probe brings the factor back. Exact for every
finite float16.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gallery_svc.rows import HalfVectors
from tessera.domain.embedding import Vectors

SCALE = np.float32(2.0**112)
"""What a widened row must be multiplied with; a probe is, once."""
_SHIFT = np.int32(13)
_LOW_UP, _DOWN = np.int32(16), np.int32(3)
_SIGN_EXPONENT_FRACTION = np.int32(-0x70002000)
"""0x8FFFE000: without copies of the sign in bits 28 to 30, and without what is left of a neighbour in bits 0 to 12."""
_LENGTHS_AT_A_TIME = 32_768
Bits = npt.NDArray[np.int32]


def widened(halves: HalfVectors, room: Bits | None = None) -> Vectors:
    """Rows as float32, each number divided by `SCALE`.

    Args:
        halves: shape (n, d).
        room: int32 of shape (n, d) to write into; None: new memory.

    Returns:
        float32 of shape (n, d); `room` itself, seen as float32, when that was given.
    """
    if room is None:
        room = np.empty(halves.shape, np.int32)
    np.copyto(room, halves.view(np.int16))
    np.left_shift(room, _SHIFT, out=room)
    np.bitwise_and(room, _SIGN_EXPONENT_FRACTION, out=room)
    return room.view(np.float32)


def widen_first_of_pairs(pairs: Bits, room: Bits) -> None:
    """As `widened`, for the numbers at even places of rows whose numbers are read two at a time.

    Args:
        pairs: float16 rows seen as int32 (little-endian), of any shape.
        room: of the same shape.
    """
    np.left_shift(pairs, _LOW_UP, out=room)
    np.right_shift(room, _DOWN, out=room)
    np.bitwise_and(room, _SIGN_EXPONENT_FRACTION, out=room)


def widen_second_of_pairs(pairs: Bits, room: Bits) -> None:
    """As `widen_first_of_pairs`, for the numbers at odd places."""
    np.right_shift(pairs, _DOWN, out=room)
    np.bitwise_and(room, _SIGN_EXPONENT_FRACTION, out=room)


def lengths(halves: HalfVectors) -> npt.NDArray[np.float32]:
    """Euclidean lengths of rows, off by float32 rounding; what is not finite comes out longer than 65,000.

    Args:
        halves: shape (n, d).

    Returns:
        Shape (n,).
    """
    found = np.empty(len(halves), np.float32)
    # So few at once that they stay in the processor's own memory from one pass to the next.
    step = max(1, _LENGTHS_AT_A_TIME // max(1, halves.shape[1]))
    room = np.empty((min(step, len(halves)), halves.shape[1]), np.int32)
    for first in range(0, len(halves), step):
        some = halves[first : first + step]
        rows = widened(some, room[: len(some)])
        np.multiply(rows, SCALE, out=rows)
        np.einsum("ij,ij->i", rows, rows, out=found[first : first + step])
    np.sqrt(found, out=found)
    return found
