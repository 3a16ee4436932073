"""What followers of a shard's log read, and what a check of it finds. Times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gallery_svc.rows import SearchRow
from gallery_svc.store.collection_records import Position
from tessera.domain.ids import CollectionId, SubjectId


class ChangeKind(StrEnum):
    """What a change did."""

    ENROLLED = "ENROLLED"
    UPDATED = "UPDATED"
    TEMPLATE_DELETED = "TEMPLATE_DELETED"
    ERASED = "ERASED"
    REPAIRED = "REPAIRED"


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One entry of a shard's change log."""

    position: Position
    kind: ChangeKind
    subject_id: SubjectId
    row: SearchRow | None
    """The subject as it is now, in the active epoch; None: it is no longer there."""


@dataclass(frozen=True, slots=True)
class Member:
    """A gallery process that follows the store."""

    member_id: str
    at: datetime
    """Of its last sign of life."""
    positions: Mapping[str, tuple[int, ...]]
    """What its indexes hold: for each collection a sequence for each shard."""
    generations: Mapping[str, str] = field(default_factory=dict)
    """Of the collections that these positions mean."""


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """Something in a shard that no whole write left there."""

    collection_id: CollectionId
    shard: int
    what: str
    """PENDING, LOG, COUNTS, STATE, CHAIN or SEALED."""
    detail: str
    subject_id: SubjectId | None = None
