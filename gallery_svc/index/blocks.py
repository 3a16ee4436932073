"""Memory that the index asks the system for itself: room that was never written costs nothing, and what goes is gone.

The allocator of the C library keeps freed pages for later, with what was written in them; templates must not lie there.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_LARGE_PAGE_BYTES = 2 * 1024 * 1024
_MADV_COLLAPSE = 25


def block(count: int, dtype: npt.DTypeLike, written_now: int = 0) -> npt.NDArray[Any]:
    """An array of zeros whose pages are taken when they are first written, and given back when it goes.

    Args:
        count: numbers in it.
        dtype: of each.
        written_now: so many of them will be written at once, into large pages where the system has them.

    Returns:
        Shape (count,), writable.
    """
    nbytes = max(1, count * np.dtype(dtype).itemsize)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if whole := written_now * np.dtype(dtype).itemsize // _LARGE_PAGE_BYTES * _LARGE_PAGE_BYTES:
        memory.madvise(mmap.MADV_HUGEPAGE, 0, whole)
    return np.frombuffer(memory, dtype, count)


def settle(array: npt.NDArray[Any]) -> None:
    """A block is full now: put it into large pages, which are read a tenth quicker, where the system can (Linux 6.1).

    While it fills it has small ones, of which only those that were written cost anything.
    """
    memory: object = array.base
    while isinstance(memory, np.ndarray | memoryview):
        memory = memory.base if isinstance(memory, np.ndarray) else memory.obj
    if isinstance(memory, mmap.mmap):
        with contextlib.suppress(OSError):
            memory.madvise(_MADV_COLLAPSE)


def wipe(*arrays: npt.NDArray[Any] | None) -> None:
    """Overwrite arrays with zeros, as far as they were ever written."""
    for array in arrays:
        if array is not None:
            array.fill(0)
