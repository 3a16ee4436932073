"""How good a whole picture is, before anybody knows what it shows, and the levels below which it is not used.

The measures are those of faces (`quality`, `fidelity`), taken over the whole picture: there is one definition of each.
The default levels are the first paper's; `docs/lab-data.md` has the shares of known data sets that pass them on our
measures. A recipe that gates sets its own. Face samples have a gate of their own, `quality.QualityGate`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np

from tessera.domain.observation import Box
from tessera.domain.reasons import Reason
from tessera.imaging.fidelity import fidelity
from tessera.imaging.pixels import Bytes, gray, require_bytes, require_within
from tessera.imaging.quality import contrast, sharpness

MIN_FIDELITY_SIDE_PX = 64
"""Smaller pictures have too few blocks to tell chance from damage: of 450 undamaged cuts of 64 pixels 99 % have 0.9 or
more and of those saved at JPEG quality 75 none; of 48 pixels 42 % of the undamaged have, of 32 pixels none.
"""


@dataclass(frozen=True, slots=True)
class PictureQuality:
    """Three measures, each in [0, 1], higher = better; none says what the picture shows."""

    sharpness: float
    """Fine detail against all detail."""
    contrast: float
    """Spread of the luminance."""
    fidelity: float | None
    """Freedom from compression damage; None where it cannot be told, below 64 pixels to a side."""


@dataclass(frozen=True, slots=True)
class PictureGate:
    """The least that a picture must have to be used."""

    min_sharpness: float = 0.8
    min_contrast: float = 0.7
    min_fidelity: float = 0.9
    """A picture without this measure passes it."""

    def __post_init__(self) -> None:
        """Refuse levels outside [0, 1]."""
        for one in fields(self):
            require_within(one.name, getattr(self, one.name), 0.0, 1.0)

    def reasons(self, quality: PictureQuality) -> tuple[Reason, ...]:
        """The measures that are below their level, in the order of the gate's fields; none: the picture is accepted."""
        failed = {
            Reason.LOW_SHARPNESS: quality.sharpness < self.min_sharpness,
            Reason.LOW_CONTRAST: quality.contrast < self.min_contrast,
            Reason.LOW_FIDELITY: quality.fidelity is not None and quality.fidelity < self.min_fidelity,
        }
        return tuple(reason for reason, below in failed.items() if below)


PAPERS_GATE = PictureGate()
"""0.8, 0.7 and 0.9: the acceptance levels of the first paper."""


def measure(picture: Bytes) -> PictureQuality:
    """Measure a picture as a whole.

    Args:
        picture: uint8; three channels are blue, green, red.

    Raises:
        InvalidInputError: it is no picture of uint8.
    """
    require_bytes(picture)
    levels = gray(picture)
    luminance = levels.astype(np.float32)
    return PictureQuality(sharpness(luminance), contrast(luminance), _fidelity(levels))


def _fidelity(levels: Bytes) -> float | None:
    height_px, width_px = levels.shape
    if min(height_px, width_px) < MIN_FIDELITY_SIDE_PX:
        return None
    colour = np.asarray(cv2.cvtColor(levels, cv2.COLOR_GRAY2BGR), np.uint8)  # what `fidelity` looks at is luminance
    return fidelity(colour, Box(0.0, 0.0, width_px, height_px))
