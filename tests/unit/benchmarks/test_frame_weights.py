"""Fitting weights of frames: what tells good frames from bad is found, and nothing of the judged people is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.decisions.data import LabelledFaces
from benchmarks.decisions.frame_weights import FittingSet, agreement, chance_alone, fit_exponents
from benchmarks.decisions.fusion import Sequences
from benchmarks.decisions.sequences import MEASURES, EmbeddedFrames, plan_sequences
from tessera.domain.ids import ModelId

PEOPLE, PICTURES, WIDTH = 30, 5, 16


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return unit


@pytest.fixture(scope="module")
def telling() -> tuple[np.ndarray, FittingSet]:
    """Six frames of each person; the first feature says how much of a frame is noise, the second says nothing."""
    rng = np.random.default_rng(2)
    people = _unit(rng.normal(size=(50, WIDTH)))
    sequence = np.repeat(np.arange(50), 6)
    noise = rng.uniform(0.2, 6.0, sequence.size)
    frames = _unit(people[sequence] + noise[:, None] * _unit(rng.normal(size=(sequence.size, WIDTH))))
    features = np.column_stack([-np.log(noise), rng.normal(size=sequence.size)])
    return features, FittingSet(np.arange(sequence.size), sequence, frames, people, people, np.arange(50))


def test_the_exponent_of_what_tells_is_found(telling: tuple[np.ndarray, FittingSet]) -> None:
    """What says how good a frame is gets a weight that rises with it; what says nothing gets little."""
    exponents = fit_exponents(*telling)
    assert exponents[0] > 0.5
    assert abs(exponents[1]) < exponents[0] / 4


def test_a_frame_that_is_likely_to_reach_alone_weighs_more(telling: tuple[np.ndarray, FittingSet]) -> None:
    """The chance is one, and rises with the feature that tells."""
    features, seen = telling
    chances = np.exp(chance_alone(features)(seen))
    assert bool(((chances > 0) & (chances < 1)).all())
    assert np.corrcoef(chances, features[:, 0])[0, 1] > 0.8


def test_agreement_against_a_naive_loop() -> None:
    """The cosine with the weighted mean of the others; frames without a face count for nobody, a lone frame has 0."""
    rng = np.random.default_rng(4)
    sequence = np.array([0, 0, 0, 0, 1, 2, 2])
    vectors, weights = _unit(rng.normal(size=(7, 5))), rng.uniform(0.1, 1, 7)
    vectors[3] = 0
    expected = np.zeros(7)
    for at in (0, 1, 2, 5, 6):
        mean = sum(weights[o] * vectors[o] for o in range(7) if o != at and sequence[o] == sequence[at])
        expected[at] = vectors[at] @ mean / np.linalg.norm(mean)
    np.testing.assert_allclose(agreement(vectors, weights, sequence), expected, atol=1e-6)


@pytest.fixture(scope="module")
def world() -> Sequences:
    """Thirty people with sequences, and thirty of a single picture."""
    rng = np.random.default_rng(5)
    people = tuple(f"p{at:02d}" for at in range(PEOPLE) for _ in range(PICTURES)) + tuple(f"x{at}" for at in range(30))
    names = tuple(f"{person}_{at}.jpg" for at, person in enumerate(people))
    owner = np.unique(people, return_inverse=True)[1].astype(np.intp)
    lfw = LabelledFaces(names, people, owner, _unit(rng.normal(size=(len(names), WIDTH))), ModelId("m@1"), "0" * 64, ())
    planned = plan_sequences(lfw)
    sequence = np.repeat(np.arange(len(planned)), [len(one.frames) for one in planned])
    return Sequences(lfw, planned, EmbeddedFrames(
        sequence=sequence,
        vectors=_unit(rng.normal(size=(sequence.size, WIDTH))),
        measures=rng.uniform(0.1, 1, (sequence.size, len(MEASURES))),
        detection=np.ones(sequence.size),
        found=np.ones(sequence.size, np.bool_),
    ))  # fmt: skip


def test_nothing_of_the_judged_people_is_seen(world: Sequences) -> None:
    """Neither a frame nor a picture in the gallery; every owner is where the fitting set says."""
    every = np.arange(len(world.planned))
    judged, others = world.part(every, 2, 1), world.part(every, 2, 0)
    assert not set(world.owner[judged]) & set(world.owner[others])
    assert judged.size + others.size == every.size
    seen = world.fitting_set(others)
    assert set(world.frames.sequence[seen.rows]) == set(others)
    hidden = world.gallery[np.unique(world.owner[judged])]
    assert float((seen.gallery @ hidden.T).max()) < 1 - 1e-6
    np.testing.assert_array_equal(seen.gallery[seen.owner], world.gallery[world.owner[others]])


def test_kept_measures_are_those_of_the_pipeline(world: Sequences) -> None:
    """Each under its own name, and one that was not measured stays so."""
    measures = world.frames.measures.copy()
    measures[0, MEASURES.index("fidelity")] = np.nan
    first = replace(world.frames, measures=measures).qualities(np.array([0]))[0]
    assert first.fidelity is None
    assert [getattr(first, name) for name in MEASURES[:-1]] == measures[0, :-1].tolist()
