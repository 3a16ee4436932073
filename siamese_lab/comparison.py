"""How two embeddings are compared, in learning and in judging alike."""

from __future__ import annotations

from enum import StrEnum


class Comparison(StrEnum):
    """How two embeddings are compared."""

    EUCLIDEAN = "euclidean"
    """Distance |a - b|_2, from 0; the score is minus the distance."""
    COSINE = "cosine"
    """Score cos(a, b) in [-1, 1], 0 with an embedding of length 0, which points nowhere; the distance is 1 less it:
    half the squared Euclidean distance of the directions."""
