"""A map over the canvas goes back to the strokes in the picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tessera.imaging.signature import prepare_signature
from tessera.imaging.stroke_overlay import LEAST_SIDE_PX, MOST_SIDE_PX, draw_strokes, weights_in_picture

Picture = npt.NDArray[np.uint8]


def two_strokes(scale: int = 1) -> Picture:
    """A stroke on the left and one on the right, on white paper."""
    picture = np.full((200 * scale, 600 * scale, 3), 255, np.uint8)
    for left in (60, 380):
        corners = [(left * scale, 140 * scale), ((left + 150) * scale, 60 * scale)]
        cv2.line(picture, corners[0], corners[1], (0, 0, 0), 8 * scale)
    return picture


RIGHT_IS_AGAINST = np.array([[1.0, 1.0, -1.0, -1.0]] * 4, np.float32)


def drawn(picture: Picture) -> Picture:
    """The overlay of a map that is for on the left and against on the right."""
    png = draw_strokes(picture, prepare_signature(picture), RIGHT_IS_AGAINST)
    return np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def columns_of(overlay: Picture, first: int, second: int) -> npt.NDArray[np.intp]:
    """Where one channel is clearly above another, as columns."""
    found: npt.NDArray[np.intp] = (overlay[..., first].astype(int) - overlay[..., second] > 60).nonzero()[1]
    return found


def test_each_stroke_has_the_colour_of_its_part_of_the_map() -> None:
    """Red on the left, blue on the right, and paper without colour."""
    overlay = drawn(two_strokes())
    middle = overlay.shape[1] / 2
    red, blue = columns_of(overlay, 2, 0), columns_of(overlay, 0, 2)
    assert red.size > 100
    assert blue.size > 100
    assert red.max() < middle < blue.min()
    corner = overlay[:20, :20].astype(int)
    assert np.ptp(corner, axis=2).max() == 0


def test_what_speaks_against_is_ringed() -> None:
    """Black beside the right stroke and not beside the left one: it can be read without colour."""
    overlay = drawn(two_strokes())
    black = (overlay.max(2) < 40).nonzero()[1]
    assert black.size > 100
    assert black.min() > overlay.shape[1] / 2


@pytest.mark.parametrize(("scale", "longer_px"), [(1, LEAST_SIDE_PX), (4, MOST_SIDE_PX)])
def test_it_is_drawn_at_a_size_for_people(scale: int, longer_px: int) -> None:
    """Small pictures are enlarged, large ones shrunk."""
    assert max(drawn(two_strokes(scale)).shape) == longer_px


def test_places_follow_gaps_that_the_canvas_narrows() -> None:
    """The gap between the strokes is narrower on the canvas; the map's two halves still meet within it."""
    picture = two_strokes()
    prepared = prepare_signature(picture)
    found = weights_in_picture(prepared, RIGHT_IS_AGAINST, 200, 600, 600, 200)
    assert found.shape == (200, 600)
    assert (found[100, 60:210] > 0.5).all()
    assert (found[100, 400:530] < -0.5).all()
    assert np.abs(found).max() <= 1.0
