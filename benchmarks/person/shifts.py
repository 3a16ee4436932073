"""Camera changes of graded strength, as cameras make them: the definition that the camera-shift benchmark stands on.

Written before any trained encoder was measured on it, and left as it is. Light is linear here: the stored picture is
brought back to it, another place, lens, sensor and processing look at it, and it is stored again. Each level has four
cameras, which differ in the direction of every change; a picture's name says which of them takes it.

What it shares with the training's changes (`siamese_lab.persons.cameras`), which work on stored values: gains of the
three channels (there drawn for each channel alone, here two illuminants on the blackbody curve), fewer pixels, a
projective warp (there corners drawn at random, here a turned camera). What it does not share: linear light, exposure
with clipping and a film-like curve, a colour matrix of another sensor, haze, falling light towards the corners, a lens
out of focus (a disk; there a Gaussian), photon noise under a Bayer mosaic, WebP (there JPEG), and a barrier.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.imaging.decode import Image

LEVELS = (1, 2, 3, 4, 5)
MIDDLE, STRONGEST = 3, 5
CAMERAS = 4

Light = npt.NDArray[np.float32]
"""float32 (height, width, 3), blue, green, red, linear; 1 is what the sensor holds at most."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How far a level goes; the four cameras take each change in one direction or the other."""

    mired: float
    """Shift of the illuminant from 6500 K, in millionths of a reciprocal kelvin."""
    stops: float
    """Of exposure."""
    curve: float
    """Of the film-like curve, 0 = none to 1 = full."""
    matrix: float
    """Of another sensor's colours, 0 = none to 1 = full."""
    haze: float
    """Share of light that the air adds."""
    corner_loss: float
    """Share of light that is lost in the corners."""
    defocus_px: float
    """Radius of the disk, in pixels of a crop 128 high."""
    height_px: float
    """Of the person on the sensor."""
    electrons: float
    """That a full pixel holds."""
    quality: int
    """Of WebP."""
    pitch_degrees: float
    """By which the camera looks from higher up; half of it sideways."""
    box_error: float
    """Of the person's box, in shares of its sides."""
    barrier: float
    """Share of the height that something in front hides, for one camera of two."""


STRENGTHS: dict[int, Strength] = {
    1: Strength(12, 0.20, 0.10, 0.10, 0.01, 0.10, 0.3, 112, 8000, 90, 3, 0.02, 0.00),
    2: Strength(25, 0.35, 0.20, 0.17, 0.02, 0.15, 0.5, 92, 4000, 78, 5, 0.03, 0.04),
    3: Strength(40, 0.55, 0.30, 0.25, 0.03, 0.20, 0.8, 72, 2500, 65, 8, 0.05, 0.08),
    4: Strength(57, 0.75, 0.45, 0.35, 0.05, 0.27, 1.1, 56, 1300, 52, 11, 0.07, 0.14),
    5: Strength(75, 1.00, 0.60, 0.45, 0.07, 0.35, 1.5, 44, 700, 40, 15, 0.10, 0.20),
}

# mired, stops, curve, matrix, pitch and yaw: the direction of each change, camera by camera
_DIRECTIONS = ((1, 1, 1, 1, 1, 1), (-1, -1, 1, -1, 1, -1), (1, -1, -1, -1, -1, 1), (-1, 1, -1, 1, -1, -1))
_OTHER_SENSOR = np.array([[0.72, 0.26, 0.02], [0.10, 0.78, 0.12], [-0.08, 0.34, 0.74]], np.float32)
_BARRIER = np.array([0.16, 0.17, 0.18], np.float32)
_READ_ELECTRONS = 4.0
_FOCAL_HEIGHTS = 2.5
_D65_MIRED = 1e6 / 6504.0


def camera_of(name: str) -> int:
    """Which of the four cameras takes a picture, from its name."""
    return zlib.crc32(name.encode()) % CAMERAS


def shifted(crop: Image, name: str, level: int) -> Image:
    """A crop as the camera of its level takes it.

    Args:
        crop: uint8 (height, width, 3), a person.
        name: of the picture; decides the camera and the noise.
        level: one of LEVELS; 0 leaves the crop as it is.

    Returns:
        uint8 (height, width, 3), of the same size.

    Raises:
        KeyError: there is no such level.
    """
    if level == 0:
        return crop
    strength, turned = STRENGTHS[level], _DIRECTIONS[camera_of(name)]
    rng = np.random.default_rng((zlib.crc32(name.encode()), level))
    light = _linear(crop)
    light = _seen_from(light, strength, turned, rng)
    if camera_of(name) % 2:
        light = _behind_barrier(light, strength.barrier)
    light = _lit(light, strength, turned)
    light = _through_lens(light, strength)
    light = _on_sensor(light, strength, rng)
    size = (crop.shape[1], crop.shape[0])
    stored = cv2.resize(_stored(light, strength, turned), size, interpolation=cv2.INTER_CUBIC)
    _, packed = cv2.imencode(".webp", stored, [cv2.IMWRITE_WEBP_QUALITY, strength.quality])
    opened = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    if opened is None:
        raise ValueError(f"{name}: what was packed as WebP cannot be opened")
    return opened.astype(np.uint8, copy=False)


