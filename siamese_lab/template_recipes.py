"""Which ways to make a template from the same weights are worth their time: each measured alone, then together.

    TESSERA_DATA=DIR python -m siamese_lab.template_recipes --keep /tmp/recipes

looks at LFW (folds 1-5 and the cohort of people with one picture), makes every ingredient once, joins them into
recipes, and judges each on all pairs. What is learned here, one mean vector, is learned on the cohort: none of its
people is in a fold. `mean_cross_check` shows what that is worth where the cohort itself is compared.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from siamese_lab.face_templates import BATCH, FaceTemplates, FoundFace, shipped_networks
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, PAIRS_FILE, Pair, Picture, read_pairs, read_pictures
from siamese_lab.verification import Estimate, ScoredPairs, accuracy, fnmr_at_fmr
from tessera.domain.artifact import load_manifest
from tessera.domain.embedding import Vector, Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.measurement import compare_all_pairs
from tessera.domain.templates import as_templates
from tessera.imaging.align import CROP_PX, align, similarity_transform
from tessera.imaging.decode import Image
from tessera.imaging.preprocess import detector_input
from tessera.nets.artifact import SampleNetworks

BASE_ENCODER = "face-sface-1"
SEED = 1
_KEEP_FMR = 0.01
_KEEP_AT_LEAST = 5000
"""Scores; a small set needs more than its hundredth, since a resample may count one pair many times."""
_TIMED_ROUNDS = 12
_WIDER, _NARROWER = 0.9, 1.1
_FACE_MIDDLE_PX = np.array([CROP_PX / 2, 72.0])

Mask = npt.NDArray[np.bool_]
Crop = Callable[[Image, "BothLandmarks"], Image]


@dataclass(frozen=True, slots=True, eq=False)
class BothLandmarks:
    """Where a face's landmarks are, by the first look and by the closer one."""

    first: npt.NDArray[np.float32]
    refined: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is embedded and summed, and whether the mean of other people is taken off."""

    name: str
    ingredients: tuple[str, ...]
    centred: bool


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One recipe on all pairs."""

    recipe: Recipe
    fnmr_at_1e3: Estimate
    fnmr_at_1e4: Estimate
    accuracy: Estimate
    extra_ms: float
    """A face, over `plain` in the same run."""
    ratio: float
    """Of the time of one face from decoded picture to template, to that of `plain`."""


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The people of the rows, and which rows are the cohort's."""

    names: tuple[str, ...]
    people: tuple[str, ...]
    cohort: Mask


def _scaled(factor: float) -> Crop:
    def cut(image: Image, landmarks: BothLandmarks) -> Image:
        matrix = similarity_transform(landmarks.first) * factor
        matrix[:, 2] += (1 - factor) * _FACE_MIDDLE_PX
        return cv2.warpAffine(image, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)

    return cut


INGREDIENTS: Mapping[str, Crop] = {
    "first": lambda image, landmarks: align(image, landmarks.first),
    "first mirrored": lambda image, landmarks: align(image, landmarks.first)[:, ::-1],
    "wider": _scaled(_WIDER),
    "narrower": _scaled(_NARROWER),
    "refined": lambda image, landmarks: align(image, landmarks.refined),
    "refined mirrored": lambda image, landmarks: align(image, landmarks.refined)[:, ::-1],
}
"""Crops of a face; each costs one pass of the embedder."""

_SUMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("plain", ("first",)),
    ("mirrored", ("first", "first mirrored")),
    ("wider crop", ("wider",)),
    ("narrower crop", ("narrower",)),
    ("two crops", ("first", "wider")),
    ("refined", ("refined",)),
    ("refined, mirrored", ("refined", "refined mirrored")),
)

RECIPES = tuple(
    Recipe(f"{name}, centred" if centred else name, ingredients, centred)
    for name, ingredients in _SUMS
    for centred in (False, True)
)


def make_ingredients(
    way: FaceTemplates, faces: Sequence[FoundFace], wanted: Sequence[str], keep: Path | None
) -> dict[str, Vectors]:
    """Embed every face once for each ingredient.

    Args:
        way: the steps.
        faces: n of them.
        wanted: of `INGREDIENTS`.
        keep: a folder in which an earlier run left its work, and this one leaves its own; None: nothing is kept.

    Returns:
        float32 (n, d) each, as the embedder gave it.
    """
    refined = _kept(keep, "landmarks", lambda: np.stack([way.refine(face.image(), face.landmarks) for face in faces]))

    def embed(ingredient: str) -> Vectors:
        rows = []
        for start in range(0, len(faces), BATCH):
            batch = range(start, min(start + BATCH, len(faces)))
            crops = [
                INGREDIENTS[ingredient](faces[at].image(), BothLandmarks(faces[at].landmarks, refined[at]))
                for at in batch
            ]
            rows.append(way.embed(crops))
        return np.concatenate(rows)

    return {name: _kept(keep, name.replace(" ", "-"), lambda name=name: embed(name)) for name in wanted}  # type: ignore[misc]


