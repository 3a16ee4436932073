"""What rounding templates to float16 does to scores, and to the errors of real faces.

Scores of seeded directions against float64 of the unrounded rows; then, where TESSERA_DATA names the evaluation data,
LFW through the encoder: FNMR at FMR 1e-4 with vectors as they came and as they are kept.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import numpy as np

from benchmarks.encoder.lfw import all_pairs
from benchmarks.encoder.plan import PREFIX as ENCODER_PREFIX
from benchmarks.face_verification import SEED
from benchmarks.gallery import data
from benchmarks.gallery.plan import Plan, Story
from benchmarks.services import data_folder, service
from gallery_svc.rows import half
from siamese_lab.embedding_run import EmbeddedPictures, embed_pictures
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, read_pictures
from siamese_lab.verification import Floats, fnmr_at_fmr
from tessera.domain.embedding import Vectors

FMR = 1e-4
_ROWS, _PROBES = 100_000, 200


def float16(plan: Plan) -> Story:
    """Seeded directions, then LFW."""
    story = Story()
    rows = data.unit_rows(plan.count(_ROWS, _ROWS // 10), 5)
    errors = score_errors(rows, data.unit_rows(_PROBES, 6))
    story.add("float16: largest difference of a score", float(errors.max()), "score")
    story.add("float16: p99 of the difference of a score", float(np.quantile(errors, 0.99)), "score")
    story.add("float16: scores compared", int(errors.size), "scores")
    if os.environ.get("TESSERA_DATA"):
        _lfw(plan, story)
    else:
        story.note("float16: TESSERA_DATA is not set (docs/evaluation.md); LFW with float16 and float32 is left out.")
    return story


def score_errors(rows: Vectors, probes: Vectors) -> Floats:
    """How far scores with rounded rows are from scores with the rows themselves, all in float64.

    Args:
        rows: unit rows, float32 of shape (n, d).
        probes: unit rows, float32 of shape (m, d).

    Returns:
        |difference| of shape (n * m,).
    """
    asked = probes.astype(np.float64).T
    differences = [
        np.abs(_cosines(half(part).astype(np.float64), asked) - _cosines(part.astype(np.float64), asked)).ravel()
        for part in np.array_split(rows, max(1, len(rows) // 4096))
    ]
    return np.concatenate(differences)


def _cosines(rows: Floats, asked: Floats) -> Floats:
    cosines: Floats = (rows @ asked) / np.linalg.norm(rows, axis=1, keepdims=True)
    return cosines


def rounded(embedded: EmbeddedPictures) -> EmbeddedPictures:
    """The same pictures with their vectors as the gallery keeps them, of length 1 again."""
    kept = half(embedded.vectors).astype(np.float32)
    return replace(embedded, vectors=kept / np.linalg.norm(kept, axis=1, keepdims=True))


def _lfw(plan: Plan, story: Story) -> None:
    folder = data_folder()
    pictures = [*read_pictures(folder / FOLDS_TAR), *read_pictures(folder / COHORT_TAR)]
    pictures = pictures[: plan.count(len(pictures), len(pictures) // 10)]
    with service("encoder_svc", ENCODER_PREFIX, {"DEVICE": "cpu", "LOG_LEVEL": "warning"}) as encoder:
        embedded = asyncio.run(embed_pictures(pictures, encoder.address))
    tell_both_ways(story, embedded)


def tell_both_ways(story: Story, embedded: EmbeddedPictures) -> None:
    """FNMR of float32 and of float16. Both sides of a pair are rounded: the gallery rounds the template alone."""
    plain = fnmr_at_fmr(all_pairs(embedded), FMR, np.random.default_rng(SEED))
    kept = fnmr_at_fmr(all_pairs(rounded(embedded)), FMR, np.random.default_rng(SEED))
    name = f"float16: LFW, FNMR at FMR {FMR:.0e}"
    inside = plain.interval.low <= kept.value <= plain.interval.high
    story.add(f"{name}, float16", kept.value, "share", "inside the interval of float32", inside)
    for what, value in (("", plain.value), (", 95 % low", plain.interval.low), (", 95 % high", plain.interval.high)):
        story.add(f"{name}, float32{what}", value, "share")
