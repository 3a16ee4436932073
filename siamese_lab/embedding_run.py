"""Embeddings of many pictures, asked of a running encoder service: what the lab measures is what is served."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siamese_lab.lfw import Picture
from tessera.chassis.channel import open_channel
from tessera.client.encoder import EncodedImage, EncoderClient, Priority
from tessera.domain.embedding import Embedding, Vectors
from tessera.domain.errors import ArtifactError, ImageRejectedError
from tessera.domain.ids import ModelId
from tessera.domain.observation import Box

DEADLINE_S = 60.0
IN_FLIGHT = 3


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedPictures:
    """One embedding for each picture that shows a face."""

    names: tuple[str, ...]
    people: tuple[str, ...]
    vectors: Vectors
    """Shape (n, d), unit rows."""
    model_id: ModelId
    without_face: tuple[str, ...]
    """Names of the pictures without a face, and of those that could not be read."""


async def embed_pictures(
    pictures: Sequence[Picture], address: str, model_id: ModelId | None = None
) -> EmbeddedPictures:
    """Ask the encoder at `address` for the face in the middle of each picture.

    Args:
        pictures: what to embed.
        address: `host:port` of a running encoder service.
        model_id: the encoder; None: the service's default.

    Raises:
        UnavailableError: the encoder is away.
        ArtifactError: no picture shows a face.
    """
    gate = asyncio.Semaphore(IN_FLIGHT)
    async with open_channel(address) as channel:
        client = EncoderClient(channel)

        async def embed(picture: Picture) -> Embedding | None:
            async with gate:
                return await _embed(client, picture, model_id)

        found = await asyncio.gather(*(embed(picture) for picture in pictures))
    seen = [(picture, face) for picture, face in zip(pictures, found, strict=True) if face is not None]
    if not seen:
        raise ArtifactError("pictures", f"none of {len(pictures)} shows a face")
    return EmbeddedPictures(
        names=tuple(picture.name for picture, _ in seen),
        people=tuple(picture.person for picture, _ in seen),
        vectors=np.stack([face.vector for _, face in seen]),
        model_id=seen[0][1].model_id,
        without_face=tuple(picture.name for picture, face in zip(pictures, found, strict=True) if face is None),
    )


async def _embed(client: EncoderClient, picture: Picture, model_id: ModelId | None) -> Embedding | None:
    try:
        encoded = await client.encode(
            picture.data, priority=Priority.ENROLMENT, deadline_s=DEADLINE_S, model_id=model_id
        )
    except ImageRejectedError:
        return None
    return middle_face(encoded)


def middle_face(encoded: EncodedImage) -> Embedding | None:
    """The embedding of the face nearest to the middle, where data sets of one person a picture have theirs."""
    if not encoded.observations:
        return None

    def off_centre(box: Box) -> float:
        x_px = box.x_px + box.width_px / 2 - encoded.width_px / 2
        y_px = box.y_px + box.height_px / 2 - encoded.height_px / 2
        return x_px**2 + y_px**2

    return min(encoded.observations, key=lambda observation: off_centre(observation.box)).embedding
