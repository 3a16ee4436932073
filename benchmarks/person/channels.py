"""What people can be compared by: the encoder that ships, a backbone that knows nobody, and colours alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from siamese_lab.persons.encoders import generic_backbone, open_encoder
from siamese_lab.persons.judging import embed_crops
from siamese_lab.persons.measuring import EmbedCrops

ENCODER = "person-mobilenet-1"
OURS, GENERIC, COLOURS = "ours", "generic backbone", "colour histograms"
_STRIPES = 6
_BINS = (12, 4, 4)
"""Of hue, saturation and value."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One way to compare people; the product of two unit vectors is the score."""

    name: str
    embed: EmbedCrops


def channels() -> list[Channel]:
    """The shipped encoder, MobileNetV2 as ImageNet left it, and colours, on the same crops."""
    generic = generic_backbone()
    return [
        Channel(OURS, open_encoder(ENCODER).embed),
        Channel(GENERIC, lambda crops: embed_crops(generic, crops)),
        Channel(COLOURS, colour_histograms),
    ]


def colour_histograms(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Hue, saturation and value in six stripes from head to foot; two are alike by the Bhattacharyya coefficient.

    Args:
        crops: uint8 (n, 128, 64, 3), blue, green, red.

    Returns:
        float32 (n, 1152), of length 1: the roots of the shares.
    """
    rows = []
    for crop in crops:
        hsv = cv2.cvtColor(crop, cv2.COLOR_BGR2HSV)
        stripes = [
            cv2.calcHist([stripe], [0, 1, 2], None, list(_BINS), [0, 180, 0, 256, 0, 256]).ravel()
            for stripe in np.array_split(hsv, _STRIPES)
        ]
        shares = np.concatenate(stripes)
        rows.append(np.sqrt(shares / shares.sum()))
    return np.stack(rows).astype(np.float32)
