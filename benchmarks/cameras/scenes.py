"""Moving pictures for many cameras: the demo's corridor, walked through by the demo's people or by a box on wheels.

Each camera sees a scene of its own (another seed: other walks, other noise), 24 s long. A scene is kept as an H.264
file without B-frames, as cameras send it, and as JPEGs for the MJPEG server; both are made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import simplejpeg
from av.video.stream import VideoStream

from camera_ingest.sources.demo import HEIGHT_PX, WIDTH_PX, Scene
from camera_ingest.sources.demo_cast import CUT_FACE_PX, CutOut, cut_out
from camera_ingest.sources.demo_script import ROUND_S
from camera_ingest.sources.source import Image
from tessera.demo.portraits import WALKERS, fetch_portraits

RATE_HZ = 5
JPEG_QUALITY = 72
"""As the demo camera's."""
_X264 = {"preset": "veryfast", "tune": "zerolatency", "crf": "23"}
_GOP_FRAMES = 10


def people() -> list[CutOut]:
    """The walkers of the demo."""
    paths = fetch_portraits()
    return [cut_out(walker, paths[walker.portrait.file.name]) for walker in WALKERS]


def things() -> list[CutOut]:
    """Something that moves and has no face: a crate on wheels, as large as a person."""
    height, width = 2 * CUT_FACE_PX, 2 * CUT_FACE_PX
    grain = cv2.resize(np.random.default_rng(3).normal(0, 14, (40, 40)), (width, height))
    image = np.clip(np.array([70, 96, 128]) + grain[..., None], 0, 255).astype(np.uint8)
    for at in range(0, width, 65):
        cv2.line(image, (at, 0), (at, height), (40, 56, 78), 5)
    alpha = np.zeros((height, width), np.uint8)
    cv2.rectangle(alpha, (20, 90), (width - 20, height - 60), 255, -1)
    for at in (width // 4, 3 * width // 4):
        cv2.circle(alpha, (at, height - 50), 40, 255, -1)
        cv2.circle(image, (at, height - 50), 40, (24, 24, 26), -1)
    return [CutOut(image, alpha, (width / 2, height / 2))]


def pictures(seed: int, *, with_faces: bool, rate_hz: int = RATE_HZ, seconds: float = ROUND_S) -> Iterator[Image]:
    """A scene, picture by picture: uint8 (720, 1280, 3), blue, green, red."""
    scene = Scene(people() if with_faces else things(), seed)
    for number in range(round(seconds * rate_hz)):
        yield scene.draw(number / rate_hz)


def h264_file(folder: Path, seed: int, *, with_faces: bool, seconds: float = ROUND_S) -> Path:
    """The scene as H.264 in MP4; made once."""
    path = folder / f"{_name(seed, with_faces=with_faces, seconds=seconds)}.mp4"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.mp4")
    with av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE_HZ), options=dict(_X264))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.codec_context.gop_size = _GOP_FRAMES
        for picture in pictures(seed, with_faces=with_faces, seconds=seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    return part.rename(path)


def jpeg_folder(folder: Path, seed: int, *, with_faces: bool, seconds: float = ROUND_S) -> Path:
    """The scene as a folder of JPEGs by number; made once."""
    path = folder / _name(seed, with_faces=with_faces, seconds=seconds)
    if path.is_dir():
        return path
    part = path.with_suffix(".part")
    part.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures(seed, with_faces=with_faces, seconds=seconds)):
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), JPEG_QUALITY, "BGR", "420")
        (part / f"{number:05d}.jpg").write_bytes(jpeg)
    return part.rename(path)


def _name(seed: int, *, with_faces: bool, seconds: float) -> str:
    return f"{'faces' if with_faces else 'things'}-{seed}-{seconds:g}s-{RATE_HZ}hz"
