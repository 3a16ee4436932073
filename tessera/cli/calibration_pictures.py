"""A folder of pictures, one folder for each person, through a running encoder: labelled embeddings to calibrate on."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tessera.chassis.channel import open_channel
from tessera.cli.calibration_files import EmbeddingFile
from tessera.client.bulk_pictures import PictureRefusedError, read_picture
from tessera.client.bulk_sources import PICTURE_SUFFIXES
from tessera.client.encoder import EncodedImage, EncoderClient, Priority
from tessera.domain.embedding import Embedding
from tessera.domain.errors import ImageRejectedError, InvalidInputError
from tessera.domain.ids import ModelId
from tessera.domain.observation import Box

_DEADLINE_S = 60.0
_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class _Picture:
    name: str
    """Its path from the folder: person/file."""
    person: str


def embed_folder(folder: Path, encoder: str, model_id: str, done: Callable[[int, int], None]) -> EmbeddingFile:
    """Embed every picture of a folder FOLDER/PERSON/*.jpg.

    Args:
        folder: where the people's folders are.
        encoder: `host:port` of a running encoder.
        model_id: empty: the encoder's default.
        done: told how many of how many pictures are done.

    Raises:
        InvalidInputError: there is no picture, or none shows a face.
        UnavailableError: the encoder is away.
    """
    pictures = _pictures(folder)
    found, digest = asyncio.run(_embed_all(folder.resolve(), pictures, encoder, model_id, done))
    seen = [(picture, face) for picture, face in zip(pictures, found, strict=True) if face is not None]
    if not seen:
        raise InvalidInputError("--pictures", str(folder), f"pictures with a face; none of {len(pictures)} shows one")
    return EmbeddingFile(
        vectors=np.stack([face.vector for _, face in seen]),
        subjects=tuple(picture.person for picture, _ in seen),
        model_id=seen[0][1].model_id,
        digest=digest,
        samples_tried=len(pictures),
        without_face=tuple(picture.name for picture, face in zip(pictures, found, strict=True) if face is None),
    )


def _pictures(folder: Path) -> list[_Picture]:
    found = [
        _Picture(f"{person.name}/{file.name}", person.name)
        for person in sorted(folder.iterdir())
        if person.is_dir() and not person.name.startswith(".")
        for file in sorted(person.iterdir())
        if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith(".")
    ]
    if not found:
        raise InvalidInputError("--pictures", str(folder), "a folder for each person: PERSON/*.jpg")
    return found


async def _embed_all(
    root: Path, pictures: Sequence[_Picture], address: str, model_id: str, done: Callable[[int, int], None]
) -> tuple[list[Embedding | None], str]:
    """One embedding for each picture, None where there is no face; and sha256 over names and digests."""
    found: list[Embedding | None] = [None] * len(pictures)
    digests = [""] * len(pictures)
    waiting = iter(range(len(pictures)))
    finished = 0
    async with open_channel(address) as channel:
        client = EncoderClient(channel)

        async def work() -> None:
            nonlocal finished
            for at in waiting:
                found[at], digests[at] = await _embed(client, root, pictures[at].name, model_id)
                finished += 1
                done(finished, len(pictures))

        await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    whole = hashlib.sha256()
    for picture, digest in zip(pictures, digests, strict=True):
        whole.update(f"{picture.name}\0{digest}\n".encode())
    return found, whole.hexdigest()


async def _embed(client: EncoderClient, root: Path, name: str, model_id: str) -> tuple[Embedding | None, str]:
    try:
        data = await asyncio.to_thread(read_picture, root, name)
    except PictureRefusedError:
        return None, ""
    digest = hashlib.sha256(data).hexdigest()
    try:
        encoded = await client.encode(
            data, priority=Priority.ENROLMENT, deadline_s=_DEADLINE_S, model_id=ModelId(model_id) if model_id else None
        )
    except ImageRejectedError:
        return None, digest
    return _middle_face(encoded), digest


def _middle_face(encoded: EncodedImage) -> Embedding | None:
    """The face nearest to the middle, as in pictures that were cut around one person; None where there is none."""

    def off_centre(box: Box) -> float:
        across = box.x_px + box.width_px / 2 - encoded.width_px / 2
        down = box.y_px + box.height_px / 2 - encoded.height_px / 2
        return float(across**2 + down**2)

    faces = [seen for seen in encoded.observations if seen.embedding is not None]
    return min(faces, key=lambda seen: off_centre(seen.box)).embedding if faces else None
