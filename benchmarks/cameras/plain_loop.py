"""The loop that everybody writes first, as a process of its own: capture, detector, embedder, NumPy.

    python -m benchmarks.cameras.plain_loop CLIP SECONDS THRESHOLD ENROLLED

`cv2.VideoCapture -> FaceDetectorYN -> FaceRecognizerSF -> NumPy`, on the weight files of the shipped face encoder as
they were published, with OpenCV's own choice of threads. The clip is played over and over, as fast as it goes. ENROLLED
is a folder of pictures, NAME@NUMBER.png, each of one face. What it saw goes to the standard output as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.face_verification import weight_files

NOBODY = "unknown"
_SCORE, _NMS = 0.7, 0.3

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Seen:
    """One face in one frame of the first pass."""

    frame: int
    box: tuple[float, float, float, float]
    """x, y, width, height in pixels."""
    label: str
    """Whose it is, or `NOBODY`."""
    score: float
    """With the most alike of those who are enrolled."""


@dataclass(frozen=True, slots=True)
class Looped:
    """What the loop did."""

    frames: int
    """That went through detection in the time that counts."""
    faces: int
    """That were embedded in that time."""
    seconds: float
    threads: int
    first_pass: list[Seen]
    """Every face of the clip's first pass."""


class PlainLoop:
    """Detector, embedder and those who are enrolled.

    Args:
        size_px: (width, height) of the pictures.
        enrolled: names, and a picture of one face each; a name may come several times.
        threshold: cosine from which on two faces are one person's.
    """

    def __init__(self, size_px: tuple[int, int], enrolled: Sequence[tuple[str, Path]], threshold: float) -> None:
        detector, embedder = weight_files()
        self._detector = cv2.FaceDetectorYN.create(str(detector), "", size_px, _SCORE, _NMS)
        self._embedder = cv2.FaceRecognizerSF.create(str(embedder), "")
        self._threshold = threshold
        self._names = [name for name, _ in enrolled]
        vectors = [self._enrolled(cv2.imread(str(path))) for _, path in enrolled]
        self._gallery = np.stack(vectors) if vectors else np.zeros((0, 128), np.float32)
        self._detector.setInputSize(size_px)

    def look(self, image: Any) -> list[tuple[tuple[float, float, float, float], str, float]]:  # noqa: ANN401 - as OpenCV types pictures
        """Box, label and score of every face in a picture."""
        return [(box, *self._label(self._vector(image, row))) for box, row in self._faces(image)]

    def _faces(self, image: Any) -> list[tuple[tuple[float, float, float, float], Floats]]:  # noqa: ANN401
        found: Any = self._detector.detect(image)[1]  # None when there is none, whatever OpenCV's stubs say
        rows = [] if found is None else list(found)
        return [((float(r[0]), float(r[1]), float(r[2]), float(r[3])), r) for r in rows]

    def _vector(self, image: Any, face: Floats) -> Floats:  # noqa: ANN401
        raw = self._embedder.feature(self._embedder.alignCrop(image, face)).ravel().astype(np.float32)
        vector: Floats = raw / np.linalg.norm(raw)
        return vector

    def _label(self, vector: Floats) -> tuple[str, float]:
        if not self._names:
            return NOBODY, 0.0
        scores = self._gallery @ vector
        best = int(scores.argmax())
        score = float(scores[best])
        return (self._names[best] if score >= self._threshold else NOBODY), score

    def _enrolled(self, image: Any) -> Floats:  # noqa: ANN401
        self._detector.setInputSize((image.shape[1], image.shape[0]))
        largest = max(self._faces(image), key=lambda face: face[0][2] * face[0][3])
        return self._vector(image, largest[1])


def run(clip: Path, seconds: float, threshold: float, enrolled: Sequence[tuple[str, Path]]) -> Looped:
    """Play the clip for so long, after a pass that warms up and is looked at."""
    capture = cv2.VideoCapture(str(clip))
    size_px = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    loop, first_pass, number = PlainLoop(size_px, enrolled, threshold), [], 0
    while True:
        there, image = capture.read()
        if not there:
            break
        first_pass += [Seen(number, box, label, score) for box, label, score in loop.look(image)]
        number += 1
    frames = faces = 0
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        there, image = capture.read()
        if not there:
            capture = cv2.VideoCapture(str(clip))
            continue
        faces += len(loop.look(image))
        frames += 1
    return Looped(frames, faces, time.perf_counter() - began_s, cv2.getNumThreads(), first_pass)


if __name__ == "__main__":
    people = [(path.stem.partition("@")[0], path) for path in sorted(Path(sys.argv[4]).glob("*.png"))]
    print(json.dumps(asdict(run(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), people))))
