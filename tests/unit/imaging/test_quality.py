"""Quality: each measure falls with what it stands for, and the gate gives each its own reason."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.observation import Box, Landmarks, exposure
from tessera.domain.reasons import Reason
from tessera.imaging.align import REFERENCE, align
from tessera.imaging.decode import Image, decode
from tessera.imaging.fidelity import fidelity
from tessera.imaging.preprocess import detector_input
from tessera.imaging.quality import QualityGate, assess, frontality
from tessera.nets.artifact import SampleNetworks
from tessera.nets.yunet import decode as decode_faces

BOX = Box(0, 0, 120, 150)


def _face(data: bytes, networks: SampleNetworks) -> tuple[Image, Box, Landmarks, float]:
    image = decode(data)
    seen = detector_input(image)
    with torch.inference_mode():
        output = networks.detector(torch.from_numpy(seen.values))[0].numpy()
    found = decode_faces(output, seen.height_px, seen.width_px)
    x, y, width, height = (float(v) / seen.scale for v in found.boxes[0])
    landmarks = found.landmarks[0] / np.float32(seen.scale)
    return align(image, landmarks), Box(x, y, width, height), landmarks, float(found.probabilities[0])


@pytest.fixture
def portrait(portraits: Mapping[str, bytes], face_networks: SampleNetworks) -> Image:
    """One aligned, good face."""
    return _face(portraits["obama2.jpg"], face_networks)[0]


def test_official_portraits_pass(portraits: Mapping[str, bytes], face_networks: SampleNetworks) -> None:
    """A good picture has nothing held against it."""
    for name, data in portraits.items():
        quality = assess(*_face(data, face_networks))
        assert quality.reasons == (), name
        assert 0.2 < quality.overall <= 1.0


def test_blur_takes_the_sharpness(portrait: Image) -> None:
    """More blur, less sharpness; a heavy blur is refused for it and for nothing else."""
    blurred = [portrait, *(cv2.GaussianBlur(portrait, (0, 0), sigma) for sigma in (1, 2, 4, 6))]
    qualities = [assess(np.asarray(crop, np.uint8), BOX, REFERENCE, 0.95) for crop in blurred]
    measured = [quality.sharpness for quality in qualities]
    assert measured == sorted(measured, reverse=True)
    assert qualities[0].reasons == ()
    assert qualities[-1].reasons == (Reason.LOW_SHARPNESS,)


@pytest.mark.parametrize(
    ("gain", "lift", "reason"),
    [(0.15, 0, Reason.LOW_BRIGHTNESS), (0.1, 228, Reason.HIGH_BRIGHTNESS), (0.1, 110, Reason.LOW_CONTRAST)],
)
def test_light_has_its_own_reasons(portrait: Image, gain: float, lift: int, reason: Reason) -> None:
    """Too dark, too bright and too flat are told apart."""
    changed = np.clip(portrait * gain + lift, 0, 255).astype(np.uint8)
    assert reason in assess(changed, BOX, REFERENCE, 0.95).reasons


def test_a_small_face_is_refused_for_its_size(portrait: Image) -> None:
    """39 pixels are too few, 40 are not."""
    assert assess(portrait, Box(0, 0, 39, 60), REFERENCE, 0.95).reasons == (Reason.SMALL_BOUNDING_BOX,)
    assert assess(portrait, Box(0, 0, 40, 60), REFERENCE, 0.95).reasons == ()


def test_a_profile_is_refused_for_its_pose(portrait: Image) -> None:
    """A nose beside the eyes, above them or at the chin is no frontal face."""
    for shift in ((30, 0), (-30, 0), (0, -20), (0, 22)):
        turned = REFERENCE.copy()
        turned[2] += shift
        assert assess(portrait, BOX, turned, 0.95).reasons == (Reason.EXTREME_POSE,)


def test_an_unsure_detection_is_refused_and_is_no_quality(portrait: Image) -> None:
    """The probability has its reason and leaves every measure alone."""
    sure, unsure = (assess(portrait, BOX, REFERENCE, probability) for probability in (0.95, 0.75))
    assert unsure.reasons == (Reason.LOW_DETECTION_PROBABILITY,)
    assert unsure.overall == sure.overall


def test_a_gate_may_be_looser(portrait: Image) -> None:
    """The bounds are settings; the measures are not."""
    small = Box(0, 0, 20, 20)
    assert assess(portrait, small, REFERENCE, 0.95, QualityGate(min_size=0.1)).reasons == ()


@given(angle=st.floats(-3.14, 3.14), scale=st.floats(0.2, 10))
def test_roll_and_size_do_not_change_the_pose(angle: float, scale: float) -> None:
    """A tilted head is as frontal as an upright one."""
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert frontality((REFERENCE @ turn).astype(np.float32)) == pytest.approx(frontality(REFERENCE), abs=1e-3)


def test_landmarks_that_make_no_face_have_no_pose() -> None:
    """One point, or a mouth above the eyes, is 0 and no error."""
    assert frontality(np.zeros((5, 2), np.float32)) == 0.0
    assert frontality(REFERENCE[[0, 1, 2, 3, 4]] * np.array([1, 0], np.float32)) == 0.0


@given(st.floats(0, 1))
def test_exposure_is_a_share(brightness: float) -> None:
    """Always in [0, 1], and full in the middle."""
    assert 0.0 <= exposure(brightness) <= 1.0
    assert exposure(0.5) == 1.0


@pytest.mark.parametrize("side_px", [60, 110, 250])
def test_compression_takes_the_fidelity(
    portraits: Mapping[str, bytes], face_networks: SampleNetworks, side_px: int
) -> None:
    """The harder a face is compressed, the less faithful it is, at any size; the hardest is refused for it."""
    image, box = _around_face(portraits["obama2.jpg"], face_networks, side_px)
    measured = [fidelity(_compressed(image, quality), box) for quality in (95, 50, 20, 5)]
    assert None not in measured
    assert measured == sorted(measured, reverse=True)  # type: ignore[type-var]
    worst = _compressed(image, 5)
    crop = np.asarray(cv2.resize(worst, (112, 112)), np.uint8)
    reasons = assess(crop, box, REFERENCE, 0.95, picture=worst).reasons
    assert Reason.LOW_FIDELITY in reasons
    assert Reason.LOW_FIDELITY not in assess(crop, box, REFERENCE, 0.95, picture=image).reasons


def test_the_same_blocks_hurt_a_small_face_more(portraits: Mapping[str, bytes], face_networks: SampleNetworks) -> None:
    """A block of eight pixels is a seventh of a small face and a thirtieth of a large one."""
    faces = [_around_face(portraits["obama2.jpg"], face_networks, side_px) for side_px in (60, 110, 250)]
    measured = [fidelity(_compressed(image, 20), box) or 0.0 for image, box in faces]
    assert measured == sorted(measured)


def test_damage_is_found_after_the_picture_was_saved_well(
    portraits: Mapping[str, bytes], face_networks: SampleNetworks
) -> None:
    """Neither a later lossless copy, nor a cut that moves the grid, nor a turn hides it."""
    image, box = _around_face(portraits["obama2.jpg"], face_networks, 110)
    damaged = _compressed(image, 10)
    found = fidelity(damaged, box)
    moved = Box(box.x_px - 3, box.y_px - 5, box.width_px, box.height_px)
    assert fidelity(np.ascontiguousarray(damaged[5:, 3:]), moved) == pytest.approx(found, abs=0.05)
    turned = np.ascontiguousarray(np.rot90(damaged))
    box_turned = Box(box.y_px, image.shape[1] - box.x_px - box.width_px, box.height_px, box.width_px)
    assert fidelity(turned, box_turned) == pytest.approx(found, abs=0.05)


def test_fidelity_is_not_told_where_it_cannot_be(portrait: Image) -> None:
    """No picture, a face of a few pixels, a box outside, or a picture decoded at a quarter: None, and no reason."""
    assert assess(portrait, BOX, REFERENCE, 0.95).fidelity is None
    assert fidelity(portrait, Box(0, 0, 20, 20)) is None
    assert fidelity(portrait, Box(500, 500, 90, 90)) is None
    assert fidelity(portrait, Box(0, 0, 400, 400), factor=4) is None
    half = assess(portrait, Box(0, 0, 200, 200), REFERENCE, 0.95, picture=portrait, factor=2)
    assert half.fidelity is not None


def test_what_covers_the_face_is_told_and_not_gated(portrait: Image) -> None:
    """A mask of another colour halves the measure; the default gate does not use it, and one of the caller's may."""
    masked = portrait.copy()
    masked[66:, 18:94] = (200, 140, 60)
    free, covered = (assess(crop, BOX, REFERENCE, 0.95).occlusion or 0.0 for crop in (portrait, masked))
    assert covered < 0.5 < free
    assert Reason.OCCLUDED not in assess(masked, BOX, REFERENCE, 0.95).reasons
    assert Reason.OCCLUDED in assess(masked, BOX, REFERENCE, 0.95, QualityGate(min_occlusion=0.5)).reasons


def _around_face(data: bytes, networks: SampleNetworks, side_px: int) -> tuple[Image, Box]:
    """The picture scaled so that its face's box is so many pixels wide."""
    _, box, _, _ = _face(data, networks)
    scale = side_px / box.shorter_side_px
    image = cv2.resize(decode(data), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.uint8), Box(*(v * scale for v in (box.x_px, box.y_px, box.width_px, box.height_px)))


def _compressed(image: Image, jpeg_quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    return decode(data.tobytes())
