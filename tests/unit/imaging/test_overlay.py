"""Pictures with parts covered, and maps over pictures: what is changed, and what people can tell from it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.saliency import patches
from tessera.imaging.covering import blurred, cell_of, cover
from tessera.imaging.overlay import LEAST_SIDE_PX, draw


def _picture(height_px: int = 112, width_px: int = 112) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def _drawn(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    drawn = cv2.imdecode(np.frombuffer(draw(image, weights), np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    return drawn.astype(int)


@given(st.integers(1, 300), st.integers(1, 28))
def test_pixels_fall_into_cells_in_order_and_evenly(length_px: int, cells: int) -> None:
    """Cells differ by one pixel at most, so that any size of picture has a map."""
    cell = cell_of(length_px, cells)
    assert (np.diff(cell) >= 0).all()
    assert 0 <= cell[0] <= cell[-1] < cells
    sizes = np.bincount(cell, minlength=cells)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("shape", [(112, 112), (64, 128), (150, 220)])
def test_only_what_is_covered_changes(shape: tuple[int, int]) -> None:
    """Covered cells are the filling's, the others the picture's, in pictures of any shape."""
    image = _picture(*shape)
    filling = np.full_like(image, 7)
    cells = patches(14)
    for variant, covered in list(zip(cover(image, filling, cells), cells, strict=True))[::40]:
        pixels = covered[cell_of(shape[0], 14)[:, None], cell_of(shape[1], 14)]
        assert variant.dtype == np.uint8
        assert (variant[pixels] == 7).all()
        assert (variant[~pixels] == image[~pixels]).all()


def test_the_filling_has_the_light_of_its_place_and_no_detail() -> None:
    """A dark and a bright half stay dark and bright; noise is gone."""
    image = _picture()
    image[:, :56] //= 4
    filling = blurred(image)
    assert filling[:, :30].mean() == pytest.approx(image[:, :30].mean(), abs=8)
    assert filling[:, 80:].mean() == pytest.approx(image[:, 80:].mean(), abs=8)
    assert filling[:, 80:].std() < image[:, 80:].std() / 8


def test_red_speaks_for_and_blue_against() -> None:
    """And what has no weight is grey, whatever colour the picture had there."""
    weights = np.zeros((14, 14), np.float32)
    weights[2:5, 2:5], weights[9:12, 9:12] = 1.0, -1.0
    drawn = _drawn(_picture(), weights)
    scale = LEAST_SIDE_PX // 14
    blue, _, red = drawn[3 * scale + 16, 3 * scale + 16]
    assert red > blue + 60
    blue, _, red = drawn[10 * scale + 16, 10 * scale + 16]
    assert blue > red + 60
    corner = drawn[-40:, :40]
    assert (corner.max(axis=2) - corner.min(axis=2)).max() <= 2


def test_for_and_against_can_be_told_without_colour() -> None:
    """The line around what is strongly for is white, around what is strongly against black."""
    image = np.full((112, 112, 3), 128, np.uint8)
    weights = np.zeros((14, 14), np.float32)
    weights[5:9, 5:9] = 1.0
    lighter = _drawn(image, weights).min(axis=2)
    darker = _drawn(image, -weights).max(axis=2)
    assert lighter.max() > 240
    assert darker.min() < 15


def test_an_empty_map_leaves_a_grey_picture() -> None:
    """No colour and no line: there is nothing to be seen."""
    drawn = _drawn(_picture(), np.zeros((14, 14), np.float32))
    assert (drawn.max(axis=2) == drawn.min(axis=2)).all()
    assert 35 <= drawn.min() <= drawn.max() <= 250


@pytest.mark.parametrize(
    ("shape", "size"), [((112, 112), (448, 448)), ((150, 220), (450, 660)), ((900, 600), (900, 600))]
)
def test_small_pictures_are_enlarged_by_a_whole_number(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Large enough to look at, and never smaller than what the network saw."""
    assert _drawn(_picture(*shape), np.zeros((4, 28), np.float32)).shape[:2] == size
