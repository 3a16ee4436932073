"""How well a gallery is ranked for each probe: rank-k, mAP and mINP, as the standard sets of re-identification have it.

A gallery picture of the probe's person from the probe's own camera is removed before ranking where the protocol says
so: it would be found by its background. A probe without a mate among what is left cannot be judged; such probes are
counted and said, and are in no mean. Scores are higher = more alike; of equals the earlier in the gallery comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

JUNK = -1
"""Person of pictures that count neither as found nor as wrongly found, as in Market-1501."""
RANKS = (1, 5, 10)

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Who is on some pictures, and which camera took them."""

    person: Labels
    """(n,); `JUNK` only in a gallery."""
    camera: Labels | None = None
    """(n,); None: unknown, and then nothing can be removed for it."""

    def __post_init__(self) -> None:
        if self.camera is not None and self.camera.shape != self.person.shape:
            raise InvalidInputError("camera", self.camera.shape, f"one for each person, {self.person.shape}")


@dataclass(frozen=True, slots=True)
class Ranking:
    """What became of all probes of a protocol; rates in [0, 1]."""

    rank: tuple[tuple[int, float], ...]
    """(k, share of probes with a mate among the first k)."""
    mean_ap: float
    """mAP: the mean over probes of the mean, over their mates, of the precision at each mate's place."""
    mean_inp: float
    """mINP: the mean over probes of (mates) / (place of the last mate)."""
    probes: int
    """That were judged."""
    probes_without_mate: int
    """That were not."""

    def at(self, k: int) -> float:
        """The rate of rank k.

        Raises:
            InvalidInputError: it was not measured.
        """
        for measured, rate in self.rank:
            if measured == k:
                return rate
        raise InvalidInputError("k", k, f"one of {', '.join(str(one) for one, _ in self.rank)}")


def rank_gallery(
    scores: npt.ArrayLike, probes: Seen, gallery: Seen, *, same_camera_removed: bool, ranks: Sequence[int] = RANKS
) -> Ranking:
    """Judge scores.

    Args:
        scores: (p, g), higher = more alike.
        probes: p of them.
        gallery: g of them.
        same_camera_removed: whether pictures of the probe's person from the probe's camera are left out.
        ranks: each k of rank-k, at least 1.

    Raises:
        InvalidInputError: shapes do not fit, scores are not finite, cameras are wanted and unknown, or no probe has a
            mate.

    Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015, section 5 (with the AP of every
    evaluation in Python since: a mean over mates, no trapezoids); Ye et al., "Deep Learning for Person
    Re-identification: A Survey and Outlook", TPAMI 2021, eq. 9 (mINP).
    """
    values = np.asarray(scores)
    _check(values, probes, gallery, ranks, same_camera_removed=same_camera_removed)
    measured = []
    for row in range(len(values)):
        places = _places_of_mates(values[row], row, probes, gallery, same_camera_removed=same_camera_removed)
        if places.size:
            measured.append(_one(places, ranks))
    if not measured:
        raise InvalidInputError("gallery", "no mate of any probe", "a mate of one probe at least")
    means = np.mean(measured, axis=0)
    return Ranking(
        rank=tuple((k, float(rate)) for k, rate in zip(ranks, means[2:], strict=True)),
        mean_ap=float(means[0]),
        mean_inp=float(means[1]),
        probes=len(measured),
        probes_without_mate=len(values) - len(measured),
    )


def _places_of_mates(
    scores: npt.NDArray[np.floating], row: int, probes: Seen, gallery: Seen, *, same_camera_removed: bool
) -> npt.NDArray[np.intp]:
    """Counted from 1, in what is left of the gallery."""
    mate = gallery.person == probes.person[row]
    kept = gallery.person != JUNK
    if same_camera_removed and gallery.camera is not None and probes.camera is not None:
        kept &= ~(mate & (gallery.camera == probes.camera[row]))
    order = np.argsort(-scores[kept], kind="stable")
    places: npt.NDArray[np.intp] = np.flatnonzero(mate[kept][order]) + 1
    return places


def _one(places: npt.NDArray[np.intp], ranks: Sequence[int]) -> list[float]:
    found = np.arange(1, places.size + 1)
    precision, inverse = float(np.mean(found / places)), float(places.size / places[-1])
    return [precision, inverse, *(float(places[0] <= k) for k in ranks)]


def _check(
    values: npt.NDArray[np.generic], probes: Seen, gallery: Seen, ranks: Sequence[int], *, same_camera_removed: bool
) -> None:
    wanted = (len(probes.person), len(gallery.person))
    if values.shape != wanted:
        raise InvalidInputError("scores", values.shape, f"{wanted}: a row a probe, a column a gallery picture")
    if not np.isfinite(values.astype(np.float64)).all():
        raise InvalidInputError("scores", "not finite", "finite numbers")
    if same_camera_removed and (probes.camera is None or gallery.camera is None):
        raise InvalidInputError("camera", None, "the camera of each picture, since pictures of the same are removed")
    if not ranks or min(ranks) < 1:
        raise InvalidInputError("ranks", tuple(ranks), "one at least, each at least 1")
