"""What an explanation says: where in a picture its score with a reference comes from. Free of transport."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tessera.domain.ids import ModelId
from tessera.domain.observation import Box, Quality
from tessera.domain.saliency import Weights

EXPLAIN_DEADLINE_S = 60.0
"""Some 240 embeddings behind all other work: seconds where a device has room, longer where it has little."""


@dataclass(frozen=True, slots=True, eq=False)
class ExplanationMap:
    """How much each part of the aligned picture speaks for the match. Says nothing of how high the score is."""

    weights: Weights
    """float32 (rows, columns), each in [-1, 1]: positive speaks for the match, negative against it."""
    overlay_png: bytes
    """The aligned picture with the map over it: red speaks for, blue against."""
    method: str
    """How the parts were covered."""
    faithfulness: float
    """What covering the strongest tenth does to the score, against a random tenth: the map means something when it is
    well above 1. At most 100."""

    def save(self, path: str | Path) -> None:
        """Write the picture with the map over it, as PNG."""
        Path(path).write_bytes(self.overlay_png)


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Of two pictures, or of a picture and an embedding."""

    map: ExplanationMap
    model_id: ModelId
    box: Box
    """Of the face, in the picture that is explained."""
    quality: Quality


@dataclass(frozen=True, slots=True, eq=False)
class MatchExplanation:
    """Of a picture and somebody who is enrolled."""

    map: ExplanationMap
    template_id: str
    """The subject's template that scored highest: what the map is about."""
    box: Box
    """Of the face, in the picture that is explained."""
    quality: Quality
