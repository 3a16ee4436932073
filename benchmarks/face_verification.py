"""Face verification on LFW through the running services, beside OpenCV's own detector and embedder on the same weights.

    TESSERA_DATA=DIR make bench-face-verification

Every picture goes through `EncoderService.Encode`; fold 1 goes through `GalleryService.Compare` besides, and must give
the same scores. OpenCV's FaceDetectorYN and FaceRecognizerSF run on the very same files in the same run. Both take the
face that is nearest to the middle. A picture without a face matches nobody.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.figures import Figure, report
from benchmarks.services import data_folder, service
from siamese_lab.embedding_run import EmbeddedPictures, embed_pictures
from siamese_lab.lfw import FOLDS_TAR, PAIRS_FILE, Pair, Picture, read_pairs, read_pictures
from siamese_lab.verification import Estimate, ScoredPairs, accuracy, fnmr_at_fmr, pairs_equal_error_rate
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.client import Tessera
from tessera.domain.artifact import SourceFile, load_manifest
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Vectors
from tessera.domain.errors import ImageRejectedError
from tessera.domain.measurement import compare_all_pairs
from tessera.imaging.decode import decode

COMMAND = "TESSERA_DATA=DIR make bench-face-verification"
SEED = 1
COMPARED_FOLD = 0
"""A whole fold goes through `Compare`: 600 pairs."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One system on LFW."""

    accuracy: Estimate
    eer: Estimate
    fnmr_at_1e3: Estimate
    non_mated: int
    without_face: tuple[str, ...]
    seconds: float


def judge(embedded: EmbeddedPictures, pairs: list[Pair], seconds: float) -> Judged:
    """The same measures for every system."""
    scored = score_pairs(embedded, pairs)
    people = {person: at for at, person in enumerate(sorted(set(embedded.people)))}
    comparisons = compare_all_pairs(embedded.vectors, [people[person] for person in embedded.people])
    rng = np.random.default_rng(SEED)
    return Judged(
        accuracy(scored),
        pairs_equal_error_rate(scored, rng),
        fnmr_at_fmr(comparisons, 1e-3, rng),
        comparisons.non_mated_total,
        embedded.without_face,
        seconds,
    )


def score_pairs(embedded: EmbeddedPictures, pairs: list[Pair]) -> ScoredPairs:
    """The scores of a protocol's pairs; -1 where a picture has no face."""
    row = {name: at for at, name in enumerate(embedded.names)}

    def score(pair: Pair) -> float:
        if pair.first not in row or pair.second not in row:
            return -1.0
        return float(embedded.vectors[row[pair.first]] @ embedded.vectors[row[pair.second]])

    return ScoredPairs(
        np.array([score(pair) for pair in pairs]),
        np.array([pair.mated for pair in pairs]),
        np.array([pair.fold for pair in pairs]),
    )


def with_opencv(pictures: list[Picture]) -> EmbeddedPictures:
    """What OpenCV's own detector and embedder make of the pictures, on the same weight files."""
    detector_path, embedder_path = weight_files()
    cv2.setNumThreads(1)
    embedder = cv2.FaceRecognizerSF.create(str(embedder_path), "")
    names, people, vectors, without = [], [], [], []
    for picture in pictures:
        vector = opencv_embedding(picture.data, str(detector_path), embedder)
        if vector is None:
            without.append(picture.name)
            continue
        names.append(picture.name)
        people.append(picture.person)
        vectors.append(vector)
    model_id = load_manifest("face-sface-1").model_id
    return EmbeddedPictures(tuple(names), tuple(people), np.stack(vectors), model_id, tuple(without))


def opencv_embedding(data: bytes, detector_path: str, embedder: cv2.FaceRecognizerSF) -> Vectors | None:
    """The face in the middle of one picture; None when there is none."""
    try:
        image = decode(data)
    except ImageRejectedError:
        return None
    height_px, width_px = image.shape[:2]
    detector = _detector(detector_path, width_px, height_px)
    faces: Any = detector.detect(image)[1]  # None when there is none, whatever OpenCV's stubs say
    if faces is None:
        return None
    centres = faces[:, :2] + faces[:, 2:4] / 2 - (width_px / 2, height_px / 2)
    face = faces[int(np.argmin((centres**2).sum(axis=1)))]
    raw = embedder.feature(embedder.alignCrop(image, face)).ravel().astype(np.float32)
    vector: Vectors = raw / np.linalg.norm(raw)
    return vector


_DETECTORS: dict[str, cv2.FaceDetectorYN] = {}


def _detector(path: str, width_px: int, height_px: int) -> cv2.FaceDetectorYN:
    if path not in _DETECTORS:
        _DETECTORS[path] = cv2.FaceDetectorYN.create(path, "", (width_px, height_px), 0.7, 0.3)
    _DETECTORS[path].setInputSize((width_px, height_px))
    return _DETECTORS[path]


def weight_files() -> tuple[Path, Path]:
    """The pinned ONNX files of detector and embedder, as they were published."""
    manifest = load_manifest("face-sface-1")
    detector, embedder = (
        bring_weights(default_cache_dir(), default_supplied_dir(), source)
        for source in (manifest.detector, manifest.embedder)
        if isinstance(source, SourceFile)
    )
    return detector, embedder


