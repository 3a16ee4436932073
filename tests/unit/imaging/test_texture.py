"""Edges and texture as numbers: against loops, and what turning or lighting a picture does to them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tessera.domain.errors import InvalidInputError
from tessera.imaging.filters import rescale
from tessera.imaging.texture import (
    UNIFORM_PATTERNS,
    binary_patterns,
    canny_edges,
    gabor_energy,
    gabor_pair,
    pattern_histogram,
    sobel_magnitude,
)

GRAY = nps.arrays(np.uint8, nps.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=12))


def _random(height_px: int, width_px: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px), dtype=np.uint8)


def _stripes(turn: float, wavelength_px: float = 8.0, side_px: int = 48) -> np.ndarray:
    down, across = np.mgrid[:side_px, :side_px]
    along = across * math.cos(turn) + down * math.sin(turn)
    return (0.5 + 0.4 * np.sin(2 * math.pi * along / wavelength_px)).astype(np.float32)


def _filtered_by_loops(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    reach = kernel.shape[0] // 2
    padded = np.pad(picture.astype(float), reach, mode="reflect")
    result = np.zeros(picture.shape)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            result[y, x] = (padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1] * kernel).sum()
    return result


@given(GRAY)
def test_sobel_is_the_length_of_the_gradient(picture: np.ndarray) -> None:
    """A loop over pixels says the same; it is never above 1."""
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gradient = [_filtered_by_loops(picture / 255, kernel) for kernel in (across, across.T)]
    result = sobel_magnitude(picture)
    np.testing.assert_allclose(result, np.hypot(*gradient) / (4 * math.sqrt(2)), atol=1e-6)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1


def test_edges_are_where_the_light_changes() -> None:
    """Canny draws one closed line around a square, and nothing on what is even."""
    picture = np.full((32, 32), 60, np.uint8)
    assert not canny_edges(picture).any()
    picture[8:24, 8:24] = 200
    edges = canny_edges(picture) == 255
    assert 50 <= edges.sum() <= 70
    assert not edges[11:21, 11:21].any()
    assert not edges[:6].any()


@given(GRAY, st.floats(0, 700), st.floats(0, 700))
def test_higher_bounds_draw_no_more_edges(picture: np.ndarray, one: float, other: float) -> None:
    """Lines of stricter bounds are among those of milder ones."""
    low, high = sorted((one, other))
    strict, mild = canny_edges(picture, low, high), canny_edges(picture, low / 2, high / 2)
    assert (mild[strict == 255] == 255).all()


@given(GRAY)
def test_patterns_say_which_neighbours_are_brighter(picture: np.ndarray) -> None:
    """A loop over pixels and neighbours says the same."""
    around = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]
    result = binary_patterns(picture)
    assert result.shape == (picture.shape[0] - 2, picture.shape[1] - 2)
    for y in range(1, picture.shape[0] - 1):
        for x in range(1, picture.shape[1] - 1):
            bits = [int(picture[y + down, x + right] >= picture[y, x]) for down, right in around]
            assert result[y - 1, x - 1] == sum(bit << at for at, bit in enumerate(bits))


@given(GRAY, st.integers(1, 3))
def test_patterns_do_not_see_light_or_contrast(picture: np.ndarray, divisor: int) -> None:
    """Any change of levels that keeps their order keeps all codes."""
    levels = picture // 4
    np.testing.assert_array_equal(binary_patterns(levels * np.uint8(divisor) + np.uint8(9)), binary_patterns(levels))
    np.testing.assert_array_equal(binary_patterns(rescale(picture)), binary_patterns(picture))


def test_histograms_are_shares_of_each_place() -> None:
    """A loop that counts patterns, place by place, says the same; each place adds up to 1."""
    picture = _random(23, 30)
    cells = 3
    result = pattern_histogram(picture, cells).reshape(cells * cells, UNIFORM_PATTERNS)
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-6)
    circles = [f"{code:08b}" for code in range(256)]
    uniform = [at for at, one in enumerate(circles) if sum(one[bit] != one[bit - 1] for bit in range(8)) <= 2]
    assert len(uniform) == UNIFORM_PATTERNS - 1
    codes = binary_patterns(picture)
    rows, columns = np.array_split(np.arange(21), cells), np.array_split(np.arange(28), cells)
    for place in range(cells * cells):
        part = codes[np.ix_(rows[place // cells], columns[place % cells])].ravel().tolist()
        for at, code in enumerate(uniform):
            assert result[place, at] == pytest.approx(part.count(code) / len(part), abs=1e-6)


def test_gabor_answers_by_loops() -> None:
    """The mean length of both filters' answers, each a sum over the kernel at each pixel."""
    picture = _random(20, 17)
    for at, turn in enumerate((0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)):
        even, odd = (_filtered_by_loops(picture / 255, kernel) for kernel in gabor_pair(4.0, turn))
        assert gabor_energy(picture, [4.0])[0, at] == pytest.approx(np.hypot(even, odd).mean(), rel=1e-4)


