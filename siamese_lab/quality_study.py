"""Measures the quality measures: what they say of LFW's faces, and of the same faces made worse in known ways.

    python -m siamese_lab.quality_study --data DIR

reads the cohort of LFW (900 people with one picture, none of whom set a bound), finds each face with the shipped
encoder, and prints one table of measures and one of degradations. Occluders are painted on: real masks and hands may be
harder or easier. Nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from siamese_lab.face_templates import shipped_networks
from siamese_lab.lfw import COHORT_TAR, read_pictures
from tessera.domain.artifact import load_manifest
from tessera.domain.errors import ImageRejectedError
from tessera.domain.observation import Box, Landmarks, Quality
from tessera.domain.reasons import Reason
from tessera.imaging.align import align
from tessera.imaging.decode import Image, decode
from tessera.imaging.preprocess import detector_input
from tessera.imaging.quality import QualityGate, assess
from tessera.nets.artifact import SampleNetworks
from tessera.nets.yunet import decode as decode_faces

SEED = 5
OCCLUSION_BOUND = 0.5
"""What the study asks of the measure that the gate does not use."""

_GATE = QualityGate(min_occlusion=OCCLUSION_BOUND)
_MEASURES = ("sharpness", "brightness", "contrast", "size", "pose", "fidelity", "occlusion")


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in its picture."""

    picture: Image
    box: Box
    landmarks: Landmarks
    probability: float


Degradation = Callable[[Image, Landmarks, np.random.Generator], Image]


# ---- degradations


def blurred(sigma_px: float) -> Degradation:
    """Out of focus."""
    return lambda image, _landmarks, _rng: cv2.GaussianBlur(image, (0, 0), sigma_px).astype(np.uint8)


def lit(gain: float, lift: float) -> Degradation:
    """Darker, brighter or flatter."""
    return lambda image, _landmarks, _rng: np.clip(image * gain + lift, 0, 255).astype(np.uint8)


def shrunk(factor: float) -> Degradation:
    """Far away."""
    return lambda image, _landmarks, _rng: cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
    ).astype(np.uint8)


def compressed(jpeg_quality: int) -> Degradation:
    """Saved again."""

    def degrade(image: Image, _landmarks: Landmarks, _rng: np.random.Generator) -> Image:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    return degrade


