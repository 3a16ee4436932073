"""Signatures found on drawn pages: how many, how many regions too many, and how long it takes.

    TESSERA_DATA=DIR make bench-signature-pages

The figures go to `docs/results/signature-pages.json`. With TESSERA_DATA (or `--data`)
strokes of BHSig260 (Hindi), writers 1 to 90, are drawn onto pages as well, and their pictures are looked at as they
are. A signature is found when a region without PRINTED_TEXT meets its box at an intersection over union of 0.5; each
further region is one too many. Pages without a signature are among them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.figures import Figure, report
from benchmarks.pen_strokes import Rng, Strokes
from benchmarks.signature_pages import Box, Page, SignatureSource, any_kind, draw_page, printed_cut
from siamese_lab.signatures.data import BHSIG_TAR, SIGCOMP_TAR, TRAINING, SignatureFile, read_bhsig, read_sigcomp
from tessera.domain.reasons import Reason
from tessera.imaging.pixels import Bytes
from tessera.imaging.signature_regions import SignatureRegion, find_signatures

COMMAND = "TESSERA_DATA=DIR make bench-signature-pages"
NOTES = [
    "Pages are drawn; every sixth has no signature. scanned: upright, evenly lit. any: half as a phone sees them.",
    "BHSig260: strokes of writers 1-90, who taught the weights as well, on other pages.",
    "Found: a region without PRINTED_TEXT meets the box of the ink at an intersection over union of 0.5.",
]
SEED = 200_000
"""Pages of other seeds taught the weights."""
ASKED_RECALL, ASKED_FALSE, ASKED_MS = 0.95, 0.05, 100.0
LEAST_OVERLAP = 0.5
LINES = 300
SPECK_PX = 24
"""Parts of fewer pixels in a picture of a data set are dirt, which no box of a signature has to hold."""


@dataclass(slots=True)
class Tally:
    """What was found on a number of pages."""

    signatures: int = 0
    found: int = 0
    regions: int = 0
    printed_pages: int = 0
    told_printed: int = 0
    cpu_ms: list[float] = field(default_factory=list)

    def add(self, page: Page) -> None:
        """Look at one page."""
        start = time.process_time()
        regions = find_signatures(page.picture)
        self.cpu_ms.append(1e3 * (time.process_time() - start))
        accepted = [region for region in regions if Reason.PRINTED_TEXT not in region.reasons]
        self.signatures += len(page.boxes)
        self.regions += len(accepted)
        self.found += met(page.boxes, accepted)
        if not page.boxes:
            self.printed_pages += 1
            self.told_printed += not accepted and len(regions) == 1

    @property
    def recall(self) -> float:
        """Of signatures."""
        return self.found / max(1, self.signatures)

    @property
    def false_share(self) -> float:
        """Of the regions."""
        return (self.regions - self.found) / max(1, self.regions)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    across = max(0, min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0]))
    down = max(0, min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1]))
    shared = across * down
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def met(boxes: list[Box], regions: list[SignatureRegion]) -> int:
    """How many boxes have a region of their own."""
    free = list(regions)
    count = 0
    for box in boxes:
        best = max(free, key=lambda region: overlap(box, region.box_px), default=None)
        if best is not None and overlap(box, best.box_px) >= LEAST_OVERLAP:
            free.remove(best)
            count += 1
    return count


def pictures(data: Path, endings: tuple[str, ...] = ("_03.png", "_11.png")) -> list[Bytes]:
    """Genuine signatures of each training writer, two of them unless more are named."""
    files = read_bhsig(data / BHSIG_TAR, TRAINING)
    return [file.picture() for file in files if not file.forged and file.name.endswith(endings)]


def pasted(cut: list[Bytes]) -> SignatureSource:
    """Strokes of real signatures, at a size that they have on a page."""

    def source(rng: Rng) -> Strokes:
        picture = _without_specks(cut[int(rng.integers(len(cut)))])
        rows, columns = np.nonzero(picture < 128)
        tight = picture[max(0, rows.min() - 6) : rows.max() + 7, max(0, columns.min() - 6) : columns.max() + 7]
        scale = min(rng.uniform(280, 580) / tight.shape[1], 190.0 / tight.shape[0])
        small = cv2.resize(tight, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return (1.0 - small.astype(np.float32) / 255.0).astype(np.float32)

    return source


def _without_specks(picture: Bytes) -> Bytes:
    """The scanner's: a box around them would be no box of a signature."""
    _, labels, facts, _ = cv2.connectedComponentsWithStats((picture < 128).astype(np.uint8), connectivity=8)
    specks = np.flatnonzero(facts[:, cv2.CC_STAT_AREA] < SPECK_PX)
    near = cv2.dilate(np.isin(labels, specks).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(near, np.uint8(255), picture)


def look_at_pages(count: int, source: SignatureSource | None, seed: int) -> Tally:
    """Draw pages and search them; every sixth has no signature."""
    tally = Tally()
    for at in range(count):
        rng = np.random.default_rng(seed + at)
        tally.add(draw_page(any_kind(rng, 0 if at % 6 == 5 else None), rng, source))
    return tally


def look_at_flat_pages(count: int, source: SignatureSource | None, seed: int) -> Tally:
    """Likewise, as a flat-bed scanner gives them: upright, evenly lit."""
    tally = Tally()
    for at in range(count):
        rng = np.random.default_rng(seed + at)
        kind = any_kind(rng, 0 if at % 6 == 5 else None)
        straight = replace(kind, rotation_degrees=0.0, perspective=0.0, shading=0.0, desk=False)
        tally.add(draw_page(straight, rng, source))
    return tally


def written_share(files: Iterable[SignatureFile]) -> tuple[float, int]:
    """How many pictures of one signature are taken for print, and of how many."""
    taken = [not_written(file.picture()) for file in files]
    return sum(taken) / len(taken), len(taken)


def line_share(count: int, seed: int) -> float:
    """How many pictures of one printed line are told to be print."""
    rng = np.random.default_rng(seed)
    return sum(not_written(printed_cut(rng)) for _ in range(count)) / count


def not_written(picture: Bytes) -> bool:
    """Whether a picture is said to show print alone."""
    regions = find_signatures(picture)
    return bool(regions) and all(Reason.PRINTED_TEXT in region.reasons for region in regions)


def whole_share(cut: list[Bytes]) -> tuple[float, float]:
    """Of pictures of one signature: how many give one region that is all of it, and the median time in ms."""
    right, spent = 0, []
    for picture in cut:
        start = time.process_time()
        regions = find_signatures(picture)
        spent.append(1e3 * (time.process_time() - start))
        rows, columns = np.nonzero(cv2.medianBlur(picture, 3) < 128)
        box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        right += len(regions) == 1 and not regions[0].reasons and overlap(box, regions[0].box_px) >= 0.8
    return right / len(cut), float(np.median(spent))


def figures_of(name: str, tally: Tally, command: str) -> list[Figure]:
    """The figures of one set of pages."""
    spent = float(np.median(tally.cpu_ms))
    rows = [
        Figure(
            f"{name}: found", tally.recall, f"of {tally.signatures}", ">= 0.95", tally.recall >= ASKED_RECALL, command,
        ),
        Figure(
            f"{name}: regions too many", tally.false_share, f"of {tally.regions}", "<= 0.05",
            tally.false_share <= ASKED_FALSE, command,
        ),
        Figure(f"{name}: CPU time, median", spent, "ms", "< 100", spent < ASKED_MS, command),
    ]  # fmt: skip
    share = tally.told_printed / max(1, tally.printed_pages)
    rows.append(Figure(f"{name}: print alone is told", share, f"of {tally.printed_pages}", "", None, command))
    return rows


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=int, default=36, help="of each sort")
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""))
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    figures = figures_of("scanned", look_at_flat_pages(asked.pages, None, SEED), COMMAND)
    figures += figures_of("any", look_at_pages(asked.pages, None, SEED + 10_000), COMMAND)
    if asked.data:
        cut = pictures(Path(asked.data))
        figures += figures_of("any, BHSig260", look_at_pages(asked.pages, pasted(cut), SEED + 20_000), COMMAND)
        share, spent = whole_share(cut)
        figures.append(
            Figure("one signature is one region", share, f"of {len(cut)}", ">= 0.95", share >= 0.95, COMMAND)
        )
        figures.append(Figure("one signature: CPU time, median", spent, "ms", "", None, COMMAND))
        unseen = {"BHSig260, writers 91-120": read_bhsig(Path(asked.data) / BHSIG_TAR, range(91, 121))}
        unseen["SigComp2009"] = read_sigcomp(Path(asked.data) / SIGCOMP_TAR)
        for name, files in unseen.items():
            share, of = written_share(files)
            figures.append(Figure(f"one signature taken for print, {name}", share, f"of {of}", "", None, COMMAND))
    share = line_share(LINES, SEED + 30_000)
    figures.append(Figure("one printed line told to be print", share, f"of {LINES}", "", None, COMMAND))
    return report("signature-pages", figures, NOTES)


if __name__ == "__main__":
    sys.exit(main())
