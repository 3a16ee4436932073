"""What the person encoder sees: boxes cut out and stretched, colours in the order that the network wants."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tessera.domain.errors import InvalidInputError
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX, Box, crop_person, person_input


def _picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[50:250, 100:200] = (10, 20, 30)
    return picture


def test_a_box_fills_the_whole_crop() -> None:
    """Whatever its proportions, nothing but the box is seen."""
    for box in ((100.0, 50.0, 100.0, 200.0), (100.0, 50.0, 100.0, 40.0), (120.0, 60.0, 8.0, 150.0)):
        crop = crop_person(_picture(), box)
        assert crop.shape == (CROP_HEIGHT_PX, CROP_WIDTH_PX, 3)
        assert (crop == (10, 20, 30)).all()


def test_what_lies_beyond_the_picture_is_left_out() -> None:
    """A person who is half out of the picture fills the crop with the other half."""
    picture = np.full((100, 100, 3), 7, np.uint8)
    assert (crop_person(picture, (-50.0, -80.0, 100.0, 200.0)) == 7).all()


@pytest.mark.parametrize(
    "box", [(400.0, 0.0, 10.0, 10.0), (0.0, -20.0, 10.0, 20.0), (10.0, 10.0, 0.2, 0.2), (math.nan, 0.0, 9.0, 9.0)]
)
def test_a_box_without_pixels_is_refused_by_name(box: Box) -> None:
    """Beyond the picture, empty, or no number."""
    with pytest.raises(InvalidInputError, match="box"):
        crop_person(_picture(), box)


def test_the_encoder_gets_red_first_from_nought_to_one() -> None:
    """(10, 20, 30) in blue, green, red is (30, 20, 10) of 255 in red, green, blue."""
    values = person_input([crop_person(_picture(), (100.0, 50.0, 100.0, 200.0))])
    assert values.shape == (1, 3, CROP_HEIGHT_PX, CROP_WIDTH_PX)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0, :, 64, 32], np.array([30, 20, 10]) / 255.0, rtol=1e-6)
