"""Maps of a pair's score, pictures that a network likes, and what single dimensions do."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation import attribution as at
from siamese_lab.evaluation import dimensions as dims
from tessera.domain.errors import InvalidInputError


class Corner(nn.Module):
    """Looks at one quarter of a picture alone."""

    def forward(self, batch: Tensor) -> Tensor:
        """(n, c, h, w) to (n, 9)."""
        return nn.functional.adaptive_avg_pool2d(batch[:, :1, :8, :8], 3).flatten(1) ** 2


def textured(seed: int, channels: int = 1) -> np.ndarray:
    """A picture with features everywhere."""
    return np.random.default_rng(seed).integers(0, 256, (16, 16, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", list(at.Attribution))
def test_a_map_points_where_the_network_looks(method: at.Attribution, channels: int) -> None:
    """Nearly all of the map lies on the quarter that decides, it is faithful, and its picture is a PNG."""
    found = at.attribute_pair(Corner(), textured(0, channels), textured(1, channels), method)
    inside = float(np.abs(found.weights[:7, :7]).sum() / np.abs(found.weights).sum())
    assert found.weights.shape == (14, 14)
    assert inside > 0.8
    assert found.faithfulness > 2.0
    drawn = cv2.imdecode(np.frombuffer(found.drawn, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert max(drawn.shape[:2]) >= 448


def test_a_map_of_a_blind_network_tells_nothing() -> None:
    """Where nothing changes the score all weights are 0 and so is the faithfulness."""

    class Blind(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return batch.flatten(1)[:, :2] * 0.0 + 1.0

    found = at.attribute_pair(Blind(), textured(0), textured(1), at.Attribution.OCCLUSION)
    assert not found.weights.any()
    assert found.faithfulness == 0.0


def test_integrated_gradients_add_up_to_the_score() -> None:
    """Their sum is the score less that of the start (completeness), and captum's are the same."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 2), nn.Tanh())
    pictures, start = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)

    def score(batch: Tensor) -> Tensor:
        return network(batch).sum(dim=1)

    by_hand = at.integrated_by_hand(score, pictures, start)
    with torch.no_grad():
        expected = score(pictures) - score(start)
    assert by_hand.flatten(1).sum(dim=1).numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert at.integrated_gradients(score, pictures, start).numpy() == pytest.approx(by_hand.numpy(), abs=1e-5)


