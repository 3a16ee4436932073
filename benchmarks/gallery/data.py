"""The people of the benchmarks: seeded unit vectors, their ids, and probes that are known to be theirs.

No encoder made these vectors: what is measured here does not depend on who looks like whom. Always the same for a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from gallery_svc.rows import HalfVectors, RowBatch, SearchProfile, half
from tessera.domain.embedding import Embedding, Vectors
from tessera.domain.ids import ModelId

DIMENSIONS = 128
MODEL = ModelId("bench@1")
AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_NOISE = 0.03
"""Of each number of a mated probe: the score with its mate is about 0.95, with all others under 0.6."""
_BLOCK = 65_536


def unit_rows(count: int, seed: int, dimensions: int = DIMENSIONS) -> Vectors:
    """Directions drawn evenly.

    Returns:
        float32 of shape (count, dimensions), rows of length 1.
    """
    raw = np.random.default_rng(seed).standard_normal((count, dimensions), np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    return raw


def templates(count: int, seed: int = 4, dimensions: int = DIMENSIONS) -> HalfVectors:
    """Vectors as the gallery keeps them, made block by block, so that little beside them is in memory."""
    rows = np.empty((count, dimensions), np.float16)
    for first in range(0, count, _BLOCK):
        size = min(_BLOCK, count - first)
        rows[first : first + size] = half(unit_rows(size, seed * 100_003 + first // _BLOCK, dimensions))
    return rows


def subject_name(number: int) -> str:
    """The id of a subject."""
    return f"s{number:011d}"


def template_name(number: int) -> str:
    """The id of a template, as the gallery itself makes them."""
    return f"template-{number:024x}"


def batches(rows: HalfVectors, each: int = 1, size: int = 4096, first: int = 0) -> Iterator[RowBatch]:
    """Rows as a bulk load gets them.

    Args:
        rows: one for each template.
        each: templates of each subject.
        size: subjects of a batch.
        first: number of the first subject.
    """
    nobody = SearchProfile()
    for at in range(0, len(rows) // each, size):
        part = rows[at * each : (at + size) * each]
        subjects = len(part) // each
        numbers = range(first + at, first + at + subjects)
        yield RowBatch(
            [subject_name(n) for n in numbers],
            [nobody] * subjects,
            [each] * subjects,
            [template_name(n * each + k) for n in numbers for k in range(each)],
            part,
        )


def mated_probes(rows: HalfVectors, count: int, seed: int = 8) -> tuple[list[int], Vectors]:
    """Probes of people who are enrolled.

    Args:
        rows: one template for each subject.
        count: how many probes.
        seed: the same gives the same.

    Returns:
        (numbers, probes): whose they are; float32 of shape (count, d), unit rows.
    """
    numbers = np.random.default_rng(seed).integers(0, len(rows), count)
    return numbers.tolist(), noisy(rows[numbers], seed)


def noisy(rows: HalfVectors, seed: int = 8) -> Vectors:
    """Other samples of the same people.

    Returns:
        float32 of the same shape, unit rows.
    """
    noise = np.random.default_rng(seed + 1).normal(scale=_NOISE, size=rows.shape)
    raw = rows.astype(np.float32) + noise.astype(np.float32)
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    return raw


def embeddings(probes: Vectors, model_id: ModelId = MODEL) -> list[Embedding]:
    """Probes as the gallery knows them."""
    return [Embedding.from_raw(probe, model_id) for probe in probes]


def exact_best(rows: HalfVectors, probes: Vectors, limit: int) -> list[list[int]]:
    """Every comparison in float64: the rows most like each probe, best first, ties by number."""
    whole = rows.astype(np.float64)
    scores = (probes.astype(np.float64) @ whole.T) / np.linalg.norm(whole, axis=1)
    return [np.lexsort((np.arange(len(rows)), -line))[:limit].tolist() for line in scores]


def overlap(found: Sequence[Sequence[object]], expected: Sequence[Sequence[object]]) -> float:
    """The share of what was to be found that was found: recall."""
    met = sum(len(set(one) & set(other)) for one, other in zip(found, expected, strict=True))
    return met / sum(len(other) for other in expected)
