"""Audit entries, as they are told and as they are kept. Times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tessera.domain.calibration import (
    Threshold,
)
from tessera.domain.decision import Outcome
from tessera.domain.ids import CollectionId, SubjectId
from tessera.trust.stamps import Stamp

AuditStamp = Stamp
"""What makes a kept entry provable; anybody can check it, so it lives where the checks do."""


@dataclass(frozen=True, slots=True)
class StoredAudit:
    """An audit entry as it is kept."""

    sequence: int
    """In its log: contiguous, from 1."""
    entry: bytes
    """The record as text; the bytes that the stamp covers."""
    stamp: AuditStamp


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Who asked what, when, with which outcome. Holds no score, no name and no vector."""

    method: str
    at: datetime
    evidence_id: str
    caller: str = ""
    collection_id: CollectionId | None = None
    subject_id: SubjectId | None = None
    request_id: str = ""
    outcome: Outcome | None = None
    threshold: Threshold | None = None
    detail: str = ""
    """What else was asked, such as the id of a calibration."""
