"""Whether something covers a face, from its colours alone. Told, and not gated: it misses too much.

There is no segmentation network here. On an aligned face eleven places (forehead, eyes, bridge and tip of the nose,
cheeks, corners and middle of the mouth, chin) mostly share one skin colour; a mask, a scarf or an object does not. What
has the colour of skin, a hand, is not seen at all, and dark glasses seldom are: `docs/quality.md` has the shares.
"""

from __future__ import annotations

import cv2
import numpy as np

from tessera.imaging.decode import Image

_PLACES = np.array(
    [(56, 34), (38, 51), (73, 51), (56, 51), (38, 70), (74, 70), (56, 70), (42, 88), (70, 88), (56, 92), (56, 104)]
)
"""x and y on the aligned face."""
_USUAL_OFFSETS = np.array([11.2, 16.6, 17.0, 8.2, 9.9, 10.0, 9.9, 8.5, 8.6, 11.4, 9.0], np.float32)
"""How far each place's chroma lies from the face's median, 90th percentile of 500 LFW faces, in levels."""
_PATCH_PX = 9
_HALF_OFFSET = 2.34


def freedom_from_occlusion(crop: Image) -> float:
    """How alike in colour the parts of a face are: 1 / (1 + (d / 2.34)^2).

    d is the mean of the two largest distances between a place's chroma (Cr, Cb) and the median place's, each divided by
    what is usual there. 0.5 is where 2 % of 500 LFW faces are below.

    Args:
        crop: the aligned face, (112, 112, 3), blue, green, red.

    Returns:
        In (0, 1], higher = less covered.

    Source: none: a stand-in for OFIQ's "face occlusion prevention", which needs a segmentation network.
    """
    chroma = cv2.blur(cv2.cvtColor(crop, cv2.COLOR_BGR2YCrCb), (_PATCH_PX, _PATCH_PX))[_PLACES[:, 1], _PLACES[:, 0], 1:]
    offsets = np.hypot(*(chroma - np.median(chroma, axis=0)).T) / _USUAL_OFFSETS
    strange = float(np.sort(offsets)[-2:].mean())
    return 1.0 / (1.0 + (strange / _HALF_OFFSET) ** 2)
