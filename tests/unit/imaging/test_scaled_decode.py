"""Decoding at a fraction of the size: never less than the detector needs, and every face stays where it was."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.malformed import exif, with_exif
from siamese_lab.lfw import COHORT_TAR, read_pictures
from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason
from tessera.imaging.decode import DEFAULT_LIMITS, DecodeLimits, Image, decode, decode_for_detection
from tessera.imaging.preprocess import detector_input
from tessera.nets.artifact import SampleNetworks
from tessera.nets.yunet import decode as decode_faces

DETECT_SIDE_PX = 640


def _jpeg(image: Image, quality: int = 95) -> bytes:
    ok, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return data.tobytes()


def _smooth(height_px: int, width_px: int) -> Image:
    rows, columns = np.mgrid[0:height_px, 0:width_px]
    waves = [np.sin(rows / 61), np.cos(columns / 47), np.sin((rows + columns) / 83)]
    return (np.stack(waves, axis=2) * 100 + 128).astype(np.uint8)


@pytest.mark.parametrize(
    ("height_px", "width_px", "factor"),
    [(480, 640, 1), (720, 1279, 1), (720, 1280, 2), (1080, 1920, 2), (2559, 100, 2), (1441, 2560, 4), (5121, 3000, 8)],
)
def test_the_fraction_is_the_smallest_that_suffices(height_px: int, width_px: int, factor: int) -> None:
    """The longer decoded side is at least what the detector sees; the sizes of the full picture are told beside it."""
    scaled = decode_for_detection(_jpeg(_smooth(height_px, width_px)), DEFAULT_LIMITS, DETECT_SIDE_PX)
    assert scaled.factor == factor
    assert scaled.image.shape == (-(-height_px // factor), -(-width_px // factor), 3)
    assert (scaled.height_px, scaled.width_px) == (height_px, width_px)


@settings(max_examples=25, deadline=None)
@given(height_px=st.integers(16, 900), width_px=st.integers(16, 900), orientation=st.integers(1, 8))
def test_what_is_decoded_is_the_full_picture_made_smaller(height_px: int, width_px: int, orientation: int) -> None:
    """At any size and any EXIF orientation: upright, no shorter than asked, and the same scene in the same place."""
    data = with_exif(_jpeg(_smooth(height_px, width_px)), exif(orientation))
    full, scaled = decode(data), decode_for_detection(data, DEFAULT_LIMITS, 100)
    assert full.shape[:2] == (scaled.height_px, scaled.width_px)
    assert max(scaled.image.shape[:2]) >= min(100, *[max(full.shape[:2])])
    f = scaled.factor
    whole_rows, whole_columns = full.shape[0] // f, full.shape[1] // f
    small = full[: whole_rows * f, : whole_columns * f].reshape(whole_rows, f, whole_columns, f, 3).mean((1, 3))
    # A shift by one pixel of the full picture would give 2 and more.
    assert np.abs(small - scaled.image[:whole_rows, :whole_columns]).mean() < 1.5


def test_only_a_jpeg_comes_smaller(portraits: Mapping[str, bytes]) -> None:
    """The other formats have no fraction to decode at."""
    image = decode(portraits["obama2.jpg"])
    for extension in (".png", ".webp", ".bmp"):
        ok, data = cv2.imencode(extension, image)
        assert ok
        scaled = decode_for_detection(data.tobytes(), DEFAULT_LIMITS, 100)
        assert (scaled.factor, scaled.image.shape) == (1, image.shape)


def test_the_limits_hold_for_the_full_size() -> None:
    """Decoding smaller is no way around the cap, nor does it make a picture too small."""
    data = _jpeg(_smooth(64, 800))
    assert decode_for_detection(data, DecodeLimits(max_pixels=64 * 800), 100).image.shape == (8, 100, 3)
    with pytest.raises(ImageRejectedError) as caught:
        decode_for_detection(data, DecodeLimits(max_pixels=64 * 800 - 1), 100)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_a_truncated_jpeg_is_found_at_a_fraction_too(portraits: Mapping[str, bytes]) -> None:
    """Wherever it ends."""
    data = portraits["obama2.jpg"]
    for percent in range(2, 100, 7):
        with pytest.raises(ImageRejectedError) as caught:
            decode_for_detection(data[: len(data) * percent // 100], DEFAULT_LIMITS, 100)
        assert caught.value.reason is Reason.TRUNCATED_IMAGE


def _detected(image: Image, networks: SampleNetworks) -> np.ndarray:
    """(n, 4 + 10), boxes and landmarks in pixels of the detector's input, from left to right and top to bottom."""
    seen = detector_input(image, DETECT_SIDE_PX)
    with torch.inference_mode():
        output = networks.detector(torch.from_numpy(seen.values))[0].numpy()
    found = decode_faces(output, seen.height_px, seen.width_px)
    rows = np.concatenate((found.boxes, found.landmarks.reshape(-1, 10)), axis=1)
    return rows[np.lexsort((rows[:, 0].round(-1), rows[:, 1].round(-2)))]


def _collage(faces: Sequence[Image], height_px: int, width_px: int, rows: int, columns: int) -> Image:
    tile = (width_px // columns, height_px // rows)
    tiles = [cv2.resize(face, tile, interpolation=cv2.INTER_CUBIC) for face in faces[: rows * columns]]
    lines = [np.concatenate(tiles[at * columns : (at + 1) * columns], axis=1) for at in range(rows)]
    return np.concatenate(lines).astype(np.uint8)


def _apart(image: Image, networks: SampleNetworks, factor: int) -> np.ndarray:
    """(n,): for each face, its largest shift of a box or landmark coordinate, in pixels of the detector's input."""
    data = _jpeg(image, 85)
    scaled = decode_for_detection(data, DEFAULT_LIMITS, DETECT_SIDE_PX)
    assert scaled.factor == factor
    full, small = _detected(decode(data), networks), _detected(scaled.image, networks)
    assert full.shape == small.shape
    apart: np.ndarray = np.abs(full - small).max(axis=1)
    return apart


def test_portraits_are_found_in_the_same_places(portraits: Mapping[str, bytes], face_networks: SampleNetworks) -> None:
    """Two faces in 1080p: the same count, boxes and landmarks within two pixels of the detector's input."""
    faces = [decode(portraits[name])[:600] for name in ("obama.jpg", "biden.jpg")]
    assert (_apart(_collage(faces, 1080, 1920, 1, 2), face_networks, 2) < 2.0).all()


@pytest.mark.dataset
@pytest.mark.skipif("TESSERA_DATA" not in os.environ, reason="places of many faces at a fraction stay unproved")
@pytest.mark.parametrize(("height_px", "width_px", "factor"), [(1080, 1920, 2), (2160, 3840, 4)])
def test_faces_of_lfw_are_found_in_the_same_places(
    face_networks: SampleNetworks, height_px: int, width_px: int, factor: int
) -> None:
    """Eight faces a picture, six pictures: the same count each; most shifts are a fraction of a pixel, and the few
    large ones, where another of several detections of a face won, are about a twentieth of its width.
    """
    pictures = read_pictures(Path(os.environ["TESSERA_DATA"]) / COHORT_TAR)
    faces = [decode(next(pictures).data) for _ in range(48)]
    collages = (_collage(faces[first : first + 8], height_px, width_px, 2, 4) for first in range(0, 48, 8))
    apart = np.concatenate([_apart(image, face_networks, factor) for image in collages])
    assert np.median(apart) < 0.5
    assert np.quantile(apart, 0.95) < 2.0
    assert apart.max() < 6.0