def _find(way: FaceTemplates, pictures: Sequence[Picture], keep: Path | None) -> list[FoundFace]:
    """The faces in the middle of the pictures; those without one are left out, and stand as NaN in what is kept."""

    def look() -> npt.NDArray[np.float32]:
        found = [way.find(picture) for picture in pictures]
        none = np.full((5, 2), np.nan, dtype=np.float32)
        return np.stack([face.landmarks if face is not None else none for face in found])

    landmarks = _kept(keep, "first-landmarks", look)
    rows = zip(pictures, landmarks, strict=True)
    return [FoundFace(picture, five) for picture, five in rows if np.isfinite(five).all()]


def _kept(keep: Path | None, name: str, make: Callable[[], Vectors]) -> Vectors:
    path = keep / f"{name}.npy" if keep is not None else None
    if path is not None and path.is_file():
        kept: Vectors = np.load(path, allow_pickle=False)
        return kept
    made = make()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, made)
    return made


def learn_centre(vectors: Vectors) -> Vector:
    """The mean of unit vectors: what all faces share.

    Args:
        vectors: float32 (n, d), unit rows, each of another person.
    """
    centre: Vector = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return centre


def templates_of(recipe: Recipe, ingredients: Mapping[str, Vectors], learn_on: Mask) -> Vectors:
    """Templates by a recipe.

    Args:
        recipe: which ingredients are summed.
        ingredients: float32 (n, d) each.
        learn_on: of the n, whose mean is taken off where the recipe is centred.
    """
    chosen = [ingredients[name] for name in recipe.ingredients]
    together, faces = np.concatenate(chosen), len(chosen[0])
    plain = as_templates(together, faces)
    return as_templates(together, faces, learn_centre(plain[learn_on])) if recipe.centred else plain


def judge(
    templates: Vectors, faces: Faces, pairs: Sequence[Pair], rows: Mask | None = None
) -> tuple[Estimate, Estimate, Estimate]:
    """FNMR at FMR 1e-3 and at 1e-4 over all pairs of the rows, and the accuracy of the LFW protocol."""
    chosen = np.flatnonzero(rows) if rows is not None else np.arange(len(templates))
    people = [faces.people[at] for at in chosen]
    index = {person: at for at, person in enumerate(sorted(set(people)))}
    keep_fmr = min(1.0, max(_KEEP_FMR, 2 * _KEEP_AT_LEAST / len(chosen) ** 2))
    comparisons = compare_all_pairs(templates[chosen], [index[person] for person in people], keep_fmr)
    loose, strict = (fnmr_at_fmr(comparisons, fmr, np.random.default_rng(SEED)) for fmr in (1e-3, 1e-4))
    return loose, strict, accuracy(_scored(templates, faces, pairs))


