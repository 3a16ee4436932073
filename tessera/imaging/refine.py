"""Between detection and alignment: a second, closer look at one face, for landmarks that are less noisy.

A detector's landmarks change by several hundredths of the eye distance with where the face falls on its grid and how
large it is. So the face is shown to the same detector again, upright and at known sizes, as it is and mirrored, and the
mean of what it says is taken. This module cuts the views and joins the answers; it runs no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.observation import Landmarks
from tessera.imaging.align import REFERENCE, similarity_transform
from tessera.imaging.decode import Image

SIZES = ((160, 40.0), (224, 72.0))
"""Side of the view, a multiple of the detector's 32, and how far apart the eyes stand in it."""

VIEWS = 2 * len(SIZES)
"""Each size as it is, and mirrored."""

MIN_PROBABILITY = 0.3
"""Of a face in a view. Lower than the first time: that there is one is known."""

_REFERENCE_EYES_PX = float(np.linalg.norm(REFERENCE[0] - REFERENCE[1]))
_REFERENCE_MIDDLE_PX = (56.0, 72.0)
_FARTHEST_MOVE = 0.5
"""In eye distances of an upright face. What lies farther from the first landmarks belongs to somebody else."""

_MIRRORED = [1, 0, 2, 4, 3]
"""A mirror makes the right eye the left one, and the right corner of the mouth the left one."""

_MAX_OVERSAMPLING = 8

_Matrix = npt.NDArray[np.float64]


def cut_views(image: Image, landmarks: Landmarks) -> tuple[Image, ...]:
    """Cut the views of one face.

    Args:
        image: blue, green, red.
        landmarks: (5, 2), of the first detection, in pixels of `image`.

    Returns:
        `VIEWS` of uint8 (side, side, 3): each of `SIZES` as it is, then mirrored; black past the picture.
    """
    views: list[Image] = []
    for (side_px, _), matrix in zip(SIZES, _matrices(landmarks), strict=True):
        view = _cut(image, matrix, side_px)
        views += [view, np.ascontiguousarray(view[:, ::-1])]
    return tuple(views)


def join_landmarks(landmarks: Landmarks, found: Sequence[tuple[npt.NDArray[np.float32], Landmarks]]) -> Landmarks:
    """Join what the detector saw in the views.

    Args:
        landmarks: as they were given to `cut_views`.
        found: for each view, in order: boxes (n, 4) and landmarks (n, 5, 2) of the faces in it, in pixels of the view.

    Returns:
        float32 (5, 2): the mean over the views in which the face was found again, in pixels of the picture; the first
        landmarks when it was found in none.
    """
    matrices = _matrices(landmarks)
    if not matrices[0][:, :2].any():  # All on one point: there is no way back from the views.
        return landmarks
    agreed: list[npt.NDArray[np.float64]] = []
    for at, (boxes, seen) in enumerate(found):
        if not len(boxes):
            continue
        matrix, (side_px, eyes_px) = matrices[at // 2], SIZES[at // 2]
        inside = _middle(boxes, seen, side_px)
        if at % 2:
            inside = np.column_stack((side_px - 1 - inside[:, 0], inside[:, 1]))[_MIRRORED]
        first = landmarks @ matrix[:, :2].T + matrix[:, 2]
        farthest_px = float(np.linalg.norm(inside - first, axis=1).max())
        if farthest_px <= _FARTHEST_MOVE * eyes_px:
            back = cv2.invertAffineTransform(matrix)
            agreed.append(inside @ back[:, :2].T + back[:, 2])
    return np.mean(agreed, axis=0).astype(np.float32) if agreed else landmarks


def _matrices(landmarks: Landmarks) -> list[_Matrix]:
    upright = similarity_transform(landmarks)
    return [_placed(side_px, eyes_px) @ np.vstack((upright, (0.0, 0.0, 1.0))) for side_px, eyes_px in SIZES]


@lru_cache
def _placed(side_px: int, eyes_px: float) -> _Matrix:
    """From the aligned square to a view."""
    scale = eyes_px / _REFERENCE_EYES_PX
    shift_x_px, shift_y_px = (side_px / 2 - scale * middle for middle in _REFERENCE_MIDDLE_PX)
    return np.array([[scale, 0.0, shift_x_px], [0.0, scale, shift_y_px]])


def _cut(image: Image, matrix: _Matrix, side_px: int) -> Image:
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    # Interpolation alone skips pixels below half size: such a view is cut larger and then averaged down.
    times = min(max(int(1.0 / scale), 1), _MAX_OVERSAMPLING) if scale > 0 else 1
    larger = matrix * times
    larger[:, 2] += (times - 1) / 2  # The middles of pixels are whole numbers.
    view = cv2.warpAffine(image, larger, (side_px * times, side_px * times), flags=cv2.INTER_LINEAR)
    if times > 1:
        view = cv2.resize(view, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return view.astype(np.uint8, copy=False)


def _middle(boxes: npt.NDArray[np.float32], landmarks: Landmarks, side_px: int) -> npt.NDArray[np.float64]:
    """The landmarks of the face nearest to the middle."""
    off = boxes[:, :2] + boxes[:, 2:] / 2 - side_px / 2
    nearest: npt.NDArray[np.float64] = landmarks[int(np.argmin((off**2).sum(axis=1)))].astype(np.float64)
    return nearest
