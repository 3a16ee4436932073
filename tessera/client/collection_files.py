"""What is done to collections as a whole, blocking: their export files out and in, and the rotation of keys.

Moves bytes and proves that they arrived; what is in a file is sealed, and only a gallery with its key can read it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

import grpc

from tessera.chassis.channel import open_blocking_channel
from tessera.client import wire
from tessera.client.errors import ServiceFailed, error_of
from tessera.client.sdk import DEFAULT_GALLERY
from tessera.domain.errors import InvalidInputError
from tessera.v1 import audit_pb2, gallery_pb2_grpc

CHUNK_BYTES = 1 << 20
ERASURES_A_MESSAGE = 10_000

_MAGIC = b"TSRX1\n"
_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 1 << 20


class ByteSource(Protocol):
    """What a file is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class ByteSink(Protocol):
    """What a file is written to."""

    def write(self, data: bytes, /) -> object:
        """All of them."""
        ...


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What an export file says of itself in clear; unproved: only its key proves it."""

    file_id: str
    collection_id: str
    model_id: str
    key_id: str
    subjects: int
    """When it was begun."""
    templates: int
    positions: tuple[int, ...]
    """For each shard, the change that it is not older than."""
    with_pictures: bool
    created: datetime


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A file that was received whole."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What became of a file."""

    subjects: int
    templates: int
    left_out: int
    """Subjects that were erased since the file has them."""
    position: int
    replayed: bool
    """All of it was there already."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far a rotation of keys is."""

    done: int
    total: int
    by_key: Mapping[str, int]
    """Values under each key, by its fingerprint; empty until the end."""


class CollectionFiles:
    """A connection to a gallery for what is done to collections as a whole; these calls take as long as they take.

    Args:
        gallery: `host:port`.
    """

    def __init__(self, gallery: str = DEFAULT_GALLERY) -> None:
        self._address = gallery
        self._channel = open_blocking_channel(gallery)
        self._stub = gallery_pb2_grpc.GalleryServiceStub(self._channel)

    def __enter__(self) -> CollectionFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._channel.close()

    def export_to(
        self, file: ByteSink, collection_id: str = "", *, key_id: str = "", with_pictures: bool = False
    ) -> ExportResult:
        """Write a collection's export file.

        Args:
            file: where to; what was written before an error is no whole file.
            collection_id: empty: the collection "default".
            key_id: the key-encryption key that the file's key derives from; empty: the first one.
            with_pictures: with the pictures that the collection keeps.

        Raises:
            TesseraCallError: the gallery refused it, failed, or went away; or the bytes are not those that it sent.
        """
        request = audit_pb2.ExportCollectionRequest(
            collection_id=collection_id, key_id=key_id, with_pictures=with_pictures
        )
        digest, size, told = hashlib.sha256(), 0, ""
        try:
            for response in self._stub.ExportCollection(request):
                if response.offset != size:
                    break
                file.write(response.chunk)
                digest.update(response.chunk)
                size += len(response.chunk)
                told = response.sha256
        except grpc.RpcError as error:
            raise error_of(error, "gallery", self._address) from None
        if told != digest.hexdigest():
            raise _broken(f"the gallery at {self._address} sent a file whose bytes are not those that it told of")
        return ExportResult(size, told)

    def import_from(
        self,
        file: ByteSource,
        collection_id: str = "",
        *,
        key_id: str = "",
        request_id: str = "",
        erased: Mapping[str, datetime] | None = None,
    ) -> ImportResult:
        """Import an export file; the same file again writes what is not there yet, and nothing twice.

        Args:
            file: from its beginning.
            collection_id: of the same model, or one that is to be made; empty: the collection "default".
            key_id: the key that the file must name; empty: whichever it names.
            request_id: for the audit log.
            erased: subjects that were erased, and when: one that the file has from before then stays out.

        Raises:
            TesseraCallError: the gallery refused it, failed, or went away.
        """
        first = audit_pb2.ImportCollectionRequest(collection_id=collection_id, key_id=key_id, request_id=request_id)
        messages = itertools.chain([first], _erasures(erased or {}), _file_parts(file))
        try:
            response = self._stub.ImportCollection(messages)
        except grpc.RpcError as error:
            raise error_of(error, "gallery", self._address) from None
        return ImportResult(
            response.subjects_imported,
            response.templates_imported,
            response.subjects_left_out,
            response.position,
            response.replayed,
        )

    def rotate_keys(self, collection_id: str = "", *, count_only: bool = False) -> Iterator[Rotation]:
        """Put every sealed value under the gallery's first key, and tell how far that is.

        Args:
            collection_id: whose values; empty: those of all collections.
            count_only: change nothing, and tell the last message alone.

        Raises:
            TesseraCallError: the gallery refused it, failed, or went away.
        """
        request = audit_pb2.RotateKeysRequest(collection_id=collection_id, count_only=count_only)
        try:
            for response in self._stub.RotateKeys(request):
                yield Rotation(response.values_done, response.values_total, dict(response.values_by_key))
        except grpc.RpcError as error:
            raise error_of(error, "gallery", self._address) from None


def file_facts(file: ByteSource) -> FileFacts:
    """What an export file says of itself.

    Args:
        file: from its beginning; some of it is read.

    Raises:
        InvalidInputError: it does not begin as such a file does.
    """
    opening = file.read(len(_MAGIC) + _LENGTH.size)
    allowed = "an export file, as `tessera export` writes it"
    if len(opening) < len(_MAGIC) + _LENGTH.size or not opening.startswith(_MAGIC):
        raise InvalidInputError("FILE", opening[: len(_MAGIC)], allowed)
    (length,) = _LENGTH.unpack_from(opening, len(_MAGIC))
    text = file.read(length) if length <= _MAX_HEADER_BYTES else b""
    try:
        return _facts(json.loads(text))
    except (KeyError, TypeError, ValueError):
        raise InvalidInputError("FILE", "no header", allowed) from None


def _facts(told: Mapping[str, Any]) -> FileFacts:
    return FileFacts(
        file_id=str(told["file_id"]),
        collection_id=str(told["collection"]["collection_id"]),
        model_id=str(told["model_id"]),
        key_id=str(told["key_id"]),
        subjects=int(told["subjects"]),
        templates=int(told["templates"]),
        positions=tuple(int(position) for position in told["positions"]),
        with_pictures=bool(told["with_pictures"]),
        created=datetime.fromisoformat(told["created"]),
    )


def _erasures(erased: Mapping[str, datetime]) -> Iterator[audit_pb2.ImportCollectionRequest]:
    names = sorted(erased)
    for at in range(0, len(names), ERASURES_A_MESSAGE):
        some = {name: wire.time_to_wire(erased[name]) for name in names[at : at + ERASURES_A_MESSAGE]}
        yield audit_pb2.ImportCollectionRequest(erased=some)


def _file_parts(file: ByteSource) -> Iterable[audit_pb2.ImportCollectionRequest]:
    offset = 0
    while chunk := file.read(CHUNK_BYTES):
        yield audit_pb2.ImportCollectionRequest(chunk=chunk, offset=offset)
        offset += len(chunk)


def _broken(message: str) -> ServiceFailed:
    return ServiceFailed(code="DATA_LOSS", reason="EXPORT_BROKEN", field="", value="", allowed="", message=message)
