"""The person encoder's network: as steps it embeds as it was trained, and its colours are never learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch

from siamese_lab.networks.mobilenet import TRUNK_CHANNELS, mobilenet_trunk
from siamese_lab.persons.backbone import read_trunk
from siamese_lab.persons.network import GenericBackbone, PersonNetwork
from siamese_lab.tracing import trace
from tessera.domain.artifact import Manifest, model_id_of, parse_manifest
from tessera.domain.errors import ArtifactError
from tessera.imaging.person import PERSON_PREPROCESSING
from tessera.nets.graph import dump_program
from tessera.nets.person import load_person_network


def _pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 128, 64, generator=torch.Generator().manual_seed(2))


def _network() -> PersonNetwork:
    torch.manual_seed(1)
    network = PersonNetwork(32)
    with torch.no_grad():
        network.train()(_pictures(8))  # batch norms that are not at their beginning
    return network.eval()


def _manifest(folder: Path, network: PersonNetwork, crop_px: Sequence[int] = (128, 64)) -> Manifest:
    program, weights = trace(network)
    files = dump_program(program), safetensors.torch.save(weights)
    for name, content in zip(("network.json", "weights.safetensors"), files, strict=True):
        (folder / name).write_bytes(content)
    network_sha256, weights_sha256 = (hashlib.sha256(content).hexdigest() for content in files)
    facts = {
        "schema": 3,
        "name": "person-test",
        "modality": "PERSON",
        "dimensions": 32,
        "crop_px": list(crop_px),
        "preprocessing": PERSON_PREPROCESSING,
        "detector": None,
        "embedder": {
            "network": "graph",
            "network_sha256": network_sha256,
            "weights_sha256": weights_sha256,
            "licence": "MIT",
            "source": "a test",
        },
    }
    return parse_manifest(json.dumps({**facts, "model_id": model_id_of(facts)}), "test", folder)


def test_what_is_served_embeds_as_what_was_trained(tmp_path: Path) -> None:
    """The network as steps and weights beside a manifest gives the trained network's numbers."""
    network = _network()
    served = load_person_network(_manifest(tmp_path, network))
    with torch.inference_mode():
        torch.testing.assert_close(served(_pictures(3)), network(_pictures(3)), rtol=1e-4, atol=1e-4)


def test_an_encoder_of_other_crops_is_refused(tmp_path: Path) -> None:
    """A manifest whose crops are not those of the network would be shown the wrong pictures."""
    with pytest.raises(ArtifactError, match="128, 64"):
        load_person_network(_manifest(tmp_path, _network(), [96, 64]))


def test_colours_are_never_learned() -> None:
    """Training on dark pictures leaves the colours of ImageNet as they are."""
    network = PersonNetwork(8)
    before = network.colours.running_mean.clone() if network.colours.running_mean is not None else None
    network.train()(0.1 * _pictures(4))
    assert not network.colours.training
    torch.testing.assert_close(network.colours.running_mean, before)


def test_the_fine_trunk_has_places_of_half_the_size() -> None:
    """The same weights fit both; the fine one keeps four times as many places."""
    coarse, fine = mobilenet_trunk(fine=False).eval(), mobilenet_trunk(fine=True).eval()
    fine.load_state_dict(coarse.state_dict())
    with torch.inference_mode():
        assert coarse(_pictures(1)).shape == (1, TRUNK_CHANNELS, 4, 2)
        assert fine(_pictures(1)).shape == (1, TRUNK_CHANNELS, 8, 4)
        assert GenericBackbone().eval()(_pictures(2)).shape == (2, TRUNK_CHANNELS)


def test_a_backbone_file_is_checked_before_it_is_read(tmp_path: Path) -> None:
    """The right bytes give the trunk without the classifier; others are refused by their sum, whatever they hold."""
    path = tmp_path / "backbone.pth"
    torch.save({"features.0.0.weight": torch.ones(2), "classifier.1.weight": torch.zeros(1)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(read_trunk(path, digest)) == ["0.0.weight"]
    with pytest.raises(ArtifactError, match=digest):
        read_trunk(path, "0" * 64)
