"""Invented people in the archive's shape: clothes of two colours on a gray street."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np

from siamese_lab.persons.data import CON_REID_TAR, Split
from siamese_lab.persons.head import HeadFit
from siamese_lab.persons.training import PersonRecipe

TINY = PersonRecipe(
    dimensions=8, steps=3, people=2, pictures=2, warm_up=1, check_every=1, head=HeadFit(pictures=2, shifted=1)
)


def crop_of(person: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Somebody, letterboxed as the archive's pictures are: uint8 (128, 64, 3)."""
    colours = np.random.default_rng(person).integers(40, 255, (2, 3))
    crop = np.zeros((128, 64, 3), np.uint8)
    crop[:, 12:52] = rng.integers(90, 130)
    crop[20:70, 20:44], crop[70:120, 22:42] = colours
    return crop


def archive_of(folder: Path, people: dict[Split, range], each: int) -> Path:
    """An archive with `each` pictures of everybody."""
    rng = np.random.default_rng(3)
    with tarfile.open(folder / CON_REID_TAR, "w") as archive:
        for split, numbers in people.items():
            for person in numbers:
                for number in range(each):
                    _, data = cv2.imencode(".jpg", crop_of(person, rng))
                    entry = tarfile.TarInfo(f"con-reid/{split}/{person:04d}_c1s1_{number:06d}.jpg")
                    entry.size = data.size
                    archive.addfile(entry, io.BytesIO(data.tobytes()))
    return folder / CON_REID_TAR
