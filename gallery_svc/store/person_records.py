"""What is kept of a person who passed a camera, for some hours: one look at one tracklet, under an anonymous id.

Knows no name: who somebody is stands with the face's own sighting, and is looked up there each time it is asked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, fields
from datetime import datetime

import numpy as np

from gallery_svc.rows import HalfVector
from gallery_svc.store import codec
from tessera.domain.errors import StoreCorruptError
from tessera.domain.ids import CameraId, CollectionId, ModelId, TrackletId
from tessera.domain.observation import Box, FaceOnBody

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class PersonLook:
    """One person as one camera saw it, once."""

    collection_id: CollectionId
    tracklet_id: TrackletId
    camera_id: CameraId
    person_id: str
    """The same for the looks that are taken for one person."""
    person_since: datetime
    """When the first look under this id was taken."""
    model_id: ModelId
    first_seen: datetime
    last_seen: datetime
    seen_at: datetime
    """What its retention counts from: `last_seen`, and never later than it was written."""
    vector: HalfVector
    """float16, shape (d,): the mean of its samples, of length 1 at most."""
    box: Box
    """Where it was seen best."""
    best_shot_id: str = ""
    zones: tuple[str, ...] = ()
    face: FaceOnBody | None = None
    """None: no face was seen on it."""


@dataclass(frozen=True, slots=True)
class LooksHead:
    """Where the looks of a collection stand."""

    generation: str
    """Of the collection."""
    newest: int
    """Sequence of the last look that was written."""
    count: int
    """Looks that are kept."""


@dataclass(frozen=True, slots=True)
class LookChanges:
    """Looks that were written after a sequence."""

    head: LooksHead
    looks: tuple[tuple[TrackletId, PersonLook | None], ...]
    """By tracklet, oldest first; None: it cannot be read, and nobody is found by it."""
    up_to: int
    """Everything up to this sequence was told."""


def pack_look(look: PersonLook) -> bytes:
    """A look as bytes: the length of a JSON object, the object, the vector as float16."""
    text = codec.dump(_LookText(*(getattr(look, name) for name in _NAMES))).encode()
    return _LENGTH.pack(len(text)) + text + look.vector.astype("<f2").tobytes()


def unpack_look(raw: bytes, key: str) -> PersonLook:
    """A look from `pack_look`.

    Args:
        raw: the bytes.
        key: where they were kept, for the error.

    Raises:
        StoreCorruptError: they are none.
    """
    if len(raw) < _LENGTH.size:
        raise StoreCorruptError(key, "not a look at a person: too short")
    (length,) = _LENGTH.unpack_from(raw)
    told = codec.load(_LookText, raw[_LENGTH.size : _LENGTH.size + length], key)
    vector = np.frombuffer(raw[_LENGTH.size + length :], dtype="<f2").astype(np.float16)
    return PersonLook(vector=vector, **{name: getattr(told, name) for name in _NAMES})


@dataclass(frozen=True, slots=True)
class _LookText:
    """What of a look is kept as text: all but its vector."""

    collection_id: CollectionId
    tracklet_id: TrackletId
    camera_id: CameraId
    person_id: str
    person_since: datetime
    model_id: ModelId
    first_seen: datetime
    last_seen: datetime
    seen_at: datetime
    box: Box
    best_shot_id: str = ""
    zones: tuple[str, ...] = ()
    face: FaceOnBody | None = None


_NAMES = tuple(field.name for field in fields(_LookText))
