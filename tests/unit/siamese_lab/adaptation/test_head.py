"""A head does in numpy what it was trained to do, and is read back only whole."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from siamese_lab.adaptation.fitting import ResidualHead, TrainingPlan, exported, train_head
from siamese_lab.adaptation.head import (
    HEAD_FILE,
    WEIGHTS_FILE,
    Head,
    affine_head,
    checked,
    identity_head,
    load_head,
    save_head,
)
from siamese_lab.adaptation.tail_loss import TailLoss
from tessera.domain.errors import ArtifactError, InvalidInputError
from tests.unit.siamese_lab.adaptation.made_up_people import made_up_people

D = 12


def unit_rows(count: int, seed: int, dimensions: int = D) -> np.ndarray:
    """Random unit rows."""
    rows = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def two_layer(seed: int = 1) -> Head:
    """A head with five hidden units, all of it drawn."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    parts = (drawn(D), np.eye(D, dtype=np.float32) + drawn(D, D), drawn(D), drawn(D, 5), drawn(5), drawn(5, D))
    return checked(Head("drawn", "encoder@1", *parts))


def test_the_identity_changes_nothing() -> None:
    """Unit rows come out of the head at start as they went in."""
    rows = unit_rows(20, 1)
    assert identity_head("e@1", D).apply(rows) == pytest.approx(rows, abs=1e-6)


@given(seed=st.integers(0, 1000))
def test_what_comes_out_is_the_formula(seed: int) -> None:
    """Each row is the formula of the docstring, one by one in float64, and of length 1."""
    head, rows = two_layer(seed), unit_rows(4, seed + 1)
    out = head.apply(rows)
    for row, found in zip(rows.astype(np.float64), out, strict=True):
        z = row - head.centre
        z /= np.linalg.norm(z)
        y = z @ head.matrix + head.bias + np.tanh(z @ head.inward + head.inner_bias) @ head.outward
        assert found == pytest.approx(y / np.linalg.norm(y), abs=1e-4)


def test_a_trained_head_starts_at_the_identity() -> None:
    """Before the first step the torch head gives back what it is given, and is at no distance from the identity."""
    vectors = torch.from_numpy(unit_rows(9, 1))
    fresh = ResidualHead(D, 7, torch.Generator().manual_seed(1))
    assert torch.equal(fresh(vectors), vectors)
    assert float(fresh.away_from_identity().detach()) == 0.0


def test_numpy_says_what_torch_would_say() -> None:
    """A head with every weight drawn does the same to vectors after it was brought over."""
    head = ResidualHead(D, 7, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for part in head.parameters():
            part.copy_(0.3 * torch.randn(part.shape, generator=torch.Generator().manual_seed(2)))
        rows, middle = torch.from_numpy(unit_rows(9, 3)), torch.full((D,), 0.05)
        expected = functional.normalize(head(functional.normalize(rows - middle, dim=1)), dim=1).numpy()
    assert exported(head, middle, "drawn", "e@1").apply(rows.numpy()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("hidden", [0, 6])
def test_training_is_repeated_exactly(hidden: int) -> None:
    """The same templates and plan give the same head, and it is not the identity."""
    templates = made_up_people(60, seed=1)
    plan = TrainingPlan(hidden=hidden, steps=8, pull=1.0)
    first, second = train_head(templates, plan), train_head(templates, plan)
    assert np.array_equal(first.matrix, second.matrix)
    assert np.abs(first.matrix - np.eye(len(first.matrix))).max() > 1e-3


def test_the_stronger_the_pull_the_nearer_the_identity() -> None:
    """The squared distance from the identity falls as the pull rises."""
    templates = made_up_people(60, seed=1)
    away = [
        float(np.square(train_head(templates, TrainingPlan(steps=10, pull=pull)).matrix - np.eye(16)).sum())
        for pull in (0.1, 10.0, 1000.0)
    ]
    assert away[0] > away[1] > away[2]


@pytest.mark.parametrize("head", [two_layer(), affine_head("a", "e@1", np.eye(D) * 2, np.full(D, 0.1))])
def test_a_head_comes_back_as_it_was_written(head: Head, tmp_path: Path) -> None:
    """Every part, the names and what it does are the same after reading."""
    save_head(head, tmp_path)
    back = load_head(tmp_path)
    for field in dataclasses.fields(Head):
        assert np.array_equal(getattr(back, field.name), getattr(head, field.name))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A missing file, one changed byte, another schema and an unknown field are errors, not other heads."""
    with pytest.raises(ArtifactError):
        load_head(tmp_path)
    save_head(two_layer(), tmp_path)
    weights, facts = (tmp_path / WEIGHTS_FILE).read_bytes(), json.loads((tmp_path / HEAD_FILE).read_text())
    (tmp_path / WEIGHTS_FILE).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ArtifactError):
        load_head(tmp_path)
    (tmp_path / WEIGHTS_FILE).write_bytes(weights)
    for wrong in ({"schema": 2}, {"hidden": 0}, {"dimensions": D + 1}, {"more": 1}):
        (tmp_path / HEAD_FILE).write_text(json.dumps(facts | wrong))
        with pytest.raises(ArtifactError):
            load_head(tmp_path)


@pytest.mark.parametrize("wrong", [np.zeros((2, D + 1)), np.full((2, D), np.nan), np.zeros(D)])
def test_vectors_of_another_encoder_are_refused(wrong: np.ndarray) -> None:
    """Other lengths, numbers that are not finite and single vectors are errors."""
    with pytest.raises(InvalidInputError):
        identity_head("e@1", D).apply(wrong)


def test_the_tail_loss_is_the_plain_loop_and_has_a_true_gradient() -> None:
    """The loss of a batch agrees with a loop over its pairs, and its gradient with finite differences."""
    loss = TailLoss(temperature=0.2, fmr=0.1)
    rows = torch.from_numpy(unit_rows(7, 5, 4)).double()
    labels = torch.tensor([0, 0, 1, 1, 2, 3, 0])
    mated, others = [], []
    for i in range(7):
        for j in range(i + 1, 7):
            (mated if labels[i] == labels[j] else others).append(float(rows[i] @ rows[j]) / 0.2)
    threshold = np.log(np.mean(np.exp(others))) - np.log(0.1)
    assert float(loss(rows, labels)) == pytest.approx(np.mean([np.log1p(np.exp(threshold - s)) for s in mated]))
    assert torch.autograd.gradcheck(lambda seen: loss(seen, labels), rows.clone().requires_grad_())
    assert float(loss(rows, torch.arange(7))) == 0.0
