"""Spreading and dividing levels: against loops, and the laws that each keeps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tessera.domain.errors import InvalidInputError
from tessera.imaging.binarise import binarise, otsu_threshold
from tessera.imaging.equalise import clahe, equalise

GRAY = nps.arrays(np.uint8, nps.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16))
COLOUR = nps.arrays(np.uint8, st.tuples(st.integers(4, 12), st.integers(4, 12), st.just(3)))


def _equalised_by_loops(picture: np.ndarray) -> np.ndarray:
    levels = [int(level) for level in picture.ravel()]
    lowest = min(levels)
    if lowest == max(levels):
        return picture
    above_lowest = sum(level > lowest for level in levels)
    new = {at: 255 * sum(lowest < level <= at for level in levels) / above_lowest for at in set(levels)}
    return np.vectorize(new.get, otypes=[float])(picture)


def _clahe_by_loops(picture: np.ndarray, clip_limit: float, tiles: int) -> np.ndarray:
    """Histograms of tiles, clipped, what is cut spread again, and four of them interpolated at each pixel."""
    high, wide = picture.shape[0] // tiles, picture.shape[1] // tiles
    limit = max(1, int(clip_limit * high * wide / 256))
    tables = np.empty((tiles, tiles, 256))
    for row in range(tiles):
        for column in range(tiles):
            tile = picture[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            counts = [int((tile == level).sum()) for level in range(256)]
            cut = sum(max(0, count - limit) for count in counts)
            each, rest = divmod(cut, 256)
            counts = [min(count, limit) + each for count in counts]
            step = max(256 // rest, 1) if rest else 1
            for at in range(0, 256, step):
                if rest == 0:
                    break
                counts[at], rest = counts[at] + 1, rest - 1
            tables[row, column] = np.rint(np.cumsum(counts) * 255 / (high * wide)).clip(0, 255)
    result = np.empty(picture.shape)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            down, right = y / high - 0.5, x / wide - 0.5
            top, left = int(np.floor(down)), int(np.floor(right))
            part_y, part_x = down - top, right - left
            rows = [max(top, 0), min(top + 1, tiles - 1)]
            columns = [max(left, 0), min(left + 1, tiles - 1)]
            four = tables[np.ix_(rows, columns)][:, :, picture[y, x]]
            result[y, x] = np.array([1 - part_y, part_y]) @ four @ np.array([1 - part_x, part_x])
    return result


def _otsu_by_loops(picture: np.ndarray) -> list[float]:
    """What each threshold from 0 to 254 separates."""
    pixels = picture.ravel().astype(float)
    separation = []
    for threshold in range(255):
        dark, bright = pixels[pixels <= threshold], pixels[pixels > threshold]
        both = len(dark) * len(bright)
        separation.append(both * (dark.mean() - bright.mean()) ** 2 / len(pixels) ** 2 if both else 0.0)
    return separation


@given(GRAY)
def test_equalised_levels_are_the_shares_below_them(picture: np.ndarray) -> None:
    """A loop over the levels says the same, but for rounding."""
    assert np.abs(equalise(picture) - _equalised_by_loops(picture)).max() <= 0.51


@given(GRAY)
def test_equalising_keeps_the_order_of_levels(picture: np.ndarray) -> None:
    """Of two pixels the darker is never the brighter one afterwards, and both ends of the range are used."""
    result = equalise(picture)
    order = np.argsort(picture.ravel(), kind="stable")
    assert (np.diff(result.ravel()[order].astype(int)) >= 0).all()
    if picture.min() < picture.max():
        assert (result.min(), result.max()) == (0, 255)


@given(GRAY)
def test_equal_levels_stay_equal(picture: np.ndarray) -> None:
    """Each level becomes one level, wherever it stands."""
    result = equalise(picture)
    assert all(len(np.unique(result[picture == level])) == 1 for level in np.unique(picture))


def test_clahe_is_what_the_book_says() -> None:
    """A loop over tiles and pixels says the same, within a level."""
    picture = np.random.default_rng(5).normal(110, 25, (24, 32)).clip(0, 255).astype(np.uint8)
    assert np.abs(clahe(picture, 3.0, 4) - _clahe_by_loops(picture, 3.0, 4)).max() <= 1.0


def test_clahe_lifts_what_is_flat_in_its_place() -> None:
    """In a picture with a dark half and a bright half both show their detail better; a limit of 1 lifts least."""
    picture = np.random.default_rng(6).integers(40, 56, (64, 64), dtype=np.uint8)
    picture[:, 32:] += 160
    lifted, least = clahe(picture, 8.0, 4), clahe(picture, 1.0, 4)
    for half in (np.s_[:, :24], np.s_[:, 40:]):
        assert lifted[half].std() > 1.5 * picture[half].std()
        assert lifted[half].std() > least[half].std()


@given(COLOUR)
def test_colour_keeps_its_form(picture: np.ndarray) -> None:
    """Three channels in, three out; the picture that was given is not changed."""
    before = picture.copy()
    for spread in (equalise, clahe):
        result = spread(picture)
        assert (result.shape, result.dtype) == (picture.shape, np.uint8)
    np.testing.assert_array_equal(picture, before)


def test_gray_in_three_channels_stays_gray() -> None:
    """Equalising the luminance gives no hue to what has none."""
    levels = np.random.default_rng(7).integers(80, 120, (16, 16), dtype=np.uint8)
    result = equalise(np.repeat(levels[:, :, None], 3, axis=2))
    assert np.ptp(result, axis=2).max() <= 1
    np.testing.assert_allclose(result[:, :, 0], equalise(levels), atol=1)


@given(GRAY)
def test_otsu_separates_as_well_as_any_threshold(picture: np.ndarray) -> None:
    """No threshold that a loop tries puts the two means farther apart, weighed by the groups' sizes."""
    separation = _otsu_by_loops(picture)
    assert separation[otsu_threshold(picture)] >= max(separation) * (1 - 1e-6)


