"""The gate over whole pictures: what each measure answers to, and which reason each level gives."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason
from tessera.imaging.picture_gate import PAPERS_GATE, PictureGate, PictureQuality, measure

SHARE = st.floats(0, 1)


def _detailed(side_px: int = 96) -> np.ndarray:
    """Text-like strokes: sharp, of full contrast."""
    picture = np.full((side_px, side_px), 245, np.uint8)
    rng = np.random.default_rng(4)
    for _ in range(60):
        start, end = rng.integers(0, side_px, 2), rng.integers(0, side_px, 2)
        cv2.line(picture, start.tolist(), end.tolist(), 10, 1)
    return picture


def _saved(picture: np.ndarray, jpeg_quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def test_the_papers_levels_are_the_default() -> None:
    """0.8, 0.7 and 0.9; a picture of strokes passes all three."""
    assert (PAPERS_GATE.min_sharpness, PAPERS_GATE.min_contrast, PAPERS_GATE.min_fidelity) == (0.8, 0.7, 0.9)
    assert PAPERS_GATE.reasons(measure(_detailed())) == ()


@given(st.tuples(SHARE, SHARE, st.none() | SHARE), st.tuples(SHARE, SHARE, SHARE))
def test_each_level_gives_its_reason(
    measured: tuple[float, float, float | None], levels: tuple[float, float, float]
) -> None:
    """A measure below its level, and no other, is a reason; what was not measured is none."""
    told = (Reason.LOW_SHARPNESS, Reason.LOW_CONTRAST, Reason.LOW_FIDELITY)
    both = zip(told, measured, levels, strict=True)
    expected = tuple(reason for reason, value, level in both if value is not None and value < level)
    assert PictureGate(*levels).reasons(PictureQuality(*measured)) == expected


@given(SHARE, SHARE, SHARE, st.floats(0, 1))
def test_a_stricter_gate_accepts_no_more(sharp: float, contrast: float, faithful: float, level: float) -> None:
    """Raising all levels never takes a reason away."""
    quality = PictureQuality(sharp, contrast, faithful)
    mild, strict = PictureGate(level / 2, level / 2, level / 2), PictureGate(level, level, level)
    assert set(mild.reasons(quality)) <= set(strict.reasons(quality))


def test_blur_costs_sharpness() -> None:
    """The more blur, the less; and the gate says so."""
    picture = _detailed()
    found = [measure(cv2.GaussianBlur(picture, (0, 0), sigma)).sharpness for sigma in (0.5, 1, 2, 4)]
    assert measure(picture).sharpness > found[0]
    assert found == sorted(found, reverse=True)
    assert Reason.LOW_SHARPNESS in PAPERS_GATE.reasons(measure(cv2.GaussianBlur(picture, (0, 0), 4)))


def test_haze_costs_contrast() -> None:
    """Levels pressed together are told, and sharpness hardly moves."""
    picture = _detailed()
    hazy = (120 + picture * 0.2).astype(np.uint8)
    assert Reason.LOW_CONTRAST in PAPERS_GATE.reasons(measure(hazy))
    assert measure(hazy).sharpness > measure(picture).sharpness - 0.1


def test_compression_costs_fidelity() -> None:
    """A soft picture saved at quality 10 shows its blocks."""
    picture = cv2.GaussianBlur(_detailed(), (0, 0), 1.5)
    whole, damaged = measure(picture).fidelity, measure(_saved(picture, 10)).fidelity
    assert whole is not None
    assert damaged is not None
    assert damaged < 0.9 < whole
    assert Reason.LOW_FIDELITY in PAPERS_GATE.reasons(measure(_saved(picture, 10)))


def test_colour_and_gray_are_measured_alike() -> None:
    """What counts is luminance."""
    picture = _detailed()
    assert measure(np.repeat(picture[:, :, None], 3, axis=2)) == measure(picture) == measure(picture[:, :, None])


def test_small_and_even_pictures_have_measures_too() -> None:
    """A picture of one level is neither sharp nor of any contrast."""
    quality = measure(np.full((16, 16), 128, np.uint8))
    assert quality == PictureQuality(0.0, 0.0, None)
    assert PAPERS_GATE.reasons(quality) == (Reason.LOW_SHARPNESS, Reason.LOW_CONTRAST)


@pytest.mark.parametrize("shape", [(63, 200), (200, 63), (28, 28)])
def test_fidelity_is_told_only_where_it_can_be(shape: tuple[int, int]) -> None:
    """Too few blocks look damaged by chance: such a picture passes this level, whatever it went through."""
    height_px, width_px = shape
    small = np.ascontiguousarray(_detailed(200)[:height_px, :width_px])
    assert measure(_saved(small, 10)).fidelity is None
    large = cv2.GaussianBlur(_detailed(64), (0, 0), 1.5)
    assert measure(large).fidelity is not None


def test_gate_refuses_what_is_no_level_and_no_picture() -> None:
    """Levels outside [0, 1] and pictures of other types are named."""
    with pytest.raises(InvalidInputError, match="min_contrast"):
        PictureGate(min_contrast=1.2)
    with pytest.raises(InvalidInputError, match="min_sharpness"):
        PictureGate(min_sharpness=float("nan"))
    with pytest.raises(InvalidInputError, match="picture"):
        measure(np.zeros((8, 8), np.float32))
