"""The camera changes that people are judged under: always the same, stronger from level to level, four cameras."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.person.shifts import CAMERAS, LEVELS, STRENGTHS, camera_of, illuminant_gains, shifted
from tessera.imaging.decode import Image


def _crop() -> Image:
    rng = np.random.default_rng(3)
    crop = np.full((128, 64, 3), 150, np.uint8)
    crop[15:45, 24:40] = (120, 150, 190)
    crop[45:85, 18:46] = (40, 60, 170)
    crop[85:, 20:44] = (90, 50, 40)
    noisy: Image = np.clip(crop + rng.integers(-12, 12, crop.shape), 0, 255).astype(np.uint8)
    return noisy


def _names() -> list[str]:
    """One for each camera."""
    return [next(f"p{at}.jpg" for at in range(99) if camera_of(f"p{at}.jpg") == camera) for camera in range(CAMERAS)]


def test_a_shift_is_repeated_by_its_name() -> None:
    """The same picture, name and level give the same bytes; another name has another camera or noise."""
    first, again, other = (shifted(_crop(), name, 3) for name in ("a.jpg", "a.jpg", "b.jpg"))
    assert first.shape == (128, 64, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


def test_level_nought_leaves_a_picture_as_it_is() -> None:
    """What is compared with has no shift."""
    assert (shifted(_crop(), "a.jpg", 0) == _crop()).all()
    with pytest.raises(KeyError):
        shifted(_crop(), "a.jpg", 6)


@pytest.mark.parametrize("camera", range(CAMERAS))
def test_each_level_is_further_from_the_picture(camera: int) -> None:
    """By the mean difference in pixels, on each of the cameras."""
    name, crop = _names()[camera], _crop().astype(np.float64)
    apart = [float(np.abs(shifted(_crop(), name, level) - crop).mean()) for level in LEVELS]
    assert apart == sorted(apart)
    assert apart[-1] > 2.0 * apart[0]


def test_every_strength_grows() -> None:
    """No level is weaker than the one before it in anything; light, pixels and quality fall."""
    falling = {"height_px", "electrons", "quality"}
    for before, after in pairwise(LEVELS):
        for name in type(STRENGTHS[before]).__slots__:
            low, high = (getattr(STRENGTHS[level], name) for level in (before, after))
            assert low > high if name in falling else low < high, name


def test_a_warm_illuminant_adds_red_and_takes_blue() -> None:
    """Blue, green and red, green being 1; daylight changes nothing."""
    warm, cold = illuminant_gains(60.0), illuminant_gains(-60.0)
    assert warm[0] < 1.0 < warm[2]
    assert cold[2] < 1.0 < cold[0]
    np.testing.assert_allclose(illuminant_gains(0.0), 1.0, atol=1e-6)


def test_two_of_four_cameras_have_something_in_front() -> None:
    """The lowest rows of a picture lose what was on them."""
    hidden = []
    for name in _names():
        seen = shifted(_crop(), name, 5)[-12:].astype(np.float64)
        hidden.append(float(seen.std(axis=(0, 1)).max()))
    order = np.argsort(hidden)
    assert {camera_of(_names()[at]) % 2 for at in order[:2]} == {1}