def test_captum_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the same map is made by hand."""
    with_it = at.attribute_pair(Corner(), textured(0), textured(1), at.Attribution.INTEGRATED)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    without = at.attribute_pair(Corner(), textured(0), textured(1), at.Attribution.INTEGRATED)
    assert without.weights == pytest.approx(with_it.weights, abs=1e-4)


def test_gradient_of_a_straight_line_is_its_weights() -> None:
    """And of each picture by itself."""
    weights = torch.arange(4.0).view(1, 2, 2)
    found = at.gradient(lambda batch: (batch * weights).sum(dim=(1, 2, 3)), torch.rand(3, 1, 2, 2))
    assert torch.equal(found, weights.expand(3, 1, 2, 2))


def test_cells_are_means_of_their_pixels() -> None:
    """Of a 4 x 4 map in 2 x 2 cells, as shares of the largest."""
    values = torch.zeros(4, 4)
    values[:2, :2] = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    values[3, 3] = -4.0
    assert at.to_cells(values, 2).tolist() == pytest.approx(np.array([[1.0, 0.0], [0.0, -0.5]]))


def test_climbing_finds_what_the_network_likes() -> None:
    """A network that likes light above and dark below gets that; the same generator, the same picture."""

    class Sky(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return torch.stack([batch[:, 0, :4].mean(dim=(1, 2)) - batch[:, 0, 4:].mean(dim=(1, 2))] * 2, dim=1)

    first, again = (
        at.activation_maximisation(Sky(), [1.0, 0.0], (1, 8, 8), torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert first.after > 0.8 > first.before
    assert first.picture[:3].mean() > 220
    assert first.picture[5:].mean() < 35
    assert np.array_equal(first.picture, again.picture)


# ---- dimensions


def test_only_the_dimension_that_tells_classes_apart_is_important() -> None:
    """Shuffled, it costs half of the answers; the others cost nothing; its interval says so."""
    rng = np.random.default_rng(0)
    labels = np.arange(80, dtype=np.int64) % 2
    vectors = rng.normal(0, 0.1, (80, 4)).astype(np.float32)
    vectors[:, 2] += 10 * labels
    right = dims.right_votes(vectors[:40], labels[:40], labels[40:])
    found = dims.permutation_importance(vectors[40:], right, np.random.default_rng(1))
    assert found[0].dimension == 2
    assert found[0].fall.value == pytest.approx(0.5, abs=0.15)
    assert found[0].fall.interval.low > 0.2
    assert [one.fall.value for one in found[1:]] == [0.0, 0.0, 0.0]


@given(seed=st.integers(0, 100), d=st.integers(1, 6))
def test_shapley_values_of_a_weighted_sum_by_enumeration(seed: int, d: int) -> None:
    """What is written for a line is what asking every coalition gives."""
    rng = np.random.default_rng(seed)
    weights, x, background = rng.normal(size=d), rng.normal(size=d), rng.normal(size=(5, d))
    asked = dims.exact_shapley(lambda vectors: vectors @ weights, x, background)
    assert dims.linear_shapley(weights, x, background) == pytest.approx(asked, abs=1e-9)


@given(seed=st.integers(0, 100), d=st.integers(1, 6))
def test_shapley_values_of_a_squared_distance_by_enumeration(seed: int, d: int) -> None:
    """A distance adds up over dimensions, so that its values need no coalition."""
    rng = np.random.default_rng(seed)
    template, x, background = rng.normal(size=d), rng.normal(size=d), rng.normal(size=(5, d))
    asked = dims.exact_shapley(lambda vectors: -((vectors - template) ** 2).sum(axis=1), x, background)
    assert dims.squared_distance_shapley(x, template, background) == pytest.approx(asked, abs=1e-9)


def test_shapley_values_share_an_answer_of_neighbours() -> None:
    """They sum to the answer less the background's mean; a dimension that no distance knows gets nothing."""
    rng = np.random.default_rng(2)
    labels = np.arange(30, dtype=np.int64) % 3
    gallery = (np.eye(4)[labels] * 3 + rng.normal(0, 0.5, (30, 4))).astype(np.float32)
    gallery[:, 3] = 0.0
    answers = dims.own_class_share(gallery, labels, 1, 5)
    background = gallery[:10].astype(np.float64)
    found = dims.exact_shapley(answers, gallery[1], background)
    expected = float(answers(gallery[1][None].astype(np.float64))[0]) - float(answers(background).mean())
    assert found.sum() == pytest.approx(expected)
    assert found[3] == pytest.approx(0.0)
    assert found[1] > 0.2


@pytest.mark.slow
def test_shapley_values_of_many_dimensions_come_near_the_exact() -> None:
    """shap and drawn orders both, of twenty dimensions that do not act alone."""
    rng = np.random.default_rng(3)
    weights, x, background = rng.normal(size=20), rng.normal(size=20), rng.normal(size=(8, 20))

    def answers(vectors: np.ndarray) -> np.ndarray:
        return vectors @ weights + 2.0 * vectors[:, 0] * vectors[:, 1]

    interaction = dims.exact_shapley(lambda v: 2.0 * v[:, 0] * v[:, 1], x[:2], background[:, :2])
    expected = dims.linear_shapley(weights, x, background)
    expected[:2] += interaction
    assert dims.shapley_values(answers, x, background) == pytest.approx(expected, abs=1e-6)
    drawn = dims.sampled_shapley(answers, x, background, np.random.default_rng(0), 2000)
    assert drawn == pytest.approx(expected, abs=0.25)


def test_shap_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it orders are drawn by the seed."""
    monkeypatch.setitem(sys.modules, "shap", None)
    rng = np.random.default_rng(3)
    x, background = rng.normal(size=20), np.zeros((1, 20))
    found = dims.shapley_values(lambda vectors: vectors.sum(axis=1), x, background)
    assert found == pytest.approx(x)


def test_too_many_dimensions_are_not_enumerated() -> None:
    """2^15 coalitions are refused."""
    with pytest.raises(InvalidInputError, match="dimensions"):
        dims.exact_shapley(lambda vectors: vectors.sum(axis=1), np.zeros(15), np.zeros((1, 15)))


def test_every_comparison_can_be_explained() -> None:
    """Cosine too."""
    found = at.attribute_pair(
        Corner(), textured(0), textured(1), at.Attribution.OCCLUSION, comparison=Comparison.COSINE
    )
    assert found.weights.any()
