"""What a caller shows: pictures and embeddings on their way into a message. Looks at none of them."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.chassis.limits import MAX_MESSAGE_BYTES
from tessera.client import wire
from tessera.domain.embedding import Embedding
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.v1 import biometrics_pb2

Sample = Path | str | bytes | Embedding | npt.NDArray[np.floating[Any]]
"""A picture as a path or as the bytes of its file, or an embedding made earlier; a bare array needs its `model_id`."""


def new_id() -> str:
    """A request id that nobody else has."""
    return uuid.uuid4().hex


def image_of(sample: Sample) -> biometrics_pb2.Image:
    """A sample that must be a picture.

    Raises:
        InvalidInputError: it is an embedding, or too large for a message.
    """
    if not isinstance(sample, Path | str | bytes):
        raise InvalidInputError("image", type(sample).__name__, "a picture: a path, or the bytes of its file")
    return probe_of(sample, "").image


def probe_of(sample: Sample, model_id: str = "") -> biometrics_pb2.Probe:
    """A sample.

    Args:
        sample: the picture or embedding.
        model_id: who made it, when it is a bare array.

    Raises:
        InvalidInputError: too large for a message, or an array without its model.
    """
    if isinstance(sample, Path | str):
        sample = Path(sample).read_bytes()
    if isinstance(sample, bytes):
        if len(sample) >= MAX_MESSAGE_BYTES:  # it would not leave this process; smaller ones the service judges
            allowed = f"a picture that fits a message: under {MAX_MESSAGE_BYTES:,} bytes"
            raise InvalidInputError("image", f"{len(sample):,} bytes", allowed)
        return biometrics_pb2.Probe(image=biometrics_pb2.Image(data=sample))
    if not isinstance(sample, Embedding):
        if not model_id:
            raise InvalidInputError("model_id", model_id, "the model that made the array")
        sample = Embedding.from_raw(sample, ModelId(model_id))
    return biometrics_pb2.Probe(embedding=wire.embedding_to_wire(sample))
