"""How good a picture of a signature is for comparison, in the measures that every modality has.

It stands behind `tessera.imaging.signature`, which gives the reason codes, and measures only. A signature has no pose:
that measure is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tessera.domain.observation import Quality, exposure
from tessera.domain.reasons import Reason
from tessera.imaging.pixels import Bytes
from tessera.imaging.quality import sharpness
from tessera.imaging.signature import CANVAS_WIDTH_PX, PreparedSignature

_FULL_CONTRAST = 0.5
"""Of ink against paper: a ball pen on white paper has more."""


def signature_quality(
    picture: Bytes, prepared: PreparedSignature, factor: int = 1, more: Sequence[Reason] = ()
) -> Quality:
    """Measure a signature.

    Args:
        picture: uint8 (height, width[, 1 or 3]), the region that was prepared.
        prepared: what was made of it.
        factor: pixels of the picture as sent per pixel of `picture`.
        more: reasons that were found before.

    Returns:
        Contrast of ink against paper (0.5 and above is 1); size: the longer side of the strokes against the canvas.
    """
    luminance = (picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)).astype(np.float32)
    longer_px = max(prepared.box_px[2:]) * factor
    brightness = float(luminance.mean()) / 255.0
    measured = {
        "sharpness": sharpness(luminance),
        "contrast": min(1.0, prepared.contrast / _FULL_CONTRAST),
        "size": min(1.0, longer_px / CANVAS_WIDTH_PX),
    }
    reasons = tuple(dict.fromkeys((*more, *prepared.reasons)))
    overall = min(*measured.values(), exposure(min(brightness, 0.75)))
    return Quality(**measured, brightness=brightness, pose=1.0, overall=overall, reasons=reasons)
