"""Alignment and preprocessing: the same square as OpenCV's, the channel order that the networks were trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.artifact import Manifest
from tessera.imaging.align import REFERENCE, align, similarity_transform
from tessera.imaging.preprocess import PREPROCESSING_VERSION, detector_input, embedder_input


def test_the_square_is_opencvs(portraits: Mapping[str, bytes], face_weights: Mapping[str, Path]) -> None:
    """A rotated, scaled, slightly bent set of landmarks gives the same pixels as FaceRecognizerSF.alignCrop."""
    image = np.asarray(cv2.imdecode(np.frombuffer(portraits["obama.jpg"], np.uint8), cv2.IMREAD_COLOR), np.uint8)
    bent = REFERENCE + np.array([[1, 2], [-2, 0], [3, -1], [0, 2], [-1, -2]], np.float32)
    turn = 2.3 * np.array([[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]], np.float32)
    landmarks = (bent @ turn + np.array([250, 180], np.float32)).astype(np.float32)
    row = np.concatenate(([0, 0, 10, 10], landmarks.ravel(), [1])).astype(np.float32)
    theirs = cv2.FaceRecognizerSF.create(str(face_weights["sface"]), "").alignCrop(image, row)
    difference = np.abs(align(image, landmarks).astype(int) - theirs)
    assert difference.mean() < 0.1
    assert difference.max() <= 8


@given(
    angle=st.floats(-math.pi, math.pi),
    scale=st.floats(0.1, 20),
    x_px=st.floats(-500, 500),
    y_px=st.floats(-500, 500),
)
def test_a_moved_face_comes_back_to_its_place(angle: float, scale: float, x_px: float, y_px: float) -> None:
    """Whatever rotation, scale and shift made the landmarks, the transform undoes it."""
    turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    moved = (REFERENCE @ turn + np.array([x_px, y_px])).astype(np.float32)
    matrix = similarity_transform(moved)
    np.testing.assert_allclose(moved @ matrix[:, :2].T + matrix[:, 2], REFERENCE, atol=0.02)


def test_landmarks_on_one_point_do_not_break_the_way() -> None:
    """The detector may give nonsense on noise; the square is then flat, and quality refuses it."""
    crop = align(np.full((50, 50, 3), 9, np.uint8), np.full((5, 2), 20, np.float32))
    assert crop.shape == (112, 112, 3)


def test_the_embedder_sees_red_first() -> None:
    """Blue, green, red in; red, green, blue out; 0 to 255; one row a face."""
    crop = np.zeros((112, 112, 3), np.uint8)
    crop[:, :] = (10, 20, 30)
    values = embedder_input([crop, crop])
    assert values.shape == (2, 3, 112, 112)
    assert values.dtype == np.float32
    assert values[1, :, 5, 5].tolist() == [30.0, 20.0, 10.0]


@pytest.mark.parametrize(
    ("height_px", "width_px", "seen"),
    [(720, 1280, (384, 640)), (250, 250, (256, 256)), (32, 640, (32, 640)), (4000, 3000, (640, 480))],
)
def test_a_frame_is_shrunk_never_enlarged_and_padded_to_32(
    height_px: int, width_px: int, seen: tuple[int, int]
) -> None:
    """The longer side is at most 640; what is added is black and lies right and below."""
    detector = detector_input(np.full((height_px, width_px, 3), 200, np.uint8))
    assert (detector.height_px, detector.width_px) == seen
    assert detector.scale == pytest.approx(min(1.0, 640 / max(height_px, width_px)))
    inner = detector.values[0, :, : round(height_px * detector.scale), : round(width_px * detector.scale)]
    assert inner.min() == 200.0
    assert detector.values.sum() == pytest.approx(float(inner.sum()))


def test_the_shipped_encoder_was_measured_with_this_preprocessing(face_manifest: Manifest) -> None:
    """Whoever changes the preprocessing must make a new encoder of it."""
    assert face_manifest.preprocessing == PREPROCESSING_VERSION
