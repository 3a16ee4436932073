"""A collection beside the store's head of it: the short question and the long ones agree."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.live import LiveCollection
from gallery_svc.store.collection_records import CollectionHead, CollectionRecord, Position
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId, ModelId
from tests.plain_index import PlainIndex

MODEL = ModelId("face-test-1@00")
_POSITIONS = st.builds(Position, st.integers(0, 2), st.sampled_from(["a", "b"]))
_SHARDS = st.lists(_POSITIONS, min_size=1, max_size=3).map(tuple)
_GENERATIONS = st.sampled_from(["one", "two"])


@given(_SHARDS, _SHARDS, _GENERATIONS, _GENERATIONS)
def test_what_is_level_is_neither_behind_nor_parted(
    here: tuple[Position, ...], there: tuple[Position, ...], generation: str, its_generation: str
) -> None:
    """With all shards held, `is_level_with` says exactly that nothing is behind and nothing has parted."""
    live, head = _live(here, generation), _head(there, its_generation)
    assert live.is_level_with(head) == (live.behind(head) == 0 and live.parted_from(head) is None)


def test_what_an_index_promises_is_asked_once() -> None:
    """An answer tells of exactness and clear vectors without measuring the index's memory again."""
    live = _live((Position(0, "a"),), "one")
    assert (live.is_exact, live.is_in_clear) == (live.index.coverage.exact, live.index.coverage.vectors_in_clear)


@pytest.mark.parametrize("held", [frozenset(), frozenset({0})])
def test_level_in_part_is_level_too(held: frozenset[int]) -> None:
    """Where only some shards are held, the same positions are still level; the long questions agree."""
    positions = (Position(1, "a"), Position(2, "b"))
    live, head = _live(positions, "one", held), _head(positions, "one")
    assert live.is_level_with(head)
    assert live.behind(head) == 0
    assert live.parted_from(head) is None


def _live(positions: tuple[Position, ...], generation: str, held: frozenset[int] | None = None) -> LiveCollection:
    record = CollectionRecord(CollectionId("people"), Modality.FACE, MODEL, datetime(2026, 1, 1, tzinfo=UTC))
    mine = frozenset(range(len(positions))) if held is None else held
    return LiveCollection(record, PlainIndex(MODEL), generation, positions, mine)


def _head(positions: tuple[Position, ...], generation: str) -> CollectionHead:
    return CollectionHead(generation, positions, 0, 0)
