"""The motion gate: frames of an empty, still scene need no encoder.

What is compared is local contrast, so that a cloud or a lamp that is dimmed moves nothing; against a slow mean of what
was seen, so that someone who hardly moves is noticed all the same; beyond the noise that the camera itself shows. It
refuses nothing for long: whoever asks learns at least each `every_s` that a frame shall go on.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.looking.small import Grey

Detail = npt.NDArray[np.float32]

_WIDTH_PX = 160
_AROUND_PX = 15
_DARK = 20.0
"""Added to the light around: what a dark place's noise is not told apart from."""
_NOISE_MEMORY = 0.1
_NORMAL_MEDIAN = 0.6745


@dataclass(frozen=True, slots=True)
class MotionConfig:
    """What counts as motion."""

    every_s: float = 2.0
    """A frame goes through at least so often."""
    least_contrast: float = 0.06
    """Of the light around; a change below it is none."""
    noise_factor: float = 6.0
    """Or so many deviations of the camera's own noise, if that is more."""
    least_px: int = 5
    """Pixels that hang together, of a picture 160 wide: of a 720p picture, a place of 18 x 18."""
    memory_s: float = 2.0
    """How fast what stands still becomes a part of the scene."""


class MotionGate:
    """Of one camera's pictures, in order. Used by one thread at a time.

    Args:
        config: what counts as motion.
    """

    def __init__(self, config: MotionConfig | None = None) -> None:
        self._config = config or MotionConfig()
        self._usual: Detail | None = None
        self._noise = 0.0
        self._looked_s = 0.0
        self._passed_s: float | None = None

    def passes(self, small: Grey, captured_s: float, *, in_any_case: bool) -> bool:
        """Whether the frame of a picture goes on: something moves, it is time, or it must.

        Args:
            small: the picture, small.
            captured_s: when, on the clock of deadlines.
            in_any_case: it goes on, and is only learned from.
        """
        moves = self._moves(small, captured_s)
        is_due = self._passed_s is None or captured_s - self._passed_s >= self._config.every_s
        if not (moves or is_due or in_any_case):
            return False
        self._passed_s = captured_s
        return True

    def _moves(self, small: Grey, captured_s: float) -> bool:
        detail = _detail(small)
        usual, since_s = self._usual, captured_s - self._looked_s
        self._looked_s = captured_s
        if usual is None or usual.shape != detail.shape or not 0.0 <= since_s < 10.0:
            self._usual = detail
            return True
        apart = cv2.absdiff(detail, usual)
        usual += np.float32(1.0 - np.exp(-since_s / self._config.memory_s)) * (detail - usual)
        limit = max(self._config.least_contrast, self._config.noise_factor * self._noise)
        self._noise += _NOISE_MEMORY * (float(np.median(apart)) / _NORMAL_MEDIAN - self._noise)
        return _largest_px(cv2.blur(apart, (2, 2)) > limit) >= self._config.least_px


def _detail(small: Grey) -> Detail:
    size = (_WIDTH_PX, max(1, round(small.shape[0] * _WIDTH_PX / small.shape[1])))
    light = cv2.resize(small, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    around = cv2.blur(light, (_AROUND_PX, _AROUND_PX))
    return np.asarray((light - around) / (around + _DARK), dtype=np.float32)


def _largest_px(moved: npt.NDArray[np.bool_]) -> int:
    if not moved.any():
        return 0
    _, _, facts, _ = cv2.connectedComponentsWithStats(moved.astype(np.uint8), connectivity=8)
    return int(facts[1:, cv2.CC_STAT_AREA].max())
