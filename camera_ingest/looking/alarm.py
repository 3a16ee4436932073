"""From verdicts of single looks to one alarm: raised when it lasts, ended when it is over for good, never flapping."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from tessera.domain.camera_events import CameraEventKind


class Look(StrEnum):
    """What one look says."""

    CLEAR = "CLEAR"
    UNSURE = "UNSURE"
    """Neither speaks for a change nor against one."""
    COVERED = "COVERED"
    DEFOCUSED = "DEFOCUSED"
    MOVED = "MOVED"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something must last."""

    raise_s: float = 2.4
    """A change that was seen for so long, in each look that was sure, is told."""
    least_looks: int = 4
    clear_s: float = 5.0
    """And is over when it was not seen for so long."""


class Alarm:
    """One alarm at a time. Used by one thread at a time.

    Args:
        patience: how long something must last.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        self._patience = patience or Patience()
        self._raised: CameraEventKind | None = None
        self._since_s: float | None = None
        self._seen: Counter[Look] = Counter()

    @property
    def raised(self) -> CameraEventKind | None:
        """What was told and is not over."""
        return self._raised

    @property
    def is_waiting(self) -> bool:
        """Whether the next looks decide something: it is worth to look more often."""
        return self._since_s is not None

    def take(self, look: Look, captured_s: float) -> CameraEventKind | None:
        """Take in a look; returns what is to be told now, if anything."""
        if look is Look.UNSURE:
            return None
        if (look is Look.CLEAR) == (self._raised is None):
            self._since_s = None
            self._seen.clear()
            return None
        self._since_s = captured_s if self._since_s is None else self._since_s
        self._seen[look] += 1
        if captured_s - self._since_s < (self._patience.raise_s if self._raised is None else self._patience.clear_s):
            return None
        return self._raise() if self._raised is None else self.clear()

    def clear(self) -> CameraEventKind:
        """End what was raised, whatever the looks say."""
        self._raised, self._since_s = None, None
        self._seen.clear()
        return CameraEventKind.SCENE_CLEAR

    def _raise(self) -> CameraEventKind | None:
        if self._seen.total() < self._patience.least_looks:
            return None
        self._raised, self._since_s = CameraEventKind(self._seen.most_common(1)[0][0].value), None
        self._seen.clear()
        return self._raised
