"""The weights of `tessera.imaging.signature_regions`, learnt anew from drawn pages and cuts.

    TESSERA_DATA=DIR python -m benchmarks.signature_region_weights [--pages 200]

Candidates that meet a signature at an intersection over union of 0.5 are one class, those that meet none at 0.1 the
other; what is between is left out. Prints what to write into the module. Needs the lab's dependencies.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from benchmarks.pen_strokes import pen_signature
from benchmarks.signature_pages import Box, any_kind, draw_page, printed_cut
from benchmarks.signature_regions import overlap, pasted, pictures
from tessera.imaging.page_strokes import page_strokes
from tessera.imaging.pixels import Bytes
from tessera.imaging.signature_candidates import candidates, whole
from tessera.imaging.signature_measures import measured
from tessera.imaging.signature_regions import MOST_LOOKED_AT, ink_box

SEED = 300_000

Floats = npt.NDArray[np.float64]
Sample = tuple[bool, Floats, bool]
"""Whether there is print around, the measures, and whether it is a signature."""


def samples_of(picture: Bytes, boxes: list[Box]) -> Iterator[Sample]:
    """What a page's candidates measure, and whether each is a signature."""
    page = page_strokes(picture)
    everything = whole(page)
    gathered = candidates(page)[:MOST_LOOKED_AT] or ([everything] if everything else [])
    for one in gathered:
        left, top, right, bottom = ink_box(page, one, picture.shape[1], picture.shape[0])
        best = max((overlap((left, top, right - left, bottom - top), box) for box in boxes), default=0.0)
        if best >= 0.5 or best < 0.1:
            yield page.letter_px > 0, measured(page, one), best >= 0.5


def cut_samples(cut: list[Bytes], rng: np.random.Generator) -> Iterator[Sample]:
    """Of pictures of one signature, real and drawn, and of one printed line."""
    drawn = [
        np.pad((255 - rng.uniform(130, 250) * pen_signature(rng)).astype(np.uint8), 40, constant_values=255)
        for _ in range(len(cut))
    ]
    for picture in cut + drawn:
        yield from samples_of(picture, [_ink(picture)])
    for _ in range(len(cut)):
        yield from samples_of(printed_cut(rng), [])


def _ink(picture: Bytes) -> Box:
    left, top, width, height = cv2.boundingRect((cv2.medianBlur(picture, 3) < 150).astype(np.uint8))
    return left, top, width, height


def learn(samples: list[Sample], name: str) -> None:
    """Fit, and print the weights."""
    rows, classes = np.stack([row for _, row, _ in samples]), np.array([signature for _, _, signature in samples])
    if not samples[0][0]:
        rows[:, -1] = 0.0  # how dark a cut's ink is against itself tells how it was drawn, no more
    middle, spread = rows.mean(0), rows.std(0) + 1e-6
    learnt = LogisticRegression(C=1.0, max_iter=2000).fit((rows - middle) / spread, classes)
    weights = learnt.coef_[0] / spread
    bias = float(learnt.intercept_[0]) - float(weights @ middle)
    wrong = (rows @ weights + bias >= 0) != classes
    missed, taken = wrong[classes].sum(), wrong[~classes].sum()
    print(f"{name}: {len(classes)} candidates, {classes.sum()} signatures; {missed} of them and {taken} others wrong")
    print("weights", [round(float(weight), 3) for weight in weights], "bias", round(bias, 3))


def main() -> int:
    """Learn, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""))
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    cut = pictures(Path(asked.data))
    samples = list(cut_samples(cut, np.random.default_rng(SEED - 1)))
    for at in range(asked.pages):
        rng = np.random.default_rng(SEED + at)
        page = draw_page(any_kind(rng, 0 if at % 6 == 5 else None), rng, pasted(cut) if at % 3 == 1 else None)
        samples.extend(samples_of(page.picture, page.boxes))
    for printed in (True, False):
        chosen = [sample for sample in samples if sample[0] is printed]
        if chosen:
            learn(chosen, "with print around" if printed else "without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
