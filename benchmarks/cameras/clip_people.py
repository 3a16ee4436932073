"""Who is in a clip, found by OpenCV's own detector: pictures to enrol them by, before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.face_verification import weight_files
from camera_ingest.sources.source import Image

FACE_CLIPS = (
    "face-demographics-walking-and-pause.gif",
    "head-pose-face-detection-female.gif",
    "head-pose-face-detection-male.gif",
)
"""The clips in which faces are large enough to be told apart."""
_FACE_SHARE = 0.45
"""Of the height that is cut out around a face; as in LFW's pictures."""
SAME_PERSON = {"head-pose-face-detection-female-1": "face-demographics-walking-and-pause-1"}
"""Two clips show the same woman, by eye and at a cosine of 0.52."""
_SCORE_COLUMN = 14
"""Of a row of OpenCV's detector: after the box and five landmarks."""
_ENLARGED = 2.0
"""What is cut out is enlarged, as a portrait would be larger than a frame of a camera."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Somebody in a clip."""

    name: str
    picture: bytes
    """PNG of the face and what is around it, as the detector is surest of it."""


def images_of(clip: Path) -> list[Image]:
    """Every frame: uint8 (height, width, 3), blue, green, red."""
    with av.open(str(clip)) as file:
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in file.decode(video=0)]


def people_of(clip: Path) -> list[Person]:
    """Everybody in a clip, from left to right.

    Of the frames with the most faces it is the one in which the detector is the surest of them: nobody in profile.
    """
    found = [(_faces(image), image) for image in images_of(clip)]
    faces, image = max(found, key=lambda seen: (len(seen[0]), sum(float(face[_SCORE_COLUMN]) for face in seen[0])))
    return [
        Person(SAME_PERSON.get(name := f"{clip.stem}-{at + 1}", name), _cut_out(image, face))
        for at, face in enumerate(sorted(faces, key=lambda face: float(face[0])))
    ]


def _faces(image: Image) -> Sequence[Any]:
    size = (image.shape[1], image.shape[0])
    found: Any = cv2.FaceDetectorYN.create(str(weight_files()[0]), "", size, 0.7, 0.3).detect(image)[1]
    return [] if found is None else list(found)


def _cut_out(image: Image, face: Any) -> bytes:  # noqa: ANN401 - a row of OpenCV's detector
    x, y, width, height = (float(value) for value in face[:4])
    half = height / _FACE_SHARE / 2
    top, left = max(0, round(y + height / 2 - half)), max(0, round(x + width / 2 - half))
    around = image[top : round(y + height / 2 + half), left : round(x + width / 2 + half)]
    larger = cv2.resize(around, None, fx=_ENLARGED, fy=_ENLARGED, interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".png", larger)[1])
