"""When two cameras saw the same: how far their clocks are apart, and which frames belong together.

Before anything of two cameras is compared. The clocks are judged by what both cameras saw happen (somebody appears, a
light goes on), not by what they say of themselves. Refuses to name an offset that chance would have given as well, or
that two lags explain: events at a steady pace fit at every lag of that pace. Nothing here looks at a picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

CHANCE = 1e-3
"""The most that a peak as high as the one found may happen by chance, over all lags that were looked at."""
LEAST_COINCIDENCES = 4
"""Fewer prove nothing, however rare they are."""
_RIVAL_SHARE = 0.7
_MOST_DIFFERENCES = 20_000_000


class OffsetDoubt(StrEnum):
    """Why an offset is not to be used."""

    TOO_FEW_EVENTS = "TOO_FEW_EVENTS"
    CHANCE = "CHANCE"
    """Unrelated events would coincide as often at some lag."""
    AMBIGUOUS = "AMBIGUOUS"
    """Another lag explains almost as many events."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far the second camera's clock is ahead of the first's."""

    offset_s: float
    """Take it off the second camera's times to have the first's; NaN when no event of one is near any of the other."""
    spread_s: float
    """Median deviation of the coincidences from the offset."""
    coincidences: int
    """Events of the first camera that have one of the second at this offset."""
    by_chance: float
    """How many would, had the two nothing to do with each other."""
    doubt: OffsetDoubt | None
    """None: the offset may be used."""


def estimate_offset(
    first_s: npt.ArrayLike, second_s: npt.ArrayLike, limit_s: float, tolerance_s: float = 0.1
) -> ClockOffset:
    """Find the lag at which most events of two cameras coincide.

    Args:
        first_s: shape (n,), times of events by the first camera's clock, in any order.
        second_s: shape (m,), by the second's. Neither needs to have seen all that the other saw.
        limit_s: the largest lag that is looked for, to either side.
        tolerance_s: how far apart two views of one event may be stamped, once the clocks agree.

    Returns:
        The offset, with a doubt where it cannot be trusted. What happens within the tolerance of an event counts as
        the same event, so that a burst on one side makes no peak; events that only one camera saw do no harm.

    Raises:
        InvalidInputError: a time is not finite, or a limit is not positive.

    Source: the cross-correlogram of two point processes, Perkel, Gerstein and Moore, Biophysical Journal 7 (1967).
    """
    first, second = _times("first_s", first_s), _times("second_s", second_s)
    first, second = _thinned(first, tolerance_s), _thinned(second, tolerance_s)
    if not 0.0 < tolerance_s <= limit_s < math.inf:
        raise InvalidInputError("tolerance_s", (tolerance_s, limit_s), "0 < tolerance_s <= limit_s")
    lags = _lags(first, second, limit_s)
    if not lags.size:
        return ClockOffset(math.nan, math.nan, 0, 0.0, OffsetDoubt.TOO_FEW_EVENTS)
    counts = _counts_near(lags, tolerance_s)
    best = _middle(lags, float(lags[int(np.argmax(counts))]), tolerance_s)
    gaps = _gaps(first, second - best, tolerance_s)
    chance = float(np.median(_counts_near(lags, tolerance_s, _grid(limit_s, tolerance_s))))
    spread = float(np.median(np.abs(gaps))) if gaps.size else math.nan
    found = ClockOffset(best, spread, int(gaps.size), chance, None)
    doubt = _doubt(found, lags, counts, limit_s, tolerance_s)
    return ClockOffset(found.offset_s, found.spread_s, found.coincidences, found.by_chance, doubt)


def pair_in_time(
    first_s: npt.ArrayLike, second_s: npt.ArrayLike, tolerance_s: float, offset_s: float = 0.0
) -> tuple[Indices, Indices]:
    """Pair the frames of two cameras that were taken together.

    Args:
        first_s: shape (n,), capture times by the first camera's clock, not falling.
        second_s: shape (m,), by the second's, not falling.
        tolerance_s: the largest gap within a pair.
        offset_s: how far the second clock is ahead, as `estimate_offset` finds it.

    Returns:
        (rows of the first, rows of the second), both rising: each frame with the one nearest to it, where each is
        the other's nearest. No frame is used twice, and swapping the cameras swaps the answer. Of two equally near
        the earlier is taken.

    Raises:
        InvalidInputError: times fall or are not finite, or the tolerance is below 0.
    """
    first, second = _times("first_s", first_s), _times("second_s", second_s) - offset_s
    for name, times in (("first_s", first), ("second_s", second)):
        if bool((np.diff(times) < 0.0).any()):
            raise InvalidInputError(name, "falling times", "times that do not fall")
    if not tolerance_s >= 0.0:
        raise InvalidInputError("tolerance_s", tolerance_s, "0 or more")
    if not first.size or not second.size:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    to_second, to_first = _nearest(first, second), _nearest(second, first)
    rows = np.arange(first.size)
    mutual = (to_first[to_second] == rows) & (np.abs(second[to_second] - first) <= tolerance_s)
    return rows[mutual], to_second[mutual]


