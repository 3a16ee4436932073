"""From distances between two looks at a scene to a judgement: nothing new, another light, something there, all changed.

After `tessera.imaging.change_map`, which makes the distances, one a tile; in numpy, without a picture. How far apart
two looks at an undisturbed scene lie differs from tile to tile (leaves move, walls do not), so each tile is judged
against what it did while nothing happened, and the threshold is the one that such looks reach at a stated rate. Refuses
a rate that the undisturbed looks are too few to carry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tessera.domain.error_rates import comparisons_needed, threshold_at_fmr
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError

Distances = npt.NDArray[np.float64]
"""Shape (rows, columns): how unlike each tile of two pictures is, 0 and more; NaN where one of them shows nothing."""

LEAST_SPREAD = 0.02
"""Of a tile that never changed: its deviations are not told apart below this distance."""
_NORMAL_QUARTILE = 0.6745


@dataclass(frozen=True, slots=True, eq=False)
class ChangeCalibration:
    """What the tiles of a scene do while nothing happens."""

    usual: Distances
    """The median distance of each tile; NaN: it was never seen."""
    spread: Distances
    """Its deviation, robust, at least `LEAST_SPREAD`."""
    threshold: float
    """The change score from which a look counts as changed."""
    false_alarm_rate: float
    """Share of undisturbed looks that reach it; on average over the looks that come, not each hour of them."""
    looks: int
    """Undisturbed looks that it was set on."""

    def excess(self, distances: npt.ArrayLike) -> Distances:
        """How many of its own deviations each tile is beyond its usual distance: (rows, columns), 0 where unseen.

        Raises:
            InvalidInputError: another grid than the one that was calibrated.
        """
        seen = np.asarray(distances, dtype=np.float64)
        if seen.shape != self.usual.shape:
            raise InvalidInputError("distances", seen.shape, f"the calibrated grid {self.usual.shape}")
        return np.nan_to_num((seen - self.usual) / self.spread, nan=0.0)

    def score(self, distances: npt.ArrayLike) -> float:
        """How much a look has changed where it changed most; higher = more."""
        return peak(self.excess(distances))

    def changed(self, distances: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """The tiles of the changed places: (rows, columns)."""
        return smoothed(self.excess(distances)) >= self.threshold


def calibrate_changes(undisturbed: npt.ArrayLike, false_alarm_rate: float) -> ChangeCalibration:
    """Learn the tiles' usual distances, and the threshold that undisturbed looks reach at a rate.

    Args:
        undisturbed: shape (looks, rows, columns): distance maps of a scene in which nothing happened, in every light
            and weather that shall be no alarm.
        false_alarm_rate: the share of such looks that may be taken for a change, in (0, 1).

    Returns:
        Tiles learned on every second look and the threshold set on the others, then the same the other way about, the
        higher threshold kept: a look is never judged by what was learned from it.

    Raises:
        InvalidInputError: the maps have another shape, or a distance below 0.
        CalibrationTooSmallError: fewer looks than the rate needs (rule of 3).
    """
    maps = np.asarray(undisturbed, dtype=np.float64)
    if maps.ndim != 3 or 0 in maps.shape or bool((maps < 0.0).any()) or bool(np.isinf(maps).any()):
        raise InvalidInputError("undisturbed", maps.shape, "distance maps (looks, rows, columns), none below 0")
    needed = comparisons_needed(false_alarm_rate)
    if needed > len(maps) or len(maps) < 4:
        raise CalibrationTooSmallError(false_alarm_rate, max(needed, 4), len(maps))
    halves = maps[0::2], maps[1::2]
    thresholds = [_threshold(_learned(learn), judge, false_alarm_rate) for learn, judge in (halves, halves[::-1])]
    whole = _learned(maps)
    return ChangeCalibration(whole.usual, whole.spread, max(thresholds), false_alarm_rate, len(maps))


def settled(maps: npt.ArrayLike) -> Distances:
    """What has stayed over several looks: each tile's median distance.

    Args:
        maps: shape (looks, rows, columns), looks one after another.

    Returns:
        (rows, columns): who walks through is in none of the tiles for half of the looks; what was put down is.

    Raises:
        InvalidInputError: no look.
    """
    looks = np.asarray(maps, dtype=np.float64)
    if looks.ndim != 3 or not len(looks):
        raise InvalidInputError("maps", looks.shape, "one or more distance maps")
    return _median(looks)


def smoothed(excess: npt.ArrayLike) -> Distances:
    """Each tile with its eight neighbours, twice as heavy in the middle: objects reach over tiles, noise does not."""
    tiles = np.pad(np.asarray(excess, dtype=np.float64), 1, mode="edge")
    rows, columns = tiles.shape[0] - 2, tiles.shape[1] - 2
    weights = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
    return np.asarray(
        sum(
            weights[down][right] / 16.0 * tiles[down : down + rows, right : right + columns]
            for down in range(3)
            for right in range(3)
        ),
        dtype=np.float64,
    )


def peak(excess: npt.ArrayLike) -> float:
    """The highest smoothed excess."""
    return float(smoothed(excess).max())


def _learned(maps: Distances) -> ChangeCalibration:
    usual = _median(maps)
    deviations = _median(np.abs(maps - usual)) / _NORMAL_QUARTILE
    spread = np.where(np.isnan(deviations), np.nan, np.maximum(deviations, LEAST_SPREAD))
    return ChangeCalibration(usual, spread, 0.0, 0.0, len(maps))


def _threshold(learned: ChangeCalibration, maps: Distances, false_alarm_rate: float) -> float:
    return threshold_at_fmr([learned.score(look) for look in maps], false_alarm_rate)


def _median(maps: Distances) -> Distances:
    unseen = np.isnan(maps)
    if not unseen.any():  # the usual case; the other is several times slower
        return np.asarray(np.median(maps, axis=0), dtype=np.float64)
    seen = ~unseen.all(axis=0)
    middle = np.full(maps.shape[1:], np.nan)
    if seen.any():
        middle[seen] = np.nanmedian(maps[:, seen], axis=0)
    return middle
