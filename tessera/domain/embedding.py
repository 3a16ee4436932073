"""An embedding is a unit vector that knows which model made it; a score is how alike two of them are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId

Vector = npt.NDArray[np.float32]
"""float32 of shape (d,), Euclidean length 1."""

Vectors = npt.NDArray[np.float32]
"""float32 of shape (n, d), each row of Euclidean length 1."""

MAX_DIMENSIONS = 4096


class Modality(StrEnum):
    """What is compared."""

    FACE = "FACE"
    SIGNATURE = "SIGNATURE"
    PERSON = "PERSON"


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """One unit vector and the model that made it."""

    vector: Vector
    """float32, shape (d,), Euclidean length 1."""
    model_id: ModelId
    """Only embeddings of the same model may be compared."""

    @classmethod
    def from_raw(cls, values: npt.ArrayLike, model_id: ModelId, field: str = "embedding") -> Embedding:
        """Normalise `values`.

        Args:
            values: shape (d,), 1 to 4096 finite numbers, not all zero.
            model_id: the model that produced them.
            field: the request field they came in, for the error.

        Raises:
            InvalidInputError: wrong shape, not finite, or all zero.
        """
        vector = np.asarray(values, dtype=np.float32)
        if vector.ndim != 1 or not 1 <= vector.size <= MAX_DIMENSIONS:
            raise InvalidInputError(f"{field}.values", vector.shape, f"one row of 1 to {MAX_DIMENSIONS} numbers")
        # Not `np.linalg.norm`: BLAS gives the interpreter's lock away, which takes longer than so short a sum.
        length = math.sqrt(np.add.reduce(np.square(vector, dtype=np.float64)))
        if not math.isfinite(length) or length == 0.0:
            raise InvalidInputError(f"{field}.values", f"a vector of length {length}", "finite numbers, not all zero")
        return cls((vector / length).astype(np.float32, copy=False), model_id)


def cosine_score(a: Embedding, b: Embedding) -> float:
    """How alike two embeddings are: cosine similarity in [-1, 1]; higher = more alike.

    Raises:
        ModelMismatchError: they come from different models.
    """
    if a.model_id != b.model_id:
        raise ModelMismatchError(a.model_id, b.model_id)
    return float(np.clip(np.dot(a.vector, b.vector), -1.0, 1.0))


def fuse(embeddings: Sequence[Embedding], weights: Iterable[float]) -> Embedding:
    """Join several embeddings of one person into one: the normalised weighted mean.

    Args:
        embeddings: one or more, all of one model.
        weights: one positive weight each, such as the quality of its picture.

    Raises:
        ModelMismatchError: they come from different models.
        InvalidInputError: none are given.

    Source: quality-weighted feature pooling, e.g. NAN (Yang et al., CVPR 2017), with fixed weights.
    """
    if not embeddings:
        raise InvalidInputError("embeddings", 0, "at least one")
    model_id = embeddings[0].model_id
    for other in embeddings:
        if other.model_id != model_id:
            raise ModelMismatchError(model_id, other.model_id)
    total = np.sum([e.vector * w for e, w in zip(embeddings, weights, strict=True)], axis=0)
    return Embedding.from_raw(total, model_id, "embeddings")
