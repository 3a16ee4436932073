"""Score normalisation against a naive loop, by hand, and by its laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError
from tessera.domain.normalisation import CohortStatistics, Normalisation, against_cohort, normalise

SAMPLES, COHORT, DIMENSIONS = 3, 12, 5


def _unit(rng: np.random.Generator, rows: int) -> Vectors:
    vectors: Vectors = rng.normal(size=(rows, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def test_norms_by_hand() -> None:
    """A score of 0.5: one deviation above the template's usual, three above the probe's, two above both."""
    templates = CohortStatistics(np.array([0.3]), np.array([0.2]))
    probes = CohortStatistics(np.array([-0.1]), np.array([0.2]))
    expected = {Normalisation.NONE: 0.5, Normalisation.Z: 1.0, Normalisation.T: 3.0, Normalisation.S: 2.0}
    for kind, value in expected.items():
        assert normalise([[0.5]], templates, probes, kind)[0, 0] == pytest.approx(value)


@given(st.integers(0, 1000), st.integers(2, COHORT) | st.none(), st.sampled_from(list(Normalisation)))
def test_norms_against_a_naive_loop(seed: int, nearest: int | None, kind: Normalisation) -> None:
    """Each score is held against the cohort by itself, sample by sample."""
    rng = np.random.default_rng(seed)
    templates, probes, cohort = _unit(rng, SAMPLES), _unit(rng, SAMPLES + 2), _unit(rng, COHORT)
    raw = templates @ probes.T
    fast = normalise(raw, against_cohort(templates, cohort, nearest), against_cohort(probes, cohort, nearest), kind)

    def usual(vector: Vectors) -> tuple[float, float]:
        scores = sorted((float(np.dot(vector, other)) for other in cohort), reverse=True)[: nearest or COHORT]
        mean = sum(scores) / len(scores)
        return mean, (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5

    for i, template in enumerate(templates):
        for j, probe in enumerate(probes):
            score = float(raw[i, j])
            z = (score - usual(template)[0]) / usual(template)[1]
            t = (score - usual(probe)[0]) / usual(probe)[1]
            slow = {Normalisation.NONE: score, Normalisation.Z: z, Normalisation.T: t}.get(kind, (z + t) / 2)
            assert fast[i, j] == pytest.approx(slow, rel=1e-3, abs=1e-3)


@given(st.integers(0, 1000))
def test_s_norm_is_symmetric(seed: int) -> None:
    """Who is template and who is probe does not matter to S."""
    rng = np.random.default_rng(seed)
    a, b, cohort = _unit(rng, 4), _unit(rng, 6), _unit(rng, COHORT)
    of_a, of_b = against_cohort(a, cohort), against_cohort(b, cohort)
    there = normalise(a @ b.T, of_a, of_b, Normalisation.S)
    assert normalise(b @ a.T, of_b, of_a, Normalisation.S) == pytest.approx(there.T)


@given(st.integers(0, 1000), st.sampled_from([Normalisation.Z, Normalisation.T, Normalisation.S]))
def test_norms_keep_the_order_where_the_other_side_is_fixed(seed: int, kind: Normalisation) -> None:
    """For one pair of samples a higher raw score is a higher normalised one."""
    rng = np.random.default_rng(seed)
    one, cohort = _unit(rng, 1), _unit(rng, COHORT)
    usual = against_cohort(one, cohort)
    low, high = (float(normalise([[score]], usual, usual, kind)[0, 0]) for score in (0.2, 0.3))
    assert low < high


def test_many_samples_are_those_of_few() -> None:
    """More rows than one block gives each the same statistics."""
    rng = np.random.default_rng(1)
    many, cohort = _unit(rng, 2500), _unit(rng, COHORT)
    whole, part = against_cohort(many, cohort, 5), against_cohort(many[2000:2010], cohort, 5)
    assert whole.mean[2000:2010] == pytest.approx(part.mean, rel=1e-4, abs=1e-6)
    assert whole.deviation[2000:2010] == pytest.approx(part.deviation, rel=1e-4, abs=1e-6)
    assert against_cohort(many[:0], cohort).mean.size == 0


@pytest.mark.parametrize("nearest", [0, 1, COHORT + 1])
def test_so_few_or_so_many_of_a_cohort_are_refused(nearest: int) -> None:
    """One member has no deviation, and more than there are cannot be taken."""
    rng = np.random.default_rng(2)
    with pytest.raises(InvalidInputError):
        against_cohort(_unit(rng, 3), _unit(rng, COHORT), nearest)


def test_a_cohort_of_one_face_is_refused() -> None:
    """Members that are all alike have no deviation to divide by."""
    one = _unit(np.random.default_rng(3), 1)
    with pytest.raises(InvalidInputError):
        against_cohort(one, np.repeat(one, 9, axis=0))


def test_shapes_that_do_not_fit_are_refused() -> None:
    """A cohort of another width, and a table of another shape."""
    rng = np.random.default_rng(4)
    with pytest.raises(InvalidInputError):
        against_cohort(_unit(rng, 3), _unit(rng, 9)[:, :4])
    usual = against_cohort(_unit(rng, 3), _unit(rng, 9))
    with pytest.raises(InvalidInputError):
        normalise(np.zeros((2, 3)), usual, usual, Normalisation.S)
