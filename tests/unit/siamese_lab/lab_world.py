"""What tests of the lab's training share: pictures that are drawn here, and recipes that are over in a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from siamese_lab.data.sources import LabelledImages
from siamese_lab.training.recipe import Recipe
from siamese_lab.training.recipe_files import laid_over, parse_study
from siamese_lab.training.strict_yaml import dump
from siamese_lab.training.training_data import TrainingData

SIDE_PX = 16
CLASSES = 4

EVERYTHING: dict[str, Any] = {
    "name": "trial",
    "title": "A trial",
    "paper": "none",
    "data": {"source": "folders", "partition": "items", "side_px": SIDE_PX, "channels": 1, "shares": [0.6, 0.2, 0.2]},
    "network": {"name": "lenet5", "options": {"dropout": 0.2, "batch_norm": True, "dimensions": 8}},
    "loss": {"name": "pair-entropy"},
    "batches": {"kind": "pairs", "size": 16, "per_epoch": 64},
    "optimiser": {"learning_rate": 3e-3},
    "schedule": {"kind": "cosine", "warm_up_epochs": 1.0},
    "regularisation": {"l1": 1e-5, "l2": 1e-4},
    "augmentation": {"rotation_degrees": 10.0, "noise": 0.02},
    "training": {"epochs": 4, "average": 0.9, "keep": "best", "snapshots": [3, 6]},
    "evaluation": {"pair_count": 400, "neighbours": [1, 5]},
}
"""Every part of a recipe that a run could forget when it is broken off."""


def recipe(changes: Mapping[str, Any] | None = None) -> Recipe:
    """`EVERYTHING` with some values replaced."""
    return parse_study(dump(laid_over(EVERYTHING, changes or {})), "trial").recipes[0]


def shapes(count: int, seed: int, side_px: int = SIDE_PX, channels: int = 1) -> LabelledImages:
    """Bars of four directions, each a little elsewhere, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    images = np.empty((count, side_px, side_px, channels), np.uint8)
    for at, label in enumerate(labels):
        angle = np.pi * label / CLASSES + rng.normal(0.0, 0.08)
        middle = side_px / 2 + rng.normal(0.0, 1.0, 2)
        reach = side_px / 2.5 * np.array([np.cos(angle), np.sin(angle)])
        canvas = np.zeros((side_px, side_px), np.uint8)
        start, end = ((middle + way * reach).round().astype(int).tolist() for way in (-1, 1))
        cv2.line(canvas, start, end, 220, 2)
        noisy = np.clip(canvas + rng.normal(0.0, 12.0, canvas.shape), 0, 255).astype(np.uint8)
        images[at] = noisy[..., None]
    return LabelledImages(images, labels, ("lying", "falling", "standing", "rising"))


def training_data(channels: int = 1) -> TrainingData:
    """Enough to learn from in a few steps."""
    return TrainingData(*(shapes(count, seed, channels=channels) for seed, count in enumerate((160, 80, 80))))


def write_folders(root: Path, count: int = 80) -> Path:
    """The same as one folder of PNG files for each class."""
    drawn = shapes(count, 7)
    for at, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        folder = root / drawn.names[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{at:03}.png"), image)
    return root
