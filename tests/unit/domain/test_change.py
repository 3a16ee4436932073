"""What is usual of a scene's tiles is learned, and what is not is told at a stated rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tessera.domain.change import LEAST_SPREAD, calibrate_changes, peak, settled, smoothed
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError

ROWS, COLUMNS = 6, 8
grids = arrays(np.float64, (ROWS, COLUMNS), elements=st.floats(0.0, 1.0))


def quiet(looks: int, seed: int) -> np.ndarray:
    """Distance maps of a scene in which nothing happens: its upper half is leaves, its lower half walls."""
    rng = np.random.default_rng(seed)
    level = np.full((ROWS, COLUMNS), 0.05)
    level[: ROWS // 2] = 0.3
    return np.abs(rng.normal(level, level / 3.0, (looks, ROWS, COLUMNS)))


LEAVES_AND_WALLS = calibrate_changes(quiet(80, 1), 0.05)


def test_the_threshold_keeps_its_rate_on_looks_to_come() -> None:
    """Of undisturbed looks that it has not seen, about the stated share is called changed, and not several times it."""
    calibration = calibrate_changes(quiet(400, 1), 0.05)
    later = [calibration.score(look) >= calibration.threshold for look in quiet(1000, 2)]
    assert 0.005 <= np.mean(later) <= 0.08


def test_tiles_are_judged_by_what_they_do_themselves() -> None:
    """A change that is nothing among leaves is one on a wall."""
    calibration = calibrate_changes(quiet(400, 1), 0.05)
    usual = np.nan_to_num(calibration.usual)
    on_wall, in_leaves = usual.copy(), usual.copy()
    on_wall[4:6, 3:5] += 0.25
    in_leaves[0:2, 3:5] += 0.25
    assert calibration.score(on_wall) > calibration.threshold
    assert calibration.changed(on_wall)[5, 3]
    assert not calibration.changed(on_wall)[0].any()
    assert calibration.score(in_leaves) < calibration.score(on_wall) / 2


@given(distances=grids, more=grids)
def test_no_tile_that_changes_more_lowers_the_score(distances: np.ndarray, more: np.ndarray) -> None:
    """The score is monotone in every distance."""
    assert LEAVES_AND_WALLS.score(distances + more) >= LEAVES_AND_WALLS.score(distances)


@given(excess=grids)
def test_smoothing_is_the_plain_loop(excess: np.ndarray) -> None:
    """Each tile is the weighed mean of the nine around it, the rim repeated; the peak is their highest."""
    expected = np.empty_like(excess)
    for row in range(ROWS):
        for column in range(COLUMNS):
            total = 0.0
            for down, heavy in ((-1, 1), (0, 2), (1, 1)):
                for right, weight in ((-1, 1), (0, 2), (1, 1)):
                    at = min(max(row + down, 0), ROWS - 1), min(max(column + right, 0), COLUMNS - 1)
                    total += heavy * weight * excess[at] / 16.0
            expected[row, column] = total
    assert smoothed(excess) == pytest.approx(expected)
    assert peak(excess) == pytest.approx(expected.max())


def test_who_walks_through_does_not_settle_and_what_was_left_does() -> None:
    """Over nine looks a thing that stays is in the settled map and one that is elsewhere each time is not."""
    maps = quiet(9, 3)
    for at in range(8):
        maps[at, 4, at] += 0.9
    maps[2:, 5, 5] += 0.9
    found = settled(maps)
    assert found[5, 5] > 0.8
    assert found[4].max() < 0.3


def test_tiles_that_were_not_seen_say_nothing() -> None:
    """NaN tiles do not count, in calibration or after it; what was never seen never alarms."""
    maps = quiet(80, 4)
    maps[:, 0, 0] = np.nan
    calibration = calibrate_changes(maps, 0.05)
    look = np.nan_to_num(calibration.usual)
    unseen = look.copy()
    look[0, 0] = 1.0
    assert calibration.excess(look)[0, 0] == 0.0
    unseen[3, 3] = np.nan
    assert calibration.score(unseen) <= calibration.threshold


def test_a_tile_that_never_changed_is_not_judged_too_finely() -> None:
    """Equal looks have a spread of at least the least one."""
    assert calibrate_changes(np.zeros((80, ROWS, COLUMNS)), 0.05).spread == pytest.approx(LEAST_SPREAD)


def test_few_looks_carry_no_strict_rate() -> None:
    """A rate of 0.01 needs 300 undisturbed looks (rule of 3); with fewer it is refused."""
    with pytest.raises(CalibrationTooSmallError):
        calibrate_changes(quiet(299, 1), 0.01)
    assert calibrate_changes(quiet(300, 1), 0.01).looks == 300


@pytest.mark.parametrize("maps", [np.zeros((80, 4)), np.full((80, 2, 2), -0.1), np.full((80, 2, 2), np.inf)])
def test_what_is_no_distance_map_is_told(maps: np.ndarray) -> None:
    """Another shape, a distance below 0 and one without end are errors."""
    with pytest.raises(InvalidInputError):
        calibrate_changes(maps, 0.05)


def test_another_grid_is_told() -> None:
    """Distances over other tiles than the calibrated ones are an error."""
    with pytest.raises(InvalidInputError):
        calibrate_changes(quiet(80, 1), 0.05).score(np.zeros((2, 2)))
