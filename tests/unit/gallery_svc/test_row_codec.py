"""Rows as bytes: all of a row comes back, many at once as one by one, and other bytes are told with their subject."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.rows import RowBatch, SearchProfile, SearchRow, TemplateRow, half
from gallery_svc.store.row_codec import pack_row, unpack_row, unpack_rows
from tessera.domain.errors import InvalidInputError, StoreCorruptError
from tessera.domain.ids import SubjectId, TemplateId

ALICE = SubjectId("alice")
NAMED = SearchProfile("Alice")

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
_names = st.lists(_texts, max_size=3, unique=True).map(lambda names: tuple(sorted(names)))
_times = st.none() | st.datetimes(timezones=st.just(UTC))
_profiles = st.builds(SearchProfile, _texts, _names, _names, _times, _times) | st.builds(SearchProfile, _texts)
_made_ids = st.binary(min_size=12, max_size=12).map(lambda raw: f"template-{raw.hex()}")
_other_ids = st.text("abc0._:@-", min_size=1, max_size=128)


def rows(dims: int, ids: st.SearchStrategy[str] = _made_ids | _other_ids) -> st.SearchStrategy[SearchRow]:
    """Rows with up to three templates."""
    vectors = st.binary(min_size=2 * dims, max_size=2 * dims).map(lambda raw: np.frombuffer(raw, np.float16))
    templates = st.lists(st.builds(TemplateRow, ids.map(TemplateId), vectors), max_size=3).map(tuple)
    return st.builds(SearchRow, _other_ids.map(SubjectId), _profiles, templates)


def plain_of(row: SearchRow) -> tuple[object, ...]:
    """A row so that two can be compared, its vectors bit by bit."""
    templates = [(t.template_id, t.vector.dtype.str, t.vector.tobytes()) for t in row.templates]
    return row.subject_id, row.profile, templates


def rows_of(batch: RowBatch) -> list[tuple[object, ...]]:
    """A batch as the rows that it was made of."""
    templates = list(zip(batch.template_ids, batch.vectors, strict=True))
    ends = np.cumsum(batch.counts, dtype=int)
    assert {profile.display_name for profile in batch.profiles} <= {""}
    profiles = [replace(p, display_name=name) for p, name in zip(batch.profiles, batch.display_names, strict=True)]
    return [
        (subject_id, profile, [(name, v.dtype.str, v.tobytes()) for name, v in templates[end - count : end]])
        for subject_id, profile, count, end in zip(batch.subject_ids, profiles, batch.counts, ends, strict=True)
    ]


def alice(count: int = 1, dims: int = 8, profile: SearchProfile = NAMED, **ids: str) -> SearchRow:
    """A row of made templates."""
    generator = np.random.default_rng(count)
    names = [ids.get(f"id{at}", f"template-{at:024x}") for at in range(count)]
    vectors = half(generator.normal(size=(count, dims)))
    return SearchRow(ALICE, profile, tuple(map(TemplateRow, map(TemplateId, names), vectors)))


@given(st.integers(1, 5).flatmap(rows))
def test_a_row_comes_back(row: SearchRow) -> None:
    """Names, labels, cameras, times to the microsecond, ids of any making, and each bit of each vector."""
    assert plain_of(unpack_row(pack_row(row), row.subject_id)) == plain_of(row)


@given(st.lists(rows(4, _made_ids), max_size=6) | st.lists(rows(4), max_size=6))
def test_many_are_as_one_by_one(some: list[SearchRow]) -> None:
    """In the same order, whatever mixture of counts, ids and profiles."""
    packed = [pack_row(row) for row in some]
    names = [row.subject_id for row in some]
    batch = unpack_rows(names, packed)
    assert rows_of(batch) == [plain_of(unpack_row(raw, name)) for raw, name in zip(packed, names, strict=True)]
    assert batch.vectors.dtype == np.float16
    assert batch.vectors.flags.c_contiguous


def test_a_row_with_a_made_id_is_small() -> None:
    """Beside the vector 20 bytes: a load reads a million of them."""
    assert len(pack_row(alice(dims=128, profile=SearchProfile()))) == 256 + 20


def test_equal_conditions_are_one_object() -> None:
    """Subjects share their profile, and have names of their own, so that a batch of a million is small."""
    profiles = [SearchProfile("A"), SearchProfile("", ("staff",)), SearchProfile("C"), SearchProfile("D", ("staff",))]
    batch = unpack_rows(["a", "b", "c", "d"], [pack_row(alice(profile=profile)) for profile in profiles])
    assert batch.profiles == [SearchProfile(), SearchProfile("", ("staff",))] * 2
    assert batch.names == ["A", "", "C", "D"]
    assert batch.profiles[0] is batch.profiles[2]
    assert batch.profiles[1] is batch.profiles[3]


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    """It comes back in UTC."""
    at = datetime(2026, 11, 22, 1, 2, 3, 4, timezone(timedelta(hours=5, minutes=30)))
    row = unpack_row(pack_row(alice(profile=SearchProfile(valid_from=at))), ALICE)
    assert row.profile.valid_from == at
    assert row.profile.valid_from.tzinfo is UTC


def test_no_subject_and_no_template() -> None:
    """Both are whole batches; vectors of subjects without templates have no length that could disagree."""
    assert unpack_rows([], []).vectors.shape == (0, 0)
    batch = unpack_rows(["a", "b"], [pack_row(alice(0)), pack_row(alice(1))])
    assert batch.counts == [0, 1]
    assert batch.vectors.shape == (1, 8)


@pytest.mark.parametrize(
    "row", [alice(), alice(3), alice(2, id1="mine"), alice(profile=SearchProfile("A", ("x",), ("c",)))]
)
def test_each_cut_is_told_with_its_subject(row: SearchRow) -> None:
    """Wherever the bytes end before the name: an error of ours that names whose row it is, alone and in a batch."""
    packed = pack_row(row)
    name_at = len(packed) - len(row.profile.display_name)
    for end in range(name_at):
        with pytest.raises(StoreCorruptError, match="row of alice"):
            unpack_row(packed[:end], ALICE)
        with pytest.raises(StoreCorruptError, match="row of alice"):
            unpack_rows(["bob", "alice"], [packed, packed[:end]])


@given(st.binary(max_size=80), st.integers(0, 79), st.integers(0, 255))
def test_any_bytes_give_a_row_or_an_error_of_ours(raw: bytes, at: int, byte: int) -> None:
    """Neither a struct.error nor a UnicodeDecodeError, and a batch agrees with the single row."""
    good = bytearray(pack_row(alice(2, 2, SearchProfile("A", ("x",), ("c",)), id1="mine")))
    good[at % len(good)] = byte
    for given_bytes in (raw, bytes(good), b"\x01\x01" + raw, b"\x01\x00\x01\x00\x01\x00" + raw):
        try:
            single = unpack_row(given_bytes, ALICE)
        except StoreCorruptError:
            with pytest.raises(StoreCorruptError, match="row of alice"):
                unpack_rows([ALICE], [given_bytes])
        else:
            assert rows_of(unpack_rows([ALICE], [given_bytes])) == [plain_of(single)]


def test_a_name_that_is_not_utf8_is_told() -> None:
    """In a batch too, with the subject that has it."""
    packed = pack_row(alice())
    with pytest.raises(StoreCorruptError, match=r"row of bob.*UTF-8"):
        unpack_rows(["alice", "bob"], [packed, packed[:-1] + b"\xff"])


def test_vectors_of_two_lengths_do_not_share_a_batch() -> None:
    """The first that differs is named."""
    with pytest.raises(StoreCorruptError, match=r"row of bob.*16 numbers.*8"):
        unpack_rows(["alice", "bob"], [pack_row(alice(dims=8)), pack_row(alice(dims=16))])


def test_other_versions_are_refused() -> None:
    """A row of a later version is not guessed at."""
    packed = pack_row(alice())
    with pytest.raises(StoreCorruptError, match="version 2"):
        unpack_row(b"\x02" + packed[1:], ALICE)
    with pytest.raises(StoreCorruptError, match="flags 2"):
        unpack_rows([ALICE], [packed[:1] + b"\x02" + packed[2:]])


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (SearchRow(ALICE, SearchProfile(), (TemplateRow(TemplateId("t"), np.ones(4, np.float32)),)), "templates"),
        (SearchRow(ALICE, SearchProfile(), (TemplateRow(TemplateId("t"), np.ones((1, 4), np.float16)),)), "templates"),
        (SearchRow(ALICE, SearchProfile(), (TemplateRow(TemplateId("t"), np.ones(0, np.float16)),)), "templates"),
        (SearchRow(ALICE, SearchProfile(), (*alice(1, 4).templates, *alice(1, 8).templates)), "templates"),
        (alice(id0="x" * 256), "template_id"),
        (alice(profile=SearchProfile(valid_until=datetime(2026, 1, 1))), "valid_until"),  # noqa: DTZ001 - wrong on purpose
        (alice(profile=SearchProfile(labels=("x" * 70_000,))), "labels"),
    ],
)
def test_what_cannot_be_packed_is_refused(row: SearchRow, field: str) -> None:
    """float32 is never rounded in passing, and nothing is cut in silence."""
    with pytest.raises(InvalidInputError, match=field):
        pack_row(row)


def test_rows_and_subjects_pair() -> None:
    """One row for each subject."""
    with pytest.raises(InvalidInputError, match="2 rows"):
        unpack_rows(["alice"], [pack_row(alice())] * 2)
