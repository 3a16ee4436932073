"""Freezing parts of a network, and loading weights whose file is known."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import safetensors.torch
import torch

from siamese_lab.networks import Initialisation, Subnet, build, initialise
from siamese_lab.networks.transfer import Freezing, load_weights
from tessera.domain.errors import ArtifactError, InvalidInputError

SHAPE = (1, 12, 12)


def small(seed: int, dimensions: int = 3) -> Subnet:
    network = build("triplet-cnn", SHAPE, {"filters": 2, "hidden": 4, "dimensions": dimensions})
    initialise(network, Initialisation.HE, torch.Generator().manual_seed(seed))
    return network


def kept(network: Subnet) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(network: Subnet, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def step(network: Subnet) -> None:
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=1.0)
    network(torch.rand(8, *SHAPE)).square().mean().backward()
    optimiser.step()


def saved(network: Subnet, path: Path) -> str:
    safetensors.torch.save_file(network.state_dict(), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_frozen_parts_stay_as_they_are() -> None:
    """Neither the weights nor a batch norm's statistics move; all else does."""
    network = small(1)
    frozen = Freezing(("layers.conv1", "layers.norm1")).apply(network.train(), epoch=0)
    before = kept(network)
    step(network)
    assert frozen == ("layers.conv1.weight", "layers.conv1.bias", "layers.norm1.weight", "layers.norm1.bias")
    assert not any(name.startswith(("layers.conv1", "layers.norm1")) for name in changed(network, before))
    assert {"layers.conv2.weight", "layers.norm2.running_mean", "layers.embedding.bias"} <= changed(network, before)


def test_frozen_parts_learn_from_their_epoch_on() -> None:
    """Before it they stay; from it on nothing is frozen."""
    network, freezing = small(1), Freezing(("layers.conv1",), until_epoch=2)
    assert [len(freezing.apply(network.train(), epoch)) for epoch in range(4)] == [2, 2, 0, 0]
    before = kept(network)
    step(network)
    assert "layers.conv1.weight" in changed(network, before)


def test_thawing_leaves_alone_what_it_did_not_freeze() -> None:
    """A whitening layer is never learned, whatever was frozen beside it."""
    network = build("wide-resnet", (3, 16, 16), {"width": 4, "growth": 1})
    Freezing(("blocks",), until_epoch=0).apply(network, 0)
    assert not network.get_parameter("whitening.weight").requires_grad
    assert network.get_parameter("blocks.0.conv1.weight").requires_grad


def test_a_prefix_ends_at_a_dot() -> None:
    """`layers.conv` is no beginning of `layers.conv1`, and what names nothing is refused."""
    with pytest.raises(InvalidInputError, match=r"freeze: got 'layers.conv'"):
        Freezing(("layers.conv",)).apply(small(1), 0)
    assert Freezing(()).apply(small(1), 0) == ()


def test_weights_come_back(tmp_path: Path) -> None:
    """A network that is loaded is the one that was saved, statistics included."""
    network, other = small(1), small(2)
    network.train()(torch.rand(8, *SHAPE))
    digest = saved(network, tmp_path / "w.safetensors")
    assert set(load_weights(other, tmp_path / "w.safetensors", digest)) == network.state_dict().keys()
    assert not changed(other, network.state_dict())


def test_a_part_can_be_loaded_into_a_network_of_another_end(tmp_path: Path) -> None:
    """Transfer to another number of dimensions takes all but the embedding layer."""
    digest = saved(small(1), tmp_path / "w.safetensors")
    network = small(2, dimensions=7)
    before = kept(network)
    loaded = load_weights(network, tmp_path / "w.safetensors", digest, only=("layers.conv1", "layers.conv2"))
    assert {name.rpartition(".")[0] for name in loaded} == {"layers.conv1", "layers.conv2"}
    assert {name.rpartition(".")[2] for name in changed(network, before)} == {"weight"}  # biases were 0 before, too


def test_a_file_that_is_another_is_refused(tmp_path: Path) -> None:
    """A digest that differs, a file that is none, and no file at all."""
    path = tmp_path / "w.safetensors"
    digest = saved(small(1), path)
    with pytest.raises(ArtifactError, match="has sha256"):
        load_weights(small(2), path, "0" * 64)
    load_weights(small(2), path, digest.upper())
    path.write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match="no safetensors"):
        load_weights(small(2), path, hashlib.sha256(b"no tensors").hexdigest())
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_weights(small(2), tmp_path / "absent.safetensors", digest)


def test_weights_that_do_not_fit_leave_the_network_as_it_was(tmp_path: Path) -> None:
    """Another shape, another network, a part that is not in the file."""
    path = tmp_path / "w.safetensors"
    digest = saved(small(1), path)
    network = small(2, dimensions=7)
    before = kept(network)
    with pytest.raises(ArtifactError, match=r"layers.embedding.weight has shape \(3, 4\); the network's has \(7, 4\)"):
        load_weights(network, path, digest)
    with pytest.raises(ArtifactError, match="first difference"):
        load_weights(build("dense", SHAPE, {}), path, digest)
    with pytest.raises(InvalidInputError, match="only: got 'head'"):
        load_weights(network, path, digest, only=("head",))
    with pytest.raises(ArtifactError, match=r"has no layers\.dense2"):
        load_weights(build("dense", SHAPE, {}), path, digest, only=("layers.dense2",))
    assert not changed(network, before)