@dataclass(frozen=True, slots=True)
class Compared:
    """A fold through the gallery."""

    pairs: int
    largest_difference: float
    """Between the score in the answer and the dot product of the two embeddings."""
    matches_at_1e4: int
    mated: int
    false_matches: int
    inconclusive: int
    """Pairs with several people in a picture: a 1:1 comparison must not choose among faces."""


def through_compare(
    gallery: str, pictures: dict[str, Picture], pairs: list[Pair], embedded: EmbeddedPictures
) -> Compared:
    """One fold through `GalleryService.Compare`, and whether its scores are those of the embeddings."""
    chosen = [pair for pair in pairs if pair.fold == COMPARED_FOLD]
    expected = score_pairs(embedded, chosen).scores
    differences, matches, false_matches, inconclusive = [0.0], 0, 0, 0
    with Tessera(gallery) as tessera:
        for pair, score in zip(chosen, expected, strict=True):
            answer = tessera.compare(pictures[pair.first].data, pictures[pair.second].data, with_score=True)
            if answer.score is not None:
                differences.append(abs(answer.score - score))
            inconclusive += answer.outcome is Outcome.INCONCLUSIVE
            matches += answer.is_match and pair.mated
            false_matches += answer.is_match and not pair.mated
    return Compared(
        len(chosen), max(differences), matches, sum(pair.mated for pair in chosen), false_matches, inconclusive
    )


def main() -> int:
    """Measure, print, write docs/results/face-verification.json."""
    folder = data_folder()
    pictures = list(read_pictures(folder / FOLDS_TAR))
    pairs = read_pairs(folder / PAIRS_FILE)
    by_name = {picture.name: picture for picture in pictures}
    with service("encoder_svc", "TESSERA_ENCODER_", {}) as encoder:
        started_s = time.monotonic()
        embedded = asyncio.run(embed_pictures(pictures, encoder.address))
        ours = judge(embedded, pairs, time.monotonic() - started_s)
        with service("gallery_svc", "TESSERA_GALLERY_", gallery_settings(encoder.address)) as gallery:
            compared = through_compare(gallery.address, by_name, pairs, embedded)
    started_s = time.monotonic()
    theirs = judge(with_opencv(pictures), pairs, time.monotonic() - started_s)
    return report("face-verification", figures(ours, theirs, compared, len(pictures)), NOTES)


def gallery_settings(encoder_address: str) -> dict[str, str]:
    """A gallery that keeps nothing."""
    return {"STORE": "memory", "ENCODER": encoder_address}


NOTES = [
    "accuracy: 5 folds of View 2, threshold chosen on the other four, +- 1.96 standard errors over folds.",
    "EER: over the 3,000 pairs of the protocol, interval by resampling pairs.",
    "FNMR at FMR 1e-3: over all pairs of different people among the pictures, interval by resampling people.",
    "LFW's wrong labels are left in. The shipped calibration saw these pictures; only the last two figures use it.",
]


def figures(ours: Judged, theirs: Judged, compared: Compared, pictures: int) -> list[Figure]:
    """Ours, OpenCV's, and whether ours is as good."""
    rows: list[Figure] = []

    def add(figure: str, value: float | str, unit: str, bar: str = "", holds: bool | None = None) -> None:
        rows.append(Figure(figure, value, unit, bar, holds, COMMAND))

    for name, mine, other, higher_is_better in (
        ("accuracy", ours.accuracy, theirs.accuracy, True),
        ("EER", ours.eer, theirs.eer, False),
        ("FNMR at FMR 1e-3", ours.fnmr_at_1e3, theirs.fnmr_at_1e3, False),
    ):
        worse = mine.interval.high < other.value if higher_is_better else mine.interval.low > other.value
        add(f"{name}, service", mine.value, "share", "OpenCV's own value not better than our interval", not worse)
        add(f"{name}, service, 95 % low", mine.interval.low, "share")
        add(f"{name}, service, 95 % high", mine.interval.high, "share")
        add(f"{name}, OpenCV, same weights", other.value, "share")
        add(f"{name}, OpenCV, 95 % low", other.interval.low, "share")
        add(f"{name}, OpenCV, 95 % high", other.interval.high, "share")
    add("non-mated comparisons", ours.non_mated, "pairs")
    add("pictures without a usable face, service", len(ours.without_face), f"of {pictures}")
    add("pictures without a usable face, OpenCV", len(theirs.without_face), f"of {pictures}")
    add("pictures a second, service over OpenCV", theirs.seconds / ours.seconds, "ratio")
    add(
        "largest difference of a Compare score from the embeddings' own",
        compared.largest_difference,
        "score",
        "under 1e-4",
        compared.largest_difference < 1e-4,
    )
    add("Compare at FMR 1e-4, mates that match", compared.matches_at_1e4, f"of {compared.mated}")
    add("Compare, pairs with several faces in a picture: inconclusive", compared.inconclusive, f"of {compared.pairs}")
    add("Compare at FMR 1e-4, others that match", compared.false_matches, f"of {compared.pairs - compared.mated}")
    return rows


if __name__ == "__main__":
    sys.exit(main())
