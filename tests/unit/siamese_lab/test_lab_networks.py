"""Every network of the lab: its shape, its size, its seed, its steps, and what it refuses."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from siamese_lab.networks import NETWORKS, Initialisation, Shape, Subnet, build, initialise
from siamese_lab.networks.heads import DistanceHead, HeadKind
from siamese_lab.networks.lenet5 import LeNet5
from siamese_lab.networks.wide_resnet import WideResNet, whitening_filters
from siamese_lab.options import Option, option_names
from siamese_lab.tracing import trace
from tessera.domain.errors import InvalidInputError
from tessera.nets.graph import ImportedNetwork

GRAY, COLOUR = (1, 28, 28), (3, 32, 32)
DIMENSIONS = {
    "lenet5": 84, "lenet5-classifier": 10, "dense": 2, "conv-grid": 64, "triplet-cnn": 64, "vgg": 128, "resnet": 128,
    "wide-resnet": 128,
}  # fmt: skip
SIZES: list[tuple[str, Shape, dict[str, Option], int]] = [
    ("lenet5", GRAY, {}, 60_856),
    ("lenet5", COLOUR, {}, 82_276),
    ("lenet5", COLOUR, {"padding": 0}, 61_156),
    ("lenet5-classifier", GRAY, {}, 61_706),
    ("dense", GRAY, {}, 1_855_490),
    ("conv-grid", GRAY, {"layers": 1, "kernels": 8, "pools": 1}, 100_496),
    ("conv-grid", GRAY, {"layers": 2, "kernels": 16, "pools": 2}, 52_720),
    ("conv-grid", GRAY, {}, 14_080),
    ("triplet-cnn", GRAY, {}, 886_336),
    ("vgg", GRAY, {}, 614_944),
    ("vgg", COLOUR, {}, 844_896),
    ("resnet", COLOUR, {}, 280_144),
    ("wide-resnet", COLOUR, {}, 2_003_000),
]
VARIANTS: list[tuple[str, dict[str, Option]]] = [
    ("lenet5", {"activation": "tanh", "pooling": "average", "batch_norm": True, "dropout": 0.5, "width": 2}),
    ("lenet5-classifier", {"classes": 7}),
    ("dense", {"layers": 3, "hidden": 20, "batch_norm": True, "dropout": 0.1, "dimensions": 5}),
    ("conv-grid", {"layers": 1, "pools": 3, "kernel_px": 5, "batch_norm": True, "dropout": 0.1}),
    ("triplet-cnn", {"unit_length": True, "filters": 8}),
    ("vgg", {"stacks": 2, "depth": 3, "width": 4, "batch_norm": False}),
    ("resnet", {"blocks": 1, "width": 4, "activation": "silu"}),
    ("wide-resnet", {"convolutions": 3, "width": 8, "growth": 2, "patch_px": 3, "output_scale": 0.1}),
]
SMALL: dict[str, dict[str, Option]] = dict(VARIANTS)


def seeded(name: str, shape: Shape, options: dict[str, Option], seed: int = 1) -> Subnet:
    network = build(name, shape, options)
    initialise(network, Initialisation.HE, torch.Generator().manual_seed(seed))
    return network.eval()


def pictures(shape: Shape, count: int = 3) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(2))


def test_the_table_is_complete() -> None:
    """Each network that the recipes name is there, and nothing else."""
    assert list(NETWORKS) == list(DIMENSIONS)


@pytest.mark.parametrize("shape", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_an_embedding_for_each_picture(name: str, shape: Shape) -> None:
    """(n, c, h, w) becomes float32 (n, dimensions), and rows do not depend on each other."""
    network = seeded(name, shape, {})
    images = pictures(shape)
    embeddings = network(images)
    assert network.input_shape == shape
    assert embeddings.shape == (3, network.dimensions) == (3, DIMENSIONS[name])
    assert embeddings.dtype is torch.float32
    assert embeddings.isfinite().all()
    assert torch.allclose(network(images[1:2]), embeddings[1:2], atol=1e-5)
    assert not torch.allclose(embeddings[0], embeddings[1])


@pytest.mark.parametrize(("name", "shape", "options", "count"), SIZES)
def test_a_network_has_as_many_weights_as_its_docstring_says(
    name: str, shape: Shape, options: dict[str, Option], count: int
) -> None:
    """The number is that of the paper's layers, counted one by one."""
    network = build(name, shape, options)
    assert sum(weight.numel() for weight in network.parameters()) == count
    assert f"{count:,}" in (inspect.getdoc(type(network)) or "")


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_options_change_what_they_name(name: str, options: dict[str, Option]) -> None:
    """Every network has variants, which train and embed."""
    network = build(name, GRAY, options)
    initialise(network, Initialisation.XAVIER, torch.Generator().manual_seed(3))
    network.train()(pictures(GRAY, 4)).square().sum().backward()
    missing = [key for key, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
    assert not missing
    assert network.eval()(pictures(GRAY)).shape == (3, network.dimensions)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_docstring_names_every_option(name: str) -> None:
    """Whoever writes a recipe reads the class."""
    told = inspect.getdoc(NETWORKS[name]) or ""
    assert [option for option in option_names(NETWORKS[name]) if f"    {option}: " not in told] == []


@pytest.mark.parametrize("kind", Initialisation)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_names_a_network(name: str, kind: Initialisation) -> None:
    """The same seed gives the same weights whatever the global state; another seed, others."""
    drawn = []
    for seed, disturbance in [(7, 1), (7, 2), (8, 1)]:
        torch.manual_seed(disturbance)
        network = build(name, GRAY, SMALL[name])
        initialise(network, kind, torch.Generator().manual_seed(seed))
        drawn.append(network.state_dict())
    first, again, other = drawn
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Initialisation.RANDOM, 0.05),
        (Initialisation.XAVIER, math.sqrt(2 / (784 + 1024))),
        (Initialisation.HE, math.sqrt(2 / 784)),
    ],
)
def test_weights_have_the_deviation_of_their_paper(kind: Initialisation, expected: float) -> None:
    """Of 800,000 draws for the first dense layer; all biases are 0."""
    network = build("dense", GRAY, {})
    initialise(network, kind, torch.Generator().manual_seed(5))
    weights = dict(network.named_parameters())
    assert weights["layers.dense1.weight"].std().item() == pytest.approx(expected, rel=0.01)
    assert weights["layers.dense1.weight"].mean().item() == pytest.approx(0.0, abs=1e-3)
    assert not weights["layers.dense1.bias"].any()