def _times(name: str, values: npt.ArrayLike) -> Floats:
    times = np.asarray(values, dtype=np.float64)
    if times.ndim != 1 or not bool(np.isfinite(times).all()):
        raise InvalidInputError(name, f"shape {times.shape}", "one row of finite times")
    return times


def _thinned(times: Floats, apart_s: float) -> Floats:
    """Sorted, without those that follow a kept one within `apart_s`."""
    kept: list[float] = []
    for time in np.sort(times).tolist():
        if not kept or time - kept[-1] > apart_s:
            kept.append(time)
    return np.array(kept)


def _lags(first: Floats, second: Floats, limit_s: float) -> Floats:
    """Every difference second - first within the limit, sorted; both sorted."""
    low = np.searchsorted(second, first - limit_s, side="left")
    high = np.searchsorted(second, first + limit_s, side="right")
    total = int((high - low).sum())
    if total > _MOST_DIFFERENCES:
        raise InvalidInputError("limit_s", limit_s, f"one that leaves at most {_MOST_DIFFERENCES:,} pairs of events")
    starts = np.repeat(low - np.concatenate([[0], np.cumsum(high - low)[:-1]]), high - low)
    return np.sort(second[starts + np.arange(total)] - np.repeat(first, high - low))


def _counts_near(lags: Floats, tolerance_s: float, at: Floats | None = None) -> Indices:
    where = lags if at is None else at
    high = np.searchsorted(lags, where + tolerance_s, side="right")
    return np.asarray(high - np.searchsorted(lags, where - tolerance_s, side="left"), dtype=np.intp)


def _grid(limit_s: float, tolerance_s: float) -> Floats:
    steps = min(100_000, math.ceil(2 * limit_s / tolerance_s) + 1)
    return np.linspace(-limit_s, limit_s, steps)


def _middle(lags: Floats, about_s: float, tolerance_s: float) -> float:
    """The median of the lags around a peak: a few chance coincidences at its rim do not pull it."""
    middle = about_s
    for _ in range(3):
        near = lags[np.abs(lags - middle) <= tolerance_s]
        middle = float(np.median(near)) if near.size else middle
    return middle


def _gaps(first: Floats, second: Floats, tolerance_s: float) -> Floats:
    rows, partners = pair_in_time(first, second, tolerance_s)
    return np.asarray(second[partners] - first[rows], dtype=np.float64)


def _doubt(found: ClockOffset, lags: Floats, counts: Indices, limit_s: float, tolerance_s: float) -> OffsetDoubt | None:
    if found.coincidences < LEAST_COINCIDENCES:
        return OffsetDoubt.TOO_FEW_EVENTS
    looks = max(1.0, limit_s / tolerance_s)
    # Chance is at least that of one coincidence among all lags: an empty correlogram is no proof of rarity.
    expected = max(found.by_chance, lags.size / looks, 1e-3)
    if _poisson_tail(found.coincidences, expected) * looks > CHANCE:
        return OffsetDoubt.CHANCE
    elsewhere = counts[np.abs(lags - found.offset_s) > 2.0 * tolerance_s]
    if elsewhere.size and float(elsewhere.max()) > _RIVAL_SHARE * found.coincidences + expected:
        return OffsetDoubt.AMBIGUOUS
    return None


def _poisson_tail(count: int, expected: float) -> float:
    """The chance of `count` or more, by its first terms; they fall fast where it matters."""
    if count <= expected:
        return 1.0
    term = math.exp(count * math.log(expected) - expected - math.lgamma(count + 1.0))
    total, k = 0.0, count
    while term > 1e-18 * max(total, 1e-300):
        total += term
        k += 1
        term *= expected / k
    return min(1.0, total)


def _nearest(times: Floats, among: Floats) -> Indices:
    """The row of the nearest; of equally near ones the earliest."""
    right = np.clip(np.searchsorted(among, times, side="left"), 0, among.size - 1)
    left = np.maximum(right - 1, 0)
    chosen = np.where(np.abs(among[left] - times) <= np.abs(among[right] - times), left, right)
    # Several frames of one time stand for each other; the first of them is meant.
    return np.asarray(np.searchsorted(among, among[chosen], side="left"), dtype=np.intp)
