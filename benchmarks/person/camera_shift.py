"""The same people by another camera: who is still found, level by level.

    TESSERA_DATA=DIR make bench-person ARGS="shifts"

Probes are shifted by `benchmarks.person.shifts`, the gallery stays as it was taken. Two groups of people, none of whom
any encoder here was trained on:

- Con-ReID's held-out people, by its own protocol (probes `bounding_box_test`, gallery `query`), without black bars and
  stretched, as serving sees people. Most pictures have a near duplicate in the gallery: what is measured is how far the
  shift moves a picture, and the second row, where near duplicates are left out, is nearer to recognising a person;
- the people of two clips by the hand-made truth: the gallery is the first half of each one's way through the picture,
  the probes are from the second half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure
from benchmarks.person.channels import COLOURS, GENERIC, OURS, Channel, channels
from benchmarks.person.clip_crops import clip_people
from benchmarks.person.face_channel import face_figures
from benchmarks.person.plan import Context, figure
from benchmarks.person.shifts import LEVELS, MIDDLE, STRONGEST, shifted
from siamese_lab.persons.cameras import without_bars
from siamese_lab.persons.data import CON_REID_TAR, People, Split, read_con_reid
from siamese_lab.persons.judging import Vectors
from tessera.domain.error_rates import false_non_match_rate, threshold_at_fmr
from tessera.domain.ranking import Seen, rank_gallery
from tessera.imaging.person import fit_crop

CON_REID, CLIPS = "Con-ReID's held-out people", "people of the clips"
FMRS = (1e-2, 1e-3)
MAP_BAR, MIDDLE_BAR, LEAD_BAR = 0.90, 0.90, 0.15
NEAR_DUPLICATE = 0.9
"""Correlation of two small gray pictures of one person from which on they are one picture taken twice."""
_SMALL = (16, 32)
_REPLICATES = 2000
_SEED = 9

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """People who are searched for."""

    name: str
    probes: People
    gallery: People


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one channel made of one level."""

    rank_1: float
    mean_ap: float
    fnmr: tuple[float, ...]
    """At each of FMRS."""
    hits: Mask
    """(probes,): whether a mate came first."""
    without_duplicates: float
    """Rank-1 where near duplicates of the probe are left out."""


def run(context: Context) -> Sequence[Figure]:
    """Con-ReID's own protocol, then every level on both groups, then faces."""
    probes, gallery = (read_con_reid(context.data() / CON_REID_TAR, one) for one in (Split.PROBES, Split.GALLERY))
    ways = channels()
    figures = list(_protocol_figures(ways, probes, gallery))
    groups = [Group(CON_REID, without_any_bars(probes), without_any_bars(gallery)), Group(CLIPS, *clip_people(context))]
    levels = (0, MIDDLE, STRONGEST) if context.quick else (0, *LEVELS)
    for group in groups:
        figures += _group_figures(group, ways, levels)
    figures += face_figures(context)
    context.note(
        "shifts: the definition of the levels was committed before any trained encoder was measured on it; FNMR is at "
        "the threshold that gives the FMR on the same level's own scores."
    )
    return figures


def without_any_bars(people: People) -> People:
    """Crops as serving cuts them: the box and nothing around it, stretched."""
    return People(np.stack([fit_crop(without_bars(crop)) for crop in people.crops]), people.person, people.names)


def _protocol_figures(ways: Sequence[Channel], probes: People, gallery: People) -> Iterator[Figure]:
    for bars, some, others in (
        ("bars cut off", without_any_bars(probes), without_any_bars(gallery)),
        ("with black bars", probes, gallery),
    ):
        yield from _protocol_rows(ways, some, others, bars)


def _protocol_rows(ways: Sequence[Channel], probes: People, gallery: People, bars: str) -> Iterator[Figure]:
    for way in ways:
        scores = way.embed(probes.crops) @ way.embed(gallery.crops).T
        found = rank_gallery(scores, Seen(probes.person), Seen(gallery.person), same_camera_removed=False)
        bar, holds = (f"at least {MAP_BAR}", found.mean_ap >= MAP_BAR) if way.name == OURS else ("", None)
        yield figure(
            f"Con-ReID protocol, held-out people, {bars}: mAP, {way.name}", round(found.mean_ap, 4), "share", bar, holds
        )
        yield figure(f"Con-ReID protocol, held-out people, {bars}: rank-1, {way.name}", round(found.at(1), 4), "share")


