"""Stores with people in them, and the parts that carry a collection out, in, and under another key."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from prometheus_client import CollectorRegistry

from gallery_svc.collections import Collections
from gallery_svc.exporting import Exporter, ExportRequest
from gallery_svc.importing import Importer, ImportPart, ImportSummary, ImportTarget
from gallery_svc.index.exact import ExactIndex
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.replica import Replica
from gallery_svc.rotating import Rotator
from gallery_svc.rows import SearchRow, TemplateRow, half
from gallery_svc.service import SERVICES
from gallery_svc.servicer import GalleryParts, GalleryServicer, LaterParts
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.protocol import Store
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from gallery_svc.store.subject_records import NewTemplate, SubjectProfile, SubjectRecord, TemplateRecord
from gallery_svc.store.write_records import Enrollment, Erasure, RequestKey
from gallery_svc.upkeep_wire import UpkeepCalls
from tessera.chassis.clock import SystemClock
from tessera.chassis.key_files import EncryptionKey, KeyId
from tessera.chassis.server import Server, ServerSettings
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, ModelId, RequestId, SubjectId, TemplateId
from tessera.domain.observation import Quality
from tessera.v1 import gallery_pb2_grpc
from tests.gallery_world import MODEL, THRESHOLDS, person

AT = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
"""When those of these tests were enrolled: long ago."""
STAFF, COPY = CollectionId("staff"), CollectionId("copy")
QUALITY = Quality(0.9, 0.5, 0.4, 1.0, 0.8, 0.4, ())
OLD_KEY = EncryptionKey(KeyId("old"), bytes(range(32)))
NEW_KEY = EncryptionKey(KeyId("new"), bytes(range(1, 33)))


def key_lines(*keys: EncryptionKey) -> str:
    """Keys as a key file has them."""
    return "".join(f"{key.key_id} {base64.b64encode(key.key).decode()}\n" for key in keys)


def redis_store(url: str, *keys: EncryptionKey) -> RedisStore:
    """A store on a server, sealed under the first of these keys."""
    door = open_door(url, Durability("everysec"), timeout_s=10.0)
    return RedisStore(door, Sealer(Keyring(keys or (OLD_KEY,))), Unstamped())


@dataclass(slots=True)
class Upkeep:
    """The parts, over one store."""

    store: Store
    keyring: Keyring
    exporter: Exporter = field(init=False)
    importer: Importer = field(init=False)
    collections: Collections = field(init=False)

    def __post_init__(self) -> None:
        clock = SystemClock()
        replica = Replica(self.store, ExactIndex, GalleryMetrics(CollectorRegistry()), clock, 1.0)
        self.collections = Collections(self.store, replica, THRESHOLDS, clock)
        self.exporter = Exporter(self.store, self.keyring, clock)
        self.importer = Importer(
            store=self.store, replica=replica, collections=self.collections, keyring=self.keyring, clock=clock
        )

    async def exported(self, collection_id: CollectionId = STAFF, *, with_pictures: bool = False) -> bytes:
        """The file of a collection."""
        request = ExportRequest(collection_id, with_pictures=with_pictures, caller="tests")
        return b"".join([part async for part in self.exporter.export(request)])

    async def imported(
        self,
        content: bytes,
        collection_id: CollectionId = COPY,
        erased: Mapping[SubjectId, datetime] | None = None,
        piece: int = 1000,
    ) -> ImportSummary:
        """Import a file, in pieces."""
        parts = pieces(content, piece, erased or {})
        return await self.importer.import_file(ImportTarget(collection_id, caller="tests"), parts)

    async def enroll(self, name: str, *templates: NewTemplate, collection_id: CollectionId = STAFF) -> SubjectRecord:
        """Enrol somebody."""
        profile = SubjectProfile(display_name=f"The {name}", labels=("day",), metadata={"floor": "3"}, valid_from=AT)
        enrollment = Enrollment(
            collection_id, SubjectId(name), profile, templates, AT, audit("EnrollSubject", collection_id, name)
        )
        return (await self.store.enroll(enrollment)).subject

    async def erase(self, name: str, collection_id: CollectionId = STAFF, at: datetime = AT) -> None:
        """Erase somebody."""
        entry = audit("DeleteSubject", collection_id, name)
        key = RequestKey(RequestId(f"erase-{name}"), "digest")
        await self.store.erase(Erasure(collection_id, SubjectId(name), f"receipt-{name}", 0, at, entry, key))

    async def everybody(self, collection_id: CollectionId) -> list[SubjectRecord]:
        """The subjects of a collection."""
        return list((await self.store.list_subjects(collection_id, "", 1000)).subjects)

    async def vectors(self, collection_id: CollectionId, epoch: int = 1) -> dict[str, bytes]:
        """The vectors of a collection, bit for bit, by template."""
        record = await self.store.find_collection(collection_id)
        assert record is not None
        found: dict[str, bytes] = {}
        for shard in range(record.shards):
            async for batch in self.store.load_rows(collection_id, shard, epoch):
                found |= {
                    name: vector.tobytes() for name, vector in zip(batch.template_ids, batch.vectors, strict=True)
                }
        return found


@contextlib.asynccontextmanager
async def serving(upkeep: Upkeep, max_deadline_s: float = 30.0) -> AsyncIterator[str]:
    """These parts behind the gallery's own servicer and server, over real gRPC; nobody asks for the others."""
    clock, metrics, nobody = SystemClock(), GalleryMetrics(CollectorRegistry()), cast("Any", None)
    calls = UpkeepCalls(upkeep.exporter, upkeep.importer, Rotator(upkeep.store, clock))
    servicer = GalleryServicer(
        GalleryParts(
            collections=upkeep.collections,
            subjects=nobody,
            eraser=nobody,
            audit=nobody,
            enroller=nobody,
            matcher=nobody,
            joint=nobody,
            explainer=nobody,
            corrector=nobody,
            calibrations=nobody,
            sightings=nobody,
            name_of=lambda _, subject_id: subject_id,
            metrics=metrics,
            clock=clock,
            max_deadline_s=max_deadline_s,
            explain_deadline_s=max_deadline_s,
            closing=asyncio.Event(),
            later=LaterParts(export=calls.export, import_=calls.import_file, rotate_keys=calls.rotate_keys),
        )
    )
    server = Server(
        ServerSettings(port=0, metrics_port=0, max_deadline_s=max_deadline_s, drain_s=1.0),
        metrics,
        SERVICES,
        lambda server: gallery_pb2_grpc.add_GalleryServiceServicer_to_server(servicer, server),
    )
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop()


