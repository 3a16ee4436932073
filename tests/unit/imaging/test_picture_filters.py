"""Filters against loops that say what they do, and the laws that they keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tessera.domain.errors import InvalidInputError
from tessera.imaging.filters import gaussian, median, non_local_means, normalise, rescale, to_levels
from tessera.imaging.wavelets import wavelet_shrinkage

SHAPES = st.one_of(
    nps.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3])),
)
BYTES = nps.arrays(np.uint8, SHAPES)
FLOATS = nps.arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32))
ANY = st.one_of(BYTES, FLOATS)


def made_picture(side_px: int = 64) -> np.ndarray:
    """Discs, a bar and a slope on gray: edges and smooth places, of uint8."""
    picture = np.full((side_px, side_px), 90, np.uint8)
    picture += np.linspace(0, 60, side_px).astype(np.uint8)
    cv2.circle(picture, (side_px // 3, side_px // 3), side_px // 5, 220, -1)
    cv2.circle(picture, (2 * side_px // 3, side_px // 2), side_px // 7, 30, -1)
    cv2.rectangle(picture, (side_px // 8, 3 * side_px // 4), (7 * side_px // 8, 5 * side_px // 6), 180, -1)
    return picture


def psnr_db(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal to noise ratio of levels."""
    error = ((picture.astype(float) - truth.astype(float)) ** 2).mean()
    return 10 * math.log10(255**2 / error)


