"""Notices a live source that shows the same picture for too long.

A sensor's noise makes two pictures of a still room differ in some bit; the same bits for seconds mean that a camera,
a recorder or a decoder is stuck, while frames keep coming as if all were well.
"""

from __future__ import annotations

import zlib

import numpy as np

from camera_ingest.sources.source import Picture

FROZEN_AFTER_S = 5.0


class FreezeWatch:
    """Compares each sampled picture with the one before.

    Args:
        after_s: the same picture for so long is a freeze.
    """

    def __init__(self, after_s: float = FROZEN_AFTER_S) -> None:
        self._after_s = after_s
        self._print: int | None = None
        self._since_s = 0.0

    def is_frozen(self, picture: Picture, captured_s: float) -> bool:
        """Whether the picture has been the same for long; to be asked of each sampled frame."""
        found = zlib.crc32(picture if isinstance(picture, bytes) else np.ascontiguousarray(picture).data)
        if found != self._print:
            self._print, self._since_s = found, captured_s
        return captured_s - self._since_s >= self._after_s
