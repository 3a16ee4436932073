"""Face verification on LFW through the service: accuracy of the protocol, and FNMR at low FMR over all pairs.

Non-mated pairs are all pairs of pictures of different people in folds 1 to 5 and the cohort together.
"""

from __future__ import annotations

import asyncio
import os

import numpy as np

from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.face_verification import SEED, score_pairs
from benchmarks.services import data_folder, service
from siamese_lab.embedding_run import EmbeddedPictures, embed_pictures
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, PAIRS_FILE, read_pairs, read_pictures
from siamese_lab.verification import Estimate, accuracy, fnmr_at_fmr
from tessera.domain.measurement import Comparisons, compare_all_pairs

BARS = {1e-4: 0.020, 1e-3: 0.010}
"""FNMR at most, by FMR."""
ACCURACY_BAR = 0.994


def lfw(plan: Plan) -> Story:
    """Left out without the data."""
    story = Story()
    if not os.environ.get("TESSERA_DATA"):
        story.note("lfw: TESSERA_DATA is not set (docs/evaluation.md); the figures of face verification are left out.")
        return story
    folder = data_folder()
    pictures = [*read_pictures(folder / FOLDS_TAR), *read_pictures(folder / COHORT_TAR)]
    pictures = pictures[: plan.count(len(pictures), len(pictures) // 10)]
    with service("encoder_svc", PREFIX, plan.settings()) as encoder:
        embedded = asyncio.run(embed_pictures(pictures, encoder.address))
    comparisons = all_pairs(embedded)
    rng = np.random.default_rng(SEED)
    for fmr, most in BARS.items():
        fnmr = fnmr_at_fmr(comparisons, fmr, rng)
        bar = f"at most {100 * most:.1f} %"
        _tell(story, f"lfw: FNMR at FMR {fmr:.0e}", fnmr, bar, holds=fnmr.value <= most)
    right = accuracy(score_pairs(embedded, read_pairs(folder / PAIRS_FILE)))
    bar = f"at least {100 * ACCURACY_BAR:.1f} %"
    _tell(story, "lfw: accuracy of the protocol", right, bar, holds=right.value >= ACCURACY_BAR)
    story.add("lfw: non-mated comparisons", comparisons.non_mated_total, "pairs")
    story.add("lfw: mated comparisons", int(comparisons.mated_scores.size), "pairs")
    story.add("lfw: pictures without a usable face", len(embedded.without_face), f"of {len(pictures)}")
    return story


def all_pairs(embedded: EmbeddedPictures) -> Comparisons:
    """Every picture with every other."""
    people = {person: at for at, person in enumerate(sorted(set(embedded.people)))}
    return compare_all_pairs(embedded.vectors, [people[person] for person in embedded.people])


def _tell(story: Story, name: str, estimate: Estimate, bar: str, *, holds: bool) -> None:
    story.add(name, estimate.value, "share", bar, holds)
    story.add(f"{name}, 95 % low", estimate.interval.low, "share")
    story.add(f"{name}, 95 % high", estimate.interval.high, "share")
