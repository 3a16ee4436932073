"""IDX files, in which MNIST and Fashion-MNIST are kept: bytes to an array, and nothing that is not whole.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", which describes the format.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

_UNSIGNED_BYTES = 0x08
_MAX_DIMENSIONS = 4
_MAX_BYTES = 1 << 30
"""What a file may hold: a gzip of a few kilobytes may otherwise ask for all memory."""


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, with or without gzip.

    Args:
        path: of the file; compressed where its name ends in `.gz`.

    Returns:
        uint8, of the shape that the file states.

    Raises:
        InvalidInputError: the file is absent, damaged, of another type, or larger than 1 GiB.
    """
    try:
        return _array(read_bytes(path))
    except (struct.error, ValueError) as error:
        raise InvalidInputError("idx", str(path), f"a whole IDX file of unsigned bytes ({error})") from error


def read_bytes(path: Path) -> bytes:
    """What is in a file, unpacked where its name ends in `.gz`.

    Raises:
        InvalidInputError: it is absent, damaged, or more than 1 GiB unpacked.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data: bytes = file.read(_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInputError("idx", str(path), f"a whole file ({error})") from error
    if len(data) > _MAX_BYTES:
        raise InvalidInputError("idx", str(path), f"at most {_MAX_BYTES:,} bytes, unpacked")
    return data


def _array(data: bytes) -> npt.NDArray[np.uint8]:
    zeros, kind, dimensions = struct.unpack_from(">HBB", data)
    if zeros != 0 or kind != _UNSIGNED_BYTES or not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise ValueError(f"the head says type {kind:#04x} and {dimensions} dimensions")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    start, stated = 4 + 4 * dimensions, math.prod(shape)
    if len(data) - start != stated:
        raise ValueError(f"it states {stated:,} bytes and has {len(data) - start:,}")
    # A copy: what is read from `bytes` could not be written to, and torch warns of that.
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()
