"""How the persons' benchmark counts: leads with intervals, near duplicates, and tracklets that are joined again."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.person.camera_shift import Group, judged, lead_over, near_duplicates
from benchmarks.person.channels import colour_histograms
from benchmarks.person.relinking import GAP_S, PERIOD_S, Piece, by_appearance, by_place, is_seen
from siamese_lab.persons.data import People
from tessera.domain.observation import Box


def _people(persons: list[int], seed: int = 1) -> People:
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 255, (len(persons), 128, 64, 3)).astype(np.uint8)
    return People(crops, np.array(persons, np.int64), tuple(f"{at}.jpg" for at in range(len(persons))))


def test_a_lead_is_drawn_over_people_and_not_over_pictures() -> None:
    """Person 1 has eight pictures and person 2 two: the interval is as wide as two people make it."""
    person = np.array([1] * 8 + [2] * 2)
    ours, theirs = np.ones(10, np.bool_), np.array([True] * 8 + [False] * 2)
    lead, low, high = lead_over(ours, theirs, person)
    assert lead == pytest.approx(0.2)
    assert (low, high) == (0.0, 1.0)


def test_near_duplicates_are_pairs_of_one_person_alone() -> None:
    """The same picture, and a slightly lighter one; a duplicate of somebody else is no mate, and stays."""
    probes, gallery = _people([1, 2]), _people([1, 1, 3])
    gallery.crops[0] = np.clip(probes.crops[0].astype(np.int64) + 9, 0, 255)
    gallery.crops[2] = probes.crops[1]
    assert near_duplicates(probes, gallery).tolist() == [[True, False, False], [False, False, False]]


def test_an_outcome_solved_by_hand() -> None:
    """Probe 1 finds its near duplicate first, and without it somebody else; probe 2 finds its mate either way."""
    vectors = np.eye(4, dtype=np.float32)
    probes = np.stack([0.9 * vectors[0] + 0.4 * vectors[1] + 0.1 * vectors[2], vectors[3]])
    group = Group("test", _people([1, 2]), _people([1, 3, 1, 2]))
    duplicates = np.array([[True, False, False, False], [False] * 4])
    told = judged(probes, vectors, group, duplicates)
    assert told.hits.tolist() == [True, True]
    assert (told.rank_1, told.without_duplicates) == (1.0, 0.5)
    assert told.mean_ap == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert all(0.0 <= rate <= 1.0 for rate in told.fnmr)


def test_colours_are_compared_stripe_by_stripe() -> None:
    """Red over blue is itself whatever its noise, and is not blue over red."""
    crop = np.zeros((1, 128, 64, 3), np.uint8)
    crop[0, :64], crop[0, 64:] = (20, 20, 200), (200, 20, 20)
    histograms = colour_histograms(np.concatenate([crop, crop[:, ::-1]]))
    np.testing.assert_allclose(np.linalg.norm(histograms, axis=1), 1.0, rtol=1e-6)
    assert float(histograms[0] @ histograms[1]) < 0.1


def _piece(name: str, frames: range, x_px: float) -> Piece:
    return Piece(name, {frame: Box(x_px, 0.0, 40.0, 100.0) for frame in frames})


def test_tracklets_are_joined_by_appearance_and_never_with_who_is_there() -> None:
    """After the gap both people are joined again although their places are swapped; two at a time stay two."""
    pieces = [_piece("a", range(10), 0), _piece("b", range(10), 300), _piece("c", range(20, 30), 300),
              _piece("d", range(20, 30), 0)]  # fmt: skip
    looks = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.96, 0.28], "d": [0.8, 0.6]}
    vectors = {name: np.array(vector, np.float32) for name, vector in looks.items()}
    assert by_appearance(pieces, vectors, 0.55) == {"a": "a", "b": "b", "c": "a", "d": "b"}
    assert by_appearance(pieces, vectors, 0.97) == {"a": "a", "b": "b", "c": "c", "d": "d"}
    assert by_place(pieces) == {"a": "a", "b": "b", "c": "b", "d": "a"}


def test_planted_gaps_are_the_end_of_every_period() -> None:
    """At ten frames a second: seen from 0 s, lost from 5 s, seen again from 8 s."""
    seen = [is_seen(frame, 10.0) for frame in range(160)]
    assert seen == ([True] * round(10 * (PERIOD_S - GAP_S)) + [False] * round(10 * GAP_S)) * 2
