"""Attacks and ills: what they may change, what they reach, and that they leave the network as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from siamese_lab.comparison import Comparison
from siamese_lab.data.pairs import balanced_pairs
from siamese_lab.evaluation import attacks as a
from siamese_lab.evaluation import robustness as r
from siamese_lab.evaluation.embedding import as_batch, as_pictures, embed
from siamese_lab.evaluation.estimates import rate_of_items
from siamese_lab.evaluation.pairs import pair_scores
from siamese_lab.verification import best_threshold
from tessera.domain.errors import InvalidInputError


def tiny(seed: int = 0, *, dropout: float = 0.0, norm: bool = False) -> nn.Module:
    """A network of 8 x 8 gray pictures to 4 dimensions."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)]
    if norm:
        layers.insert(1, nn.BatchNorm2d(4))
    return nn.Sequential(*layers, nn.Dropout(dropout))


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Random ones."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def distance_loss(network: nn.Module, templates: Tensor) -> Callable[[Tensor], Tensor]:
    """How far from templates."""
    return lambda batch: ((network(batch) - templates) ** 2).sum(dim=1)


# ---- the laws


@settings(max_examples=15)
@given(seed=st.integers(0, 500), epsilon=st.floats(0, 0.6), start=st.booleans(), method=st.sampled_from(a.Method))
def test_no_attack_leaves_the_ball_or_the_picture(seed: int, epsilon: float, start: bool, method: a.Method) -> None:
    """Each value changes by epsilon at most and stays in [0, 1], from wherever the attack starts."""
    network, batch = tiny(seed), as_batch(pictures(5, seed))
    with torch.no_grad():
        loss = distance_loss(network, network(as_batch(pictures(5, seed + 1))))
    generator = torch.Generator().manual_seed(seed) if start else None
    found = a.attacked(batch, loss, a.Attack(method, epsilon, steps=4), generator)
    assert found.shape == batch.shape
    assert float((found - batch).abs().max()) <= epsilon + 1e-6
    assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0


@settings(max_examples=15)
@given(seed=st.integers(0, 500), epsilon=st.floats(0, 0.4), start=st.booleans())
def test_pgd_is_never_below_its_start_nor_below_fgsm(seed: int, epsilon: float, start: bool) -> None:
    """For every picture: the best that it saw, the picture itself and FGSM's among it."""
    network, batch = tiny(seed), as_batch(pictures(6, seed))
    with torch.no_grad():
        loss = distance_loss(network, network(as_batch(pictures(6, seed + 1))))
    generator = torch.Generator().manual_seed(seed) if start else None
    steep = a.attacked(batch, loss, a.Attack(a.Method.PGD, epsilon, steps=3), generator)
    quick = a.attacked(batch, loss, a.Attack(a.Method.FGSM, epsilon))
    with torch.no_grad():
        assert bool((loss(steep) >= loss(batch) - 1e-6).all())
        assert bool((loss(steep) >= loss(quick) - 1e-6).all())


def test_fgsm_of_a_straight_line_is_the_sign_of_its_weights() -> None:
    """Of w . x every value moves by epsilon along its weight's sign, but never out of [0, 1]."""
    weights = torch.tensor([[2.0, -3.0], [0.5, -0.1]])
    batch = torch.tensor([[[[0.5, 0.5], [0.95, 0.02]]]])
    found = a.attacked(batch, lambda x: (x * weights).sum(dim=(1, 2, 3)), a.Attack(a.Method.FGSM, 0.1))
    assert found.flatten().tolist() == pytest.approx([0.6, 0.4, 1.0, 0.0])


