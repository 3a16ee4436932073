"""Which triplets a miner names; the loops that its losses are held against are in test_lab_losses.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siamese_lab.comparison import Comparison
from siamese_lab.losses.mining import FURTHEST_DRAWN, Mining, TripletMiner, inverse_density


def on_a_line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None]


def found(mining: Mining, places: torch.Tensor, labels: list[int], margin: float = 1.0) -> list[tuple[int, ...]]:
    miner = TripletMiner(mining, Comparison.EUCLIDEAN, margin, squared=False)
    return list(zip(*(side.tolist() for side in miner(places, torch.tensor(labels))), strict=True))


def test_the_hardest_are_the_furthest_mate_and_the_nearest_other() -> None:
    """One triplet for each anchor that has both."""
    places = on_a_line(0.0, 1.0, 3.0, 4.0, 9.0)
    assert found(Mining.HARD, places, [0, 0, 0, 1, 2]) == [(0, 2, 3), (1, 2, 3), (2, 0, 3)]


def test_semi_hard_is_beyond_the_mate_and_within_the_margin() -> None:
    """The nearest such negative; a pair that has none is left out."""
    places = on_a_line(0.0, 1.0, 1.5, 1.9, 2.5)
    assert found(Mining.SEMI_HARD, places, [0, 0, 1, 2, 3]) == [(0, 1, 2), (1, 0, 4)]
    assert found(Mining.SEMI_HARD, places, [0, 0, 1, 2, 3], margin=0.4) == []


def test_all_are_all() -> None:
    """Two mates and two others make four triplets."""
    assert found(Mining.ALL, on_a_line(0, 1, 2, 3), [0, 0, 1, 2]) == [(0, 1, 2), (0, 1, 3), (1, 0, 2), (1, 0, 3)]


@pytest.mark.parametrize("mining", Mining)
@given(seed=st.integers(0, 2**32 - 1), labels=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_triplet_is_one(mining: Mining, seed: int, labels: list[int]) -> None:
    """The positive is another of the anchor's class, the negative of another class."""
    x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed))
    for anchor, positive, negative in found(mining, x, labels):
        assert anchor != positive
        assert labels[anchor] == labels[positive] != labels[negative]


@pytest.mark.parametrize("mining", Mining)
def test_no_triplet_without_a_mate_or_without_another(mining: Mining) -> None:
    """All of different classes, all of one, and one alone."""
    for labels in ([0, 1, 2, 3], [5, 5, 5, 5], [1]):
        assert found(mining, torch.randn(len(labels), 3), labels) == []


def test_the_density_is_that_of_distances_on_a_sphere() -> None:
    """Draws of the density's inverse are as many from each stretch of distances, whatever the sphere's dimension."""
    x = torch.nn.functional.normalize(torch.randn(3000, 8, generator=torch.Generator().manual_seed(3)))
    among = torch.ones(3000, 3000, dtype=torch.bool).fill_diagonal_(False)
    rarity = inverse_density(x, among)[0]
    distances = (x - x[0]).norm(dim=1)
    bins = [rarity[(distances >= low) & (distances < low + 0.1)].sum() for low in (0.8, 0.9, 1.0, 1.1, 1.2)]
    assert max(bins) / min(bins) < 1.6
    assert not rarity[distances > FURTHEST_DRAWN].any()


def test_rarity_holds_in_many_dimensions() -> None:
    """In 1,000 dimensions the density spans more than a float holds; the negatives are told apart all the same."""
    x = torch.eye(3, 1000)
    x[2, 0] = 0.4
    near_and_far = inverse_density(x, torch.tensor([[False, True, True]] * 3))[0]
    assert near_and_far[2] == 1.0
    assert 0.0 <= near_and_far[1] < 1.0
    same = inverse_density(torch.ones(2, 1000), torch.ones(2, 2).bool())
    assert (same == 1.0).all()


def test_a_resumed_miner_draws_what_it_would_have_drawn() -> None:
    """How often it was asked is among its weights; another seed draws others."""
    x = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(1))) + 0.2
    labels = torch.arange(40) % 2

    def miner(seed: int) -> TripletMiner:
        return TripletMiner(Mining.DISTANCE_WEIGHTED, Comparison.EUCLIDEAN, 0.2, seed=seed)

    straight, other = miner(5), miner(6)
    first, second = straight(x, labels)[2], straight(x, labels)[2]
    resumed = miner(5)
    resumed(x, labels)
    kept = {name: value.clone() for name, value in resumed.state_dict().items()}
    again = miner(5)
    again.load_state_dict(kept)
    assert torch.equal(again(x, labels)[2], second)
    assert not torch.equal(first, second)
    assert not torch.equal(other(x, labels)[2], first)


def test_mining_takes_no_gradient() -> None:
    """It looks, and the loss learns."""
    x = torch.randn(6, 3, requires_grad=True)
    miner = TripletMiner(Mining.HARD, Comparison.COSINE, 0.2)
    assert not any(side.requires_grad for side in miner(x, torch.tensor([0, 0, 1, 1, 2, 2])))
