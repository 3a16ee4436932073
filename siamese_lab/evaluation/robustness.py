"""What noise, blur, compression and movement cost: one ill at a time, at rising strength, the threshold left as it is.

Only the probe is degraded, as at a door: what was enrolled was a good picture, and the threshold was set on good ones.
Strengths are fixed steps and no model of any camera; two ills at once are in `siamese_lab.degradation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from siamese_lab.evaluation.embedding import Embeddings, Pictures
from siamese_lab.verification import Estimate
from tessera.domain.errors import InvalidInputError

Picture = Pictures
"""uint8 (height, width, channels)."""


class Ill(StrEnum):
    """What happens to a probe; each has its own unit of strength."""

    NOISE = "noise"
    """Gaussian, deviation in levels of 255."""
    BLUR = "blur"
    """Gaussian, deviation in shares of the shorter side."""
    JPEG = "jpeg"
    """100 less the quality."""
    ROTATION = "rotation"
    """Degrees, to either side by a coin."""
    SHIFT = "shift"
    """Shares of the shorter side, in any direction."""
    SCALE = "scale"
    """Share by which it is smaller; what was outside is filled with the border's colour."""


@dataclass(frozen=True, slots=True)
class IllFacts:
    """How one ill is graded and told."""

    title: str
    unit: str
    strengths: tuple[float, ...]
    """Rising from 0, which leaves the picture as it is."""


ILLS: Mapping[Ill, IllFacts] = {
    Ill.NOISE: IllFacts("Noise", "deviation in levels of 255", (0.0, 8.0, 16.0, 32.0, 48.0, 64.0)),
    Ill.BLUR: IllFacts("Blur", "deviation as a share of the side", (0.0, 0.02, 0.04, 0.06, 0.08, 0.1)),
    Ill.JPEG: IllFacts("Compression", "100 less the JPEG quality", (0.0, 20.0, 50.0, 70.0, 85.0, 95.0)),
    Ill.ROTATION: IllFacts("Rotation", "degrees", (0.0, 5.0, 10.0, 20.0, 30.0, 45.0)),
    Ill.SHIFT: IllFacts("Shift", "share of the side", (0.0, 0.04, 0.08, 0.12, 0.16, 0.2)),
    Ill.SCALE: IllFacts("Smaller", "share of the size lost", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
}


def degraded(pictures: Pictures, ill: Ill, strength: float, rng: np.random.Generator) -> Pictures:
    """Every picture with one ill.

    Args:
        pictures: uint8 (n, height, width, channels).
        ill: which.
        strength: in the ill's unit; 0 gives the pictures as they are.
        rng: draws noise and directions, anew for each picture.

    Returns:
        The same shape.
    """
    if not 0.0 <= strength <= 100.0:
        raise InvalidInputError("strength", strength, "0 to 100, in the ill's unit")
    if strength == 0.0:
        return pictures
    return np.stack([_channels(_WAYS[ill](picture, strength, rng), picture) for picture in pictures])


def _channels(changed: cv2.typing.MatLike, like: Picture) -> Picture:
    """OpenCV drops the axis of a single channel."""
    return np.asarray(changed, np.uint8).reshape(like.shape)


def _noise(picture: Picture, strength: float, rng: np.random.Generator) -> cv2.typing.MatLike:
    noisy = picture + rng.normal(0.0, strength, picture.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _blur(picture: Picture, strength: float, rng: np.random.Generator) -> cv2.typing.MatLike:  # noqa: ARG001 - as others
    return cv2.GaussianBlur(picture, (0, 0), strength * min(picture.shape[:2]))


def _jpeg(picture: Picture, strength: float, rng: np.random.Generator) -> cv2.typing.MatLike:  # noqa: ARG001 - as others
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, max(1, round(100.0 - strength))])
    grey = picture.shape[2] == 1
    decoded = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
    if decoded is None:
        raise RuntimeError("OpenCV does not read what it wrote")
    return decoded if grey else decoded[..., ::-1]


def _rotation(picture: Picture, strength: float, rng: np.random.Generator) -> cv2.typing.MatLike:
    return _warped(picture, strength * rng.choice((-1.0, 1.0)), 1.0, (0.0, 0.0))


def _shift(picture: Picture, strength: float, rng: np.random.Generator) -> cv2.typing.MatLike:
    angle, far = rng.uniform(0.0, 2.0 * np.pi), strength * min(picture.shape[:2])
    return _warped(picture, 0.0, 1.0, (far * float(np.cos(angle)), far * float(np.sin(angle))))


def _scale(picture: Picture, strength: float, rng: np.random.Generator) -> cv2.typing.MatLike:  # noqa: ARG001 - as others
    return _warped(picture, 0.0, max(0.05, 1.0 - strength), (0.0, 0.0))


def _warped(picture: Picture, degrees: float, scale: float, move_px: tuple[float, float]) -> cv2.typing.MatLike:
    height_px, width_px = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width_px - 1) / 2.0, (height_px - 1) / 2.0), degrees, scale)
    matrix[:, 2] += np.asarray(move_px)
    size = (width_px, height_px)
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


_WAYS: Mapping[Ill, Callable[[Picture, float, np.random.Generator], cv2.typing.MatLike]] = {
    Ill.NOISE: _noise,
    Ill.BLUR: _blur,
    Ill.JPEG: _jpeg,
    Ill.ROTATION: _rotation,
    Ill.SHIFT: _shift,
    Ill.SCALE: _scale,
}


# ---- curves


@dataclass(frozen=True, slots=True)
class RobustnessCurve:
    """What one ill costs at rising strength."""

    ill: Ill
    strengths: tuple[float, ...]
    figures: Mapping[str, tuple[Estimate, ...]]
    """By the figure's name, such as `pair accuracy`: one for each strength."""


def robustness(
    probes: Pictures,
    embed: Callable[[Pictures], Embeddings],
    judge: Callable[[Embeddings], Mapping[str, Estimate]],
    rng: np.random.Generator,
    ills: Sequence[Ill] = tuple(Ill),
) -> tuple[RobustnessCurve, ...]:
    """Degrade the probes step by step and judge them each time.

    Args:
        probes: uint8 (n, height, width, channels).
        embed: the network under test.
        judge: figures of the probes' embeddings, against what stays as it is; the same names each time.
        rng: draws noise and directions.
        ills: which.
    """
    whole = judge(embed(probes))
    curves = []
    for ill in ills:
        steps = [judge(embed(degraded(probes, ill, strength, rng))) for strength in ILLS[ill].strengths[1:]]
        figures = {name: (whole[name], *(step[name] for step in steps)) for name in whole}
        curves.append(RobustnessCurve(ill, ILLS[ill].strengths, figures))
    return tuple(curves)
