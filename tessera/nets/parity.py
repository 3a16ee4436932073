"""How far one runtime's answers lie from another's, and the bar that a runtime must pass before it serves.

The inputs are the same on every machine: drawn faces and noise, so that no picture of anybody is needed. Boxes are
compared where the reference is surest, whether or not it sees a face there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tessera.domain.artifact import CropSize, Manifest
from tessera.domain.embedding import Modality
from tessera.nets import nanodet, yunet
from tessera.nets.artifact import SampleNetworks
from tessera.nets.runtime import Network

MIN_COSINE = 0.9995
"""Of two embeddings of one crop."""
MAX_BOX_PX = 0.05
"""Of each edge of a box, in pixels of the detector's input."""
MAX_PROBABILITY = 0.005
"""Of a detection's probability."""

Output = npt.NDArray[np.float32]
"""float32, of a detector for one frame."""

_SUREST = 64
_FRAME_SIZES_PX = ((384, 640), (640, 384), (256, 320))


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest differences between two runtimes."""

    crops: int
    """How many were embedded."""
    frames: int
    """How many were looked at."""
    min_cosine: float
    """Between the two embeddings of one crop; the worst."""
    max_box_px: float
    """Between two edges of one box; the worst."""
    max_probability: float
    """Between two probabilities of one detection; the worst."""

    @property
    def holds(self) -> bool:
        """Whether one runtime may stand in for the other; not a number never may."""
        near = self.max_box_px <= MAX_BOX_PX and self.max_probability <= MAX_PROBABILITY
        return near and self.min_cosine >= MIN_COSINE


@dataclass(frozen=True, slots=True)
class Reading:
    """How the output of a detector is read, for one frame."""

    scores: Callable[[Output], Output]
    """(priors, values) -> (priors,): how sure it is at each prior."""
    boxes: Callable[[Output, npt.NDArray[np.intp], int, int], Output]
    """Output, priors, height and width of the input -> (n, 4): x, y, width, height."""


FACE_READING = Reading(yunet.prior_scores, yunet.prior_boxes)
PERSON_READING = Reading(nanodet.prior_scores, nanodet.prior_boxes)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnSamples:
    """What two runtimes of one encoder are compared on."""

    frames: tuple[Tensor, ...]
    crops: Tensor
    reading: Reading


def drawn_samples(manifest: Manifest) -> DrawnSamples:
    """Frames and crops for an encoder, the same on every machine; nobody is in them."""
    if manifest.modality is Modality.PERSON:
        return DrawnSamples(sample_frames(), sample_persons(manifest.crop), PERSON_READING)
    return DrawnSamples(sample_frames(), sample_crops(manifest.crop.height_px), FACE_READING)


def parity(
    reference: SampleNetworks,
    candidate: SampleNetworks,
    frames: Sequence[Tensor] | None = None,
    crops: Tensor | None = None,
    reading: Reading = FACE_READING,
) -> Parity:
    """Compare two runtimes of the same networks, on the calling thread.

    Args:
        reference: what is believed.
        candidate: what shall stand in for it.
        frames: each (n, 3, h, w), inputs of the detector; drawn ones by default.
        crops: (n, 3, height, width), inputs of the embedder; drawn faces by default.
        reading: of the detectors' outputs.
    """
    frames = sample_frames() if frames is None else frames
    crops = sample_crops() if crops is None else crops
    with torch.inference_mode():
        cosine = compare_embedders(reference.embedder, candidate.embedder, crops)
        boxes = [compare_detectors(reference.detector, candidate.detector, batch, reading) for batch in frames]
    worst = np.max(boxes, axis=0)  # not a number stays one
    return Parity(len(crops), sum(map(len, frames)), cosine, float(worst[0]), float(worst[1]))


def detectors_agree(reference: Network, candidate: Network, frames: Sequence[Tensor], reading: Reading) -> bool:
    """Whether one detector may stand in for another, on these batches of frames."""
    with torch.inference_mode():
        found = [compare_detectors(reference, candidate, batch, reading) for batch in frames]
    return all(box_px <= MAX_BOX_PX and probability <= MAX_PROBABILITY for box_px, probability in found)


def embedders_agree(reference: Network, candidate: Network, crops: Tensor) -> bool:
    """Whether one embedder may stand in for another, on these crops."""
    with torch.inference_mode():
        return compare_embedders(reference, candidate, crops) >= MIN_COSINE


def compare_embedders(reference: Network, candidate: Network, crops: Tensor) -> float:
    """The least cosine between two embeddings of one crop.

    Args:
        reference: what is believed.
        candidate: what is compared with it.
        crops: (n, 3, height, width), as the embedder takes them.
    """
    theirs, ours = reference(crops).double(), candidate(crops).double()
    return float(functional.cosine_similarity(theirs, ours).min())


def compare_detectors(
    reference: Network, candidate: Network, frames: Tensor, reading: Reading = FACE_READING
) -> tuple[float, float]:
    """The largest difference of a box edge, in pixels, and of a probability, where the reference is surest.

    Args:
        reference: what is believed.
        candidate: what is compared with it.
        frames: (n, 3, h, w), 0 to 255.
        reading: of their outputs.
    """
    height_px, width_px = frames.shape[2:]
    box_px, probability = 0.0, 0.0
    for theirs, ours in zip(reference(frames).numpy(), candidate(frames).numpy(), strict=True):
        at = np.argsort(-reading.scores(theirs), kind="stable")[:_SUREST]
        boxes = [reading.boxes(output, at, height_px, width_px) for output in (theirs, ours)]
        box_px = max(box_px, _largest(_edges(boxes[0]) - _edges(boxes[1])))
        probability = max(probability, _largest(reading.scores(theirs)[at] - reading.scores(ours)[at]))
    return box_px, probability


def sample_frames() -> tuple[Tensor, ...]:
    """Pictures of drawn faces in noise, one batch for each of three shapes; the same on every machine."""
    generator = np.random.default_rng(20)
    return tuple(
        _network_input([_drawn(generator, height_px, width_px, faces) for faces in (1, 3)])
        for height_px, width_px in _FRAME_SIZES_PX
    )


def sample_crops(side_px: int = 112, count: int = 16) -> Tensor:
    """Drawn faces that fill their crop, each another; the same on every machine."""
    generator = np.random.default_rng(21)
    return _network_input([_drawn(generator, side_px, side_px, 1, filling=True) for _ in range(count)])


def sample_persons(crop: CropSize, count: int = 16) -> Tensor:
    """Drawn shapes from 0 to 1, as person encoders take them, each another; the same on every machine."""
    generator = np.random.default_rng(22)
    drawn = [_drawn(generator, crop.height_px, crop.width_px, 1, filling=True) for _ in range(count)]
    return _network_input(drawn) / 255.0


def _drawn(
    generator: np.random.Generator, height_px: int, width_px: int, faces: int, *, filling: bool = False
) -> npt.NDArray[np.uint8]:
    coarse = generator.uniform(0, 255, (6, 8, 3)).astype(np.float32)
    picture = cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    for place in range(faces):
        x_px = int(width_px * (place + 0.5) / faces)
        half_px = int(min(height_px, width_px / faces) * (0.45 if filling else generator.uniform(0.15, 0.4)))
        _draw_face(picture, generator, x_px, height_px // 2, half_px)
    picture = cv2.GaussianBlur(picture, (0, 0), 1.0) + generator.normal(0, 6, picture.shape)
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def _draw_face(picture: npt.NDArray[Any], generator: np.random.Generator, x_px: int, y_px: int, half_px: int) -> None:
    skin = generator.uniform((60, 90, 130), (160, 190, 240))
    cv2.ellipse(picture, (x_px, y_px), (int(half_px * 0.75), half_px), 0, 0, 360, skin.tolist(), -1)
    apart = generator.uniform(0.26, 0.34)
    for side in (-1, 1):
        eye = (x_px + int(side * apart * half_px), y_px - int(0.2 * half_px))
        cv2.ellipse(picture, eye, (max(1, half_px // 8), max(1, half_px // 14)), 0, 0, 360, (235, 235, 235), -1)
        cv2.circle(picture, eye, max(1, half_px // 16), (40, 30, 30), -1)
        brow = (eye[0], eye[1] - half_px // 7)
        cv2.ellipse(picture, brow, (max(1, half_px // 6), max(1, half_px // 20)), 0, 180, 360, (50, 50, 60), -1)
    nose = (x_px, y_px + int(0.12 * half_px))
    cv2.ellipse(picture, nose, (max(1, half_px // 10), max(1, half_px // 6)), 0, 0, 180, (skin * 0.75).tolist(), -1)
    mouth = (x_px, y_px + int(generator.uniform(0.4, 0.5) * half_px))
    cv2.ellipse(picture, mouth, (max(1, half_px // 4), max(1, half_px // 11)), 0, 0, 360, (90, 80, 170), -1)


def _network_input(pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.stack(pictures).astype(np.float32).transpose(0, 3, 1, 2))


def _edges(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    edges: npt.NDArray[np.float32] = np.concatenate((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), axis=1)
    return edges


def _largest(difference: npt.NDArray[np.float32]) -> float:
    # A comparison with "not a number" is false everywhere: call it infinitely far, so that no bar holds.
    return float(np.nan_to_num(np.abs(difference), nan=np.inf).max(initial=0.0))