def test_convolutions_count_their_kernel_as_inputs() -> None:
    """He's fan-in of a 3x3 convolution on 64 channels is 576."""
    conv = nn.Conv2d(64, 256, 3)
    initialise(conv, Initialisation.HE, torch.Generator().manual_seed(1))
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / 576), rel=0.02)


def test_initialising_starts_batch_norms_anew() -> None:
    """A network that was trained is as fresh as a new one afterwards."""
    used, fresh = build("triplet-cnn", GRAY, SMALL["triplet-cnn"]), build("triplet-cnn", GRAY, SMALL["triplet-cnn"])
    used.train()(pictures(GRAY))
    for network in (used, fresh):
        initialise(network, Initialisation.HE, torch.Generator().manual_seed(4))
    assert all(torch.equal(value, fresh.state_dict()[key]) for key, value in used.state_dict().items())


def test_a_layer_that_nobody_knows_how_to_start_is_refused() -> None:
    """Weights left as they were would break the promise of the seed."""
    with pytest.raises(InvalidInputError, match="LayerNorm"):
        initialise(nn.Sequential(nn.LayerNorm(3)), Initialisation.HE, torch.Generator())
    with pytest.raises(InvalidInputError, match="deviation"):
        initialise(nn.Linear(2, 2), Initialisation.RANDOM, torch.Generator(), deviation=0.0)


