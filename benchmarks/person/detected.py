"""Who a detector sees in each frame of a clip: NanoDet, at the clip's own size, once and kept.

    python -m benchmarks.person.detected      # both clips, about two minutes of one core

What is kept lies under build/ and is never committed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks.figures import ROOT
from benchmarks.services import data_folder
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.domain.observation import Box
from tessera.domain.person_detector import PERSON_DETECTOR
from tessera.imaging.decode import Image
from tessera.imaging.preprocess import detector_input
from tessera.nets.nanodet import PersonDetector, build_nanodet, decode, keep_persons

CLIPS = ("one-by-one-person-detection.mp4", "vtest.avi")
SCRATCH = ROOT / "build" / "person"
LEAST_PROBABILITY = 0.3
"""Kept; whoever uses them may ask for more."""


@dataclass(frozen=True, slots=True)
class Detected:
    """A person in a frame."""

    box: Box
    probability: float


def frames_of(clip: Path) -> Iterator[Image]:
    """Every frame: uint8 (height, width, 3), blue, green, red."""
    with av.open(str(clip)) as file:
        for frame in file.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def detections_of(clip: str) -> list[list[Detected]]:
    """Persons by frame, the surest first; found once and kept.

    Args:
        clip: its file name, in the folder of the clips.
    """
    kept = SCRATCH / f"detected-{Path(clip).stem}.json"
    if not kept.is_file():
        SCRATCH.mkdir(parents=True, exist_ok=True)
        network = _detector()
        rows = [_rows(network, image) for image in frames_of(data_folder() / "videos" / clip)]
        kept.write_text(json.dumps(rows), encoding="ascii")
    told = json.loads(kept.read_text(encoding="ascii"))
    return [[Detected(Box(*row[:4]), row[4]) for row in frame] for frame in told]


def _detector() -> PersonDetector:
    path = bring_weights(default_cache_dir(), default_supplied_dir(), PERSON_DETECTOR)
    return keep_persons(build_nanodet(path.read_bytes(), path.name))


def _rows(network: PersonDetector, image: Image) -> list[list[float]]:
    seen = detector_input(image, max(image.shape))
    with torch.inference_mode():
        answer = network(torch.from_numpy(seen.values))[0].numpy()
    found = decode(answer, *seen.shape, score_threshold=LEAST_PROBABILITY)
    return [
        [*(round(float(side) / seen.scale, 1) for side in box), round(float(sure), 3)]
        for box, sure in zip(found.boxes, found.probabilities, strict=True)
    ]


def main() -> int:
    """Find the persons of both clips."""
    torch.set_num_threads(1)
    for clip in CLIPS:
        found = detections_of(clip)
        sys.stdout.write(f"{clip}: {sum(map(len, found))} persons in {len(found)} frames\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
