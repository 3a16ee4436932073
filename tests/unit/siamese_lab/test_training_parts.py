"""Schedules, penalties, averages, batches, preparation: each by its law."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from unit.siamese_lab.lab_world import CLASSES, recipe, shapes

from siamese_lab.data.partition import Parts
from siamese_lab.training.averaging import WeightAverage
from siamese_lab.training.batches import Chance, epoch_plan, plan_epoch, stream
from siamese_lab.training.early_stopping import best_epoch, has_stalled
from siamese_lab.training.preparation import noisy, prepare
from siamese_lab.training.recipe import (
    BatchKind,
    BatchPart,
    EarlyStoppingPart,
    NoiseKind,
    NoisePart,
    RegularisationPart,
    ScheduleKind,
    SchedulePart,
)
from siamese_lab.training.regularisation import add_penalties, penalty, weights_of
from siamese_lab.training.schedules import rate_factor

LABELS = np.arange(120, dtype=np.int64) % 6

# ---- schedules


@given(
    kind=st.sampled_from(ScheduleKind),
    share=st.floats(0.0, 1.0),
    epochs=st.integers(1, 50),
    warm_up=st.floats(0.0, 5.0),
    lowest=st.floats(0.0, 1.0),
)
def test_a_rate_is_never_above_the_recipes(
    kind: ScheduleKind, share: float, epochs: int, warm_up: float, lowest: float
) -> None:
    """Every schedule gives a factor of 0 to 1, from the first step to beyond the last."""
    part = SchedulePart(kind, warm_up_epochs=warm_up, lowest=lowest)
    assert 0.0 <= rate_factor(part, share * epochs * 1.1, epochs) <= 1.0 + 1e-12


def test_schedules_go_as_they_are_called() -> None:
    """Values that can be worked out by hand."""
    step = SchedulePart(ScheduleKind.STEP, every_epochs=2, factor=0.1)
    assert [rate_factor(step, at, 6) for at in (0, 1.9, 2, 4)] == pytest.approx([1.0, 1.0, 0.1, 0.01])
    falling = SchedulePart(ScheduleKind.EXPONENTIAL, every_epochs=1, factor=0.25)
    assert rate_factor(falling, 0.5, 6) == pytest.approx(0.5)
    cosine = SchedulePart(ScheduleKind.COSINE, lowest=0.2)
    assert [rate_factor(cosine, at, 10) for at in (0, 5, 10)] == pytest.approx([1.0, 0.6, 0.2])
    cyclic = SchedulePart(ScheduleKind.CYCLIC, every_epochs=4, lowest=0.1)
    assert [rate_factor(cyclic, at, 8) for at in (0, 1, 2, 4, 6)] == pytest.approx([1.0, 0.55, 0.1, 1.0, 0.1])
    one = SchedulePart(ScheduleKind.ONE_CYCLE, rising=0.25)
    assert [rate_factor(one, at, 8) for at in (0, 2, 8)] == pytest.approx([0.04, 1.0, 0.0])
    warm = SchedulePart(warm_up_epochs=2)
    assert [rate_factor(warm, at, 8) for at in (0, 1, 2, 7)] == pytest.approx([0.0, 0.5, 1.0, 1.0])


# ---- penalties, averages, stopping


def test_penalties_are_the_gradient_of_their_sum() -> None:
    """Against autograd on the sum itself; biases have none."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    part = RegularisationPart(l1=0.01, l2=0.3)
    weights = weights_of(network)
    assert len(weights) == 2
    wanted = torch.autograd.grad(
        sum(part.l1 * w.abs().sum() + part.l2 / 2 * w.square().sum() for w in weights),  # type: ignore[arg-type]
        weights,
    )
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    add_penalties(part, weights)
    for weight, gradient in zip(weights, wanted, strict=True):
        torch.testing.assert_close(weight.grad, gradient)
    assert penalty(part, weights) > 0.0


def test_an_average_is_the_mean_that_its_formula_says() -> None:
    """Against a loop; whole numbers are taken as they are."""
    module = nn.BatchNorm1d(3)
    average, wanted = WeightAverage(module, 0.9), module.weight.detach().clone().double()
    for step in range(20):
        with torch.no_grad():
            module.weight.normal_()
            module.num_batches_tracked.fill_(step)  # type: ignore[union-attr, operator]
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * module.weight.detach().double()
    torch.testing.assert_close(average.state()["weight"].double(), wanted, atol=1e-6, rtol=1e-5)
    assert int(average.state()["num_batches_tracked"]) == 19


def test_a_run_stalls_when_nothing_gets_better() -> None:
    """Counted from the best epoch; a gain that is too small is none."""
    part = EarlyStoppingPart(patience_epochs=2, least_gain=0.01)
    assert not has_stalled(part, [0.5, 0.6, 0.605])
    assert has_stalled(part, [0.5, 0.6, 0.605, 0.609])
    assert not has_stalled(EarlyStoppingPart(), [0.5] * 100)
    assert best_epoch([0.1, 0.3, 0.3, 0.2]) == 1


