"""Messages of what is done to a collection as a whole: its file, out and in, and the rotation of keys."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing

from gallery_svc.exporting import Exporter, ExportRequest
from gallery_svc.importing import Importer, ImportPart, ImportTarget
from gallery_svc.rotating import RotationProgress, Rotator
from gallery_svc.wire import collection_id_from, request_id_from, subject_id_from
from tessera.client import wire
from tessera.domain.errors import InvalidInputError
from tessera.v1 import audit_pb2


class UpkeepCalls:
    """What the servicer delegates to for collections as a whole.

    Args:
        exporter: makes files.
        importer: takes files.
        rotator: rotates keys.
    """

    def __init__(self, exporter: Exporter, importer: Importer, rotator: Rotator) -> None:
        self._exporter = exporter
        self._importer = importer
        self._rotator = rotator

    async def export(
        self, message: audit_pb2.ExportCollectionRequest, caller: str
    ) -> AsyncIterator[audit_pb2.ExportCollectionResponse]:
        """The file in parts; the last of them tells its sha256."""
        wanted = ExportRequest(collection_id_from(message.collection_id), message.key_id, message.with_pictures, caller)
        digest, offset, held = hashlib.sha256(), 0, b""
        async with aclosing(self._exporter.export(wanted)) as parts:
            async for part in parts:
                if held:
                    yield audit_pb2.ExportCollectionResponse(chunk=held, offset=offset)
                digest.update(part)
                offset, held = offset + len(held), part
        yield audit_pb2.ExportCollectionResponse(chunk=held, offset=offset, sha256=digest.hexdigest())

    async def import_file(
        self, messages: AsyncIterator[audit_pb2.ImportCollectionRequest], caller: str
    ) -> audit_pb2.ImportCollectionResponse:
        """Take a file."""
        first = await anext(messages, None)
        if first is None:
            raise InvalidInputError("collection_id", "no message", "where to, and the file in parts")
        target = ImportTarget(
            collection_id_from(first.collection_id), first.key_id, request_id_from(first.request_id) or "", caller
        )
        summary = await self._importer.import_file(target, _parts(first, messages))
        return audit_pb2.ImportCollectionResponse(
            subjects_imported=summary.subjects,
            templates_imported=summary.templates,
            position=summary.position,
            replayed=summary.replayed,
            subjects_left_out=summary.left_out,
        )

    async def rotate_keys(
        self, message: audit_pb2.RotateKeysRequest, caller: str
    ) -> AsyncIterator[audit_pb2.RotateKeysResponse]:
        """Rotate, or count."""
        chosen = collection_id_from(message.collection_id) if message.collection_id else None
        if message.count_only:
            yield _progress(await self._rotator.count(chosen))
            return
        async for progress in self._rotator.rotate(chosen, caller):
            yield _progress(progress)


async def _parts(
    first: audit_pb2.ImportCollectionRequest, others: AsyncIterator[audit_pb2.ImportCollectionRequest]
) -> AsyncIterator[ImportPart]:
    yield _part(first)
    async for message in others:
        yield _part(message)


def _part(message: audit_pb2.ImportCollectionRequest) -> ImportPart:
    erased = {subject_id_from(name): wire.time_from_wire(at) for name, at in message.erased.items()}
    return ImportPart(message.chunk, message.offset, erased)


def _progress(progress: RotationProgress) -> audit_pb2.RotateKeysResponse:
    return audit_pb2.RotateKeysResponse(
        values_done=progress.done, values_total=progress.total, values_by_key=progress.by_key or {}
    )
