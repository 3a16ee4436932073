"""What stands in an export file: its header, its subjects, and both as bytes; what is sealed, `export_file` knows.

A frame's plaintext is `text bytes u32 | lines | float16 of all templates | pictures`: the first line has the lengths of
the pictures, each other one is a subject's record. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from gallery_svc.rows import HalfVectors
from gallery_svc.store import codec
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.subject_records import SubjectRecord
from tessera.domain.errors import StoreCorruptError, TesseraError
from tessera.domain.ids import ModelId

SCHEMA = 1
LENGTH = struct.Struct("<I")

_PICTURE_LENGTH_BYTES = 12


class ExportDamagedError(TesseraError):
    """A file is not what an export wrote.

    Args:
        part: where: `header`, `frame 3 (at byte 8,192)`, `end`.
        why: what was found there.
    """

    def __init__(self, part: str, why: str) -> None:
        self.part = part
        self.why = why
        super().__init__(f"export file, {part}: {why}; nothing from there on was read")


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """What stands in clear before the subjects; it is authenticated, and holds no subject's name."""

    collection: CollectionRecord
    dimensions: int
    """Of each vector; 1 to 4096."""
    positions: tuple[int, ...]
    """For each shard, the change that the export is not older than."""
    subjects: int
    """When it began; how many it holds, its last frame says."""
    templates: int
    created: datetime
    key_id: str
    """Names the export key that the file key is sealed under."""
    with_pictures: bool = False
    file_id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def model_id(self) -> ModelId:
        """Who made the vectors."""
        return self.collection.model_id


@dataclass(frozen=True, slots=True, eq=False)
class ExportedSubject:
    """One subject with all that an import needs."""

    record: SubjectRecord
    vectors: HalfVectors
    """One row for each template of the record, in its order."""
    pictures: tuple[bytes | None, ...] = ()
    """One for each template, in its order; empty: none of them is in the file."""


class Tally:
    """What went through so far: the last frame tells the writer's, and a reader has its own."""

    def __init__(self) -> None:
        self.subjects = 0
        self.templates = 0
        self.pictures = 0
        self._plain = hashlib.sha256()

    def count(self, subjects: Iterable[ExportedSubject], plain: bytes) -> None:
        """Add a frame: its subjects, and its plaintext."""
        for subject in subjects:
            self.subjects += 1
            self.templates += len(subject.record.templates)
            self.pictures += sum(picture is not None for picture in subject.pictures)
        self._plain.update(plain)

    @property
    def sha256(self) -> str:
        """Of the plaintext of all frames, hex."""
        return self._plain.hexdigest()

    def told(self) -> bytes:
        """The plaintext of the last frame."""
        counts = {"subjects": self.subjects, "templates": self.templates, "pictures": self.pictures}
        return json.dumps({**counts, "sha256": self.sha256}).encode()


# ---- the header


def header_bytes(header: ExportHeader) -> bytes:
    """A header as JSON that people can read."""
    told = {
        "schema": SCHEMA,
        "file_id": header.file_id,
        "created": header.created.isoformat(),
        "key_id": header.key_id,
        "model_id": header.model_id,
        "dimensions": header.dimensions,
        "subjects": header.subjects,
        "templates": header.templates,
        "positions": header.positions,
        "with_pictures": header.with_pictures,
        "collection": json.loads(codec.dump(header.collection)),
    }
    return json.dumps(told, indent=1, ensure_ascii=False).encode()


def header_fields(text: bytes) -> dict[str, Any]:
    """A header before it is proved; nothing of it may be used but the key's name.

    Raises:
        ExportDamagedError: it is no header, or one of another version.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExportDamagedError("header", f"it is no JSON ({type(error).__name__})") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("key_id"), str):
        raise ExportDamagedError("header", "it does not name its key")
    if fields.get("schema") != SCHEMA:
        raise ExportDamagedError("header", f"its schema is not {SCHEMA}, the one that this version reads")
    return fields


def header_from(fields: dict[str, Any]) -> ExportHeader:
    """A header that is proved.

    Raises:
        ExportDamagedError: it lacks something; whoever wrote it had the key.
    """
    try:
        return ExportHeader(
            collection=codec.load(CollectionRecord, json.dumps(fields["collection"]), "export header"),
            dimensions=int(fields["dimensions"]),
            positions=tuple(int(position) for position in fields["positions"]),
            subjects=int(fields["subjects"]),
            templates=int(fields["templates"]),
            created=datetime.fromisoformat(fields["created"]),
            key_id=fields["key_id"],
            with_pictures=bool(fields["with_pictures"]),
            file_id=str(fields["file_id"]),
        )
    except (StoreCorruptError, ValueError, KeyError, TypeError) as error:
        raise ExportDamagedError("header", f"it lacks what it must say ({type(error).__name__})") from None


# ---- subjects


@dataclass(frozen=True, slots=True, eq=False)
class PackedSubject:
    """A subject on its way into a frame: its record is text already, so that its size is known."""

    subject: ExportedSubject
    text: str

    @property
    def size_bytes(self) -> int:
        """What it adds to a frame, at most."""
        pictures = sum(len(picture) for picture in self.subject.pictures if picture is not None)
        lengths = _PICTURE_LENGTH_BYTES * (len(self.subject.pictures) + 1)
        return 4 * len(self.text) + self.subject.vectors.nbytes + pictures + lengths


def packed(subject: ExportedSubject) -> PackedSubject:
    """Make the text of a subject's record."""
    return PackedSubject(subject, codec.dump(subject.record))


def frame_bytes(waiting: Sequence[PackedSubject]) -> bytes:
    """The plaintext of a frame of these subjects."""
    subjects = [one.subject for one in waiting]
    lengths = [[None if one is None else len(one) for one in subject.pictures] for subject in subjects]
    text = "\n".join([json.dumps(lengths, separators=(",", ":")), *(one.text for one in waiting)]).encode()
    vectors = [np.ascontiguousarray(subject.vectors, "<f2").tobytes() for subject in subjects]
    pictures = [picture for subject in subjects for picture in subject.pictures if picture is not None]
    return b"".join((LENGTH.pack(len(text)), text, *vectors, *pictures))


def subjects_of(plain: bytes, dimensions: int) -> list[ExportedSubject]:
    """The subjects of a frame.

    Args:
        plain: what `frame_bytes` gave.
        dimensions: of each vector.

    Raises:
        StoreCorruptError: a record is none.
        ValueError: it is no such plaintext.
    """
    (text_bytes,) = LENGTH.unpack_from(plain)
    at = LENGTH.size + text_bytes
    lengths, *lines = plain[LENGTH.size : at].split(b"\n")
    records = [codec.load(SubjectRecord, line, "export frame") for line in lines]
    rows = sum(len(record.templates) for record in records)
    vectors = np.frombuffer(plain, "<f2", rows * dimensions, at).reshape(rows, dimensions).astype(np.float16)
    at += vectors.nbytes
    subjects, row = [], 0
    for record, of_pictures in zip(records, json.loads(lengths), strict=True):
        pictures = tuple(_cut(plain, at, of_pictures))
        at += sum(length or 0 for length in of_pictures)
        subjects.append(ExportedSubject(record, vectors[row : row + len(record.templates)], pictures))
        row += len(record.templates)
    if at != len(plain):
        raise ValueError("the pictures do not fill the frame")
    return subjects


def _cut(plain: bytes, at: int, lengths: Sequence[int | None]) -> list[bytes | None]:
    pictures: list[bytes | None] = []
    for length in lengths:
        pictures.append(None if length is None else plain[at : at + length])
        at += length or 0
    return pictures