# ---- batches


@given(seed=st.integers(0, 1 << 40), epoch=st.integers(0, 1000), kind=st.sampled_from(BatchKind))
def test_an_epoch_depends_on_seed_and_epoch_alone(seed: int, epoch: int, kind: BatchKind) -> None:
    """Drawn twice it is the same, whatever was drawn between; another epoch is another."""
    part = BatchPart(kind, size=12, per_epoch=60)
    first = epoch_plan(part, LABELS, seed, epoch)
    other = epoch_plan(part, LABELS, seed, epoch + 1)
    again = epoch_plan(part, LABELS, seed, epoch)
    np.testing.assert_array_equal(first.items, again.items)
    assert not np.array_equal(first.items, other.items)
    assert sum(len(items) for items, _ in first.batches()) == len(first.items) == 60
    assert len(list(first.batches())) == len(first)


def test_batches_hold_what_their_kind_says() -> None:
    """Mated pairs are mated, triplets have their classes, balanced batches have as many of each."""
    pairs = epoch_plan(BatchPart(size=10, per_epoch=50), LABELS, 0, 0)
    for items, mated in pairs.batches():
        assert mated is not None
        assert mated.sum() == 5
        np.testing.assert_array_equal(LABELS[items[:, 0]] == LABELS[items[:, 1]], mated)
    triplets = epoch_plan(BatchPart(BatchKind.TRIPLETS, size=10, per_epoch=50), LABELS, 0, 0).items
    assert (LABELS[triplets[:, 0]] == LABELS[triplets[:, 1]]).all()
    assert (LABELS[triplets[:, 0]] != LABELS[triplets[:, 2]]).all()
    for items, _ in epoch_plan(BatchPart(BatchKind.BALANCED_CLASSES, size=12, classes=3), LABELS, 0, 0).batches():
        assert sorted(np.bincount(LABELS[items[:, 0]], minlength=6).tolist()) == [0, 0, 0, 4, 4, 4]
        assert len(set(items[:, 0].tolist())) == 12
    whole = epoch_plan(BatchPart(BatchKind.PICTURES, size=50), LABELS, 0, 0).items[:, 0]
    assert sorted(whole.tolist()) == list(range(120))


def test_fixed_items_come_in_another_order() -> None:
    """The same triplets in every epoch."""
    part = BatchPart(BatchKind.TRIPLETS, size=8, per_epoch=40, fixed=True)
    first, second = (epoch_plan(part, LABELS, 3, epoch).items for epoch in (0, 1))
    assert not np.array_equal(first, second)
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, second.tolist()))


def test_a_last_batch_of_one_is_left_out() -> None:
    """A batch norm cannot take it."""
    plan = plan_epoch(BatchPart(size=8, per_epoch=33), LABELS, stream(0, Chance.BATCHES))
    assert [len(items) for items, _ in plan.batches()] == [8, 8, 8, 8]


# ---- preparation


@pytest.mark.parametrize("kind", [kind for kind in NoiseKind if kind is not NoiseKind.NONE])
def test_noise_is_the_same_each_time_and_harms_its_share(kind: NoiseKind) -> None:
    """Another part has other noise; the share that is told is the share that differs."""
    images = shapes(200, 0).images
    part = NoisePart(kind, 0.2, share=0.25)
    made = noisy(images, part, 5, 0)
    np.testing.assert_array_equal(made, noisy(images, part, 5, 0))
    assert not np.array_equal(made, noisy(images, part, 5, 1))
    changed = (made != images).any(axis=(1, 2, 3)).mean()
    assert 0.15 < changed < 0.35
    np.testing.assert_array_equal(images, shapes(200, 0).images)


def test_the_gate_keeps_blurred_pictures_out_of_training_alone() -> None:
    """About the share that was blurred is refused; validation and test are whole."""
    whole = shapes(120, 0, side_px=32)
    blur = {"kind": "blur", "level": 0.4, "share": 0.5, "training_only": True}
    part = recipe(
        {"data": {"noise": blur, "gate": {"min_sharpness": 0.6, "min_contrast": 0.0, "min_fidelity": 0.0}}}
    ).data
    made = prepare(Parts(whole, whole, whole), part)
    assert 30 <= made.refused <= 90
    assert len(made.parts.train) == len(whole) - made.refused
    np.testing.assert_array_equal(made.parts.test.images, whole.images)
    assert len(np.unique(made.parts.train.labels)) == CLASSES


def test_steps_change_every_part() -> None:
    """What a network is shown in training it is shown in judging."""
    whole = shapes(20, 0)
    made = prepare(Parts(whole, whole, whole), recipe({"data": {"steps": ["otsu"]}}).data).parts
    for part in (made.train, made.validation, made.test):
        assert set(np.unique(part.images)) == {0, 255}
