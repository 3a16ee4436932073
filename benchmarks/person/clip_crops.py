"""People of the clips as crops, by the hand-made truth: earlier pictures to search in, later ones to search for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.cameras.face_truth import ClipTruth
from benchmarks.person.detected import frames_of
from benchmarks.person.plan import Context
from benchmarks.person.truth import person_truths
from siamese_lab.persons.data import People
from tessera.domain.observation import Box
from tessera.imaging.decode import Image
from tessera.imaging.person import crop_person

EVERY = 5
"""Frames of which one is taken."""
LEAST_PICTURES = 4
LEAST_HEIGHT_PX = 32.0
"""Of a box; nobody is told from fewer pixels."""
HIDDEN_SHARE = 0.3
"""Overlap with somebody else's box from which on a picture may show the wrong person."""


def clip_people(context: Context) -> tuple[People, People]:
    """(probes, gallery): of each person the later and the earlier half of the pictures; people of both clips together.

    Args:
        context: says where the clips are.
    """
    halves: tuple[list[tuple[str, str, Image]], ...] = ([], [])
    for truth in person_truths():
        for person, pictures in crops_of(truth, context.videos() / truth.clip).items():
            if len(pictures) < LEAST_PICTURES:
                continue
            middle = len(pictures) // 2
            for at, (frame, crop) in enumerate(pictures):
                halves[at < middle].append((f"{truth.clip}/{person}", f"{truth.clip}/{person}/{frame}", crop))
    numbers = {person: at for at, person in enumerate(sorted({row[0] for half in halves for row in half}))}
    probes, gallery = (
        People(
            np.stack([crop for _, _, crop in half]),
            np.array([numbers[person] for person, _, _ in half], np.int64),
            tuple(name for _, name, _ in half),
        )
        for half in halves
    )
    return probes, gallery


def crops_of(truth: ClipTruth, clip: Path) -> Mapping[str, list[tuple[int, Image]]]:
    """By person (frame, crop), in order: one frame of `EVERY`, whoever is hidden left out.

    Args:
        truth: of the clip.
        clip: its file.
    """
    found: dict[str, list[tuple[int, Image]]] = defaultdict(list)
    person_of = {track.name: track.person for track in truth.tracks}
    for number, image in enumerate(frames_of(clip)):
        if number % EVERY or not truth.is_judged(number):
            continue
        boxes = truth.boxes_at(number)
        for name, box in boxes.items():
            others = [other for other_name, other in boxes.items() if other_name != name]
            if box.height_px < LEAST_HEIGHT_PX or any(box.iou(other) > HIDDEN_SHARE for other in others):
                continue
            found[person_of[name]].append((number, crop_person(image, sides_of(box))))
    return found


def sides_of(box: Box) -> tuple[float, float, float, float]:
    """A box as `tessera.imaging.person` takes it."""
    return box.x_px, box.y_px, box.width_px, box.height_px
