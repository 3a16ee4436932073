"""What the scenarios send: JPEGs made from the demo's portraits, the same bytes in every run.

Four 720p pictures with one face, one with three, as a door camera would send them; and one small picture with one face.
The grain keeps JPEG files as large as a camera's are.
"""

from __future__ import annotations

import cv2
import numpy as np

from tessera.demo.portraits import (
    BIDEN_STANDING,
    COLLINS_IN_ORANGE,
    OBAMA_SMILING,
    OBAMA_SPEAKING,
    OBAMA_STANDING,
    Portrait,
    fetch_portraits,
)
from tessera.imaging.decode import Image, decode

SINGLES = (OBAMA_SMILING, OBAMA_SPEAKING, BIDEN_STANDING, COLLINS_IN_ORANGE)
TRIO = (OBAMA_STANDING, COLLINS_IN_ORANGE, BIDEN_STANDING)
PICTURES_720P = len(SINGLES) + 1
FACES_IN_720P = len(SINGLES) + len(TRIO)
"""In all of `pictures_720p` together."""

_JPEG_QUALITY = 88
_SINGLE_FACE_PX, _TRIO_FACE_PX, _SMALL_FACE_PX = 190, 130, 80
_SHOWN_FACES_WIDE = 2.0


def pictures_720p() -> list[bytes]:
    """Five JPEGs of 1280x720: four with one face, one with three."""
    shown = _portraits()
    singles = [_jpeg(_scene(1280, 720, [shown[p.file.name]], _SINGLE_FACE_PX, seed)) for seed, p in enumerate(SINGLES)]
    return [*singles, _jpeg(_scene(1280, 720, [shown[p.file.name] for p in TRIO], _TRIO_FACE_PX, len(SINGLES)))]


def pictures_240p() -> list[bytes]:
    """One JPEG of 320x240 with one face."""
    return [_jpeg(_scene(320, 240, [_portraits()[OBAMA_SPEAKING.file.name]], _SMALL_FACE_PX, 9))]


def _portraits() -> dict[str, tuple[Image, Portrait]]:
    paths = fetch_portraits()
    portraits = {*SINGLES, *TRIO}
    return {p.file.name: (decode(paths[p.file.name].read_bytes()), p) for p in portraits}


def _scene(width_px: int, height_px: int, people: list[tuple[Image, Portrait]], face_px: int, seed: int) -> Image:
    """People side by side before a grainy wall, each face about `face_px` high."""
    rng = np.random.default_rng(seed)
    wall = rng.normal(110.0, 25.0, size=(height_px // 16, width_px // 16)).clip(0, 255).astype(np.uint8)
    grey = cv2.resize(wall, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    scene = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for at, (picture, portrait) in enumerate(people):
        cut = _cut(picture, portrait, face_px)
        cut = cut[: height_px - 8, : width_px // len(people)]
        left = (2 * at + 1) * width_px // (2 * len(people)) - cut.shape[1] // 2
        top = (height_px - cut.shape[0]) // 2
        scene[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    grain = rng.normal(0.0, 4.0, size=scene.shape)
    return (scene + grain).clip(0, 255).astype(np.uint8)


def _cut(picture: Image, portrait: Portrait, face_px: int) -> Image:
    """Head and shoulders, scaled so that the face is `face_px` high."""
    face = portrait.face
    side = _SHOWN_FACES_WIDE * face.height_px
    left, top = face.x_px + face.width_px / 2 - side / 2, face.y_px + face.height_px / 2 - side / 2
    cut = picture[max(0, int(top)) : int(top + side), max(0, int(left)) : int(left + side)]
    scale = face_px / face.height_px
    size = (round(cut.shape[1] * scale), round(cut.shape[0] * scale))
    return cv2.resize(cut, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _jpeg(scene: Image) -> bytes:
    return cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
