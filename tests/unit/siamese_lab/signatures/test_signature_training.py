"""Losses, judging, and a training that is small enough for a test."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from signature_world import canvases

from siamese_lab.signatures.judging import Fusion, features, fit_fusion, fused, make_trials, skilled_and_random
from siamese_lab.signatures.losses import OneThresholdLoss, SkilledContrastiveLoss
from siamese_lab.signatures.network import SignatureNetwork, SignatureNetworkSize
from siamese_lab.signatures.training import Batches, SignatureRecipe, embed, train
from siamese_lab.tracing import trace
from tessera.domain.errors import InvalidInputError
from tessera.nets.graph import ImportedNetwork

TINY = SignatureNetworkSize(stem=4, widths=(4, 8, 8), blocks=(1, 1, 1), place_channels=2, dimensions=16)


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings of three writers, two genuine and two forged each."""
    drawn = torch.randn(12, 8, generator=torch.Generator().manual_seed(seed))
    writer = torch.arange(3).repeat_interleave(4)
    return drawn, writer, torch.tensor([False, False, True, True] * 3)


def test_the_contrastive_loss_is_that_of_a_naive_loop() -> None:
    """Weights of skilled negatives and of forged anchors included."""
    vectors, writer, forged = batch()
    loss = SkilledContrastiveLoss(temperature=0.2, skilled_weight=3.0, forged_anchors=0.5)
    units = torch.nn.functional.normalize(vectors, dim=1).double()
    total, weights = 0.0, 0.0
    for i in range(12):
        below, terms = 0.0, []
        for j in range(12):
            if j == i:
                continue
            same, skilled = writer[i] == writer[j], forged[i] != forged[j]
            value = math.exp(float(units[i] @ units[j]) / 0.2) * (3.0 if same and skilled else 1.0)
            below += value
            if same and not skilled:
                terms.append(value)
        weight = 0.5 if forged[i] else 1.0
        total += weight * -sum(math.log(term / below) for term in terms) / len(terms)
        weights += weight
    assert float(loss(vectors, writer, forged)) == pytest.approx(total / weights, rel=1e-5)


def test_skilled_negatives_cost_more_the_nearer_they_are() -> None:
    """A forgery moved on to a genuine signature raises both losses."""
    vectors, writer, forged = batch()
    nearer = vectors.clone()
    nearer[2] = vectors[0]
    for loss in (SkilledContrastiveLoss(), OneThresholdLoss()):
        assert loss(nearer, writer, forged).item() > loss(vectors, writer, forged).item()


def test_one_threshold_ignores_other_writers() -> None:
    """Moving a writer as a whole changes nothing: only pairs of one writer count."""
    vectors, writer, forged = batch()
    turned = vectors.clone()
    turned[:4] = turned[:4].flip(1)
    loss = OneThresholdLoss()
    assert loss(turned, writer, forged).item() == pytest.approx(loss(vectors, writer, forged).item(), rel=1e-6)


def test_batches_are_drawn_by_seed_and_step() -> None:
    """The same step gives the same batch; classes tell writers, mirror images, genuine and forged apart."""
    recipe = SignatureRecipe(writers=2, genuine=2, forged=2, joined=0.3)
    first, again, other = (Batches(canvases(), recipe).draw(step) for step in (3, 3, 4))
    assert np.array_equal(first.pictures, again.pictures)
    assert not np.array_equal(first.pictures, other.pictures)
    assert first.pictures.shape == (8, 1, 80, 256)
    assert first.forged.tolist() == [False, False, True, True] * 2
    assert first.writer.tolist() == [0] * 4 + [1] * 4
    known = first.classes >= 0
    assert np.array_equal(first.classes[known] % 2 == 1, first.forged[known])
    assert first.classes.max() < Batches(canvases(), recipe).class_count


