"""What a score rests on, told from the scores of one picture with parts of it covered: arithmetic over a grid of cells.

Says which cells are covered together, makes a map of what that did to the score, and tests the map. Knows no picture
and no network. A map says where, never how high the score is: its weights are shares of its own largest change.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError

DEFAULT_GRID = 14
LEAST_GRID, LARGEST_GRID = 4, 28
PATCH_CELLS = 2
"""Side of what is covered at a time. Single cells test as well on faces, and give a map of more specks."""

STRONGEST_SHARE = 0.1
RANDOM_PARTS = 8
HIGHEST_FAITHFULNESS = 100.0

_NO_CHANGE = 1e-5
"""Scores of one picture differ by so much with the batch that it is in."""

Cells = npt.NDArray[np.bool_]
"""bool of shape (n, rows, columns): what is covered in each of n variants."""

Weights = npt.NDArray[np.float32]
"""float32 of shape (rows, columns), each in [-1, 1]: positive speaks for the match, negative against it."""

Changes = npt.NDArray[np.floating]
"""Shape (n,): by how much the score fell in each of n variants; negative where it rose."""


def checked_grid(grid: int) -> int:
    """How many rows and columns a map has; 0 stands for 14.

    Raises:
        InvalidInputError: outside of 4 to 28.
    """
    if grid and not LEAST_GRID <= grid <= LARGEST_GRID:
        raise InvalidInputError("grid", grid, f"{LEAST_GRID} to {LARGEST_GRID}; 0: {DEFAULT_GRID}")
    return grid or DEFAULT_GRID


def patches(grid: int, side: int = PATCH_CELLS) -> Cells:
    """Every place of a square patch that covers anything: each cell is covered by side x side of them.

    Args:
        grid: rows and columns.
        side: of a patch, in cells; at the edges a part of it lies outside.

    Returns:
        ((grid + side - 1)^2, grid, grid), row by row.
    """
    starts = np.arange(1 - side, grid)[:, None]
    along = (np.arange(grid) >= starts) & (np.arange(grid) < starts + side)
    return (along[:, None, :, None] & along[None, :, None, :]).reshape(-1, grid, grid)


def cell_weights(changes: Changes, covered: Cells) -> Weights:
    """The map: each cell's mean change over the variants that cover it, as a share of the largest.

    Args:
        changes: what each variant did to the score.
        covered: what it covered; every cell is covered in one of them.

    Returns:
        All 0 where nothing changed the score.

    Source: occlusion sensitivity, Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
    with patches that overlap; a faithfulness test is what Samek et al., IEEE TNNLS 28 (2017), ask of any such map.
    """
    total = np.tensordot(np.asarray(changes, np.float64), covered.astype(np.float64), axes=1)
    means: npt.NDArray[np.float64] = total / covered.sum(axis=0)
    largest = float(np.abs(means).max())
    return (means / largest if largest > _NO_CHANGE else np.zeros_like(means)).astype(np.float32)


def direction(weights: Weights) -> int:
    """1 where the strongest part of a map speaks for the match, -1 where it speaks against it."""
    return 1 if weights.max() >= -weights.min() else -1


def strongest(weights: Weights, share: float = STRONGEST_SHARE) -> Cells:
    """The share of the cells that speaks most in the map's direction; of equal ones the first.

    Returns:
        (1, rows, columns).
    """
    order = np.argsort(-direction(weights) * weights.ravel(), kind="stable")
    return _together(order[None, : _count(weights.size, share)], weights.shape)


def random_parts(
    shape: tuple[int, int], count: int = RANDOM_PARTS, share: float = STRONGEST_SHARE, seed: int = 0
) -> Cells:
    """As many cells as `strongest` gives, drawn without regard to the map.

    Args:
        shape: rows and columns.
        count: how many draws.
        share: of the cells in each.
        seed: the same seed gives the same cells.

    Returns:
        (count, rows, columns).
    """
    size = shape[0] * shape[1]
    draws = np.random.default_rng(seed).permuted(np.tile(np.arange(size), (count, 1)), axis=1)
    return _together(draws[:, : _count(size, share)], shape)


def faithfulness(weights: Weights, of_strongest: float, of_random: Changes) -> float:
    """How much more covering the strongest part changes the score than covering as much anywhere.

    Args:
        weights: the map.
        of_strongest: the score's fall when `strongest` is covered.
        of_random: its falls when `random_parts` are.

    Returns:
        The ratio of the change in the map's direction to the mean size of the random changes: 1 says that the map tells
        nothing; 0 that the score does not change, or changes the other way. At most 100.
    """
    change = direction(weights) * of_strongest
    if change <= _NO_CHANGE:
        return 0.0
    return min(HIGHEST_FAITHFULNESS, change / max(_NO_CHANGE, float(np.abs(of_random).mean())))


def _count(cells: int, share: float) -> int:
    return max(1, round(share * cells))


def _together(chosen: npt.NDArray[np.intp], shape: tuple[int, ...]) -> Cells:
    covered = np.zeros((len(chosen), shape[0] * shape[1]), dtype=np.bool_)
    np.put_along_axis(covered, chosen, values=True, axis=1)
    return covered.reshape(len(chosen), *shape)
