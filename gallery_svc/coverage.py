"""What an answer rests on: how much of the collection was compared, how, and how fresh it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gallery_svc.engine_indexes import is_elsewhere
from gallery_svc.live import LiveCollection
from gallery_svc.replica import Behind


@dataclass(frozen=True, slots=True)
class SearchCoverage:
    """What an answer rests on."""

    shards_total: int
    shards_searched: int
    exact: bool
    """Every subject that was asked for was compared."""
    vectors_in_clear: bool
    """The index keeps them unencrypted outside of this process."""
    behind_changes: int
    """That the store had and the index had not, as far as is known."""
    behind_s: float
    """Since the index last had all of them; 0: it has."""
    subjects_searched: int

    @property
    def complete(self) -> bool:
        """Nothing that should have been searched was left out."""
        return self.shards_searched == self.shards_total

    def for_nothing_left_out(self) -> SearchCoverage:
        """The same of an answer that needed nothing else than what was looked at."""
        return self if self.complete else replace(self, shards_searched=self.shards_total)


def own_coverage(live: LiveCollection, behind: Behind, shards: int) -> SearchCoverage:
    """Of an answer from what is held here.

    Args:
        live: what was searched.
        behind: how far it is behind the store.
        shards: so many of it were asked for.
    """
    return SearchCoverage(
        shards_total=len(live.positions),
        shards_searched=shards,
        exact=live.is_exact,
        vectors_in_clear=live.is_in_clear,
        behind_changes=behind.changes,
        behind_s=behind.seconds,
        subjects_searched=subjects_here(live),
    )


def subjects_here(live: LiveCollection) -> int:
    """Subjects of the index; as the store counts them where the index would have to ask an engine for it."""
    return live.subjects_stored if is_elsewhere(live.index) else live.index.subject_count


def subjects_of(live: LiveCollection) -> int:
    """Subjects of the whole collection, whoever holds them."""
    return subjects_here(live) if live.is_whole else live.subjects_stored


def templates_of(live: LiveCollection) -> int:
    """Templates of the whole collection, whoever holds them."""
    if live.is_whole and not is_elsewhere(live.index):
        return live.index.template_count
    return live.templates_stored


def joined(parts: Sequence[SearchCoverage]) -> SearchCoverage:
    """Of an answer that several parts gave together; at least one."""
    return SearchCoverage(
        shards_total=parts[0].shards_total,
        shards_searched=sum(part.shards_searched for part in parts),
        exact=all(part.exact for part in parts),
        vectors_in_clear=any(part.vectors_in_clear for part in parts),
        behind_changes=sum(part.behind_changes for part in parts),
        behind_s=max(part.behind_s for part in parts),
        subjects_searched=sum(part.subjects_searched for part in parts),
    )