def _scored(templates: Vectors, faces: Faces, pairs: Sequence[Pair]) -> ScoredPairs:
    row = {name: at for at, name in enumerate(faces.names)}

    def score(pair: Pair) -> float:
        if pair.first not in row or pair.second not in row:
            return -1.0
        return float(templates[row[pair.first]] @ templates[row[pair.second]])

    return ScoredPairs(
        np.array([score(pair) for pair in pairs]),
        np.array([pair.mated for pair in pairs]),
        np.array([pair.fold for pair in pairs]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class CrossCheck:
    """FNMR at FMR 1e-3 and 1e-4 of one recipe, by whose mean was taken off and who was compared."""

    name: str
    fnmr_at_1e3: float
    fnmr_at_1e4: float


def mean_cross_check(
    recipe: Recipe, ingredients: Mapping[str, Vectors], faces: Faces, pairs: Sequence[Pair]
) -> list[CrossCheck]:
    """Whether it matters whose mean is taken off.

    Returns:
        The folds alone under the cohort's mean: nobody who is compared was learned on. Folds and one half of the
        cohort under the other half's mean, and the reverse, averaged: likewise. One half of the folds' people under the
        mean of the other half, averaged; and beside it the same pairs under the cohort's mean.
    """
    if not recipe.centred:
        raise InvalidInputError("recipe", recipe.name, "one that takes a mean off")
    order = np.random.default_rng(SEED).permutation(sorted(set(faces.people)))
    first_half = np.isin(np.array(faces.people), order[: len(order) // 2])
    folds, cohort = ~faces.cohort, faces.cohort
    halves = [(first_half, ~first_half), (~first_half, first_half)]

    def mean(name: str, splits: Sequence[tuple[Mask, Mask]]) -> CrossCheck:
        found = [
            judge(templates_of(recipe, ingredients, learned), faces, pairs, judged)[:2] for learned, judged in splits
        ]
        loose, strict = (float(np.mean([rates[at].value for rates in found])) for at in (0, 1))
        return CrossCheck(name, loose, strict)

    return [
        mean("folds, mean of the cohort", [(cohort, folds)]),
        mean(
            "folds and half of the cohort, mean of its other half",
            [(cohort & a, folds | (cohort & b)) for a, b in halves],
        ),
        mean("half of the folds' people, mean of their other half", [(folds & a, folds & b) for a, b in halves]),
        mean("half of the folds' people, mean of the cohort", [(cohort, folds & b) for _, b in halves]),
    ]


@dataclass(frozen=True, slots=True)
class Costs:
    """Median milliseconds of processor time a face, on one thread, measured in turn in one run."""

    detect: float
    """Of one picture."""
    refine: float
    """Cutting the views, looking at them, joining the landmarks."""
    align: float
    embed: float
    """One pass, in batches of 16."""

    def of(self, recipe: Recipe) -> float:
        """From decoded picture to template."""
        refined = any(name.startswith("refined") for name in recipe.ingredients)
        return self.detect + self.refine * refined + (self.align + self.embed) * len(recipe.ingredients)


def measure_costs(way: FaceTemplates, faces: Sequence[FoundFace], networks: SampleNetworks) -> Costs:
    """Time every step in turn on one thread, in processor time: who else uses the machine matters little then."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = [face.image() for face in faces[:BATCH]]
    seen = torch.from_numpy(detector_input(images[0]).values)
    laps: dict[str, list[float]] = {"detect": [], "refine": [], "align": [], "embed": []}

    def lap(name: str, times: int, run: Callable[[], object]) -> None:
        started_s = time.thread_time()
        run()
        laps[name].append((time.thread_time() - started_s) * 1e3 / times)

    crops = [align(image, face.landmarks) for image, face in zip(images, faces, strict=False)]
    with torch.inference_mode():
        for _ in range(_TIMED_ROUNDS):
            lap("detect", 1, lambda: networks.detector(seen))
            lap("refine", 1, lambda: way.refine(images[0], faces[0].landmarks))
            lap("align", 1, lambda: align(images[0], faces[0].landmarks))
            lap("embed", len(crops), lambda: way.embed(crops))
    return Costs(**{name: statistics.median(values) for name, values in laps.items()})


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Everything that was measured."""

    judged: tuple[Judged, ...]
    cross_checks: tuple[CrossCheck, ...]
    """Of the winner."""
    costs: Costs
    centre: Vector
    """Of the winner, learned on the cohort."""


def study(folder: Path, keep: Path | None, winner: str) -> Study:
    """Measure every recipe on LFW.

    Args:
        folder: holds the archives.
        keep: see `make_ingredients`.
        winner: the recipe whose centre is given back and whose mean is cross-checked.
    """
    networks = shipped_networks(load_manifest(BASE_ENCODER))
    way = FaceTemplates(networks)
    cohort = list(read_pictures(folder / COHORT_TAR))
    seen = _find(way, [*read_pictures(folder / FOLDS_TAR), *cohort], keep)
    in_cohort = {picture.name for picture in cohort}
    faces = Faces(
        tuple(face.picture.name for face in seen),
        tuple(face.picture.person for face in seen),
        np.array([face.picture.name in in_cohort for face in seen]),
    )
    pairs = read_pairs(folder / PAIRS_FILE)
    ingredients = make_ingredients(way, seen, tuple(INGREDIENTS), keep)
    costs = measure_costs(way, seen, networks)
    plain_ms = costs.of(RECIPES[0])
    judged = tuple(
        Judged(
            recipe,
            *judge(templates_of(recipe, ingredients, faces.cohort), faces, pairs),
            extra_ms=costs.of(recipe) - plain_ms,
            ratio=costs.of(recipe) / plain_ms,
        )
        for recipe in RECIPES
    )
    best = next(recipe for recipe in RECIPES if recipe.name == winner)
    uncentred = templates_of(Recipe(best.name, best.ingredients, centred=False), ingredients, faces.cohort)
    checks = mean_cross_check(best, ingredients, faces, pairs)
    return Study(judged, tuple(checks), costs, learn_centre(uncentred[faces.cohort]))


WINNER = "refined, centred"
"""The recipe of face-sface-2. Mirroring besides costs a second pass, and gains nothing at FMR 1e-3."""


def main() -> int:
    """Run from the command line: the table, and the centre where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""), help="the folder with the LFW archives")
    parser.add_argument("--keep", type=Path, help="a folder for embeddings, to go on where an earlier run stopped")
    parser.add_argument("--write-centre", type=Path, help="where the winner's centre is written, as .npy")
    arguments = parser.parse_args()
    done = study(Path(arguments.data), arguments.keep, WINNER)
    for row in done.judged:
        sys.stdout.write(
            f"{row.recipe.name:28s} FNMR at 1e-3 {row.fnmr_at_1e3}, at 1e-4 {row.fnmr_at_1e4}; "
            f"accuracy {row.accuracy}; +{row.extra_ms:.1f} ms a face, x{row.ratio:.2f}\n"
        )
    for check in done.cross_checks:
        sys.stdout.write(f"{check.name}: {check.fnmr_at_1e3:.5f}, {check.fnmr_at_1e4:.5f}\n")
    if arguments.write_centre is not None:
        np.save(arguments.write_centre, done.centre)
    return 0


if __name__ == "__main__":
    sys.exit(main())
