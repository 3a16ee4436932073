"""Memory that the index asks the system for itself: room that was never written costs nothing, and what goes is gone.

The allocator of the C library keeps freed pages for later, with what was written in them; templates must not lie there.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_HUGE_PAGE_BYTES = 2 * 1024 * 1024


def block(count: int, dtype: npt.DTypeLike, written_now: int = 0) -> npt.NDArray[Any]:
    """An array of zeros whose pages are taken when they are first written, and given back when it goes.

    Args:
        count: numbers in it.
        dtype: of each.
        written_now: so many of them will be written at once: their pages may be large ones, which are taken quicker.

    Returns:
        Shape (count,), writable.
    """
    nbytes = max(1, count * np.dtype(dtype).itemsize)
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if soon := written_now * np.dtype(dtype).itemsize // _HUGE_PAGE_BYTES * _HUGE_PAGE_BYTES:
        memory.madvise(mmap.MADV_HUGEPAGE, 0, soon)
    return np.frombuffer(memory, dtype, count)


def wipe(*arrays: npt.NDArray[Any] | None) -> None:
    """Overwrite arrays with zeros, as far as they were ever written."""
    for array in arrays:
        if array is not None:
            array.fill(0)
