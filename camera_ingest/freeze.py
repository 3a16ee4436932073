"""Notices a live source that shows the same picture for too long.

A sensor's noise makes two pictures of a still room differ in some bit; the same bits for seconds mean that a camera,
a recorder or a decoder is stuck, while frames keep coming as if all were well.
"""

from __future__ import annotations

FROZEN_AFTER_S = 4.5


class FreezeWatch:
    """Compares the fingerprint of each sampled picture with the one before.

    Args:
        after_s: the same picture for so long is a freeze.
    """

    def __init__(self, after_s: float = FROZEN_AFTER_S) -> None:
        self._after_s = after_s
        self._print: int | None = None
        self._since_s = 0.0

    def is_frozen(self, fingerprint: int, captured_s: float) -> bool:
        """Whether the picture has been the same for long; to be asked of each sampled frame."""
        if fingerprint != self._print:
            self._print, self._since_s = fingerprint, captured_s
        return captured_s - self._since_s >= self._after_s