def _group_figures(group: Group, ways: Sequence[Channel], levels: Sequence[int]) -> Iterator[Figure]:
    duplicates = near_duplicates(group.probes, group.gallery)
    galleries = {way.name: way.embed(group.gallery.crops) for way in ways}
    for level in levels:
        crops = np.stack(
            [shifted(crop, name, level) for crop, name in zip(group.probes.crops, group.probes.names, strict=True)]
        )
        found = {way.name: judged(way.embed(crops), galleries[way.name], group, duplicates) for way in ways}
        yield from _level_figures(group, level, found)


def judged(probes: Vectors, gallery: Vectors, group: Group, duplicates: Mask) -> Outcome:
    """Rank a gallery, and compare everybody with everybody.

    Args:
        probes: unit vectors (p, d).
        gallery: unit vectors (g, d).
        group: whose they are.
        duplicates: (p, g), as `near_duplicates`.
    """
    scores = (probes @ gallery.T).astype(np.float64)
    mates = group.probes.person[:, None] == group.gallery.person[None, :]
    found = rank_gallery(scores, Seen(group.probes.person), Seen(group.gallery.person), same_camera_removed=False)
    thresholds = [threshold_at_fmr(scores[~mates], fmr) for fmr in FMRS]
    left = np.where(duplicates, -np.inf, scores)
    judgeable = (mates & ~duplicates).any(1)
    first = np.take_along_axis(mates, left.argmax(1)[:, None], 1)[:, 0]
    return Outcome(
        rank_1=found.at(1),
        mean_ap=found.mean_ap,
        fnmr=tuple(false_non_match_rate(scores[mates], one) for one in thresholds),
        hits=np.take_along_axis(mates, scores.argmax(1)[:, None], 1)[:, 0],
        without_duplicates=float(first[judgeable].mean()),
    )


def near_duplicates(probes: People, gallery: People) -> Mask:
    """(p, g): whether two pictures of one person are nearly the same picture."""
    first, second = _small(probes), _small(gallery)
    same: Mask = probes.person[:, None] == gallery.person[None, :]
    return same & (first @ second.T >= NEAR_DUPLICATE)


def _small(people: People) -> npt.NDArray[np.float64]:
    gray = [cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY) for crop in people.crops]
    rows = np.stack([cv2.resize(one, _SMALL, interpolation=cv2.INTER_AREA).ravel() for one in gray]).astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    unit: npt.NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def _level_figures(group: Group, level: int, found: dict[str, Outcome]) -> Iterator[Figure]:
    at = f"{group.name}, shift {level}"
    for name in (OURS, GENERIC, COLOURS):
        one = found[name]
        barred = name == OURS and level == MIDDLE
        bar, holds = (f"at least {MIDDLE_BAR}", one.rank_1 >= MIDDLE_BAR) if barred else ("", None)
        yield figure(f"rank-1, {at}, {name}", round(one.rank_1, 4), "share", bar, holds)
        yield figure(f"mAP, {at}, {name}", round(one.mean_ap, 4), "share")
        for fmr, fnmr in zip(FMRS, one.fnmr, strict=True):
            yield figure(f"FNMR at FMR {fmr:g}, {at}, {name}", round(fnmr, 4), "share")
        yield figure(f"rank-1 without near duplicates, {at}, {name}", round(one.without_duplicates, 4), "share")
    if level == STRONGEST:
        lead, low, high = lead_over(found[OURS].hits, found[GENERIC].hits, group.probes.person)
        bar = f"at least {LEAD_BAR:g}"
        yield figure(
            f"rank-1 of ours above the generic backbone's, {at}", round(lead, 4), "share", bar, lead >= LEAD_BAR
        )
        yield figure(f"the same, 95 % interval over people, {at}", f"{low:.3f} to {high:.3f}", "share")


def lead_over(ours: Mask, theirs: Mask, person: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """By how much one rank-1 is above another: the difference, and its 95 % interval with people drawn anew."""
    people, owner = np.unique(person, return_inverse=True)
    counts = np.bincount(owner)
    gains = np.bincount(owner, ours.astype(np.float64) - theirs)
    drawn = np.random.default_rng(_SEED).integers(len(people), size=(_REPLICATES, len(people)))
    replicates = gains[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(replicates, (0.025, 0.975))
    return float(gains.sum() / counts.sum()), float(low), float(high)
