"""Weights: folded as the operator says, filled completely, cached with a check."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera.domain.artifact import Manifest, SourceFile
from tessera.domain.errors import ArtifactError
from tessera.nets.artifact import load_face_networks
from tessera.nets.onnx_weights import dequantize, read_weights
from tessera.nets.sface import build_sface
from tessera.nets.yunet import build_yunet


def test_blocks_share_their_scale_and_the_last_may_be_short() -> None:
    """Folding equals the loop over the definition, (q - zero) x scale of the block."""
    generator = np.random.default_rng(5)
    q = generator.integers(-128, 128, (3, 10), dtype=np.int8)
    scales = generator.random((3, 3)).astype(np.float32)
    zero = generator.integers(-5, 5, (3, 3), dtype=np.int8)
    folded = dequantize(q, scales, zero, axis=1, block_size=4)
    for row in range(3):
        for column in range(10):
            block = column // 4
            expected = (float(q[row, column]) - float(zero[row, block])) * scales[row, block]
            assert folded[row, column] == pytest.approx(expected, rel=1e-6)


def test_a_weight_left_over_is_refused(face_weights: Mapping[str, Path]) -> None:
    """An array that no layer takes means that this is another network."""
    weights = read_weights(face_weights["sface"]) | {"unexpected": np.zeros(1, np.float32)}
    with pytest.raises(ArtifactError, match="unexpected"):
        build_sface(weights, "some.onnx")


def test_a_weight_that_is_missing_is_refused(face_weights: Mapping[str, Path]) -> None:
    """A layer without weights would embed noise."""
    weights = read_weights(face_weights["sface"])
    del weights["conv_9_relu_gamma"]
    with pytest.raises(ArtifactError, match="conv_9_relu_gamma"):
        build_sface(weights, "some.onnx")


def test_the_weights_of_another_network_are_refused(face_weights: Mapping[str, Path]) -> None:
    """The embedder's file does not become a detector."""
    with pytest.raises(ArtifactError, match="left over"):
        build_yunet(read_weights(face_weights["sface"]), "sface.onnx")


def test_a_conversion_is_made_once_and_repaired_when_damaged(
    face_manifest: Manifest, face_weights: Mapping[str, Path], tmp_path: Path
) -> None:
    """The second load needs no pinned file; a damaged conversion is made again, and gives the same network."""
    brought: list[str] = []

    def bring(source: SourceFile) -> Path:
        brought.append(source.network)
        return face_weights[source.network]

    crops = torch.full((1, 3, 112, 112), 90.0)
    first = load_face_networks(face_manifest, bring, tmp_path)
    again = load_face_networks(face_manifest, bring, tmp_path)
    assert brought == ["yunet", "sface"]
    converted = next((tmp_path / "converted").glob("sface-*.safetensors"))
    converted.write_bytes(converted.read_bytes()[:-1] + b"\xff")
    repaired = load_face_networks(face_manifest, bring, tmp_path)
    assert brought == ["yunet", "sface", "sface"]
    with torch.inference_mode():
        outputs = [networks.embedder(crops) for networks in (first, again, repaired)]
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_networks_are_ready_to_infer(face_manifest: Manifest, face_weights: Mapping[str, Path], tmp_path: Path) -> None:
    """No batch norm is left in the embedder and nothing records gradients."""
    networks = load_face_networks(face_manifest, lambda source: face_weights[source.network], tmp_path)
    assert isinstance(networks.detector, torch.nn.Module)
    assert isinstance(networks.embedder, torch.nn.Module)
    assert not [m for m in networks.embedder.modules() if isinstance(m, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d)]
    assert not any(p.requires_grad for n in (networks.detector, networks.embedder) for p in n.parameters())
