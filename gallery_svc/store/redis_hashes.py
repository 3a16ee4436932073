"""The hashes of a shard that hold sealed values, and where each of their values lies for the seal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_values import look_place, picture_place, subject_place
from gallery_svc.store.sealing import Kind, Place
from tessera.domain.ids import SubjectId


@dataclass(frozen=True, slots=True)
class SealedHash:
    """One hash."""

    key: str
    state: str
    """The field of the head that has the exclusive or of its tags."""
    kind: Kind
    epoch: int = 0

    def place(self, generation: str, field: str) -> Place:
        """Where the value of a field lies."""
        subject_id, _, template_id = field.partition("/")
        match self.kind:
            case "picture":
                return picture_place(generation, SubjectId(subject_id), template_id)
            case "look":
                return look_place(generation, field)
            case "row":
                return Place(generation, SubjectId(field), "row", self.epoch)
            case _:
                return subject_place(generation, SubjectId(field))


def looks_of(keys: ShardKeys) -> SealedHash:
    """The looks at persons of a shard: no head has the exclusive or of their tags."""
    return SealedHash(keys.look_keys[0], "", "look")


def hashes_of(keys: ShardKeys, epochs: Sequence[int]) -> list[SealedHash]:
    """Those of a shard that keeps rows of these epochs; subjects first."""
    rows = [SealedHash(keys.rows(epoch), f"state:rows:{epoch}", "row", epoch) for epoch in epochs]
    return [
        SealedHash(keys.subjects, "state", "subject"),
        *rows,
        SealedHash(keys.pictures, "state:pictures", "picture"),
    ]