@given(GRAY)
def test_binarising_twice_is_binarising_once(picture: np.ndarray) -> None:
    """A picture that is black and white already stays as it is, one that is all black or all white too."""
    once = binarise(picture)
    assert set(np.unique(once)) <= {0, 255}
    np.testing.assert_array_equal(binarise(once), once)


@given(GRAY, st.integers(0, 254))
def test_a_given_threshold_is_used(picture: np.ndarray, threshold: int) -> None:
    """White is what is brighter than it, and nothing else."""
    np.testing.assert_array_equal(binarise(picture, threshold) == 255, picture > threshold)


def test_ink_is_found_under_noise_and_a_dim_light() -> None:
    """Strokes on paper: 99 % of the pixels are told rightly."""
    truth = np.full((64, 128), 255, np.uint8)
    cv2.line(truth, (10, 50), (60, 12), 0, 3)
    cv2.ellipse(truth, (88, 34), (24, 14), 20, 0, 300, 0, 3)
    noise = np.random.default_rng(8).normal(0, 9, truth.shape)
    seen = np.clip(60 + truth * 0.45 + noise, 0, 255).astype(np.uint8)
    assert (binarise(seen) == truth).mean() > 0.99


@pytest.mark.parametrize("use", [equalise, clahe, otsu_threshold, binarise])
@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8), np.uint16),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8), np.uint8),
    ],
    ids=["float32", "uint16", "four-channels", "empty"],
)
def test_other_than_levels_is_refused(use: object, picture: np.ndarray) -> None:
    """What works on 256 levels takes uint8 alone."""
    assert callable(use)
    with pytest.raises(InvalidInputError) as caught:
        use(picture)
    assert caught.value.field == "picture"


def test_settings_of_levels_out_of_range_are_refused() -> None:
    """The error names the setting."""
    picture = np.zeros((16, 16), np.uint8)
    for field, use in (
        ("clip_limit", lambda: clahe(picture, 0.5)),
        ("tiles", lambda: clahe(picture, tiles=0)),
        ("picture", lambda: clahe(picture, tiles=20)),
        ("threshold", lambda: binarise(picture, 255)),
    ):
        with pytest.raises(InvalidInputError) as caught:
            use()
        assert caught.value.field == field
