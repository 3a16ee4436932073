"""Explanations as messages, and back: the only place of the client where these messages are touched."""

from __future__ import annotations

import numpy as np

from tessera.client import wire
from tessera.client.explanations import Explanation, ExplanationMap, MatchExplanation
from tessera.domain.embedding import Embedding, Modality
from tessera.domain.ids import ModelId
from tessera.v1 import biometrics_pb2, encoder_pb2, matching_pb2


def explain_request(
    image: bytes, reference: Embedding, modality: Modality, model_id: str, grid: int
) -> encoder_pb2.ExplainRequest:
    """What asks the encoder to explain a picture against an embedding."""
    return encoder_pb2.ExplainRequest(
        image=biometrics_pb2.Image(data=image),
        reference=biometrics_pb2.Probe(embedding=wire.embedding_to_wire(reference)),
        modality=wire.modality_to_wire(modality),
        model_id=model_id,
        grid=grid,
    )


def explanation_from_wire(message: encoder_pb2.ExplainResponse) -> Explanation:
    """What the encoder says."""
    seen = message.observation
    box, quality = wire.box_from_wire(seen.box), wire.quality_from_wire(seen.quality)
    return Explanation(map_from_wire(message.map), ModelId(message.model_id), box, quality)


def match_explanation_from_wire(message: matching_pb2.ExplainMatchResponse) -> MatchExplanation:
    """What the gallery says."""
    box, quality = wire.box_from_wire(message.box), wire.quality_from_wire(message.quality)
    return MatchExplanation(map_from_wire(message.map), message.template_id, box, quality)


def map_from_wire(message: encoder_pb2.ExplanationMap) -> ExplanationMap:
    """A map out of its message."""
    weights = np.array(message.weights, np.float32).reshape(message.rows, message.columns)
    return ExplanationMap(weights, message.overlay_png, message.method, message.faithfulness)


def map_to_wire(explained: ExplanationMap) -> encoder_pb2.ExplanationMap:
    """A map as its message."""
    rows, columns = explained.weights.shape
    return encoder_pb2.ExplanationMap(
        rows=rows,
        columns=columns,
        weights=explained.weights.ravel().tolist(),
        overlay_png=explained.overlay_png,
        method=explained.method,
        faithfulness=explained.faithfulness,
    )
