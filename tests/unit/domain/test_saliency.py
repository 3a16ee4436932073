"""Maps of what a score rests on: where they light up, what scale they have, and what tells a good one from noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain import saliency
from tessera.domain.errors import InvalidInputError

GRIDS = st.integers(saliency.LEAST_GRID, 9)
SIDES = st.integers(1, 3)


def _naive_weights(changes: np.ndarray, covered: np.ndarray) -> np.ndarray:
    means = np.zeros(covered.shape[1:])
    for row in range(covered.shape[1]):
        for column in range(covered.shape[2]):
            seen = [change for change, cells in zip(changes, covered, strict=True) if cells[row, column]]
            means[row, column] = sum(seen) / len(seen)
    return np.asarray(means / np.abs(means).max())


# ---- what is covered


@given(GRIDS, SIDES)
def test_every_cell_is_covered_equally_often(grid: int, side: int) -> None:
    """No place of the picture has more to say than another; those at the edges neither."""
    covered = saliency.patches(grid, side)
    assert covered.shape == ((grid + side - 1) ** 2, grid, grid)
    assert (covered.sum(axis=0) == side * side).all()
    assert (covered.sum(axis=(1, 2)) > 0).all()


@given(GRIDS, st.floats(0.01, 0.5), st.integers(0, 100))
def test_random_parts_are_as_large_as_the_strongest(grid: int, share: float, seed: int) -> None:
    """The comparison is fair: as many cells, and the same ones for the same seed."""
    weights = np.random.default_rng(seed).uniform(-1, 1, (grid, grid)).astype(np.float32)
    strongest = saliency.strongest(weights, share)
    drawn = saliency.random_parts((grid, grid), 5, share, seed)
    assert set(drawn.sum(axis=(1, 2))) == {strongest.sum()}
    assert (drawn == saliency.random_parts((grid, grid), 5, share, seed)).all()
    assert len({cells.tobytes() for cells in drawn}) > 1


# ---- the map


@given(GRIDS, SIDES, st.integers(0, 1000))
def test_a_map_is_the_mean_over_what_covers_a_cell(grid: int, side: int, seed: int) -> None:
    """As a loop over cells and variants computes it."""
    covered = saliency.patches(grid, side)
    changes = np.random.default_rng(seed).normal(size=len(covered))
    np.testing.assert_allclose(saliency.cell_weights(changes, covered), _naive_weights(changes, covered), atol=1e-6)


@given(GRIDS, st.floats(1e-3, 1e3), st.integers(0, 1000))
def test_a_map_says_nothing_of_how_high_the_score_is(grid: int, times: float, seed: int) -> None:
    """Changes that are all so many times as large make the same map; its largest weight is always 1 in size."""
    covered = saliency.patches(grid)
    changes = np.random.default_rng(seed).normal(size=len(covered))
    weights = saliency.cell_weights(changes, covered)
    assert np.abs(weights).max() == pytest.approx(1.0)
    np.testing.assert_allclose(saliency.cell_weights(times * changes, covered), weights, atol=1e-5)
    np.testing.assert_allclose(saliency.cell_weights(-changes, covered), -weights, atol=1e-6)


@pytest.mark.parametrize("corner", [(0, 0), (0, 13), (13, 0), (13, 13), (6, 7)])
def test_what_looks_at_one_place_lights_up_that_place(corner: tuple[int, int]) -> None:
    """A score that falls only where one cell is covered: that cell has weight 1, what is two cells away has none."""
    covered = saliency.patches(14)
    weights = saliency.cell_weights(covered[:, corner[0], corner[1]].astype(float), covered)
    assert weights[corner] == 1.0
    rows, columns = np.indices(weights.shape)
    away = np.maximum(abs(rows - corner[0]), abs(columns - corner[1]))
    assert (weights[away >= 2] == 0.0).all()
    assert weights[away == 1].max() <= 0.5


def test_what_looks_at_nothing_has_an_empty_map() -> None:
    """Not noise blown up to full strength."""
    covered = saliency.patches(14)
    noise = np.random.default_rng(0).normal(scale=1e-7, size=len(covered))
    weights = saliency.cell_weights(noise, covered)
    assert not weights.any()
    assert saliency.faithfulness(weights, 0.0, np.zeros(8)) == 0.0


# ---- the test of a map


def test_the_strongest_part_is_of_the_maps_own_direction() -> None:
    """A map of what speaks against a match is tested by what speaks against it."""
    weights = np.linspace(-1.0, 0.5, 100, dtype=np.float32).reshape(10, 10)
    assert saliency.direction(weights) == -1
    assert (np.flatnonzero(saliency.strongest(weights)) == np.arange(10)).all()
    assert (np.flatnonzero(saliency.strongest(-weights)) == np.arange(10)).all()


@pytest.mark.parametrize(("change", "ratio"), [(0.4, 4.0), (0.1, 1.0), (-0.4, 0.0), (1e-9, 0.0)])
def test_faithfulness_is_the_ratio_to_a_random_part(change: float, ratio: float) -> None:
    """1 tells nothing; a change the other way tells that the map is wrong."""
    weights = np.eye(4, dtype=np.float32)
    assert saliency.faithfulness(weights, change, np.array([0.05, -0.15, 0.1, 0.1])) == pytest.approx(ratio)
    assert saliency.faithfulness(-weights, -change, np.array([0.05, -0.15, 0.1, 0.1])) == pytest.approx(ratio)


def test_faithfulness_is_finite_where_random_parts_change_nothing() -> None:
    """An encoder that looks at one place alone is missed by all of them."""
    assert saliency.faithfulness(np.eye(4, dtype=np.float32), 0.9, np.zeros(8)) == saliency.HIGHEST_FAITHFULNESS


@pytest.mark.parametrize("grid", [1, 3, 29, 10_000])
def test_a_grid_outside_of_what_is_allowed_is_refused(grid: int) -> None:
    """The error names the field and what would be right."""
    with pytest.raises(InvalidInputError, match=r"grid: got \d+; allowed: 4 to 28; 0: 14"):
        saliency.checked_grid(grid)


def test_no_grid_is_the_default_one() -> None:
    """0 is what a message holds whose field is not set."""
    assert [saliency.checked_grid(grid) for grid in (0, 4, 28)] == [14, 4, 28]
