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
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from benchmarks.pen_strokes import pen_signature
from benchmarks.signature_pages import Box, any_kind, draw_page, printed_cut
from benchmarks.signature_regions import overlap, pasted, pictures
from siamese_lab.signatures.ills import ILLS
from tessera.imaging.page_strokes import page_strokes
from tessera.imaging.pixels import Bytes
from tessera.imaging.signature_candidates import candidates, whole
from tessera.imaging.signature_measures import measured
from tessera.imaging.signature_regions import MOST_LOOKED_AT, ink_box

SEED = 300_000
CUT_ODDS = float(np.log(9.0))
"""Of a picture without running text: who sends one to a signature encoder mostly means a signature, and a signature
that is refused for print costs its writer more than a printed line that is compared in vain."""

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


def page_samples(pages: int, cut: list[Bytes]) -> Iterator[Sample]:
    """Of drawn pages, every third with strokes of `cut`, and of as many printed lines as there are cuts."""
    for at in range(pages):
        rng = np.random.default_rng(SEED + at)
        page = draw_page(any_kind(rng, 0 if at % 6 == 5 else None), rng, pasted(cut) if at % 3 == 1 else None)
        yield from samples_of(page.picture, page.boxes)
    rng = np.random.default_rng(SEED - 1)
    for _ in range(len(cut)):
        yield from samples_of(printed_cut(rng), [])


def cut_samples(cut: list[Bytes]) -> Iterator[Sample]:
    """Of pictures of one signature, real and drawn, and of one printed line; of every second once more with an ill."""
    rng, ills = np.random.default_rng(SEED - 2), cycle(ILLS.values())
    drawn = [
        np.pad((255 - rng.uniform(130, 250) * pen_signature(rng)).astype(np.uint8), 40, constant_values=255)
        for _ in range(len(cut))
    ]
    printed = [printed_cut(rng) for _ in range(len(cut))]
    for at, (picture, signed) in enumerate([*((one, True) for one in cut + drawn), *((one, False) for one in printed)]):
        yield from samples_of(picture, [_ink(picture)] if signed else [])
        if at % 2:
            ill = next(ills)(picture, rng)
            yield from samples_of(ill, [_ink(picture, ill.shape[1] / picture.shape[1])] if signed else [])


def _ink(picture: Bytes, factor: float = 1.0) -> Box:
    left, top, width, height = cv2.boundingRect((cv2.medianBlur(picture, 3) < 150).astype(np.uint8))
    return round(left * factor), round(top * factor), round(width * factor), round(height * factor)


def learn(samples: list[Sample], name: str) -> None:
    """Fit, and print the weights."""
    rows, classes = np.stack([row for _, row, _ in samples]), np.array([signature for _, _, signature in samples])
    printed = samples[0][0]
    if not printed:
        rows[:, -1] = 0.0  # how dark a cut's ink is against itself tells how it was drawn, no more
    middle, spread = rows.mean(0), rows.std(0) + 1e-6
    learnt = LogisticRegression(C=1.0, max_iter=5000, class_weight=None if printed else "balanced").fit(
        (rows - middle) / spread, classes
    )
    weights = learnt.coef_[0] / spread
    bias = float(learnt.intercept_[0]) - float(weights @ middle) + (0.0 if printed else CUT_ODDS)
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
    more = pictures(Path(asked.data), ("_03.png", "_07.png", "_11.png", "_15.png", "_19.png", "_23.png"))
    learn([one for one in page_samples(asked.pages, cut) if one[0]], "with print around")
    learn([one for one in cut_samples(more) if not one[0]], "without")
    return 0


if __name__ == "__main__":
    sys.exit(main())