def noisy(picture: np.ndarray, deviation: float, seed: int = 0) -> np.ndarray:
    """With Gaussian noise, as uint8."""
    noise = np.random.default_rng(seed).normal(0, deviation, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


# ---- loops


def _gaussian_by_loops(picture: np.ndarray, sigma_px: float) -> np.ndarray:
    reach = math.ceil(3 * sigma_px)
    padded = np.pad(picture.astype(float), reach, mode="reflect")
    result = np.zeros(picture.shape)
    total = 0.0
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            weight = math.exp(-(down**2 + right**2) / (2 * sigma_px**2))
            total += weight
            for y in range(picture.shape[0]):
                for x in range(picture.shape[1]):
                    result[y, x] += weight * padded[y + down + reach, x + right + reach]
    return result / total


def _median_by_loops(picture: np.ndarray, side_px: int) -> np.ndarray:
    reach = side_px // 2
    padded = np.pad(picture, reach, mode="edge")
    result = np.empty_like(picture)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            result[y, x] = np.median(padded[y : y + side_px, x : x + side_px])
    return result


def _non_local_means_by_loops(picture: np.ndarray, strength: float, patch_px: int, search_px: int) -> np.ndarray:
    near, far = patch_px // 2, search_px // 2
    padded = np.pad(picture.astype(float), near + far, mode="reflect")
    result = np.empty(picture.shape)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            cy, cx = y + near + far, x + near + far
            own = padded[cy - near : cy + near + 1, cx - near : cx + near + 1]
            weights = values = 0.0
            for oy in range(cy - far, cy + far + 1):
                for ox in range(cx - far, cx + far + 1):
                    other = padded[oy - near : oy + near + 1, ox - near : ox + near + 1]
                    weight = math.exp(-((own - other) ** 2).mean() / strength**2)
                    weights, values = weights + weight, values + weight * padded[oy, ox]
            result[y, x] = values / weights
    return result


@pytest.mark.parametrize("sigma_px", [0.6, 1.0, 1.7])
def test_gaussian_is_the_weighted_mean(sigma_px: float) -> None:
    """Both types agree with a loop over pixels, the levels but for rounding."""
    picture = np.random.default_rng(1).integers(0, 256, (13, 17), dtype=np.uint8)
    expected = _gaussian_by_loops(picture, sigma_px)
    assert np.abs(gaussian(picture, sigma_px) - expected).max() <= 0.501
    np.testing.assert_allclose(gaussian(rescale(picture), sigma_px), expected / 255, atol=2e-6)


@pytest.mark.parametrize("side_px", [3, 5])
def test_median_is_the_middle_of_the_square(side_px: int) -> None:
    """Both types agree with a loop over pixels exactly."""
    picture = np.random.default_rng(2).integers(0, 256, (11, 14), dtype=np.uint8)
    expected = _median_by_loops(picture, side_px)
    np.testing.assert_array_equal(median(picture, side_px), expected)
    np.testing.assert_array_equal(median(rescale(picture), side_px), rescale(expected))


def test_non_local_means_is_what_the_paper_says() -> None:
    """Within a level of a loop over pixels and their neighbourhoods: OpenCV computes with whole numbers."""
    picture = noisy(made_picture(16), 12)
    expected = _non_local_means_by_loops(picture, 20.0, 3, 7)
    assert np.abs(non_local_means(picture, 20.0, 3, 7) - expected).max() <= 1.5


def _haar_by_loops(picture: np.ndarray) -> list[np.ndarray]:
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    bands = [np.empty((height, width)) for _ in range(4)]
    for y in range(height):
        for x in range(width):
            a, b, c, d = picture[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel()
            bands[0][y, x], bands[1][y, x] = (a + b + c + d) / 2, (a + b - c - d) / 2
            bands[2][y, x], bands[3][y, x] = (a - b + c - d) / 2, (a - b - c + d) / 2
    return bands


def _shrunk_by_loops(picture: np.ndarray) -> np.ndarray:
    coarse, *details = _haar_by_loops(picture)
    noise = np.median([abs(value) for value in details[2].ravel()]) / 0.6745
    shrunk = []
    for band in details:
        signal = math.sqrt(max(0.0, np.mean(band**2) - noise**2))
        least = noise**2 / signal if signal > 0 else math.inf
        shrunk.append(np.array([[math.copysign(max(abs(v) - least, 0.0), v) for v in row] for row in band]))
    across, down, both = shrunk
    result = np.empty(picture.shape)
    result[::2, ::2], result[::2, 1::2] = (coarse + across + down + both) / 2, (coarse + across - down - both) / 2
    result[1::2, ::2], result[1::2, 1::2] = (coarse - across + down - both) / 2, (coarse - across - down + both) / 2
    return result


def test_wavelet_shrinkage_is_bayes_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the simplest wavelet, which a loop can follow, one level is thresholds and transform by hand."""
    monkeypatch.setattr("tessera.imaging.wavelets._WAVELET", "haar")
    picture = rescale(noisy(made_picture(32), 15))
    expected = np.clip(_shrunk_by_loops(picture.astype(float)), 0, 1)
    np.testing.assert_allclose(wavelet_shrinkage(picture, levels=1), expected, atol=1e-6)


# ---- laws

FILTERS: list[Callable[[np.ndarray], np.ndarray]] = [lambda p: gaussian(p, 1.2), median]


@given(ANY)
def test_filters_keep_shape_type_and_range(picture: np.ndarray) -> None:
    """What comes out lies between the darkest and the brightest of what went in, in the same form."""
    before = picture.copy()
    for smooth in FILTERS:
        result = smooth(picture)
        assert (result.shape, result.dtype) == (picture.shape, picture.dtype)
        assert picture.min() - 1e-5 <= result.min()
        assert result.max() <= picture.max() + 1e-5
    np.testing.assert_array_equal(picture, before)


@given(nps.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]))))
def test_non_local_means_keeps_shape_and_range(picture: np.ndarray) -> None:
    """A mean of pixels is never darker or brighter than all of them."""
    result = non_local_means(picture, 10.0, 3, 5)
    assert (result.shape, result.dtype) == (picture.shape, picture.dtype)
    assert picture.min() <= result.min()
    assert result.max() <= picture.max()


@given(st.integers(14, 41), st.integers(14, 41), st.sampled_from([(), (1,), (3,)]), st.booleans(), st.integers(0, 99))
def test_wavelet_shrinkage_keeps_shape_type_and_range(
    height_px: int, width_px: int, channels: tuple[int, ...], floats: bool, seed: int
) -> None:
    """Odd sides and single channels too; there is no value out of range."""
    levels = np.random.default_rng(seed).integers(0, 256, (height_px, width_px, *channels), dtype=np.uint8)
    picture = rescale(levels) if floats else levels
    result = wavelet_shrinkage(picture)
    assert (result.shape, result.dtype) == (picture.shape, picture.dtype)
    assert result.min() >= 0
    assert result.max() <= (1 if floats else 255)


@given(ANY, st.integers(0, 255))
def test_one_level_stays_one_level(picture: np.ndarray, level: int) -> None:
    """Nothing is made out of nothing."""
    flat = np.full_like(picture, level if picture.dtype == np.uint8 else level / 255)
    for smooth in FILTERS:
        np.testing.assert_allclose(smooth(flat), flat, atol=1e-6)


@given(BYTES)
def test_levels_come_back_from_numbers(picture: np.ndarray) -> None:
    """Rescaling loses nothing."""
    scaled = rescale(picture)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(to_levels(scaled), picture)


@given(ANY)
def test_normalised_pictures_fill_the_range_once(picture: np.ndarray) -> None:
    """0 and 1 are both there unless there is one value; a second time changes nothing."""
    result = normalise(picture)
    assert result.min() == 0.0
    assert result.max() == (1.0 if picture.min() < picture.max() else 0.0)
    np.testing.assert_array_equal(normalise(result), result)


@pytest.mark.parametrize("deviation", [10.0, 20.0, 30.0])
def test_noise_is_reduced(deviation: float) -> None:
    """By 3 dB or more on pictures whose truth is known, by each filter; the adaptive ones keep more than a blur."""
    truth = made_picture()
    picture = noisy(truth, deviation)
    before = psnr_db(picture, truth)
    by_means = psnr_db(non_local_means(picture, 1.2 * deviation), truth)
    by_wavelets = psnr_db(wavelet_shrinkage(picture), truth)
    assert by_means > before + 3
    assert by_wavelets > before + 3
    assert by_means > psnr_db(gaussian(picture, 1.5), truth)


def test_median_removes_salt_and_pepper() -> None:
    """One pixel in twenty is wrong; hardly one is afterwards."""
    truth = made_picture()
    picture = truth.copy()
    at = np.random.default_rng(3).random(truth.shape)
    picture[at < 0.025], picture[at > 0.975] = 0, 255
    assert psnr_db(median(picture), truth) > psnr_db(picture, truth) + 8
    assert psnr_db(median(picture), truth) > psnr_db(gaussian(picture, 1.0), truth) + 3


def test_wavelets_leave_a_clean_picture_alone() -> None:
    """Where the finest diagonal band is empty there is no noise to take away."""
    flat = np.full((40, 40), 90, np.uint8)
    flat[:, 20:] = 200
    np.testing.assert_array_equal(wavelet_shrinkage(flat), flat)
    truth = made_picture()
    assert np.abs(wavelet_shrinkage(truth).astype(int) - truth).mean() < 0.5


# ---- refusals


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.float64),
        np.zeros((4, 4), np.int32),
        np.full((4, 4), 1.5, np.float32),
        np.full((4, 4), -0.1, np.float32),
        np.full((4, 4), np.nan, np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
    ids=["float64", "int32", "above-1", "below-0", "nan", "two-channels", "empty", "one-side", "batch"],
)
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    """Each filter says so in one kind of error, and converts nothing in silence."""
    each = [rescale, to_levels, normalise, *FILTERS, non_local_means, wavelet_shrinkage]
    for use in each:
        with pytest.raises(InvalidInputError) as caught:
            use(picture)
        assert caught.value.field == "picture"


@pytest.mark.parametrize(
    ("field", "use"),
    [
        ("sigma_px", lambda p: gaussian(p, 0.0)),
        ("sigma_px", lambda p: gaussian(p, float("nan"))),
        ("side_px", lambda p: median(p, 4)),
        ("strength", lambda p: non_local_means(p, 0.0)),
        ("patch_px", lambda p: non_local_means(p, patch_px=4)),
        ("search_px", lambda p: non_local_means(p, search_px=99)),
        ("levels", lambda p: wavelet_shrinkage(p, 0)),
        ("picture", lambda p: wavelet_shrinkage(p[:8])),
        ("picture", lambda p: non_local_means(rescale(p))),
    ],
)
def test_settings_out_of_range_are_refused(field: str, use: Callable[[np.ndarray], np.ndarray]) -> None:
    """The error names the setting."""
    with pytest.raises(InvalidInputError) as caught:
        use(made_picture(16))
    assert caught.value.field == field
