"""What compression has done to a face: blocks at the codec's grid, weighed by how large they are on the face.

Measured on pixels and not read from the JPEG's header: a picture that was compressed hard once and saved well
afterwards is as damaged as before. A picture that was resized after it was compressed has no grid left and passes.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.observation import Box
from tessera.imaging.align import CROP_PX
from tessera.imaging.decode import Image

BLOCK_PX = 8
"""Of JPEG, MPEG-4, H.264 and most others."""

_MIN_BLOCK_PX = 4
_MIN_SIDE_PX = 24
_MAX_LINES = 48
_MAX_LINE_PX = 256
_HALF_FIDELITY_DAMAGE = 10.0


def fidelity(picture: Image, box: Box, factor: int = 1) -> float | None:
    """How free of compression damage a face is: f = 10 / (10 + (B - 1) (112 / side)^2).

    B is how much a step between neighbouring pixels exceeds the steps beside it, on the strongest of the eight grid
    phases against the median of the others: 1 where there are no blocks. An error of the same B hurts the embedding
    with the square of the block's size on the aligned face: over JPEG qualities 5 to 75 and faces of 40 to 250 pixels,
    1 - cosine to the undamaged face is 0.006 to 0.010 times (B - 1) (112 / side)^2 up to 0.2.

    Args:
        picture: the picture that the face lies in, as decoded; blue, green, red.
        box: the face, in pixels of the full picture.
        factor: pixels of the full picture per pixel of `picture`.

    Returns:
        In (0, 1], higher = less damage; None where it cannot be told: a face of less than 24 pixels, or decoded at less
        than half the size.

    Source: the idea of Wang, Bovik and Evans, "Blind measurement of blocking artifacts in images", ICIP 2000; stands
    where OFIQ (ISO/IEC 29794-5) has "compression artifacts", which is measured there by a network.
    """
    period = BLOCK_PX // factor
    region = _luminance(picture, box, factor)
    if period < _MIN_BLOCK_PX or min(region.shape) < _MIN_SIDE_PX:
        return None
    blocks = (_grid_excess(region, period) + _grid_excess(region.T, period)) / 2
    enlarged = CROP_PX / max(1.0, box.shorter_side_px)
    return _HALF_FIDELITY_DAMAGE / (_HALF_FIDELITY_DAMAGE + max(0.0, blocks - 1.0) * enlarged**2)


def _luminance(picture: Image, box: Box, factor: int) -> npt.NDArray[np.float32]:
    edges_px = (box.y_px, box.y_px + box.height_px, box.x_px, box.x_px + box.width_px)
    top, bottom, left, right = (max(0, round(edge / factor)) for edge in edges_px)
    spare_rows, spare_columns = (max(0, size - _MAX_LINE_PX) // 2 for size in (bottom - top, right - left))
    region = picture[top + spare_rows : bottom - spare_rows, left + spare_columns : right - spare_columns]
    if min(region.shape[:2]) < _MIN_SIDE_PX:
        return np.zeros((0, 0), np.float32)
    return cv2.cvtColor(region, cv2.COLOR_BGR2GRAY).astype(np.float32)


def _grid_excess(region: npt.NDArray[np.float32], period: int) -> float:
    lines = np.ascontiguousarray(region[:: -(-region.shape[0] // _MAX_LINES)])
    steps = np.diff(lines, axis=1)
    sizes = np.abs(steps)
    # The step where it would be without a block is that between its neighbours; busy places hide blocks.
    excess = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) * np.float32(0.5))
    relative = (excess / ((sizes[:, :-2] + sizes[:, 2:]) * np.float32(0.5) + 1)).mean(axis=0)
    phases = np.array([relative[phase::period].mean() for phase in range(period)])
    strongest = int(phases.argmax())
    others = float(np.median(np.delete(phases, strongest)))
    return float(phases[strongest]) / others if others > 0 else 1.0
