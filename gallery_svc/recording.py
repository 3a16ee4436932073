"""Puts decisions on record before they are told: an answer that opens a door is in the audit log or it is not given.

The entry is written before the answer leaves; decisions that are made while one write is under way share the next one,
and its fsync. When the store cannot take it the call fails with STORE_UNAVAILABLE: nothing is decided off the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from gallery_svc.auditing import AuditBatcher
from gallery_svc.biometrics import Biometrics
from gallery_svc.ids import time_ordered_id
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.protocol import audit_log
from tessera.chassis.clock import Clock
from tessera.domain.calibration import Threshold
from tessera.domain.decision import Decision
from tessera.domain.ids import CollectionId, SubjectId, TemplateId


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who asked for a decision."""

    method: str
    caller: str = ""
    request_id: str = ""
    collection_id: CollectionId | None = None
    camera_id: str = ""
    """Empty: no camera asks."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that is on record."""

    decision: Decision
    evidence_id: str
    """Names it in the audit log."""
    decided_at: datetime


class Recorder:
    """Writes decisions to the audit log and counts them.

    Args:
        batcher: writes to the log.
        clock: for the time of the decision.
        biometrics: counts them.
    """

    def __init__(self, batcher: AuditBatcher[AuditRecord], clock: Clock, biometrics: Biometrics) -> None:
        self._batcher = batcher
        self._clock = clock
        self._biometrics = biometrics

    async def record(
        self,
        attempt: Attempt,
        decision: Decision,
        subject_id: SubjectId | None = None,
        template_id: TemplateId | None = None,
    ) -> Recorded:
        """Write one decision.

        Args:
            attempt: who asked.
            decision: the answer.
            subject_id: whom it is about.
            template_id: that scored highest; None: none was compared, or it does not matter which.

        Raises:
            UnavailableError: the store is away; the decision must not be told.
            OutcomeUnknownError: it may be on record or not; the decision must not be told either.
            OverloadedError: too many decisions wait to be recorded.
        """
        entry = self._entry(attempt, subject_id)
        entry = replace(entry, outcome=decision.outcome, threshold=decision.threshold)
        await self._batcher.record(audit_log(attempt.collection_id, 0), entry)
        self._biometrics.decided(attempt.method, decision, attempt.camera_id, template_id)
        return Recorded(decision, entry.evidence_id, entry.at)

    async def record_joint(
        self, attempts: Sequence[tuple[Attempt, SubjectId]], decision: Decision, detail: str
    ) -> Recorded:
        """Write one decision about several collections into the log of each, under one evidence id; as `record`.

        Args:
            attempts: of each collection, with whom the claim is about there.
            decision: without a threshold of one comparison: there is none.
            detail: what it rests on, without any score.
        """
        now = self._clock.now()
        evidence_id = time_ordered_id("ev", now)
        await asyncio.gather(
            *(
                self._batcher.record(
                    audit_log(attempt.collection_id, 0),
                    AuditRecord(
                        method=attempt.method,
                        at=now,
                        evidence_id=evidence_id,
                        caller=attempt.caller,
                        collection_id=attempt.collection_id,
                        subject_id=subject_id,
                        request_id=attempt.request_id,
                        outcome=decision.outcome,
                        detail=detail,
                    ),
                )
                for attempt, subject_id in attempts
            )
        )
        self._biometrics.decided(attempts[0][0].method, decision)
        return Recorded(decision, evidence_id, now)

    async def record_question(self, attempt: Attempt, subject_id: SubjectId) -> None:
        """Write that somebody was asked about, where nothing is decided; as `record`, before the answer is told.

        Raises:
            UnavailableError: the store is away; the answer must not be told.
            OutcomeUnknownError: it may be on record or not; the answer must not be told either.
            OverloadedError: too many entries wait to be recorded.
        """
        await self._batcher.record(audit_log(attempt.collection_id, 0), self._entry(attempt, subject_id))

    async def record_search(self, attempt: Attempt, subject_id: SubjectId | None, threshold: Threshold) -> str:
        """Write that somebody was looked for where nothing is decided; as `record`, before the answer is told.

        Args:
            attempt: who asks.
            subject_id: who is looked for, such as an anonymous person; None: somebody out of a picture.
            threshold: at which.

        Returns:
            The evidence id.

        Raises:
            UnavailableError: the store is away; the answer must not be told.
            OutcomeUnknownError: it may be on record or not; the answer must not be told either.
            OverloadedError: too many entries wait to be recorded.
        """
        entry = replace(self._entry(attempt, subject_id), threshold=threshold)
        await self._batcher.record(audit_log(attempt.collection_id, 0), entry)
        return entry.evidence_id

    def _entry(self, attempt: Attempt, subject_id: SubjectId | None) -> AuditRecord:
        """Who asked what of whom, now; without what came of it."""
        now = self._clock.now()
        return AuditRecord(
            method=attempt.method,
            at=now,
            evidence_id=time_ordered_id("ev", now),
            caller=attempt.caller,
            collection_id=attempt.collection_id,
            subject_id=subject_id,
            request_id=attempt.request_id,
        )
