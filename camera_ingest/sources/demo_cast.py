"""The demo's walkers as cut-outs: head and shoulders of a pinned photograph, with a soft edge.

They are cut once, when the demo camera opens: GrabCut finds the person inside an oval, so that little of the
photograph's own background walks along.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.sources.source import Image
from tessera.demo.portraits import Walker
from tessera.domain.observation import Box
from tessera.imaging.decode import decode

CUT_FACE_PX = 260
"""Height of the face in a cut-out: the largest that is ever drawn."""

Alpha = npt.NDArray[np.uint8]
"""uint8 of shape (height, width): 255 where the person is, 0 where the scene shows."""

_WIDTH_FACES, _ABOVE_FACES, _BELOW_FACES = 3.2, 0.55, 1.15
_SEARCH_PX = 160  # GrabCut's time grows with the area; the edge is softened afterwards anyway


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """One walker, ready to be drawn."""

    image: Image
    alpha: Alpha
    face_centre_px: tuple[float, float]
    """(x, y) in the cut-out."""


def cut_out(walker: Walker, path: Path) -> CutOut:
    """Cut a walker out of the photograph at `path`.

    Raises:
        ImageRejectedError: the file is no picture.
    """
    image, face = _around_face(decode(path.read_bytes()), walker.portrait.face)
    alpha = _person_alpha(image, face)
    rows, columns = np.flatnonzero(alpha.max(axis=1)), np.flatnonzero(alpha.max(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    centre = (face.x_px + face.width_px / 2 - float(left), face.y_px + face.height_px / 2 - float(top))
    tight_image, tight_alpha = image[top:bottom, left:right], alpha[top:bottom, left:right]
    return CutOut(np.ascontiguousarray(tight_image), np.ascontiguousarray(tight_alpha), centre)


def _around_face(photo: Image, face: Box) -> tuple[Image, Box]:
    """The photograph around the face, scaled so that the face is CUT_FACE_PX high; beyond its border it repeats."""
    scale = CUT_FACE_PX / face.height_px
    width_px, height_px = _WIDTH_FACES * face.width_px, (1 + _ABOVE_FACES + _BELOW_FACES) * face.height_px
    left_px = face.x_px + face.width_px / 2 - width_px / 2
    top_px = face.y_px - _ABOVE_FACES * face.height_px
    if scale < 0.5:  # an area mean first, or the warp would alias
        photo = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    shrunk = 0.5 if scale < 0.5 else 1.0
    matrix = np.array([[scale / shrunk, 0, -left_px * scale], [0, scale / shrunk, -top_px * scale]])
    size = (round(width_px * scale), round(height_px * scale))
    image = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    moved = Box((face.x_px - left_px) * scale, (face.y_px - top_px) * scale, face.width_px * scale, CUT_FACE_PX)
    return image.astype(np.uint8, copy=False), moved


def _person_alpha(image: Image, face: Box) -> Alpha:
    scale = _SEARCH_PX / image.shape[0]
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    trimap = _trimap(small.shape[0], small.shape[1], _scaled(face, scale))
    cv2.setRNGSeed(7)  # GrabCut draws from OpenCV's own chance; the demo is the same each time
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, trimap, (0, 0, 0, 0), models[0], models[1], 3, cv2.GC_INIT_WITH_MASK)
    person = np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    size = (image.shape[1], image.shape[0])
    alpha = cv2.GaussianBlur(cv2.resize(person, size, interpolation=cv2.INTER_LINEAR), (0, 0), 4.0)
    return (255 * alpha * _fade(image.shape[0], image.shape[1])).astype(np.uint8)


def _trimap(height_px: int, width_px: int, face: Box) -> npt.NDArray[np.uint8]:
    """Surely the person, surely not, and what GrabCut is to find out."""
    trimap = np.full((height_px, width_px), cv2.GC_BGD, np.uint8)
    x, y = face.x_px + face.width_px / 2, face.y_px + face.height_px / 2
    w, h = face.width_px, face.height_px
    _oval(trimap, (x, y - 0.12 * h), (0.78 * w, 0.86 * h), cv2.GC_PR_FGD)
    _oval(trimap, (x, y + 1.75 * h), (1.6 * w, 1.1 * h), cv2.GC_PR_FGD)
    _oval(trimap, (x, y), (0.46 * w, 0.52 * h), cv2.GC_FGD)
    _oval(trimap, (x, y + 1.6 * h), (0.7 * w, 0.75 * h), cv2.GC_FGD)
    return trimap


def _oval(mask: npt.NDArray[np.uint8], centre: tuple[float, float], radii: tuple[float, float], value: int) -> None:
    middle, axes = (round(centre[0]), round(centre[1])), (round(radii[0]), round(radii[1]))
    cv2.ellipse(mask, middle, axes, 0, 0, 360, value, -1)


def _fade(height_px: int, width_px: int) -> npt.NDArray[np.float32]:
    """1 inside, falling to 0 at the sides and below, where the cut-out ends."""
    x = np.minimum(np.arange(width_px), np.arange(width_px)[::-1]) / (0.08 * width_px)
    y = np.arange(height_px)[::-1] / (0.16 * height_px)
    return (np.clip(y, 0, 1)[:, None] * np.clip(x, 0, 1)[None, :]).astype(np.float32)


def _scaled(box: Box, scale: float) -> Box:
    return Box(box.x_px * scale, box.y_px * scale, box.width_px * scale, box.height_px * scale)