def test_a_loss_of_the_whole_batch_can_be_raised_too() -> None:
    """Where pictures hang together there is one number; it does not fall."""
    network, batch = tiny(), as_batch(pictures(8))

    def loss(x: Tensor) -> Tensor:
        return network(x).var(dim=0).sum()

    found = a.attacked(batch, loss, a.Attack(a.Method.PGD, 0.1, steps=5), torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float(loss(found)) > float(loss(batch))


def test_the_same_generator_finds_the_same() -> None:
    """Random starts come from the generator alone."""
    network, batch = tiny(), as_batch(pictures(3))
    with torch.no_grad():
        loss = distance_loss(network, network(batch))
    attack = a.Attack(a.Method.PGD, 0.1, steps=3)
    first, again = (a.attacked(batch, loss, attack, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, a.attacked(batch, loss, attack))


@pytest.mark.parametrize("facts", [(-0.1, 1, 0.5), (1.1, 1, 0.5), (0.1, 0, 0.5), (0.1, 1, 0.0), (0.1, 1, 1.5)])
def test_an_attack_that_cannot_be_is_refused(facts: tuple[float, int, float]) -> None:
    """Beyond the picture's range, without a step, or with a step longer than the ball."""
    with pytest.raises(InvalidInputError):
        a.Attack(a.Method.PGD, *facts)


def test_the_adversarial_step_raises_the_loss_and_leaves_the_network_alone() -> None:
    """Weights, their gradients, running means and modes are as before; dropout does not blur the attack."""
    network = tiny(dropout=0.5, norm=True)
    network.train()
    network[0].eval()
    batch = as_batch(pictures(6))
    network(batch).sum().backward()
    before = copy.deepcopy(network.state_dict())
    gradients = [one.grad.clone() for one in network.parameters()]
    templates = torch.zeros(6, 4)

    def loss(embeddings: Tensor) -> Tensor:
        return ((embeddings - templates) ** 2).sum(dim=1)

    found = a.adversarial_batch(network, batch, loss, a.Attack(a.Method.PGD, 0.1, steps=3))
    assert not found.requires_grad
    assert network.training
    assert not network[0].training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(one.grad, old) for one, old in zip(network.parameters(), gradients, strict=True))
    network.eval()
    with torch.no_grad():
        assert bool((loss(network(found)) > loss(network(batch))).all())


def test_training_on_the_adversarial_step_makes_a_network_harder_to_attack() -> None:
    """A line through two features, one strong and faint, one weak and clear: only the trained one ignores the faint."""
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    labels = torch.from_numpy(np.where(np.arange(200) % 2, 1.0, -1.0)).float()
    values = np.stack([0.5 + 0.03 * labels.numpy(), 0.5 + 0.25 * labels.numpy() + rng.normal(0, 0.05, 200)], axis=1)
    batch = torch.from_numpy(values).float().clamp(0, 1)[:, None, None, :]

    def loss(embeddings: Tensor) -> Tensor:
        return nn.functional.softplus(-labels * embeddings[:, 0])

    right = []
    attack = a.Attack(a.Method.PGD, 0.1, steps=4)
    for adversarial in (False, True):
        network = nn.Sequential(nn.Flatten(), nn.Linear(2, 1))
        nn.init.constant_(network[1].weight, 0.0)
        network[1].weight.data[0, 0] = 30.0
        nn.init.constant_(network[1].bias, -15.0)
        for _ in range(80):
            some = a.adversarial_batch(network, batch, loss, attack, generator) if adversarial else batch
            weights = list(network.parameters())
            slopes = torch.autograd.grad(loss(network(some)).mean(), weights)
            for weight, slope in zip(weights, slopes, strict=True):
                weight.data -= 20.0 * slope
        harmed = a.adversarial_batch(network, batch, loss, attack, generator)
        with torch.no_grad():
            right.append(float(((network(harmed)[:, 0] * labels) > 0).float().mean()))
    assert right[1] > 0.95
    assert right[1] > right[0] + 0.1


# ---- curves


def test_similarity_is_the_score_of_pairs() -> None:
    """What is attacked is what is judged."""
    vectors = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    pairs = balanced_pairs(np.arange(10) % 2, 12, np.random.default_rng(0))
    for comparison in Comparison:
        sides = [torch.from_numpy(vectors[side]) for side in (pairs.first, pairs.second)]
        assert a.similarity(*sides, comparison).numpy() == pytest.approx(
            pair_scores(vectors, pairs, comparison), abs=1e-5
        )


@pytest.mark.parametrize("comparison", list(Comparison))
def test_attacked_pairs_begin_as_they_were_and_get_worse(comparison: Comparison) -> None:
    """At no change the accuracy is the plain one; at a large one both errors have grown."""
    network, images = tiny(3), pictures(12, 1)
    pairs = balanced_pairs(np.arange(12) % 3, 30, np.random.default_rng(0))
    scores = pair_scores(embed(network, images), pairs, comparison)
    threshold = best_threshold(scores, pairs.mated)
    target = a.PairTarget(images, pairs, comparison, threshold - 1e-5)
    found = a.attack_pairs(network, target, a.Method.PGD, torch.Generator().manual_seed(0), (0.0, 0.3))
    assert found.points[0].accuracy.value == pytest.approx(np.mean((scores >= threshold) == pairs.mated))
    assert found.points[1].accuracy.value < found.points[0].accuracy.value
    for error in ("fnmr", "fmr"):
        assert getattr(found.points[1], error).value >= getattr(found.points[0], error).value


def test_attacked_classes_begin_as_they_were_and_get_worse() -> None:
    """Probes that are gallery pictures are all right at first; the attack makes some err."""
    network, images = tiny(3), pictures(20, 1)
    labels = np.arange(20, dtype=np.int64) % 4
    target = a.ClassTarget(embed(network, images), labels, images, labels)
    found = a.attack_classes(network, target, a.Method.PGD, torch.Generator().manual_seed(0), (0.0, 0.3))
    assert found.points[0].accuracy.value == 1.0
    assert found.points[1].accuracy.value < 0.6
    assert found.points[0].fnmr is None


# ---- ills


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ill", list(r.Ill))
def test_an_ill_changes_the_picture_the_more_the_stronger(ill: r.Ill, channels: int) -> None:
    """Nothing at 0; more at the strongest step than at the first; the same from the same seed; never another shape."""
    y, x = np.mgrid[:20, :20]
    plain = (120 + 80 * np.sin(x / 2.5) * np.cos(y / 3.5)).astype(np.uint8)
    images = np.repeat(np.stack([plain, plain.T])[..., None], channels, axis=3)
    strengths = r.ILLS[ill].strengths
    assert np.array_equal(r.degraded(images, ill, 0.0, np.random.default_rng(0)), images)
    weak, strong = (r.degraded(images, ill, at, np.random.default_rng(0)) for at in (strengths[1], strengths[-1]))
    assert weak.shape == strong.shape == images.shape
    assert weak.dtype == np.uint8
    change = [float(np.abs(one.astype(float) - images).mean()) for one in (weak, strong)]
    assert 0.0 < change[0] < change[1]
    assert np.array_equal(strong, r.degraded(images, ill, strengths[-1], np.random.default_rng(0)))


def test_colours_keep_their_places_in_a_jpeg() -> None:
    """Red stays red."""
    red = np.zeros((1, 16, 16, 3), np.uint8)
    red[..., 0] = 200
    found = r.degraded(red, r.Ill.JPEG, 50.0, np.random.default_rng(0))
    assert found[..., 0].mean() > 150
    assert found[..., 2].mean() < 50


def test_a_curve_begins_with_the_picture_as_it_is() -> None:
    """One figure for each strength; the first is that of clean probes, for every ill."""
    images, network = pictures(10), tiny()
    clean = embed(network, images)

    def judge(vectors: np.ndarray) -> dict[str, object]:
        return {"same": rate_of_items(np.abs(vectors - clean).max(axis=1) < 1e-6)}

    found = r.robustness(
        images, lambda x: embed(network, x), judge, np.random.default_rng(0), (r.Ill.NOISE, r.Ill.BLUR)
    )
    for curve in found:
        assert len(curve.figures["same"]) == len(curve.strengths)
        assert curve.figures["same"][0].value == 1.0
        assert curve.figures["same"][-1].value == 0.0


# ---- the batch


def test_pictures_go_there_and_back() -> None:
    """Batches are channels first in [0, 1]; the way back is exact."""
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    batch = as_batch(images)
    assert batch.shape == (3, 3, 5, 4)
    assert float(batch[1, 2, 3, 1]) == pytest.approx(images[1, 3, 1, 2] / 255.0)
    assert np.array_equal(as_pictures(batch), images)
    with pytest.raises(InvalidInputError, match="images"):
        as_batch(images[0])


def test_embedding_is_batchwise_and_at_rest() -> None:
    """Any batch size gives the same; dropout is off, and the mode comes back."""
    network = tiny(dropout=0.5, norm=True)
    network.train()
    images = pictures(11)
    whole, parts = embed(network, images), embed(network, images, batch=3)
    assert whole == pytest.approx(parts, abs=1e-5)
    assert whole.shape == (11, 4)
    assert network.training
    with pytest.raises(InvalidInputError, match="images"):
        embed(network, images[:0])
    with pytest.raises(InvalidInputError, match="network"):
        embed(nn.Sequential(nn.Flatten(), nn.Threshold(2.0, float("nan"))), images)
