"""A square seen from above, drawn: walls, windows, paving, all with texture; and things to put into it."""

from __future__ import annotations

import cv2
import numpy as np

from tessera.imaging.decode import Image

HEIGHT_PX, WIDTH_PX = 240, 320


def scene(seed: int = 1) -> Image:
    """uint8 (240, 320, 3): the same for the same seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(70.0, 150.0, (30, 40, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, w, h = (int(rng.integers(0, most)) for most in (WIDTH_PX, HEIGHT_PX, 40, 40))
        shade = float(rng.uniform(40, 200))
        cv2.rectangle(picture, (x, y), (x + 6 + w, y + 6 + h), (shade, shade * 0.9, shade), -1)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.8), 0, 255).astype(np.uint8)


def with_object(picture: Image, x_px: int = 150, y_px: int = 110, side_px: int = 40) -> Image:
    """A box with a lid and a handle, bright on dark and dark on bright."""
    seen = picture.copy()
    cv2.rectangle(seen, (x_px, y_px), (x_px + side_px, y_px + side_px), (30, 30, 30), -1)
    cv2.rectangle(seen, (x_px + 5, y_px + 5), (x_px + side_px - 5, y_px + side_px // 2), (220, 220, 220), -1)
    cv2.circle(seen, (x_px + side_px // 2, y_px + 3 * side_px // 4), side_px // 8, (200, 200, 200), 2)
    return seen


def with_light(picture: Image, gain: float, levels: float = 0.0) -> Image:
    """Another light."""
    return np.clip(picture.astype(np.float32) * gain + levels, 0, 255).astype(np.uint8)


def with_lamp(picture: Image, gain: float = 1.5) -> Image:
    """Lit from one side: the gain falls off softly across the picture."""
    falling = np.linspace(gain, 1.0, picture.shape[1], dtype=np.float32)[None, :, None]
    return np.clip(picture * falling, 0, 255).astype(np.uint8)


def with_noise(picture: Image, deviation: float, seed: int) -> Image:
    """Sensor noise."""
    noise = np.random.default_rng(seed).normal(0.0, deviation, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def saved_as_jpeg(picture: Image, quality: int) -> Image:
    """As a codec leaves it."""
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def moved(picture: Image, matrix: np.ndarray) -> Image:
    """Where `matrix`, (2, 3), takes each pixel."""
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)