async def pieces(content: bytes, piece: int, erased: Mapping[SubjectId, datetime]) -> AsyncIterator[ImportPart]:
    """A file as its parts come."""
    for at in range(0, len(content), piece):
        yield ImportPart(content[at : at + piece], at, erased if not at else {})


def staff(shards: int = 4, model_id: ModelId = MODEL) -> CollectionRecord:
    """A collection that keeps pictures."""
    return CollectionRecord(
        STAFF, Modality.FACE, model_id, AT, "The staff", labels={"site": "b"}, shards=shards, keep_source_images=True
    )


def template(name: str, number: int, picture: bytes | None = None, model_id: ModelId = MODEL) -> NewTemplate:
    """A template of a person."""
    record = TemplateRecord(TemplateId(name), model_id, AT, QUALITY, "0" * 64)
    return NewTemplate(record, half(person(number, 0.1)), picture)


def audit(method: str, collection_id: CollectionId, name: str) -> AuditRecord:
    """An audit entry."""
    return AuditRecord(method, AT, "ev-1", "tests", collection_id, SubjectId(name))


def without(subjects: Sequence[SubjectRecord], *fields: str) -> list[dict[str, object]]:
    """Subjects without what an import may change."""
    return [
        {name: getattr(subject, name) for name in SubjectRecord.__slots__ if name not in fields} for subject in subjects
    ]


def row_of(subject: SubjectRecord, templates: Sequence[NewTemplate]) -> SearchRow:
    """A row of another epoch."""
    rows = tuple(TemplateRow(each.record.template_id, each.vector) for each in templates)
    return SearchRow(subject.subject_id, subject.profile.searched, rows)
