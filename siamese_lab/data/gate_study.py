"""How many pictures pass the gate over whole pictures, as they are and made worse. Prints, and writes nothing.

    python -m siamese_lab.data.gate_study --data DIR

The last table is of cuts of LFW pictures that were shrunk and blurred first, so that no blocks of their own are left:
it is where `picture_gate.MIN_FIDELITY_SIDE_PX` comes from.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from siamese_lab.data.partition import balanced_sample
from siamese_lab.data.preparation import measure_all
from siamese_lab.data.sources import SOURCES, LabelledImages, Split, load
from siamese_lab.lfw import COHORT_TAR, read_pictures
from tessera.domain.observation import Box
from tessera.imaging.decode import decode
from tessera.imaging.fidelity import fidelity
from tessera.imaging.filters import gaussian
from tessera.imaging.picture_gate import PAPERS_GATE, PictureQuality
from tessera.imaging.pixels import Bytes

_PICTURES = 2000
_SIDES_PX = (32, 48, 64, 96, 160)
_EVERY = 2


def _saved(picture: Bytes, quality: int) -> Bytes:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8).reshape(picture.shape)


ILLS: Mapping[str, Callable[[Bytes], Bytes]] = {
    "as they are": lambda picture: picture,
    "blur, sigma 1 px": lambda picture: gaussian(picture, 1.0),
    "blur, sigma 2 px": lambda picture: gaussian(picture, 2.0),
    "half the contrast": lambda picture: (64 + picture * 0.5).astype(np.uint8),
    "JPEG quality 10": lambda picture: _saved(picture, 10),
}


def main() -> None:
    """Print the tables of all sources in a folder."""
    parser = argparse.ArgumentParser(description="How many pictures pass the gate over whole pictures.")
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""), help="the folder with the data sets")
    data = Path(parser.parse_args().data)
    print("| pictures | sharpness >= 0.8 | contrast >= 0.7 | all |\n|---|---|---|---|")
    for name in SOURCES:
        images = load(name, data, Split.TEST)
        images = images.subset(balanced_sample(images.labels, _PICTURES, np.random.default_rng(0)))
        for ill, worsen in ILLS.items():
            print(_row(f"{name}, {ill}", measure_all(_worse(images, worsen))))
    print("\n| cuts of | undamaged: fidelity >= 0.9 | saved at JPEG quality 75 |\n|---|---|---|")
    shrunk = [_without_blocks(picture.data) for picture in list(read_pictures(data / COHORT_TAR))[::_EVERY]]
    for side_px in _SIDES_PX:
        print(_fidelity_row(shrunk, side_px))


def _worse(images: LabelledImages, worsen: Callable[[Bytes], Bytes]) -> LabelledImages:
    return LabelledImages(np.stack([worsen(picture) for picture in images.images]), images.labels, images.names)


def _row(title: str, qualities: list[PictureQuality]) -> str:
    sharp = np.mean([quality.sharpness >= PAPERS_GATE.min_sharpness for quality in qualities])
    contrast = np.mean([quality.contrast >= PAPERS_GATE.min_contrast for quality in qualities])
    both = np.mean([not PAPERS_GATE.reasons(quality) for quality in qualities])
    return f"| {title} | {sharp:.1%} | {contrast:.1%} | {both:.1%} |"


def _without_blocks(data: bytes) -> Bytes:
    smaller = cv2.resize(decode(data), None, fx=0.73, fy=0.73, interpolation=cv2.INTER_AREA)
    return gaussian(np.asarray(smaller, np.uint8), 0.5)


def _fidelity_row(pictures: list[Bytes], side_px: int) -> str:
    rng, whole = np.random.default_rng(0), Box(0.0, 0.0, side_px, side_px)
    cuts = []
    for picture in pictures:
        top, left = rng.integers(0, min(picture.shape[:2]) - side_px + 1, 2)
        cuts.append(np.ascontiguousarray(picture[top : top + side_px, left : left + side_px]))
    shares = [
        np.mean([(fidelity(worsen(cut), whole) or 0.0) >= PAPERS_GATE.min_fidelity for cut in cuts])
        for worsen in (lambda cut: cut, lambda cut: _saved(cut, 75))
    ]
    return f"| {side_px} px | {shares[0]:.1%} | {shares[1]:.1%} |"


if __name__ == "__main__":
    main()
