"""Looks at persons in dictionaries, for the store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from gallery_svc.store.person_protocol import MAX_LOOKS
from gallery_svc.store.person_records import LookChanges, LooksHead, PersonLook
from tessera.domain.ids import TrackletId


@dataclass(slots=True)
class MemoryLooks:
    """Those of one collection."""

    kept: dict[TrackletId, tuple[int, PersonLook]] = field(default_factory=dict)
    newest: int = 0
    persons: dict[str, datetime] = field(default_factory=dict)

    def put(self, look: PersonLook) -> None:
        """Write a look."""
        self.newest += 1
        self.persons[look.person_id] = max(look.seen_at, self.persons.get(look.person_id, look.seen_at))
        self.kept[look.tracklet_id] = (self.newest, look)
        while len(self.kept) > MAX_LOOKS:
            del self.kept[min(self.kept, key=lambda key: (self.kept[key][1].seen_at, key))]

    def after(self, generation: str, sequence: int, limit: int) -> LookChanges:
        """What was written after a sequence."""
        newer = sorted((at, key) for key, (at, _) in self.kept.items() if at > sequence)[:limit]
        up_to = newer[-1][0] if len(newer) == limit else self.newest
        looks = tuple((key, self.kept[key][1]) for _, key in newer)
        return LookChanges(LooksHead(generation, self.newest, len(self.kept)), looks, up_to)

    def drop(self, tracklet_ids: Sequence[TrackletId]) -> int:
        """Remove some."""
        return sum(self.kept.pop(tracklet_id, None) is not None for tracklet_id in tracklet_ids)

    def drop_seen_before(self, moment: datetime) -> int:
        """Remove those that were seen before a moment."""
        return self.drop([key for key, (_, look) in self.kept.items() if look.seen_at < moment])
