"""Embeddings know their model; scores are symmetric; fusion stays a unit vector."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tessera.domain.embedding import Embedding, cosine_score, fuse
from tessera.domain.errors import InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId, checked_id
from tessera.domain.observation import Box

MODEL = ModelId("m@1")
raw = hnp.arrays(np.float32, 8, elements=st.floats(-1, 1, width=32)).filter(lambda v: np.linalg.norm(v) > 1e-3)


@given(raw, raw)
def test_a_score_is_symmetric_and_bounded(a: np.ndarray, b: np.ndarray) -> None:
    """score(a, b) = score(b, a), in [-1, 1], and 1 with itself."""
    first, second = Embedding.from_raw(a, MODEL), Embedding.from_raw(b, MODEL)
    assert cosine_score(first, second) == cosine_score(second, first)
    assert -1.0 <= cosine_score(first, second) <= 1.0
    assert cosine_score(first, first) == pytest.approx(1.0, abs=1e-5)


@given(raw, st.floats(0.01, 100))
def test_length_carries_nothing(values: np.ndarray, scale: float) -> None:
    """A vector and its multiple are the same embedding."""
    first = Embedding.from_raw(values, MODEL)
    second = Embedding.from_raw(values.astype(np.float64) * scale, MODEL)
    np.testing.assert_allclose(first.vector, second.vector, atol=1e-5)


@given(hnp.arrays(np.float32, st.integers(1, 700), elements=st.floats(-(2.0**120), 2.0**120, width=32)))
def test_a_row_that_is_not_zero_has_length_1(values: np.ndarray) -> None:
    """Also of numbers whose squares float32 cannot hold."""
    assume(bool(np.any(np.abs(values) > 1e-30)))
    assert np.linalg.norm(Embedding.from_raw(values, MODEL).vector.astype(np.float64)) == pytest.approx(1.0, abs=1e-5)


def test_two_models_never_meet() -> None:
    """Scores between models mean nothing, so there are none."""
    a = Embedding.from_raw([1, 0], MODEL)
    b = Embedding.from_raw([1, 0], ModelId("m@2"))
    with pytest.raises(ModelMismatchError):
        cosine_score(a, b)
    with pytest.raises(ModelMismatchError):
        fuse([a, b], [1, 1])


def test_fusion_is_the_weighted_mean_direction() -> None:
    """Equal weights meet half way; a weight of zero has no say."""
    a, b = Embedding.from_raw([1, 0], MODEL), Embedding.from_raw([0, 1], MODEL)
    np.testing.assert_allclose(fuse([a, b], [1, 1]).vector, [np.sqrt(0.5)] * 2, atol=1e-6)
    np.testing.assert_allclose(fuse([a, b], [1, 0]).vector, [1, 0], atol=1e-6)


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [float("inf"), 1.0], [[1.0], [2.0]], [1.0] * 5000])
def test_values_that_are_no_vector_are_refused(bad: list[float]) -> None:
    """The error names the field."""
    with pytest.raises(InvalidInputError, match=r"probe\.values"):
        Embedding.from_raw(bad, MODEL, "probe")


def test_overlap_of_boxes_by_hand() -> None:
    """Two 10 x 10 boxes shifted by half share 50 of 150 square pixels; apart they share nothing."""
    assert Box(0, 0, 10, 10).iou(Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert Box(0, 0, 10, 10).iou(Box(20, 0, 10, 10)) == 0.0


@pytest.mark.parametrize("bad", ["", " a", "a b", "x" * 129, "../x", "a\n"])
def test_ids_have_an_alphabet(bad: str) -> None:
    """What could break a key or a path is refused by name."""
    with pytest.raises(InvalidInputError, match="subject_id"):
        checked_id("subject_id", bad)
