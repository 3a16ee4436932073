"""The closer look: upright views, answers that come back to the picture, and answers that do not count."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.imaging.align import REFERENCE
from tessera.imaging.preprocess import views_input
from tessera.imaging.refine import SIZES, VIEWS, cut_views, join_landmarks

MIRRORED = [1, 0, 2, 4, 3]
Found = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


def face(angle: float, scale: float, x_px: float, y_px: float) -> npt.NDArray[np.float32]:
    turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    placed: npt.NDArray[np.float32] = (REFERENCE @ turn + np.array([x_px, y_px])).astype(np.float32)
    return placed


def as_seen(places: npt.NDArray[np.float32]) -> Found:
    """What a detector without error says: where in each view the points are that stand at `places` in the square."""
    found: Found = []
    for side_px, eyes_px in SIZES:
        scale = eyes_px / float(np.linalg.norm(REFERENCE[0] - REFERENCE[1]))
        inside = (places - np.array([56.0, 72.0])) * scale + side_px / 2
        mirrored = np.column_stack((side_px - 1 - inside[:, 0], inside[:, 1]))[MIRRORED]
        box = np.array([[side_px / 4, side_px / 4, side_px / 2, side_px / 2]], np.float32)
        found += [(box, inside[None].astype(np.float32)), (box, mirrored[None].astype(np.float32))]
    return found


@given(
    angle=st.floats(-math.pi, math.pi),
    scale=st.floats(0.2, 10),
    x_px=st.floats(-300, 300),
    y_px=st.floats(-300, 300),
)
def test_what_is_seen_in_the_views_comes_back_to_the_picture(
    angle: float, scale: float, x_px: float, y_px: float
) -> None:
    """A face that every view shows where it is keeps its landmarks, however it is turned and however large."""
    landmarks = face(angle, scale, x_px, y_px)
    joined = join_landmarks(landmarks, as_seen(REFERENCE))
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, landmarks, atol=0.02 * scale + 0.02)


def test_the_mean_is_taken() -> None:
    """One view that is off by 4 px of its own moves the result by a quarter of that, in pixels of the picture."""
    landmarks = face(0.0, 2.0, 10.0, 20.0)
    found = as_seen(REFERENCE)
    found[0][1][0, :, 0] += 4.0
    px_per_view_px = 2.0 * float(np.linalg.norm(REFERENCE[0] - REFERENCE[1])) / SIZES[0][1]
    moved = join_landmarks(landmarks, found) - landmarks
    np.testing.assert_allclose(moved[:, 0], px_per_view_px, atol=0.05)
    np.testing.assert_allclose(moved[:, 1], 0.0, atol=0.05)


def test_views_without_the_face_do_not_count() -> None:
    """An empty view, and one whose nearest face is somebody else, leave the others to decide."""
    landmarks = face(0.2, 1.5, 30.0, 5.0)
    found = as_seen(REFERENCE)
    found[1] = (np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32))
    found[2] = (found[2][0], found[2][1] + np.float32(SIZES[1][1]))
    np.testing.assert_allclose(join_landmarks(landmarks, found), landmarks, atol=0.05)


def test_the_face_in_the_middle_is_meant() -> None:
    """A neighbour in the view, named first, changes nothing."""
    landmarks = face(0.0, 1.0, 40.0, 40.0)
    found: Found = []
    for boxes, seen in as_seen(REFERENCE):
        beside = np.array([[0, 0, 20, 20]], np.float32)
        found.append((np.concatenate((beside, boxes)), np.concatenate((seen * 0 + np.float32(9), seen))))
    np.testing.assert_allclose(join_landmarks(landmarks, found), landmarks, atol=0.05)


@pytest.mark.parametrize("landmarks", [face(0.0, 1.0, 5.0, 5.0), np.full((5, 2), 20, np.float32)])
def test_a_face_that_is_not_found_again_keeps_its_landmarks(landmarks: npt.NDArray[np.float32]) -> None:
    """Nothing in any view, or first landmarks that all fall on one point: the first ones stand."""
    nothing = (np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32))
    assert np.array_equal(join_landmarks(landmarks, [nothing] * VIEWS), landmarks)
    if np.ptp(landmarks) == 0:
        assert np.array_equal(join_landmarks(landmarks, as_seen(REFERENCE)), landmarks)


def test_each_size_is_cut_as_it_is_and_mirrored() -> None:
    """The eyes of a turned face stand level and as far apart as promised; the second view is the first one's mirror."""
    landmarks = face(0.7, 2.0, 150.0, 60.0)
    image = np.zeros((400, 400, 3), np.uint8)
    for x_px, y_px in landmarks[:2]:
        image[round(y_px) - 3 : round(y_px) + 4, round(x_px) - 3 : round(x_px) + 4] = 255
    views = cut_views(image, landmarks)
    assert [view.shape for view in views] == [(side, side, 3) for side, _ in SIZES for _ in range(2)]
    for (side_px, eyes_px), plain, mirrored in zip(SIZES, views[::2], views[1::2], strict=True):
        assert np.array_equal(mirrored, plain[:, ::-1])
        rows, columns = np.nonzero(plain[:, :, 0] > 127)
        left, right = columns < side_px / 2, columns >= side_px / 2
        assert columns[right].mean() - columns[left].mean() == pytest.approx(eyes_px, abs=1.5)
        assert rows[right].mean() == pytest.approx(rows[left].mean(), abs=1.5)


def test_a_large_face_is_averaged_down() -> None:
    """A checkerboard of single pixels, far above the view's size, becomes its mean instead of stripes."""
    rows, columns = np.mgrid[0:1600, 0:1600]
    image = np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    small = cut_views(image, face(0.1, 12.0, 100.0, 100.0))[0]
    middle = small[50:110, 50:110].astype(float)
    assert middle.mean() == pytest.approx(127.5, abs=3)
    assert middle.std() < 12


def test_views_become_the_detectors_input() -> None:
    """Blue first, 0 to 255, one row a view."""
    view = np.zeros((160, 160, 3), np.uint8)
    view[:, :] = (10, 20, 30)
    values = views_input([view, view])
    assert values.shape == (2, 3, 160, 160)
    assert values.dtype == np.float32
    assert values[1, :, 7, 7].tolist() == [10.0, 20.0, 30.0]