def covered(
    outline: Callable[[np.random.Generator], list[tuple[float, float]]], colours: list[int | None]
) -> Degradation:
    """Something flat over a part of the face.

    Args:
        outline: corners, in eye distances from the middle between the eyes, to the subject's left and down.
        colours: gray levels to draw from; None: the colour of a cheek.
    """

    def degrade(image: Image, landmarks: Landmarks, rng: np.random.Generator) -> Image:
        right_eye, left_eye, nose = (point.astype(np.float64) for point in landmarks[:3])
        across = left_eye - right_eye
        down = np.array([-across[1], across[0]])
        corners = [(right_eye + left_eye) / 2 + x * across + y * down for x, y in outline(rng)]
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
        level = colours[int(rng.integers(len(colours)))]
        colour = _cheek(image, (right_eye + nose) / 2) if level is None else np.full(3, level) + rng.uniform(-30, 30, 3)
        cloth = np.clip(colour + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        return np.where(mask[..., None] > 0, cloth, image).astype(np.uint8)

    return degrade


def _cheek(image: Image, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y = (int(np.clip(v, 2, side - 3)) for v, side in zip(at, (image.shape[1], image.shape[0]), strict=True))
    return np.asarray(image[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(axis=0), np.float64)


_MASK = [(-0.85, 0.4), (0.0, 0.3), (0.85, 0.4), (0.75, 1.4), (0.0, 1.75), (-0.75, 1.4)]
_EYES = [(-1.0, -0.28), (1.0, -0.28), (1.0, 0.3), (-1.0, 0.3)]
_HAND = [(-0.8, 0.65), (0.8, 0.65), (0.8, 1.6), (-0.8, 1.6)]
_SIDE = [(0.2, -0.5), (0.9, -0.5), (0.9, 1.5), (0.2, 1.5)]

DEGRADATIONS: dict[str, tuple[Degradation, Reason]] = {
    "blur, sigma 2 px": (blurred(2), Reason.LOW_SHARPNESS),
    "blur, sigma 4 px": (blurred(4), Reason.LOW_SHARPNESS),
    "light x 0.2": (lit(0.2, 0), Reason.LOW_BRIGHTNESS),
    "light x 0.1, white veil": (lit(0.1, 228), Reason.HIGH_BRIGHTNESS),
    "contrast x 0.1": (lit(0.1, 110), Reason.LOW_CONTRAST),
    "shrunk to 1/3": (shrunk(1 / 3), Reason.SMALL_BOUNDING_BOX),
    "JPEG quality 20": (compressed(20), Reason.LOW_FIDELITY),
    "JPEG quality 10": (compressed(10), Reason.LOW_FIDELITY),
    "JPEG quality 5": (compressed(5), Reason.LOW_FIDELITY),
    "mask": (covered(lambda _: _MASK, [40, 120, 200, 235]), Reason.OCCLUDED),
    "black bar over the eyes": (covered(lambda _: _EYES, [0]), Reason.OCCLUDED),
    "skin-coloured hand": (covered(lambda _: _HAND, [None]), Reason.OCCLUDED),
    "object over one side": (covered(lambda _: _SIDE, [40, 120, 200]), Reason.OCCLUDED),
}


# ---- the run


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""), help="the folder with the LFW archives")
    parser.add_argument("--limit", type=int, default=900, help="pictures at most")
    arguments = parser.parse_args()
    networks = _networks()
    faces = list(_faces(Path(arguments.data) / COHORT_TAR, networks, arguments.limit))
    _print_measures(faces)
    _print_degradations(faces, networks)
    return 0


def _print_measures(faces: list[Face]) -> None:
    qualities, times_ms = [], []
    for face in faces:
        crop = align(face.picture, face.landmarks)
        started_s = time.perf_counter()
        qualities.append(_assess(face, crop))
        times_ms.append((time.perf_counter() - started_s) * 1e3)
    sys.stdout.write(f"{len(faces)} faces; all measures: {np.median(times_ms):.2f} ms a face (median)\n")
    for name in _MEASURES:
        values = [getattr(quality, name) for quality in qualities if getattr(quality, name) is not None]
        low, p2, median, high = np.quantile(values, [0, 0.02, 0.5, 1])
        sys.stdout.write(f"{name:<12} least {low:.3f}  2 % {p2:.3f}  median {median:.3f}  most {high:.3f}\n")
    for reason in Reason:
        share = np.mean([reason in quality.reasons for quality in qualities])
        if share > 0:
            sys.stdout.write(f"untouched, told {reason}: {share:.2%}\n")


def _print_degradations(faces: list[Face], networks: SampleNetworks) -> None:
    for name, (degrade, reason) in DEGRADATIONS.items():
        rng = np.random.default_rng(SEED)
        caught, lost = 0, 0
        for face in faces:
            worse = _nearest(degrade(face.picture, face.landmarks, rng), networks, face)
            lost += worse is None
            caught += worse is not None and reason in _assess(worse, align(worse.picture, worse.landmarks)).reasons
        seen = max(1, len(faces) - lost)
        sys.stdout.write(f"{name:<26} {reason:<20} caught {caught / seen:.1%}, no face found {lost / len(faces):.1%}\n")


def _assess(face: Face, crop: Image) -> Quality:
    return assess(crop, face.box, face.landmarks, face.probability, _GATE, picture=face.picture)


def _faces(tar: Path, networks: SampleNetworks, limit: int) -> Iterator[Face]:
    found = 0
    for picture in read_pictures(tar):
        try:
            image = decode(picture.data)
        except ImageRejectedError:
            continue
        face = _nearest(image, networks)
        if face is not None:
            yield face
            found += 1
        if found == limit:
            return


def _nearest(image: Image, networks: SampleNetworks, to: Face | None = None) -> Face | None:
    """The face nearest to the middle, or to where `to` has it; None where there is none."""
    seen = detector_input(image)
    with torch.inference_mode():
        output = networks.detector(torch.from_numpy(seen.values))[0].numpy()
    found = decode_faces(output, seen.height_px, seen.width_px)
    if not len(found.probabilities):
        return None
    x, y = (0.5, 0.5)
    if to is not None:
        x = (to.box.x_px + to.box.width_px / 2) / to.picture.shape[1]
        y = (to.box.y_px + to.box.height_px / 2) / to.picture.shape[0]
    centre = np.array([image.shape[1] * x, image.shape[0] * y])
    at = int(np.argmin((((found.boxes[:, :2] + found.boxes[:, 2:] / 2) / seen.scale - centre) ** 2).sum(axis=1)))
    box = Box(*(float(value) / seen.scale for value in found.boxes[at]))
    return Face(image, box, found.landmarks[at] / np.float32(seen.scale), float(found.probabilities[at]))


def _networks() -> SampleNetworks:
    torch.set_num_threads(1)
    return shipped_networks(load_manifest("face-sface-1"))


if __name__ == "__main__":
    sys.exit(main())
