"""A real person pipeline on networks that only pretend to see: persons are bright rectangles, looks are colours.

No trained weights: what is tested is that persons go all the way, not how well anybody's network tells them apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import cv2
import numpy as np
import torch

from encoder_svc.persons.pipeline import PersonPipeline
from tessera.domain.artifact import Manifest, model_id_of, parse_manifest
from tessera.domain.observation import Box
from tessera.domain.person_detector import PERSON_DETECTOR
from tessera.imaging.decode import Image
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX, PERSON_PREPROCESSING
from tessera.nets.artifact import SampleNetworks

NAME = "person-test"
DIMENSIONS = 6
PROBABILITY = 0.9

RED, GREEN, BLUE = (80, 80, 250), (80, 250, 80), (250, 80, 80)
_BRIGHT = 200
_STRIDE = 8


def manifest_text(preprocessing: str = PERSON_PREPROCESSING, name: str = NAME) -> str:
    """A manifest of schema 3."""
    facts = {
        "schema": 3,
        "name": name,
        "modality": "PERSON",
        "dimensions": DIMENSIONS,
        "crop_px": [CROP_HEIGHT_PX, CROP_WIDTH_PX],
        "preprocessing": preprocessing,
        "detector": asdict(PERSON_DETECTOR),
        "embedder": asdict(PERSON_DETECTOR) | {"network": "any"},
    }
    return json.dumps(facts | {"model_id": model_id_of(facts)})


MANIFEST: Manifest = parse_manifest(manifest_text(), "manifest.json")


def see_rectangles(batch: torch.Tensor) -> torch.Tensor:
    """A detector: each bright rectangle is a person, with the same probability."""
    n, _, height_px, width_px = batch.shape
    priors = sum((height_px // stride) * (width_px // stride) for stride in (8, 16, 32))
    output = torch.zeros(n, priors, 5)
    for row in range(n):
        bright = (batch[row].amax(0) > _BRIGHT).numpy().astype(np.uint8)
        count, _, found, _ = cv2.connectedComponentsWithStats(bright)
        for x, y, width, height, _ in found[1:count]:
            column, line = int((x + width / 2) // _STRIDE), int((y + height / 2) // _STRIDE)
            middle_x, middle_y = (column + 0.5) * _STRIDE, (line + 0.5) * _STRIDE
            edges = (middle_x - x, middle_y - y, x + width - middle_x, y + height - middle_y)
            output[row, line * (width_px // _STRIDE) + column] = torch.tensor(
                [PROBABILITY, *(edge / _STRIDE for edge in edges)]
            )
    return output


def tell_colours(batch: torch.Tensor) -> torch.Tensor:
    """An embedder: the colours of the upper and of the lower half."""
    halves = batch.unflatten(2, (2, -1)).mean((3, 4)).flatten(1)  # type: ignore[no-untyped-call]
    return torch.as_tensor(halves) - 0.5


def pipeline_of(manifest: Manifest = MANIFEST, **changes: object) -> PersonPipeline:
    """A real pipeline on those networks."""
    networks = SampleNetworks(see_rectangles, tell_colours, torch.device("cpu"))
    return PersonPipeline(manifest, networks, **changes)  # type: ignore[arg-type]


def scene(people: Sequence[tuple[Box, tuple[int, int, int]]], height_px: int = 360, width_px: int = 640) -> Image:
    """People in one colour each, before a dark wall."""
    picture = np.full((height_px, width_px, 3), 30, np.uint8)
    for box, colour in people:
        corner = (round(box.x_px), round(box.y_px))
        far = (round(box.x_px + box.width_px) - 1, round(box.y_px + box.height_px) - 1)
        cv2.rectangle(picture, corner, far, colour, -1)
    return picture


def png(picture: Image) -> bytes:
    """A file."""
    return cv2.imencode(".png", picture)[1].tobytes()
