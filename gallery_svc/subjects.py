"""Subjects after their enrolment: read, listed, erased."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

from gallery_svc.ids import time_ordered_id
from gallery_svc.replica import Replica
from gallery_svc.store.protocol import Store
from gallery_svc.store.records import AuditRecord, Erased, Erasure, RequestKey, SubjectPage, SubjectRecord
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import NotFoundError, UnavailableError
from tessera.domain.ids import CollectionId, RequestId, SubjectId


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


class Subjects:
    """The subjects of all collections.

    Args:
        store: where they are kept.
        replica: what must forget them at once.
        clock: for the times of records.
    """

    def __init__(self, store: Store, replica: Replica, clock: Clock) -> None:
        self._store = store
        self._replica = replica
        self._clock = clock

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

    async def erase(
        self, collection_id: CollectionId, subject_id: SubjectId, request_id: RequestId | None, caller: str
    ) -> Erased:
        """Erase a subject: its sightings first, then the subject with its templates in one write.

        A call that dies between the two leaves a subject without sightings; the retry finishes.

        Raises:
            NotFoundError: the collection or the subject does not exist, and this is no retry.
            RequestIdReusedError: the request id came before with other content.
        """
        digest = hashlib.sha256(f"erase/{subject_id}".encode()).hexdigest()
        request = RequestKey(request_id, digest) if request_id else None
        if request is not None:
            earlier = await self._store.find_erased(collection_id, request)
            if earlier is not None:
                return earlier
        await self.get(collection_id, subject_id)
        events_erased = await self._store.erase_events(collection_id, subject_id)
        now = self._clock.now()
        audit = AuditRecord(
            method="DeleteSubject",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=caller,
            collection_id=collection_id,
            subject_id=subject_id,
            request_id=request_id or "",
        )
        receipt_id = time_ordered_id("receipt", now)
        erased = await self._store.erase(
            Erasure(collection_id, subject_id, receipt_id, events_erased, now, audit, request)
        )
        with contextlib.suppress(UnavailableError):  # it is written: the index follows when the store is back
            await self._replica.at_position(collection_id, erased.position)
            # Cameras went on matching until the index had forgotten; what they told meanwhile goes too, uncounted.
            await self._store.erase_events(collection_id, subject_id)
        get_logger().info("subject.erased", collection=collection_id, templates=erased.templates_erased)
        return erased

    async def _require_collection(self, collection_id: CollectionId) -> None:
        if await self._store.find_collection(collection_id) is None:
            raise NotFoundError("collection", collection_id)
