"""What is done to a camera: covers, a lens out of focus, pushes and turns, things put down and taken away.

Each plant is drawn with its own chance, and is a change of the picture as the camera sends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.camera_events import CameraEventKind
from tessera.imaging.decode import Image

Change = Callable[[Image, float], Image]
"""From a picture and the seconds since the plant to the picture with it."""
_REFERENCE_WIDTH_PX = 768
"""Blur is stated in pixels of a picture this wide."""


@dataclass(frozen=True, slots=True)
class Plant:
    """One sort of tampering."""

    name: str
    kind: CameraEventKind
    make: Callable[[np.random.Generator, Image], Change]


def covers() -> list[Plant]:
    """A hand, a bag, paint on the lens, and covers of 60 to 85 % from one side."""
    return [
        Plant("hand", CameraEventKind.COVERED, _hand),
        Plant("bag", CameraEventKind.COVERED, _bag),
        Plant("paint on the lens", CameraEventKind.COVERED, _paint),
        Plant("cover of 60 to 85 %", CameraEventKind.COVERED, _from_one_side),
    ]


def defocuses() -> list[Plant]:
    """Gaussians of sigma, and discs of radius, 3 px and more in a picture 768 wide."""
    sorts: list[tuple[str, Callable[[Image, float], Image], float]] = [
        ("Gaussian", _gaussian, 3.0),
        ("Gaussian", _gaussian, 5.0),
        ("Gaussian", _gaussian, 9.0),
        ("disc", _disc, 3.0),
        ("disc", _disc, 5.0),
        ("disc", _disc, 9.0),
    ]
    return [
        Plant(f"{name} of {px:g} px", CameraEventKind.DEFOCUSED, partial(_blurred, blur, px))
        for name, blur, px in sorts
    ]


def moves() -> list[Plant]:
    """Shifts of 8 % of a side and more, along and across, and turns."""
    shifts = [
        Plant(f"shift of {share:.0%}", CameraEventKind.MOVED, partial(_shifted, share)) for share in (0.08, 0.12, 0.2)
    ]
    return shifts + [
        Plant(f"turn of {angle:g} degrees", CameraEventKind.MOVED, partial(_turned, angle))
        for angle in (4.0, 8.0, 15.0)
    ]


def things(side_px: int) -> list[Plant]:
    """A thing with a pattern of its own that is put down; its side is in pixels of a picture 768 wide."""
    return [Plant(f"thing of {side_px} px", CameraEventKind.OBJECT_LEFT, partial(_thing, side_px))]


# ---- covers


def _hand(chance: np.random.Generator, picture: Image) -> Change:
    height, width = picture.shape[:2]
    tone = np.array([90, 120, 190], np.float32) * chance.uniform(0.25, 0.9)
    centre = chance.uniform(0.4, 0.6, 2) * (width, height)
    angle = chance.uniform(0, 180)

    def change(seen: Image, since_s: float) -> Image:
        sway = 0.02 * width * math.sin(2.1 * since_s)
        mask = np.zeros((height, width), np.float32)
        at = (int(centre[0] + sway), int(centre[1]))
        cv2.ellipse(mask, at, (int(0.62 * width), int(0.6 * height)), angle, 0, 360, 1.0, -1)
        for finger in range(4):
            turn = math.radians(angle + 20 * finger)
            tip = (int(at[0] + 0.8 * width * math.cos(turn)), int(at[1] + 0.8 * width * math.sin(turn)))
            cv2.line(mask, at, tip, 1.0, int(0.12 * width))
        return _laid_over(seen, mask, np.broadcast_to(tone, seen.shape), 0.02 * width)

    return change


def _bag(chance: np.random.Generator, picture: Image) -> Change:
    tone = chance.uniform(4, 70)
    weave = _grain(chance, picture.shape[:2], 3.0) * chance.uniform(0.5, 4.0)
    flat = np.clip(tone + weave, 0, 255)[:, :, None] * np.array([0.9, 1.0, 1.05], np.float32)

    def change(seen: Image, since_s: float) -> Image:
        moved = np.roll(flat, int(3 * math.sin(1.7 * since_s)), axis=1)
        return _sensed(moved, chance, seen)

    return change


def _paint(chance: np.random.Generator, picture: Image) -> Change:
    width = picture.shape[1]
    veil = chance.uniform(0.3, 0.75)
    tone = chance.uniform(20, 200, 3).astype(np.float32)

    def change(seen: Image, _since_s: float) -> Image:
        behind = cv2.GaussianBlur(seen, (0, 0), 0.04 * width).astype(np.float32)
        return _sensed((1.0 - veil) * behind + veil * tone, chance, seen)

    return change


def _from_one_side(chance: np.random.Generator, picture: Image) -> Change:
    height, width = picture.shape[:2]
    share, side = chance.uniform(0.6, 0.85), int(chance.integers(4))
    tone = chance.uniform(10, 200, 3).astype(np.float32)
    mask = np.zeros((height, width), np.float32)
    covered = {
        0: np.s_[: int(share * height), :],
        1: np.s_[int((1 - share) * height) :, :],
        2: np.s_[:, : int(share * width)],
        3: np.s_[:, int((1 - share) * width) :],
    }[side]
    mask[covered] = 1.0
    cover = tone + _grain(chance, (height, width), 8.0)[:, :, None] * chance.uniform(0.5, 4.0)

    def change(seen: Image, _since_s: float) -> Image:
        return _laid_over(seen, mask, cover, 0.015 * width)

    return change


def _laid_over(seen: Image, mask: npt.NDArray[np.float32], over: npt.NDArray[np.floating], blur_px: float) -> Image:
    soft = cv2.GaussianBlur(mask, (0, 0), blur_px)[:, :, None]
    return np.asarray(np.clip(seen * (1.0 - soft) + over * soft, 0, 255), dtype=np.uint8)


def _sensed(picture: npt.NDArray[np.floating], chance: np.random.Generator, like: Image) -> Image:
    return np.asarray(np.clip(picture + chance.normal(0, 1.5, like.shape), 0, 255), dtype=np.uint8)


def _grain(chance: np.random.Generator, shape: tuple[int, int], size_px: float) -> npt.NDArray[np.float32]:
    grain = cv2.GaussianBlur(chance.standard_normal(shape, np.float32), (0, 0), size_px)
    return np.asarray(grain / max(1e-6, float(grain.std())), dtype=np.float32)


# ---- the lens


def _blurred(blur: Callable[[Image, float], Image], px: float, _chance: np.random.Generator, picture: Image) -> Change:
    here_px = px * picture.shape[1] / _REFERENCE_WIDTH_PX
    return lambda seen, _since_s: blur(seen, here_px)


def _gaussian(seen: Image, sigma_px: float) -> Image:
    return np.asarray(cv2.GaussianBlur(seen, (0, 0), sigma_px), dtype=np.uint8)


def _disc(seen: Image, radius_px: float) -> Image:
    half = math.ceil(radius_px) + 1
    fine = 8
    at = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    inside = (at[:, None] ** 2 + at[None, :] ** 2 <= radius_px**2).astype(np.float32)
    kernel = cv2.resize(inside, (2 * half + 1, 2 * half + 1), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.filter2D(seen, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), dtype=np.uint8)


# ---- where it looks


def _shifted(share: float, chance: np.random.Generator, picture: Image) -> Change:
    height, width = picture.shape[:2]
    across, down = ((1, 0), (0, 1), (0.75, 0.75))[int(chance.integers(3))]
    signs = chance.choice([-1.0, 1.0], 2)
    matrix = np.array([[1, 0, share * width * across * signs[0]], [0, 1, share * height * down * signs[1]]])
    return lambda seen, _since_s: _warped(seen, matrix)


def _turned(angle: float, chance: np.random.Generator, picture: Image) -> Change:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle * float(chance.choice([-1.0, 1.0])), 1.0)
    return lambda seen, _since_s: _warped(seen, np.asarray(matrix))


def _warped(seen: Image, matrix: npt.NDArray[np.float64]) -> Image:
    size = (seen.shape[1], seen.shape[0])
    return np.asarray(cv2.warpAffine(seen, matrix, size, borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)


# ---- things


def _thing(side_px: int, chance: np.random.Generator, picture: Image) -> Change:
    height, width = picture.shape[:2]
    side = round(side_px * width / _REFERENCE_WIDTH_PX)
    x, y = int(chance.integers(side, width - 2 * side)), int(chance.integers(height // 3, height - 2 * side))
    body = np.full((side, side, 3), np.array(chance.uniform(20, 230, 3), np.float32), np.float32)
    body[: side // 3] *= 0.6
    body[:, side // 2 : side // 2 + max(1, side // 8)] *= 1.5
    rim = np.zeros((side, side), np.float32)
    cv2.ellipse(rim, (side // 2, side // 2), (side // 2, int(0.42 * side)), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(rim, (0, 0), 0.8)[:, :, None]

    def change(seen: Image, _since_s: float) -> Image:
        there = seen.copy()
        place = there[y : y + side, x : x + side]
        light = float(place.mean()) / 128.0
        place[:] = np.clip(place * (1.0 - soft) + body * (0.4 + 0.6 * light) * soft, 0, 255).astype(np.uint8)
        return there

    return change
