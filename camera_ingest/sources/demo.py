"""The demo camera: photographs of real people walk through a drawn corridor, as a camera of 15 frames a second sees it.

Each frame is drawn when it is sampled, and leaves as a JPEG of middling quality, as a cheap camera sends it. The
faces move, grow and shrink, tilt, get lighter and darker, are blurred by their motion and covered with sensor noise.
What it shows is the same for the same seed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from camera_ingest.sources.demo_cast import CUT_FACE_PX, CutOut, cut_out
from camera_ingest.sources.demo_script import Pose, poses_at
from camera_ingest.sources.file_time import wall_time
from camera_ingest.sources.source import CapturedFrame, Image, SourceError
from camera_ingest.sources.stream_clock import ClockKind, ClockReport
from tessera.chassis.clock import Clock
from tessera.demo.portraits import WALKERS, fetch_portraits
from tessera.domain.errors import ArtifactError

WIDTH_PX, HEIGHT_PX = 1280, 720
RATE_HZ = 15.0
DEFAULT_SEED = 7
_JPEG_QUALITY = 72
_EXPOSURE_S = 1 / 70
_NOISE_SIGMA = 4.0
_NOISE_MARGIN_PX = 64


class Scene:
    """Draws the scene at any moment.

    Args:
        cast: the walkers.
        seed: of walks and noise.
    """

    def __init__(self, cast: Sequence[CutOut], seed: int = DEFAULT_SEED) -> None:
        self._cast = cast
        self._seed = seed
        self._corridor = _corridor(seed)
        self._noise = _noise(seed)

    def draw(self, moment_s: float) -> Image:
        """The picture at `moment_s` since the scene began: uint8 (720, 1280, 3), blue, green, red."""
        picture = self._corridor.copy()
        for pose in poses_at(moment_s, len(self._cast), self._seed):
            _place(picture, self._cast[pose.walker], pose)
        return self._with_noise(picture, moment_s)

    def _with_noise(self, picture: Image, moment_s: float) -> Image:
        chance = np.random.default_rng([self._seed, round(moment_s * 1000)])
        top, left = (int(at) for at in chance.integers(0, _NOISE_MARGIN_PX, 2))
        lighter, darker = (part[top : top + HEIGHT_PX, left : left + WIDTH_PX] for part in self._noise)
        # Two saturating byte operations cost a quarter of one weighted sum.
        return _bytes(cv2.subtract(cv2.add(picture, lighter), darker))


class DemoSource:
    """The demo camera.

    Args:
        clock: where capture times come from.
        seed: of what it shows.
    """

    def __init__(self, clock: Clock, seed: int = DEFAULT_SEED) -> None:
        self._clock = clock
        self._seed = seed
        self._scene: Scene | None = None

    @property
    def is_live(self) -> bool:
        """It never ends."""
        return True

    @property
    def clock_report(self) -> ClockReport:
        """It draws on this machine's clock."""
        return ClockReport(ClockKind.ARRIVAL)

    def open(self) -> None:
        """Fetch the photographs and cut the walkers out.

        Raises:
            SourceError: a photograph cannot be had.
        """
        try:
            paths = fetch_portraits()
        except ArtifactError as error:
            raise SourceError(str(error)) from None
        self._scene = Scene([cut_out(walker, paths[walker.portrait.file.name]) for walker in WALKERS], self._seed)

    def frames(self, stopped: threading.Event) -> Iterator[CapturedFrame]:
        """Yield 15 frames a second."""
        scene = self._scene
        if scene is None:
            raise SourceError("it is not open")
        began_s, number = self._clock.monotonic_s(), 0
        while not stopped.wait(max(0.0, began_s + number / RATE_HZ - self._clock.monotonic_s())):
            captured_s = began_s + number / RATE_HZ
            yield CapturedFrame(wall_time(self._clock, captured_s), captured_s, _picture(scene, number / RATE_HZ))
            # A camera does not catch up on frames that nobody took.
            number = max(number + 1, int((self._clock.monotonic_s() - began_s) * RATE_HZ))

    def close(self) -> None:
        """Let the pictures go."""
        self._scene = None


def _picture(scene: Scene, moment_s: float) -> Callable[[], bytes]:
    def picture() -> bytes:
        drawn = np.ascontiguousarray(scene.draw(moment_s))
        jpeg: bytes = simplejpeg.encode_jpeg(drawn, _JPEG_QUALITY, "BGR", "420")
        return jpeg

    return picture


