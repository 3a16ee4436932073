"""Which shards of a collection one gallery process holds in memory, when a collection is spread over several.

It says nothing of where the records are: they are in the store, all of them, for every gallery.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tessera.domain.errors import InvalidInputError

_ALLOWED = 'empty for all, or shards of how many, such as "0-7/16" or "0,2,5-7/8"'
_WRITTEN = re.compile(r"(\d{1,2}(?:-\d{1,2})?(?:,\d{1,2}(?:-\d{1,2})?)*)/(\d{1,2})", re.ASCII)
_MOST_SHARDS = 64


@dataclass(frozen=True, slots=True)
class Holding:
    """Some shards of every collection that has `total` of them, and all of every other collection."""

    shards: frozenset[int] = frozenset()
    """Of `total`; without a total: all of every collection."""
    total: int = 0

    @classmethod
    def parse(cls, text: str) -> Holding:
        """Read a setting; empty: everything.

        Raises:
            InvalidInputError: it names no shards, or some that there are not.
        """
        if not text:
            return cls()
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise InvalidInputError("holds", text, _ALLOWED)
        total, shards = int(written[2]), frozenset(_numbers(written[1]))
        if not 1 <= total <= _MOST_SHARDS or not shards or max(shards) >= total:
            raise InvalidInputError("holds", text, f"{_ALLOWED}; at most {_MOST_SHARDS} shards, counted from 0")
        return cls(shards, total)

    def __str__(self) -> str:
        """As the setting is written."""
        return f"{','.join(map(str, sorted(self.shards)))}/{self.total}" if self.total else ""

    def of(self, shard_count: int) -> frozenset[int]:
        """What is held of a collection with so many shards."""
        return self.shards if shard_count == self.total else frozenset(range(shard_count))


ALL = Holding()


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found
