"""Samples that do not look like the others of their subject, and templates that let a stranger in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.consistency import reference_scores, templates_to_remove, unlike_the_rest
from tessera.domain.embedding import Vectors
from tessera.domain.errors import InvalidInputError

LEAST = 0.5
NOBODY: Vectors = np.empty((0, 16), np.float32)


def looks(*directions: int, seed: int = 0, noise: float = 0.1) -> Vectors:
    """Samples near some axes: the same axis is the same person."""
    rng = np.random.default_rng(seed)
    rows = np.eye(16)[list(directions)] + noise * rng.standard_normal((len(directions), 16))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_one_wrong_sample_among_right_ones_is_found() -> None:
    """Of four samples of a new subject the one of somebody else is the outlier."""
    assert unlike_the_rest(looks(1, 1, 7, 1), NOBODY, LEAST) == (False, False, True, False)


def test_wrong_samples_do_not_vouch_for_one_another() -> None:
    """Three alike samples of somebody else are outliers of a subject that has one template."""
    assert unlike_the_rest(looks(7, 7, 7, seed=1), looks(1), LEAST) == (True, True, True)


def test_two_samples_that_differ_are_both_outliers() -> None:
    """Nobody can say which one is wrong."""
    assert unlike_the_rest(looks(1, 7), NOBODY, LEAST) == (True, True)


def test_a_single_sample_of_a_new_subject_is_none() -> None:
    """There is nothing that it could look like."""
    assert unlike_the_rest(looks(1), NOBODY, LEAST) == (False,)
    assert reference_scores(looks(1), NOBODY) == (None,)


def test_samples_that_cancel_out_are_like_nobody() -> None:
    """Two opposite references have no mean direction: a sample is unlike them, and nothing divides by zero."""
    opposite = np.stack([np.eye(16)[1], -np.eye(16)[1]]).astype(np.float32)
    assert unlike_the_rest(looks(1), opposite, LEAST) == (True,)


def test_vectors_of_another_length_are_refused() -> None:
    """A mix of models is told by name."""
    with pytest.raises(InvalidInputError, match="own"):
        unlike_the_rest(looks(1), np.ones((1, 8), np.float32), LEAST)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5))
def test_scores_equal_a_plain_loop(seed: int, m: int, k: int) -> None:
    """Each score is the cosine with the sum of the references, computed one by one."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((m, 16)).astype(np.float32)
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    own = rng.standard_normal((k, 16)).astype(np.float32)
    own /= np.maximum(1e-9, np.linalg.norm(own, axis=1, keepdims=True))
    scores = reference_scores(samples, own)
    for at in range(m):
        others = list(own) if k else [samples[i] for i in range(m) if i != at]
        if not others:
            assert scores[at] is None
            continue
        total = np.sum([row.astype(np.float64) for row in others], axis=0)
        assert scores[at] == pytest.approx(float(samples[at] @ total / np.linalg.norm(total)), abs=1e-6)


def test_the_template_that_is_somebody_else_goes() -> None:
    """A subject with a picture of another person in its set loses that picture and keeps the others."""
    templates, wrong = looks(1, 1, 7, 1), looks(7, seed=5)[0]
    assert templates_to_remove(list(templates @ wrong), templates, LEAST, LEAST) == [2]


def test_of_two_templates_the_one_like_the_stranger_goes() -> None:
    """Where the subject's two templates differ, the one that matches the wrong sample is the wrong one."""
    templates, wrong = looks(1, 7), looks(7, seed=5)[0]
    assert templates_to_remove(list(templates @ wrong), templates, LEAST, LEAST) == [1]


def test_templates_that_look_like_each_other_stay() -> None:
    """The sample of a look-alike takes nothing from a subject whose templates agree more with each other."""
    rng = np.random.default_rng(3)
    templates = looks(1, 1, 1, noise=0.05)
    twin = np.eye(16)[1] + 0.9 * np.eye(16)[2] + 0.02 * rng.standard_normal(16)
    twin /= np.linalg.norm(twin)
    scores = list(templates @ twin)
    assert min(scores) >= LEAST
    assert templates_to_remove(scores, templates, LEAST, LEAST) == []


def test_the_last_template_never_goes() -> None:
    """A subject with one template keeps it, and one whose templates all look wrong keeps the least wrong one."""
    assert templates_to_remove([0.99], looks(7), LEAST, LEAST) == []
    templates = looks(7, 8, noise=0.0)
    wrong = templates[0] + 0.9 * templates[1]
    wrong = wrong / np.linalg.norm(wrong)
    assert templates_to_remove(list(templates @ wrong), templates, LEAST, LEAST) == [0]
