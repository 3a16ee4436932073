"""An upright square around a face: five landmarks are moved onto five fixed places.

Embeddings are only comparable when every face is aligned the same way; the places and the fit are OpenCV's.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.observation import Landmarks
from tessera.imaging.decode import Image

CROP_PX = 112

REFERENCE: Landmarks = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)
"""Where right eye, left eye, nose tip, right and left mouth corner stand in the square, in pixels.

Source: OpenCV, `FaceRecognizerSF::alignCrop`; the template that InsightFace published with ArcFace.
"""


def similarity_transform(landmarks: Landmarks) -> npt.NDArray[np.float64]:
    """The rotation, scale and shift that bring landmarks closest to `REFERENCE`.

    Args:
        landmarks: (5, 2), x and y in pixels.

    Returns:
        (2, 3): multiplies (x, y, 1). Landmarks that all fall on one point give a scale of 0.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", IEEE TPAMI 13
    (1991); in the plane it has a closed form over complex numbers, z -> m z + t.
    """
    source = landmarks.astype(np.float64) @ np.array([1, 1j])
    target = REFERENCE.astype(np.float64) @ np.array([1, 1j])
    centred = source - source.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    m = complex(np.sum(centred.conj() * (target - target.mean())) / spread) if spread > 0 else 0j
    t = complex(target.mean() - m * source.mean())
    return np.array([[m.real, -m.imag, t.real], [m.imag, m.real, t.imag]])


def align(image: Image, landmarks: Landmarks) -> Image:
    """Cut the aligned face out of a picture, at the picture's full resolution.

    Args:
        image: blue, green, red, as `decode` gives it.
        landmarks: (5, 2), in pixels of `image`.

    Returns:
        uint8 (112, 112, 3); black where the square reaches past the picture.
    """
    crop = cv2.warpAffine(image, similarity_transform(landmarks), (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR)
    return crop.astype(np.uint8, copy=False)
