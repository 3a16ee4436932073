"""The clips as scenes that go on for ever: played forward and back, so that nothing jumps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from camera_ingest.looking.small import Grey, small_grey
from tessera.imaging.decode import Image


@dataclass(frozen=True, slots=True)
class Clip:
    """One scene."""

    name: str
    file: str
    rate_hz: float
    first: float
    """Share of the clip from which it is played,"""
    last: float
    """to which."""
    has_walkers: bool
    """Somebody walks or drives through a scene that stays; elsewhere a face is most of what there is."""


CHOSEN_ON = (
    Clip("square, first half", "vtest.avi", 10.0, 0.0, 0.5, True),
    Clip("car park", "person-bicycle-car-detection.gif", 12.5, 0.0, 1.0, True),
    Clip("a man's face", "head-pose-face-detection-male.gif", 12.5, 0.0, 1.0, False),
)
"""Parameters were chosen on these."""
REPORTED_ON = (
    Clip("square, second half", "vtest.avi", 10.0, 0.5, 1.0, True),
    Clip("hall", "one-by-one-person-detection.mp4", 10.0, 0.0, 1.0, True),
    Clip("corridor", "face-demographics-walking-and-pause.gif", 12.5, 0.0, 1.0, True),
    Clip("a woman's face", "head-pose-face-detection-female.gif", 12.5, 0.0, 1.0, False),
)
"""And on these only what `tamper` says."""


class Scene:
    """A clip that is played forward and back for ever.

    Args:
        clip: which.
        folder: of the clips.
    """

    def __init__(self, clip: Clip, folder: Path) -> None:
        self.clip = clip
        self._pictures = _pictures(folder / clip.file)
        count = len(self._pictures)
        self._first, self._count = int(clip.first * count), max(2, int(clip.last * count) - int(clip.first * count))

    def picture(self, moment_s: float) -> Grey:
        """The whole picture at a moment, in grey: colour is looked at nowhere."""
        return self._pictures[self._at(moment_s)]

    def small(self, moment_s: float) -> Grey:
        """The same as the looks need it."""
        return _small(self.clip.file, self._pictures)[self._at(moment_s)]

    def _at(self, moment_s: float) -> int:
        step = int(moment_s * self.clip.rate_hz) % (2 * self._count - 2)
        return self._first + (step if step < self._count else 2 * self._count - 2 - step)


@cache
def _pictures(path: Path) -> list[Grey]:
    clip = cv2.VideoCapture(str(path))
    pictures: list[Grey] = []
    while True:
        ok, picture = clip.read()
        if not ok:
            break
        pictures.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8))
    if not pictures:
        raise SystemExit(f"{path} holds no picture that can be read")
    return pictures


_SMALL: dict[str, list[Grey]] = {}


def _small(name: str, pictures: list[Grey]) -> list[Grey]:
    if name not in _SMALL:
        _SMALL[name] = [made_small(picture) for picture in pictures]
    return _SMALL[name]


def made_small(picture: Grey | Image) -> Grey:
    """A picture as the product makes it small."""
    small = small_grey(in_colour(picture))
    if small is None:
        raise AssertionError("pixels are always a picture")
    return small


def in_colour(picture: Grey | Image) -> Image:
    """Grey as blue, green, red."""
    return picture if picture.ndim == 3 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