def _place(picture: Image, person: CutOut, pose: Pose) -> None:
    """Draw one walker into the picture, in the part of it that they cover."""
    scale = pose.face_px / CUT_FACE_PX
    x_px, y_px = pose.x * WIDTH_PX, pose.y * HEIGHT_PX
    matrix = np.asarray(cv2.getRotationMatrix2D(person.face_centre_px, pose.tilt_deg, scale), np.float64)
    matrix[:, 2] += np.array([x_px - person.face_centre_px[0], y_px - person.face_centre_px[1]])
    left, top, right, bottom = _covered(matrix, person.alpha.shape[1], person.alpha.shape[0])
    if right - left < 2 or bottom - top < 2:
        return
    matrix[:, 2] -= np.array([left, top])
    size = (right - left, bottom - top)
    image = cv2.warpAffine(person.image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(person.alpha, matrix, size, flags=cv2.INTER_LINEAR).astype(np.float32) / np.float32(255)
    blur_px = max(1, round(abs(pose.speed) * WIDTH_PX * _EXPOSURE_S))
    if blur_px > 1:
        image = cv2.blur(image, (blur_px, 1))
    image = cv2.convertScaleAbs(image, alpha=pose.gain)
    under = picture[top:bottom, left:right]
    picture[top:bottom, left:right] = cv2.blendLinear(image, np.ascontiguousarray(under), alpha, 1.0 - alpha)


def _covered(matrix: npt.NDArray[np.float64], width_px: int, height_px: int) -> tuple[int, int, int, int]:
    corners = np.array([[0, 0, 1], [width_px, 0, 1], [0, height_px, 1], [width_px, height_px, 1]], np.float64)
    placed = corners @ matrix.T
    left, top = np.floor(placed.min(axis=0)).astype(int)
    right, bottom = np.ceil(placed.max(axis=0)).astype(int)
    return max(0, int(left)), max(0, int(top)), min(WIDTH_PX, int(right)), min(HEIGHT_PX, int(bottom))


def _corridor(seed: int) -> Image:
    """A corridor in one-point perspective: walls, floor, ceiling, doors and lamps, with a plaster texture."""
    chance = np.random.default_rng(seed)
    picture = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    left, top, right, bottom = 470, 200, 810, 430
    far = [(left, top), (right, top), (right, bottom), (left, bottom)]
    near = [(0, -120), (WIDTH_PX, -120), (WIDTH_PX, HEIGHT_PX + 130), (0, HEIGHT_PX + 130)]
    colours = [(196, 200, 202), (150, 162, 168), (96, 104, 112), (158, 168, 172)]
    for side in range(4):
        corners = [near[side], near[(side + 1) % 4], far[(side + 1) % 4], far[side]]
        cv2.fillPoly(picture, [np.array(corners, np.int32)], colours[side])
    cv2.rectangle(picture, (left, top), (right, bottom), (172, 178, 178), -1)
    cv2.rectangle(picture, (590, 262), (690, bottom), (92, 108, 128), -1)
    for sign, edge in ((1, 0), (-1, WIDTH_PX)):
        door = [(edge + sign * 150, 120), (edge + sign * 290, 160), (edge + sign * 290, 545), (edge + sign * 150, 655)]
        cv2.fillPoly(picture, [np.array(door, np.int32)], (98, 118, 140))
    for depth in (0.15, 0.45, 0.72):
        y, half = round(-120 + depth * (top + 120)) + 60, round(150 * (1 - depth))
        cv2.ellipse(picture, (640, y), (half, max(4, half // 5)), 0, 0, 360, (238, 242, 242), -1)
    return _textured(picture, chance)


def _textured(picture: Image, chance: np.random.Generator) -> Image:
    """Light that falls off to the corners, soft edges, and plaster."""
    grain = cv2.resize(
        chance.normal(0, 1, (90, 160)).astype(np.float32), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_CUBIC
    )
    fine = cv2.GaussianBlur(chance.normal(0, 1, (HEIGHT_PX, WIDTH_PX)).astype(np.float32), (0, 0), 1.2)
    y, x = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    vignette = 1.0 - 0.35 * (((x - 640) / 900) ** 2 + ((y - 330) / 620) ** 2)
    soft = cv2.GaussianBlur(picture, (0, 0), 1.6).astype(np.float32)
    lit = soft * vignette[..., None] + (2.2 * grain + 5.0 * fine)[..., None]
    return _bytes(np.clip(lit, 0, 255))


def _noise(seed: int) -> tuple[Image, Image]:
    """Sensor noise, what it adds and what it takes; larger than the picture, so that each frame sees another part."""
    chance = np.random.default_rng(seed + 1)
    shape = (HEIGHT_PX + _NOISE_MARGIN_PX, WIDTH_PX + _NOISE_MARGIN_PX, 3)
    noise = _NOISE_SIGMA * chance.standard_normal(shape, np.float32)
    return np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8)


def _bytes(image: npt.NDArray[Any]) -> Image:
    return image.astype(np.uint8, copy=False)
