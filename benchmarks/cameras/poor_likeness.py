"""How often a poor picture of somebody looks like somebody else: what `TrackerConfig.speaking_quality` rests on.

    TESSERA_DATA=DIR python -m benchmarks.cameras.poor_likeness

One picture each of 160 people of LFW as it is, another one shrunk to a tenth and more of its size, half of those
blurred besides; both through the encoder's pipeline. Printed by the quality of the poor one: how many are less alike
than what the tracker takes for a contradiction.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.cameras.tracking import plain_pipeline
from benchmarks.services import data_folder
from camera_ingest.pictures import to_file
from camera_ingest.tracker import TrackerConfig
from encoder_svc.faces.pipeline import FacePipeline
from siamese_lab.lfw import FOLDS_TAR, read_pictures
from tessera.domain.observation import Observation
from tessera.imaging.decode import Image, decode

PEOPLE, SEED = 160, 3
SHARES = (0.10, 0.14, 0.20, 0.30, 0.60, 1.0)
EDGES = (0.0, 0.08, 0.12, 0.2, 0.3, 0.45, 0.6, 1.01)


def main() -> int:
    """Print the share of contradictions by quality."""
    pipeline = plain_pipeline()
    rng = np.random.default_rng(SEED)
    pictures = _two_each(rng)
    found = np.array([row for good, other in pictures for row in _likenesses(pipeline, rng, good, other)])
    config = TrackerConfig()
    for low, high in pairwise(EDGES):
        scores = found[(found[:, 0] >= low) & (found[:, 0] < high), 1]
        if scores.size:
            below = [float(np.mean(scores < bar)) for bar in (config.contradiction_score, config.doubt_score)]
            print(f"{low:.2f}-{high:.2f}: {scores.size} faces, {below[0]:.2f} contradicted, {below[1]:.2f} doubted")
    return 0


def _two_each(rng: np.random.Generator) -> list[tuple[bytes, bytes]]:
    by_person: dict[str, list[bytes]] = {}
    for picture in sorted(read_pictures(data_folder() / FOLDS_TAR), key=lambda picture: picture.name):
        by_person.setdefault(picture.person, []).append(picture.data)
    people = [pictures for _, pictures in sorted(by_person.items()) if len(pictures) > 1]
    return [(people[at][0], people[at][1]) for at in rng.permutation(len(people))[:PEOPLE]]


def _likenesses(
    pipeline: FacePipeline, rng: np.random.Generator, good: bytes, other: bytes
) -> list[tuple[float, float]]:
    """(quality, likeness) of each poor version of `other`, as far as a face is found in it."""
    best = _largest(pipeline, good)
    rows = []
    for share in SHARES:
        poor = _largest(pipeline, to_file(_poor(decode(other), share, rng)))
        if best is not None and best.embedding and poor is not None and poor.embedding:
            rows.append((poor.quality.overall, float(poor.embedding.vector @ best.embedding.vector)))
    return rows


def _poor(picture: Image, share: float, rng: np.random.Generator) -> Image:
    small = cv2.resize(picture, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.5, 1.5))
    canvas: npt.NDArray[np.uint8] = np.full((400, 400, 3), 110, dtype=np.uint8)
    canvas[40 : 40 + small.shape[0], 40 : 40 + small.shape[1]] = small
    return canvas


def _largest(pipeline: FacePipeline, picture: bytes) -> Observation | None:
    return next(iter(pipeline.run(picture).observations), None)


if __name__ == "__main__":
    sys.exit(main())
