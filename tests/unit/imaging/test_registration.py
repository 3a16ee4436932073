"""A picture is laid over its reference to a fraction of a pixel, or the alignment is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.domain.errors import InvalidInputError
from tessera.imaging.registration import Method, Refusal, Registration, register, textured_tiles, warped
from tests.unit.imaging.drawn_scenes import (
    HEIGHT_PX,
    WIDTH_PX,
    moved,
    scene,
    with_lamp,
    with_light,
    with_noise,
    with_object,
)

REFERENCE = scene()
CORNERS = np.array([[0, 0, 1], [WIDTH_PX - 1, 0, 1], [WIDTH_PX - 1, HEIGHT_PX - 1, 1], [0, HEIGHT_PX - 1, 1.0]])


def shifted(x_px: float, y_px: float) -> np.ndarray:
    """The matrix of a shift."""
    return np.array([[1.0, 0.0, x_px], [0.0, 1.0, y_px]])


def turned(degrees: float, scale: float = 1.0) -> np.ndarray:
    """The matrix of a turn about the middle."""
    return cv2.getRotationMatrix2D((WIDTH_PX / 2, HEIGHT_PX / 2), degrees, scale)


def worst_px(found: Registration, true: np.ndarray) -> float:
    """How far off the farthest corner is."""
    seen = CORNERS @ found.matrix.T
    return float(np.abs(seen[:, :2] / seen[:, 2:] - CORNERS @ true.T).max())


@settings(max_examples=15)
@given(x_px=st.floats(-9, 9), y_px=st.floats(-9, 9))
@pytest.mark.parametrize("method", [Method.PHASE, Method.ECC])
def test_shifts_are_found(method: Method, x_px: float, y_px: float) -> None:
    """A shift is found to a third of a pixel by both methods that look for one."""
    found = register(REFERENCE, moved(REFERENCE, shifted(x_px, y_px)), method)
    assert found.refusal is None
    assert worst_px(found, shifted(x_px, y_px)) < 0.34


@pytest.mark.parametrize("degrees", [-3.0, 1.0, 2.5])
def test_turns_are_found_by_ecc_and_not_by_phase(degrees: float) -> None:
    """ECC finds a small turn exactly; phase correlation, which knows shifts alone, does not believe its own answer."""
    seen = moved(REFERENCE, turned(degrees))
    by_ecc, by_phase = register(REFERENCE, seen, Method.ECC), register(REFERENCE, seen, Method.PHASE)
    assert by_ecc.refusal is None
    assert worst_px(by_ecc, turned(degrees)) < 0.3
    assert by_phase.quality < by_ecc.quality


def test_a_camera_turned_far_is_found_by_its_features() -> None:
    """Where a turn is too large for ECC, the default goes on to features and refines what they find."""
    found = register(REFERENCE, moved(REFERENCE, turned(20.0, 1.1)))
    assert found.method is Method.FEATURES
    assert found.refusal is None
    assert worst_px(found, turned(20.0, 1.1)) < 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda seen: with_light(seen, 0.5),
        lambda seen: with_light(seen, 1.2, 20.0),
        with_lamp,
        lambda seen: with_noise(seen, 8.0, 3),
        with_object,
    ],
    ids=["half the light", "brighter", "a lamp at one side", "noise", "an object"],
)
def test_light_noise_and_objects_do_not_move_the_alignment(change: object) -> None:
    """Another light, noise or a new object leaves the alignment where it was, and it stays trusted."""
    found = register(REFERENCE, change(moved(REFERENCE, shifted(4.3, -2.6))))  # type: ignore[operator] # parametrised
    assert found.refusal is None
    assert worst_px(found, shifted(4.3, -2.6)) < 0.4


@pytest.mark.parametrize(
    ("seen", "refusal"),
    [
        (scene(seed=9), Refusal.POOR_FIT),
        (np.zeros_like(REFERENCE), Refusal.POOR_FIT),
        (cv2.GaussianBlur(REFERENCE, (0, 0), 12.0), Refusal.POOR_FIT),
        (with_noise(np.full_like(REFERENCE, 128), 40.0, 1), Refusal.POOR_FIT),
    ],
    ids=["another scene", "covered", "defocused", "noise"],
)
def test_what_shows_another_pattern_is_refused(seen: np.ndarray, refusal: Refusal) -> None:
    """Another scene, a covered and a defocused camera are refused, whatever transform fits them best."""
    assert register(REFERENCE, seen).refusal is refusal


@pytest.mark.parametrize("method", [None, *Method])
def test_a_reference_without_texture_is_refused(method: Method | None) -> None:
    """A flat reference can be laid anywhere, so it is laid nowhere, by any method."""
    flat = with_noise(np.full((HEIGHT_PX, WIDTH_PX), 90, np.uint8), 2.0, 1)
    assert register(flat, flat, method).refusal is Refusal.TOO_LITTLE_TEXTURE


def test_a_view_that_shares_little_is_refused() -> None:
    """Two views that have less than half in common are not laid over each other."""
    wide = np.concatenate([scene(1), scene(2)], axis=1)
    far = wide[:, 220 : 220 + WIDTH_PX]
    assert register(wide[:, :WIDTH_PX], np.ascontiguousarray(far)).refusal is not None


def test_warping_brings_a_picture_onto_its_reference() -> None:
    """After warping the pixels that both have are nearly equal, and it is said which those are."""
    found = register(REFERENCE, moved(REFERENCE, shifted(6.0, 3.0)))
    back, covered = warped(moved(REFERENCE, shifted(6.0, 3.0)), found)
    off = np.abs(back.astype(int) - REFERENCE.astype(int))[covered]
    assert covered.mean() > 0.95
    assert np.percentile(off, 99) <= 3
    assert found.farthest_px(HEIGHT_PX, WIDTH_PX) == pytest.approx(np.hypot(6.0, 3.0), abs=0.3)


def test_a_refused_alignment_cannot_be_used() -> None:
    """Warping by a refused registration is an error, not a picture."""
    refused = register(REFERENCE, np.zeros_like(REFERENCE))
    with pytest.raises(InvalidInputError):
        warped(REFERENCE, refused)


def test_large_pictures_are_registered_in_their_own_pixels() -> None:
    """A picture beyond the working size is looked at smaller; the answer is in its own pixels all the same."""
    large = cv2.resize(REFERENCE, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    found = register(large, moved(large, shifted(9.0, -5.0)), Method.ECC)
    assert found.matrix[:2, 2] == pytest.approx([9.0, -5.0], abs=0.5)


def test_the_same_pictures_give_the_same_alignment() -> None:
    """Features are matched with a seed: nothing is left to chance."""
    seen = moved(REFERENCE, turned(15.0))
    first, second = (register(REFERENCE, seen, Method.FEATURES) for _ in range(2))
    assert np.array_equal(first.matrix, second.matrix)


def test_sizes_must_agree() -> None:
    """Pictures of two sizes, too small ones and ones that are no picture are told, not resized."""
    for wrong in (REFERENCE[:-1], REFERENCE[:20, :20], REFERENCE.astype(np.float32)):
        with pytest.raises(InvalidInputError):
            register(REFERENCE, wrong)


def test_texture_is_told_tile_by_tile() -> None:
    """A tile counts as textured where its own pixels vary, compared with a plain loop."""
    values = np.zeros((64, 48), np.float32)
    values[16:32, 16:32] = np.random.default_rng(1).choice([0.0, 200.0], (16, 16)).repeat(1).reshape(16, 16)
    expected = np.zeros((4, 3), bool)
    expected[1, 1] = True
    assert (textured_tiles(values) & expected).sum() == 1
    assert not textured_tiles(values)[3].any()
