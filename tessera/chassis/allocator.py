"""glibc's allocator, made fit for what a process does with memory. Nothing is changed on other systems."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

_FOR_NETWORKS = {_M_MMAP_THRESHOLD: 1 << 30, _M_TRIM_THRESHOLD: 256 << 20, _M_TOP_PAD: 16 << 20}
_FOR_PICTURES = {_M_MMAP_THRESHOLD: 512 << 10, _M_TRIM_THRESHOLD: 2 << 20, _M_ARENA_MAX: 2}


def tune_for_networks() -> bool:
    """Let glibc keep and reuse large blocks instead of mapping and faulting them in anew for each batch.

    Measured (two cores, batches of 64 crops): 44 images/s without it, 105 with it, for 180 MB more resident memory.

    Returns:
        Whether it was done: on Linux with glibc only.
    """
    return _set(_FOR_NETWORKS)


def tune_for_pictures() -> bool:
    """Let glibc give a picture's memory back when the picture goes, whichever thread it came to.

    By default a freed picture raises the size from which blocks are mapped on their own, pictures then lie among
    small blocks in as many as eight heaps a core, one for each thread that ever waited for another, and each heap grows
    to its own largest moment: a few megabytes a minute for an hour, which looks like a leak and is paged for.

    Returns:
        Whether it was done: on Linux with glibc only.
    """
    return _set(_FOR_PICTURES)


def _set(wanted: Mapping[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    done = [mallopt(option, value) == 1 for option, value in wanted.items()]
    return all(done)
