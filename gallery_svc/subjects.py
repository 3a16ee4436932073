"""Subjects after their enrolment: read, listed, changed. `erasing` erases them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass

from gallery_svc.ids import time_ordered_id
from gallery_svc.keeping_apart import KeepingApart
from gallery_svc.metrics import GalleryMetrics
from gallery_svc.probes import Deadline
from gallery_svc.replica import Replica
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import SubjectPage, SubjectProfile, SubjectRecord
from gallery_svc.store.write_records import Changed, ProfileUpdate, RequestKey, TemplateDeletion
from tessera.chassis.clock import Clock
from tessera.domain.errors import NotFoundError, TesseraError
from tessera.domain.ids import CollectionId, RequestId, SubjectId, TemplateId


@dataclass(frozen=True, slots=True)
class SubjectFilter:
    """Which subjects."""

    labels: frozenset[str] = frozenset()
    """All of these."""
    external_id: str = ""
    """This one; empty: any."""

    def takes(self, subject: SubjectRecord) -> bool:
        """Whether a subject is wanted."""
        return self.labels <= set(subject.profile.labels) and self.external_id in ("", subject.profile.external_id)


@dataclass(frozen=True, slots=True)
class SubjectChange:
    """What a caller wants changed of a subject."""

    collection_id: CollectionId
    subject_id: SubjectId
    profile: SubjectProfile
    fields: frozenset[str]
    """Of the profile; the others stay as they are."""
    expected_revision: int
    """The revision that the caller has seen; 0: whatever it is."""
    request_id: RequestId | None
    caller: str


@dataclass(frozen=True, slots=True)
class TemplateChoice:
    """A template that a caller wants gone."""

    collection_id: CollectionId
    subject_id: SubjectId
    template_id: TemplateId
    request_id: RequestId | None
    caller: str


class Subjects:
    """The subjects of all collections.

    Args:
        store: where they are kept.
        replica: what must forget them at once.
        apart: keeps those apart who look alike.
        clock: for the times of records.
        metrics: where it counts.
    """

    def __init__(
        self, *, store: Store, replica: Replica, apart: KeepingApart, clock: Clock, metrics: GalleryMetrics
    ) -> None:
        self._store = store
        self._replica = replica
        self._apart = apart
        self._clock = clock
        self._metrics = metrics

    async def get(self, collection_id: CollectionId, subject_id: SubjectId) -> SubjectRecord:
        """One subject.

        Raises:
            NotFoundError: the collection or the subject does not exist.
        """
        subject = await self._store.find_subject(collection_id, subject_id)
        if subject is None:
            await self._require_collection(collection_id)
            raise NotFoundError("subject", subject_id)
        return subject

    async def list(self, collection_id: CollectionId, after: str, limit: int, wanted: SubjectFilter) -> SubjectPage:
        """Subjects by id, those that are wanted.

        Raises:
            NotFoundError: the collection does not exist.
        """
        found: list[SubjectRecord] = []
        while True:
            page = await self._store.list_subjects(collection_id, after, limit)
            found.extend(subject for subject in page.subjects if wanted.takes(subject))
            if len(found) > limit:
                return SubjectPage(tuple(found[:limit]), found[limit - 1].subject_id)
            if len(found) == limit or not page.next_after:
                return SubjectPage(tuple(found), page.next_after)
            after = page.next_after

    async def update(self, change: SubjectChange, deadline: Deadline) -> Changed:
        """Change what is said of a subject; searches here follow before this returns.

        Raises:
            NotFoundError: the collection or the subject does not exist.
            RevisionChangedError: the subject is not at the expected revision.
            RequestIdReusedError: the request id came before with other content.
        """
        update = ProfileUpdate(
            collection_id=change.collection_id,
            subject_id=change.subject_id,
            profile=change.profile,
            fields=change.fields,
            at=self._clock.now(),
            audit=self._audit("UpdateSubject", change),
            expected_revision=change.expected_revision,
            request=self._key(change.request_id, _told(change)),
        )
        changed = await self._written(change, update)
        await self._seen("UpdateSubject", change.collection_id, changed, deadline)
        return changed

    async def _written(self, change: SubjectChange, update: ProfileUpdate) -> Changed:
        if "distinct_from" not in change.fields:
            return await self._store.update_profile(update)
        collection_id, subject_id, wanted = change.collection_id, change.subject_id, change.profile.distinct_from
        before = await self._apart.listed(collection_id, subject_id)
        async with self._apart.on_both(collection_id, subject_id, before, wanted, change.caller):
            return await self._store.update_profile(update)

    async def delete_template(self, choice: TemplateChoice, deadline: Deadline) -> Changed:
        """Remove one template of a subject; searches here follow before this returns.

        Raises:
            NotFoundError: the collection, the subject or the template does not exist.
            PreconditionError: it is the last one: erase the subject.
            RequestIdReusedError: the request id came before with other content.
        """
        deletion = TemplateDeletion(
            collection_id=choice.collection_id,
            subject_id=choice.subject_id,
            template_id=choice.template_id,
            at=self._clock.now(),
            audit=self._audit("DeleteTemplate", choice),
            request=self._key(choice.request_id, f"delete-template/{choice.subject_id}/{choice.template_id}"),
        )
        changed = await self._store.delete_template(deletion)
        await self._seen("DeleteTemplate", choice.collection_id, changed, deadline)
        return changed

    async def _seen(self, method: str, collection_id: CollectionId, changed: Changed, deadline: Deadline) -> None:
        if changed.replayed:
            self._metrics.replays.labels(method).inc()
        with contextlib.suppress(TesseraError):  # it is written: the index follows when the store is back
            await self._replica.at_positions(collection_id, [changed.position], deadline)

    def _key(self, request_id: RequestId | None, told: str) -> RequestKey:
        """A call without an id gets one: when nobody can say whether its write holds, the error has it."""
        made = RequestId(time_ordered_id("request", self._clock.now()))
        return RequestKey(request_id or made, hashlib.sha256(told.encode()).hexdigest())

    def _audit(self, method: str, asked: SubjectChange | TemplateChoice) -> AuditRecord:
        now = self._clock.now()
        return AuditRecord(
            method=method,
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=asked.caller,
            collection_id=asked.collection_id,
            subject_id=asked.subject_id,
            request_id=asked.request_id or "",
        )

    async def _require_collection(self, collection_id: CollectionId) -> None:
        if await self._store.find_collection(collection_id) is None:
            raise NotFoundError("collection", collection_id)


def _told(change: SubjectChange) -> str:
    values = {name: getattr(change.profile, name) for name in sorted(change.fields)}
    return json.dumps(["update", change.subject_id, change.expected_revision, values], sort_keys=True, default=str)