def illuminant_gains(mired: float) -> npt.NDArray[np.float32]:
    """What an illuminant does to blue, green and red under a white balance for daylight; green stays.

    Args:
        mired: further from daylight, above 0 = warmer.

    Source: the blackbody's chromaticity by the cubic fits of Kim et al., US patent 7024034 (2006); linear sRGB, IEC
    61966-2-1.
    """
    gains = _blackbody(1e6 / (_D65_MIRED + mired)) / _blackbody(1e6 / _D65_MIRED)
    to_green: npt.NDArray[np.float32] = (gains / gains[1]).astype(np.float32)
    return to_green


def _blackbody(kelvin: float) -> npt.NDArray[np.float64]:
    t = 1e3 / min(25000.0, max(1667.0, kelvin))
    if t > 1e3 / 4000.0:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if t > 1e3 / 2222.0:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    elif t > 1e3 / 4000.0:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    seen = np.array([x / y, 1.0, (1.0 - x - y) / y])
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    rgb: npt.NDArray[np.float64] = np.maximum(to_rgb @ seen, 1e-3)
    return rgb[::-1]


def _linear(stored: Image) -> Light:
    values = stored.astype(np.float32) / 255.0
    light: Light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return light


def _seen_from(light: Light, strength: Strength, turned: tuple[int, ...], rng: np.random.Generator) -> Light:
    """Another place of the camera, and a box that is a little off."""
    height, width = light.shape[:2]
    pitch = math.radians(strength.pitch_degrees * turned[4])
    yaw = math.radians(strength.pitch_degrees * turned[5] / 2.0)
    lens = np.array([[_FOCAL_HEIGHTS * height, 0, width / 2], [0, _FOCAL_HEIGHTS * height, height / 2], [0, 0, 1.0]])
    down = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    aside = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    turn = lens @ down @ aside @ np.linalg.inv(lens)
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    seen = cv2.perspectiveTransform(corners, turn)[0]
    low, high = seen.min(0), seen.max(0)
    error = rng.uniform(-strength.box_error, strength.box_error, 4)
    low, high = low + error[:2] * (high - low), high + error[2:] * (high - low)
    boxed = np.diag([width / (high[0] - low[0]), height / (high[1] - low[1]), 1.0])
    boxed[:2, 2] = -boxed.diagonal()[:2] * low
    warped = cv2.warpPerspective(
        light, boxed @ turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    made: Light = np.maximum(warped, 0.0).astype(np.float32)
    return made


def _behind_barrier(light: Light, share: float) -> Light:
    hidden = light.copy()
    if share:
        hidden[round(light.shape[0] * (1.0 - share)) :] = _BARRIER
    return hidden


def _lit(light: Light, strength: Strength, turned: tuple[int, ...]) -> Light:
    """Another illuminant, haze, exposure: before the lens."""
    coloured = light * illuminant_gains(strength.mired * turned[0])
    hazy = coloured * (1.0 - strength.haze) + 0.5 * strength.haze
    exposed: Light = (hazy * np.float32(2.0 ** (strength.stops * turned[1]))).astype(np.float32)
    return exposed


def _through_lens(light: Light, strength: Strength) -> Light:
    height, width = light.shape[:2]
    radius = strength.defocus_px * height / 128.0
    reach = max(1, math.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0)
    blurred = cv2.filter2D(light, -1, (disk / disk.sum()).astype(np.float32), borderType=cv2.BORDER_REPLICATE)
    v, u = np.mgrid[-1.0 : 1.0 : height * 1j, -1.0 : 1.0 : width * 1j]
    fall = 1.0 - strength.corner_loss * (u**2 + v**2) / 2.0
    through: Light = (blurred * fall[:, :, None]).astype(np.float32)
    return through


def _on_sensor(light: Light, strength: Strength, rng: np.random.Generator) -> Light:
    """Fewer pixels, each of one colour, counting photons; then all three colours again."""
    height = max(8, 2 * round(strength.height_px / 2))
    width = max(4, 2 * round(strength.height_px * light.shape[1] / light.shape[0] / 2))
    small = np.clip(cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA), 0.0, 1.0)
    mosaic = small[:, :, 1].copy()
    mosaic[0::2, 0::2] = small[0::2, 0::2, 2]
    mosaic[1::2, 1::2] = small[1::2, 1::2, 0]
    counted = rng.poisson(mosaic * strength.electrons) + rng.normal(0.0, _READ_ELECTRONS, mosaic.shape)
    values = np.clip(counted / strength.electrons, 0.0, 1.0)
    whole = cv2.cvtColor((values * 65535.0).astype(np.uint16), cv2.COLOR_BayerBG2BGR)
    return (whole.astype(np.float32) / 65535.0).astype(np.float32)


def _stored(light: Light, strength: Strength, turned: tuple[int, ...]) -> Image:
    """Another sensor's colours, a curve, and sRGB."""
    share = strength.matrix * (1.0 if turned[3] > 0 else 0.5)
    matrix = (1.0 - share) * np.eye(3, dtype=np.float32) + share * _OTHER_SENSOR
    mixed = np.clip(light @ matrix.T, 0.0, 1.0)
    values = np.where(mixed <= 0.0031308, 12.92 * mixed, 1.055 * mixed ** (1.0 / 2.4) - 0.055)
    bent = values * values * (3.0 - 2.0 * values) if turned[2] > 0 else np.sqrt(values) * 0.5 + values * 0.5
    return np.round(255.0 * np.clip((1.0 - strength.curve) * values + strength.curve * bent, 0.0, 1.0)).astype(np.uint8)
