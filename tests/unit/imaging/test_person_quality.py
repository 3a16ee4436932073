"""What makes a look at a person a good one, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.observation import Box, Quality
from tessera.domain.reasons import Reason
from tessera.imaging.person_quality import CUT_OFF_OVERALL, hidden_share, is_cut_off, person_quality

PICTURE_PX = (720, 1280)
WHOLE = Box(600, 200, 120, 300)
CROP = np.random.default_rng(4).integers(30, 220, (128, 64, 3), dtype=np.uint8)
SMOOTH = np.repeat(np.linspace(30, 220, 128).astype(np.uint8), 64 * 3).reshape(128, 64, 3)
NUMBERS = st.floats(0, 400, allow_nan=False)
BOXES = st.builds(Box, NUMBERS, NUMBERS, st.floats(1, 300), st.floats(1, 300))


def _measured(box: Box = WHOLE, probability: float = 0.9, others: tuple[Box, ...] = (), crop: object = CROP) -> Quality:
    return person_quality(crop, box, probability, picture_px=PICTURE_PX, others=others)  # type: ignore[arg-type]


def test_a_whole_person_in_the_light_has_no_reason_against() -> None:
    """And every measure is in its range."""
    quality = _measured()
    assert quality.reasons == ()
    assert 0.0 < quality.overall <= 1.0
    assert quality.occlusion == quality.size == quality.pose == 1.0


@pytest.mark.parametrize(
    "box", [Box(0, 200, 120, 300), Box(600, 2, 120, 300), Box(1158, 200, 120, 300), Box(600, 421, 120, 297)],
    ids=["left", "top", "right", "bottom"],
)  # fmt: skip
def test_who_touches_an_edge_may_go_on_beyond_it(box: Box) -> None:
    """Detectors do not end on the pixel: within a hundredth of the height is at the edge."""
    quality = _measured(box)
    assert quality.reasons == (Reason.CUT_OFF,)
    assert quality.overall <= CUT_OFF_OVERALL
    assert not is_cut_off(WHOLE, PICTURE_PX)


def test_who_stands_before_somebody_hides_them() -> None:
    """The one whose feet are lower hides; the one behind says so, the one before does not."""
    before = replace(WHOLE, x_px=630, y_px=230)
    behind, nearer = _measured(others=(before,)), _measured(before, others=(WHOLE,))
    assert behind.occlusion == pytest.approx(1 - 90 * 270 / (120 * 300))
    assert Reason.OCCLUDED in behind.reasons
    assert nearer.occlusion == 1.0


def test_the_small_the_dark_the_blurred_and_the_doubtful_are_told() -> None:
    """Each by its own reason."""
    assert Reason.SMALL_BOUNDING_BOX in _measured(Box(600, 200, 20, 50)).reasons
    assert Reason.LOW_BRIGHTNESS in _measured(crop=CROP // 12).reasons
    assert Reason.LOW_SHARPNESS in _measured(crop=SMOOTH).reasons
    assert Reason.LOW_DETECTION_PROBABILITY in _measured(probability=0.41).reasons
    assert Reason.LOW_CONTRAST in _measured(crop=np.full_like(CROP, 128)).reasons


@given(BOXES, st.lists(BOXES, max_size=5), BOXES)
def test_one_more_person_hides_no_less(box: Box, others: list[Box], another: Box) -> None:
    """A share, which grows with who is there."""
    share = hidden_share(box, others)
    assert 0.0 <= share <= hidden_share(box, [*others, another]) <= 1.0 + 1e-9