def test_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Two steps and then two more give the weights of four at once."""
    world = canvases()
    recipe = SignatureRecipe(size=TINY, steps=4, writers=2, genuine=2, forged=2, check_every=2, warm_up=1)
    told: list[str] = []
    whole = train(recipe, world, world, tmp_path / "whole", told=told.append)
    assert len(told) == 2

    class StoppedError(Exception):
        pass

    def stop(_: str) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, world, world, tmp_path / "parts", told=stop)
    parts = train(recipe, world, world, tmp_path / "parts", told=told.append)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_network_can_be_written_down_as_steps() -> None:
    """What a service runs from data gives what the network gives."""
    torch.manual_seed(0)
    network = SignatureNetwork(TINY).eval()
    program, weights = trace(network)
    seen = torch.rand(2, 1, 80, 256)
    with torch.inference_mode():
        assert torch.allclose(ImportedNetwork(program, weights, "tiny")(seen), network(seen), atol=1e-5)


def test_embeddings_have_length_one() -> None:
    """And are those of single canvases, however many go together."""
    world = canvases()
    network = SignatureNetwork(TINY).eval()
    vectors = embed(network, world.small, rows=3)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.allclose(vectors[:1], embed(network, world.small[:1]), atol=1e-5)


def test_rates_of_perfect_and_of_useless_embeddings() -> None:
    """0 where each writer and each forger has a place of their own; about a half where there is nothing to tell."""
    writer = np.repeat(np.arange(6), 12)
    forged = np.tile(np.repeat([False, True], 6), 6)
    rng = np.random.default_rng(0)
    perfect = np.eye(12, dtype=np.float32)[2 * writer + forged]
    useless = rng.normal(size=(72, 16)).astype(np.float32)
    useless /= np.linalg.norm(useless, axis=1, keepdims=True)
    for vectors, low, high in ((perfect, 0.0, 0.0), (useless, 0.35, 0.65)):
        trials = make_trials(vectors, writer, forged, 2, Fusion.MEAN, rng=rng)
        for estimate in skilled_and_random(trials, rng, replicates=20).values():
            assert low <= estimate.value <= high
            assert estimate.interval.low <= estimate.value + 1e-9
            assert estimate.interval.high >= estimate.value - 1e-9


def test_references_are_never_probes() -> None:
    """With 2 of 6 as references, each draw has 4 mated, 6 skilled and the random probes of each other writer."""
    writer, forged = np.repeat(np.arange(3), 12), np.tile(np.repeat([False, True], 6), 3)
    vectors = np.eye(36, dtype=np.float32)
    trials = make_trials(vectors, writer, forged, 2, Fusion.MAX, rng=np.random.default_rng(0), draws=1, random_probes=3)
    assert np.bincount(trials.kind).tolist() == [12, 18, 18]
    assert trials.scores.max() == 0.0
    with pytest.raises(InvalidInputError):
        make_trials(vectors, writer, forged, 6, Fusion.MEAN, rng=np.random.default_rng(0))


def test_fusion_of_references() -> None:
    """Mean and highest cosine, and the cosine to the mean vector."""
    chosen = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    probe = np.array([[1.0, 0.0]], np.float32)
    seen = features(chosen, probe)
    assert fused(seen, Fusion.MEAN)[0] == pytest.approx(0.5)
    assert fused(seen, Fusion.MAX)[0] == pytest.approx(1.0)
    assert fused(seen, Fusion.MEAN_EMBEDDING)[0] == pytest.approx(math.sqrt(0.5))
    with pytest.raises(InvalidInputError):
        fused(seen, Fusion.TRAINED)


def test_a_trained_fusion_is_no_worse_than_the_mean_where_it_learned() -> None:
    """On vectors with noise, the learned sum of features tells at least as well as the plain mean."""
    rng = np.random.default_rng(2)
    writer, forged = np.repeat(np.arange(8), 12), np.tile(np.repeat([False, True], 6), 8)
    vectors = np.eye(16, dtype=np.float32)[2 * writer + forged] + rng.normal(0, 0.35, (96, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weighing = fit_fusion(vectors, writer, forged, 3, rng)
    rates = []
    for fusion in (Fusion.MEAN, Fusion.TRAINED):
        trials = make_trials(vectors, writer, forged, 3, fusion, rng=np.random.default_rng(1), weighing=weighing)
        rates.append(skilled_and_random(trials, rng, replicates=0)["skilled"].value)
    assert rates[1] <= rates[0] + 0.02