# ---- towards an encoder


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in NETWORKS), *VARIANTS])
def test_every_step_can_become_data(name: str, options: dict[str, Option]) -> None:
    """Written down as `network.json` has it, a network gives what it gave, batch norms and scales included."""
    network = seeded(name, GRAY, options)
    network.train()(pictures(GRAY, 8))  # running statistics other than those of the start
    written = ImportedNetwork(*trace(network.eval()), source=name)
    many = pictures(GRAY, 5)
    assert torch.allclose(written(many), network(many), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_can_be_exported_for_any_batch(name: str) -> None:
    """What compilers take goes through whole, without a branch on numbers."""
    network = seeded(name, GRAY, SMALL[name])
    exported = torch.export.export(network, (pictures(GRAY),), dynamic_shapes=({0: torch.export.Dim("n")},))
    many = pictures(GRAY, 7)
    assert torch.allclose(exported.module()(many), network(many), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_symbolic_tracing_goes_through(name: str) -> None:
    """No branch of a forward hangs on what it is given."""
    network = seeded(name, GRAY, SMALL[name])
    traced = torch.fx.symbolic_trace(network)
    assert torch.allclose(traced(pictures(GRAY)), network(pictures(GRAY)), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_memory_order_changes_nothing(name: str) -> None:
    """Channels last, which is faster for many a machine, gives the same embeddings."""
    network = seeded(name, COLOUR, SMALL[name])
    expected = network(pictures(COLOUR))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs forget it
    got = network(pictures(COLOUR).contiguous(memory_format=torch.channels_last))
    assert torch.allclose(got, expected, atol=1e-4)


# ---- networks with something of their own


def test_lenet5_on_28_pixels_is_the_papers_on_32() -> None:
    """Maps of 28, 14, 10 and 5 pixels, then 120 and 84 numbers."""
    x, sides = pictures(GRAY), []
    for layer in LeNet5(GRAY).layers:
        x = layer(x)
        sides.append(x.shape[-1])
    assert sides == [28, 28, 14, 10, 10, 5, 400, 120, 120, 84]


def test_unit_length_embeddings_have_it() -> None:
    """As a margin of 0.2 takes for granted."""
    embeddings = seeded("triplet-cnn", GRAY, {"unit_length": True})(pictures(GRAY))
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(3))


def test_residual_blocks_start_as_their_shortcut() -> None:
    """With the last gain of a block at 0, only the shortcut speaks."""
    network = seeded("resnet", GRAY, {"blocks": 1, "width": 4})
    block = network.get_submodule("blocks.0")
    x = torch.rand(2, 4, 28, 28)
    assert torch.allclose(block(x), x)


def test_whitened_patches_are_uncorrelated_and_of_variance_one() -> None:
    """On pictures whose neighbouring pixels resemble each other; a patch of 2x2 in 3 channels is 12 numbers."""
    generator = torch.Generator().manual_seed(6)
    smooth = nn.functional.avg_pool2d(torch.rand(300, 3, 18, 18, generator=generator), 3, 1) * 20
    answers = nn.functional.conv2d(smooth, whitening_filters(smooth, 2)).permute(0, 2, 3, 1).reshape(-1, 12)
    assert torch.allclose(torch.cov(answers.T), torch.eye(12), atol=0.02)


def test_a_whitening_layer_is_measured_and_not_learned() -> None:
    """`prepare` sets it, both signs of each filter; what is then trained leaves it as it is."""
    network = build("wide-resnet", COLOUR, SMALL["wide-resnet"])
    assert isinstance(network, WideResNet)
    initialise(network, Initialisation.HE, torch.Generator().manual_seed(1))
    before = network.whitening.weight.clone()
    network.prepare(pictures(COLOUR, 20))
    filters, mirrored = network.whitening.weight.chunk(2)
    assert torch.equal(filters, -mirrored)
    assert not torch.equal(network.whitening.weight, before)
    assert not network.whitening.weight.requires_grad
    with pytest.raises(InvalidInputError, match="images"):
        network.prepare(pictures(GRAY))


def test_preparing_other_networks_changes_nothing() -> None:
    """Only what measures its pictures is changed by them."""
    network = seeded("lenet5", GRAY, {})
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.prepare(pictures(GRAY))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_pictures_that_are_all_alike_can_be_whitened() -> None:
    """Variances of 0 do not blow the filters up without bound."""
    assert whitening_filters(torch.zeros(2, 1, 8, 8), 2).isfinite().all()


# ---- heads


@pytest.mark.parametrize("kind", HeadKind)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_head_judges_both_orders_alike_and_the_same_picture_best(kind: HeadKind, seed: int) -> None:
    """Before the first step a distance speaks against a pair, and nothing beats no distance."""
    first, second = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(seed))
    head = DistanceHead(5, kind)
    assert torch.equal(head(first, second), head(second, first))
    assert (head(first, second) < head(first, first)).all()
    assert torch.equal(head(first, first), torch.ones(6))


def test_a_head_is_even_at_its_distance() -> None:
    """The logit is 0 where it says."""
    head = DistanceHead(2, even_distance=5.0)
    assert head(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).item() == pytest.approx(0.0, abs=1e-6)


def test_a_head_refuses_other_embeddings() -> None:
    """Both sides are (n, d) of its dimensions."""
    head = DistanceHead(4)
    for first, second in [((2, 4), (3, 4)), ((2, 5), (2, 5)), ((4,), (4,))]:
        with pytest.raises(InvalidInputError, match="twice"):
            head(torch.ones(first), torch.ones(second))


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "shape", "options", "told"),
    [
        ("lenet", GRAY, {}, "network.name: got 'lenet'; allowed: one of lenet5, "),
        ("lenet5", GRAY, {"kernels": 3}, r"network.options.kernels: got 3; allowed: one of dimensions, padding"),
        ("dense", GRAY, {"input_shape": 3}, r"network.options.input_shape"),
        ("dense", GRAY, {"hidden": 0}, "hidden: got 0; allowed: from 1"),
        ("dense", GRAY, {"dimensions": 0}, "dimensions: got 0"),
        ("dense", GRAY, {"batch_norm": 1}, "true or false"),
        ("dense", (2, 28, 28), {}, r"input_shape\[0\]: got 2; allowed: 1 \(gray\) or 3"),
        ("lenet5", (1, 11, 28), {}, "at least 12 pixels"),
        ("lenet5", GRAY, {"activation": "gelu"}, "one of relu, silu, tanh"),
        ("conv-grid", GRAY, {"layers": 4}, "layers"),
        ("conv-grid", GRAY, {"kernel_px": 4}, "1, 3, 5 or 7"),
        ("conv-grid", (1, 7, 7), {}, "at least 8 pixels"),
        ("triplet-cnn", GRAY, {"dropout": 1.0}, "dropout"),
        ("vgg", (1, 16, 16), {"stacks": 5}, "at least 32 pixels"),
        ("wide-resnet", (1, 8, 8), {}, "at least 9 pixels"),
        ("wide-resnet", COLOUR, {"convolutions": 4}, "convolutions"),
    ],
)
def test_a_network_that_cannot_be_is_refused(name: str, shape: Shape, options: dict[str, Option], told: str) -> None:
    """The error names the field, the value and what is allowed."""
    with pytest.raises(InvalidInputError, match=told):
        build(name, shape, options)


@pytest.mark.parametrize("name", NETWORKS)
def test_pictures_of_another_shape_are_refused(name: str) -> None:
    """Also where the layers would have taken them."""
    network = seeded(name, GRAY, SMALL[name])
    for shape in [(2, 1, 32, 32), (2, 3, 28, 28), (1, 28, 28)]:
        with pytest.raises(InvalidInputError, match=r"images: got .*; allowed: \(n, 1, 28, 28\)"):
            network(torch.zeros(shape))


def test_the_smallest_picture_that_is_allowed_works() -> None:
    """The bounds in the errors are the true ones."""
    for name, side in [("lenet5", 12), ("conv-grid", 8), ("triplet-cnn", 4), ("vgg", 8), ("wide-resnet", 9)]:
        network = build(name, (1, side, side), {}).eval()
        assert network(torch.zeros(2, 1, side, side)).shape == (2, network.dimensions)
        with pytest.raises(InvalidInputError, match=f"at least {side} pixels"):
            build(name, (1, side - 1, side), {})
