"""Subjects that look alike and are known to differ: each is on the other's list, so that an erasure finds them all.

The other's list is written first and let go of last. A process that dies in between leaves an id on one list alone,
which keeps those two apart and nothing more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from gallery_svc.ids import time_ordered_id
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.protocol import Store
from gallery_svc.store.subject_records import SubjectRecord
from gallery_svc.store.write_records import ProfileUpdate
from tessera.chassis.clock import Clock
from tessera.domain.errors import InvalidInputError, NotFoundError, RequestIdReusedError, RevisionChangedError
from tessera.domain.ids import CollectionId, SubjectId

MAX_DISTINCT = 16
"""On a list. Somebody who looks like more people than these is a matter for the threshold."""

_FIELD = frozenset({"distinct_from"})
REFUSALS = (InvalidInputError, NotFoundError, RequestIdReusedError, RevisionChangedError)
"""Of a write that certainly did not happen."""
_WRITES = 5
"""Tries to change a subject that others change at the same moment."""


class KeepingApart:
    """Keeps both lists alike.

    Args:
        store: where subjects are kept.
        clock: for the times of records.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def listed(self, collection_id: CollectionId, subject_id: SubjectId) -> tuple[str, ...]:
        """Whom a subject is known to differ from; nobody, of somebody who is not there."""
        subject = await self._store.find_subject(collection_id, subject_id)
        return subject.profile.distinct_from if subject is not None else ()

    @asynccontextmanager
    async def on_both(
        self,
        collection_id: CollectionId,
        subject_id: SubjectId,
        before: Collection[str],
        wanted: Collection[str],
        caller: str,
    ) -> AsyncIterator[None]:
        """The lists of others follow that of a subject, which the block writes.

        Where its write is refused, nobody who is new on it keeps the subject.

        Raises:
            InvalidInputError: a list is full, or somebody is to differ from themselves.
            NotFoundError: somebody who is new on the list is not there.
            RevisionChangedError: somebody else is changed by others all the time.
        """
        new, gone = [name for name in wanted if name not in before], [name for name in before if name not in wanted]
        if subject_id in wanted:
            raise InvalidInputError("distinct_from", subject_id, "other subjects")
        try:
            for other in new:
                await self._write(collection_id, SubjectId(other), caller, add=subject_id)
            yield
        except REFUSALS:
            await self.remove(collection_id, subject_id, new, caller)
            raise
        await self.remove(collection_id, subject_id, gone, caller)

    async def remove(
        self, collection_id: CollectionId, subject_id: SubjectId, others: Iterable[str], caller: str
    ) -> None:
        """Take a subject off the lists of others.

        Raises:
            RevisionChangedError: somebody else is changed by others all the time.
        """
        for other in others:
            await self._write(collection_id, SubjectId(other), caller, remove=subject_id)

    async def _write(
        self, collection_id: CollectionId, other: SubjectId, caller: str, *, add: str = "", remove: str = ""
    ) -> None:
        for left in reversed(range(_WRITES)):
            subject = await self._store.find_subject(collection_id, other)
            if subject is None:
                if add:
                    raise NotFoundError("subject", other)
                return
            before = subject.profile.distinct_from
            after = joined(other, (name for name in before if name != remove), [add] if add else [])
            if after == before:
                return
            try:
                await self._store.update_profile(self._update(subject, after, caller))
            except RevisionChangedError:
                if not left:
                    raise
                continue
            else:
                return

    def _update(self, subject: SubjectRecord, names: tuple[str, ...], caller: str) -> ProfileUpdate:
        now = self._clock.now()
        audit = AuditRecord(
            method="KeepApart",
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=caller,
            collection_id=subject.collection_id,
            subject_id=subject.subject_id,
        )
        profile = replace(subject.profile, distinct_from=names)
        return ProfileUpdate(
            subject.collection_id, subject.subject_id, profile, _FIELD, now, audit, subject.revision, None
        )


def joined(subject_id: str, listed: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """A subject's list with more on it, each once.

    Raises:
        InvalidInputError: those are more than a list holds.
    """
    names = tuple(dict.fromkeys((*listed, *more)))
    if len(names) > MAX_DISTINCT:
        raise InvalidInputError(
            "distinct_from", f"{len(names)} subjects for {subject_id}", f"at most {MAX_DISTINCT}; take one off first"
        )
    return names
