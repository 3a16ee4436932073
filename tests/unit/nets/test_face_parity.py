"""The torch networks against OpenCV's own on the same weight files and real faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from tessera.imaging.align import align
from tessera.imaging.decode import Image, decode
from tessera.imaging.preprocess import detector_input, embedder_input
from tessera.nets.artifact import SampleNetworks
from tessera.nets.onnx_weights import read_weights
from tessera.nets.sface import build_sface, fuse
from tessera.nets.yunet import DetectedFaces, suppress
from tessera.nets.yunet import decode as decode_faces

PORTRAITS = ["obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg", "astronaut.png"]


def _shrunk(data: bytes) -> Image:
    """A picture that the detector sees as it is, so that both detectors see the same pixels."""
    image = decode(data)
    factor = min(1.0, 640 / max(image.shape[:2]))
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor), dtype=np.uint8)


def _detect(networks: SampleNetworks, image: Image) -> DetectedFaces:
    seen = detector_input(image)
    with torch.inference_mode():
        output = networks.detector(torch.from_numpy(seen.values))
    return decode_faces(output[0].numpy(), seen.height_px, seen.width_px)


def _detect_with_opencv(path: Path, image: Image) -> npt.NDArray[Any]:
    detector = cv2.FaceDetectorYN.create(str(path), "", (image.shape[1], image.shape[0]), 0.7, 0.3, 5000)
    _, rows = detector.detect(image)
    return np.asarray(rows)


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_detector_finds_what_opencv_finds(
    name: str, portraits: Mapping[str, bytes], face_networks: SampleNetworks, face_weights: Mapping[str, Path]
) -> None:
    """Same faces, boxes and landmarks within a hundredth of a pixel, the same probabilities."""
    image = _shrunk(portraits[name])
    rows = _detect_with_opencv(face_weights["yunet"], image)
    found = _detect(face_networks, image)
    assert len(found.boxes) == len(rows) >= 1
    np.testing.assert_allclose(found.boxes, rows[:, :4], atol=0.01)
    np.testing.assert_allclose(found.landmarks.reshape(-1, 10), rows[:, 4:14], atol=0.01)
    np.testing.assert_allclose(found.probabilities, rows[:, 14], atol=1e-4)


@pytest.mark.parametrize("name", PORTRAITS)
def test_the_embedder_gives_what_opencv_gives(
    name: str, portraits: Mapping[str, bytes], face_networks: SampleNetworks, face_weights: Mapping[str, Path]
) -> None:
    """Cosine above 0.9999 on the same aligned face, with every batch norm fused."""
    image = _shrunk(portraits[name])
    original = cv2.FaceRecognizerSF.create(str(face_weights["sface"]), "")
    crop = original.alignCrop(image, _detect_with_opencv(face_weights["yunet"], image)[0])
    theirs = original.feature(crop)[0]
    with torch.inference_mode():
        ours = face_networks.embedder(torch.from_numpy(embedder_input([np.asarray(crop, np.uint8)])))[0].numpy()
    assert ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)) > 0.9999


def test_the_whole_way_gives_what_opencv_gives(
    portraits: Mapping[str, bytes], face_networks: SampleNetworks, face_weights: Mapping[str, Path]
) -> None:
    """Own detection, own alignment and own embedding together stay above a cosine of 0.999."""
    image = _shrunk(portraits["biden.jpg"])
    original = cv2.FaceRecognizerSF.create(str(face_weights["sface"]), "")
    row = _detect_with_opencv(face_weights["yunet"], image)[0]
    theirs = original.feature(original.alignCrop(image, row))[0]
    crop = align(image, _detect(face_networks, image).landmarks[0])
    with torch.inference_mode():
        ours = face_networks.embedder(torch.from_numpy(embedder_input([crop])))[0].numpy()
    assert ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)) > 0.999


def test_fusing_changes_nothing_but_the_time(face_weights: Mapping[str, Path]) -> None:
    """The fused network is the same function: equal to float32's last digits, on noise as on faces."""
    crops = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(7)) * 255
    network = build_sface(read_weights(face_weights["sface"]), "sface")
    with torch.inference_mode():
        before = network(crops)
        after = fuse(network)(crops)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_a_batch_gives_what_its_faces_give_alone(face_networks: SampleNetworks) -> None:
    """No face knows of the others in its batch."""
    crops = torch.rand(3, 3, 112, 112, generator=torch.Generator().manual_seed(8)) * 255
    with torch.inference_mode():
        together = face_networks.embedder(crops)
        alone = torch.cat([face_networks.embedder(crop[None]) for crop in crops])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def _suppress_one_by_one(boxes: npt.NDArray[np.float32], limit: float) -> list[int]:
    kept: list[int] = []
    for candidate, (x, y, w, h) in enumerate(boxes):
        for other in kept:
            ox, oy, ow, oh = boxes[other]
            shared = max(0.0, min(x + w, ox + ow) - max(x, ox)) * max(0.0, min(y + h, oy + oh) - max(y, oy))
            if shared > limit * (w * h + ow * oh - shared):
                break
        else:
            kept.append(candidate)
    return kept


def test_suppression_is_that_of_the_plain_loop() -> None:
    """The vectorised suppression keeps exactly the boxes that the definition keeps."""
    generator = np.random.default_rng(3)
    for n in (0, 1, 2, 40):
        boxes = (generator.random((n, 4)) * 40 + 1).astype(np.float32)
        assert suppress(boxes, 0.3).tolist() == _suppress_one_by_one(boxes, 0.3)