@pytest.mark.parametrize("at", range(4))
def test_stripes_are_answered_by_the_filter_of_their_direction(at: int) -> None:
    """The filter of the stripes' width and direction answers most, by far."""
    energy = gabor_energy(_stripes(math.pi * at / 4), [4.0, 8.0, 16.0])
    assert np.unravel_index(energy.argmax(), energy.shape) == (1, at)
    assert energy[1, at] > 2 * np.delete(energy[1], at).max()


def test_a_quarter_turn_swaps_directions() -> None:
    """What answered along the rows answers along the columns."""
    picture = _random(32, 32, 3)
    energy, turned = gabor_energy(picture), gabor_energy(np.rot90(picture).copy())
    np.testing.assert_allclose(turned, np.roll(energy, 2, axis=1), rtol=1e-3)


@given(st.floats(0, 0.2))
def test_added_light_changes_no_energy(light: float) -> None:
    """Energy is of differences; an even picture has none."""
    picture = rescale(_random(24, 24)) * np.float32(0.8)
    np.testing.assert_allclose(gabor_energy(picture + np.float32(light)), gabor_energy(picture), rtol=1e-3, atol=1e-5)
    assert gabor_energy(np.full((24, 24), light, np.float32)).max() < 1e-5


def test_textures_are_told_apart() -> None:
    """Histograms and energies of two pieces of one weave lie closer than those of two weaves."""
    weave = [np.tile(_random(5, 5, 1), (20, 20)), np.tile(_random(7, 4, 2), (15, 25))]
    for feature in (pattern_histogram, lambda p: gabor_energy(p).ravel()):
        own = np.abs(feature(weave[0][:40]) - feature(weave[0][45:90])).sum()
        other = np.abs(feature(weave[0][:40]) - feature(weave[1][:40])).sum()
        assert own < other / 3


@pytest.mark.parametrize("use", [sobel_magnitude, binary_patterns, pattern_histogram, gabor_energy, canny_edges])
def test_texture_of_what_is_no_picture_is_refused(use: object) -> None:
    """Doubles, other ranges and other shapes are refused by each."""
    assert callable(use)
    for picture in (np.zeros((8, 8)), np.full((8, 8), 2, np.float32), np.zeros((8, 8, 2), np.uint8)):
        with pytest.raises(InvalidInputError) as caught:
            use(picture)
        assert caught.value.field == "picture"


def test_texture_settings_out_of_range_are_refused() -> None:
    """The error names the setting."""
    picture = _random(8, 8)
    for field, use in (
        ("low", lambda: canny_edges(picture, 200, 100)),
        ("cells", lambda: pattern_histogram(picture, 0)),
        ("picture", lambda: pattern_histogram(picture, 7)),
        ("picture", lambda: binary_patterns(picture[:2])),
        ("wavelengths_px", lambda: gabor_energy(picture, [1.0])),
        ("orientations", lambda: gabor_energy(picture, orientations=0)),
    ):
        with pytest.raises(InvalidInputError) as caught:
            use()
        assert caught.value.field == field
