"""The parts of the exact index, each beside something plain: NumPy's own conversion, a dictionary, a list, a loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_index_oracle import POOL, PROFILES, WISHES, filled, many, may_be_found, row_of

from gallery_svc.ids import time_ordered_id
from gallery_svc.index.directory import Directory, hashes_of
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.filters import finds
from gallery_svc.index.incoming import batch_of, new_rows
from gallery_svc.index.products import Products
from gallery_svc.index.protocol import Wanted
from gallery_svc.index.ranking import exact_scores
from gallery_svc.index.segments import Piece, Segment, segment_rows, slack_of
from gallery_svc.index.texts import NAMES, SUBJECT_IDS, TEMPLATE_IDS, Spelling, TextColumn
from gallery_svc.index.widening import SCALE, lengths, widen_first_of_pairs, widen_second_of_pairs, widened
from gallery_svc.rows import RowBatch, SearchProfile, half
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId

MODEL = ModelId("face@1")
_ALL = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(np.float16)
_SIZES = np.abs(_ALL.astype(np.float32))
NORMAL = _ALL[np.isfinite(_ALL) & ((np.finfo(np.float16).smallest_normal <= _SIZES) | (_SIZES == 0))]
"""Every finite float16 number that an index may hold."""

IDS = st.one_of(
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:@-]{0,40}\Z"),
    st.from_regex(r"\A[A-Za-z0-9._:@-]{11,13}\Z"),
    st.from_regex(r"\A(template|subject)-[0-9a-f]{23,25}\Z"),
    st.from_regex(r"\Atemplate-[0-9a-fA-F]{24}\Z"),
)


# ---- numbers


def test_widening_is_exact_for_every_number() -> None:
    """All three ways, and the factor is a power of two."""
    numbers = NORMAL[: NORMAL.size // 2 * 2].reshape(-1, 2)
    wished = numbers.astype(np.float32)
    assert np.array_equal(widened(numbers) * SCALE, wished)
    pairs = np.ascontiguousarray(numbers).view(np.int32)
    for place, widen in enumerate((widen_first_of_pairs, widen_second_of_pairs)):
        room = np.empty_like(pairs)
        widen(pairs, room)
        assert np.array_equal(room.view(np.float32)[:, 0] * SCALE, wished[:, place])


@pytest.mark.parametrize("dimensions", [3, 128, 130, 4096])
@pytest.mark.parametrize("probes", [1, 7, 64])
def test_products_are_within_the_slack_that_is_claimed(dimensions: int, probes: int) -> None:
    """Of exact scores, for whole and partial chunks; rows that were not given score below everything."""
    rng = np.random.default_rng(3)
    raw = rng.normal(size=(100 + probes, dimensions))
    unit = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)
    rows, questions = half(unit[:100]), unit[100:]
    products = Products(questions, 64)
    slack = slack_of(dimensions, float(np.abs(lengths(rows) - 1).max()) + 1e-6)
    for part in (rows[:64], rows[64:]):
        scores = products.of(part)
        for at, question in enumerate(questions):
            assert np.abs(scores[:, at] - exact_scores(part, question)).max() <= slack
    assert (products.scores[36:] == -np.inf).all()


def test_equal_rows_have_equal_scores_wherever_they_stand() -> None:
    """To the last bit, alone and among others, for rows of any length."""
    for dimensions in (1, 5, 16, 130, 1000):
        raw = np.random.default_rng(dimensions).normal(size=(1, dimensions)).astype(np.float32)
        row = half(raw / np.linalg.norm(raw))
        probe = (raw[0] / np.linalg.norm(raw)).astype(np.float32)[::-1].copy()
        alone = exact_scores(row, probe)[0]
        assert (exact_scores(np.repeat(row, 33, axis=0), probe) == alone).all()


# ---- texts


@given(text=st.one_of(IDS, st.text(max_size=50)))
@settings(max_examples=300)
@pytest.mark.parametrize("spelling", [SUBJECT_IDS, TEMPLATE_IDS, NAMES])
def test_a_text_comes_back_as_it_was(spelling: Spelling, text: str) -> None:
    """Also one of 12 bytes, one that is nearly an id of our own, and one in no Latin letters."""
    assert spelling.unpack(memoryview(spelling.pack(text))) == text


@given(texts=st.lists(st.one_of(IDS, st.just("")), min_size=1, max_size=200), parts=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_a_column_is_a_list(texts: list[str], parts: int) -> None:
    """Whatever is appended in however many parts; an earlier view shows what it showed."""
    column = TextColumn(len(texts))
    step = -(-len(texts) // parts)
    column.append(TEMPLATE_IDS.pack_all(texts[:step]))
    early = column.view()
    for first in range(step, len(texts), step):
        column.append(TEMPLATE_IDS.pack_all(texts[first : first + step]))
    late, places = column.view(), np.arange(len(texts))
    assert TEMPLATE_IDS.unpack_all(late, places) == texts
    assert [TEMPLATE_IDS.unpack(late.piece(at)) for at in places.tolist()] == texts
    assert TEMPLATE_IDS.unpack_all(early, places[:step]) == texts[:step]
    again = TextColumn(len(texts))
    again.append(late.taken(places[::-1].copy()))
    assert TEMPLATE_IDS.unpack_all(again.view(), places) == texts[::-1]
    assert late.empty(places).tolist() == [not text for text in texts]


def test_our_own_ids_take_12_bytes() -> None:
    """Those that `gallery_svc.ids` makes, in a column of many and alone."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    ids = [time_ordered_id("template", now) for _ in range(100)]
    assert len(TEMPLATE_IDS.pack(ids[0])) == 12
    assert TEMPLATE_IDS.pack_all(ids).raw.size == 1200
    assert len(SUBJECT_IDS.pack(time_ordered_id("subject", now))) == 12


def test_a_text_that_no_column_can_hold_is_refused() -> None:
    """An id of a thousand bytes; names may be as long as they like."""
    with pytest.raises(InvalidInputError):
        TextColumn(1).append(SUBJECT_IDS.pack_all(["x" * 1024]))
    column = TextColumn(2, long=True)
    column.append(NAMES.pack_all(["x" * 100_000, "y"]))
    assert NAMES.unpack_all(column.view(), np.arange(2)) == ["x" * 100_000, "y"]


# ---- the directory


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.lists(st.integers(0, 400), min_size=1, max_size=150, unique=True)), max_size=8
    )
)
@settings(max_examples=25, deadline=None)
def test_a_directory_is_a_dictionary(steps: list[tuple[bool, list[int]]]) -> None:
    """Names added and removed in groups, up to the fullest that is allowed: the right place is among those told."""
    directory, held = Directory(1024), dict[str, int]()
    made = 0
    for adds, numbers in steps:
        names = [f"s{number}" for number in numbers if (f"s{number}" in held) != adds]
        if adds:
            if not directory.has_room(len(names)):
                directory = directory.larger(len(held) + len(names))
                directory.add(hashes_of(list(held)), np.array(list(held.values()), np.uint32))
            new = {name: made + at for at, name in enumerate(names)}
            made += len(new)
            directory.add(hashes_of(names), np.array(list(new.values()), np.uint32))
            held |= new
        else:
            directory.remove(hashes_of(names), np.array([held.pop(name) for name in names], np.uint32))
        everyone = [f"s{number}" for number in range(401)]
        together: dict[str, list[int]] = {name: [] for name in everyone}
        for at, place in directory.look_all(hashes_of(everyone)):
            together[everyone[at]].append(place)
        for name in everyone:
            told = list(directory.look(name))
            assert (held[name] in told) if name in held else (set(told) <= set(held.values()))
            assert sorted(told) == sorted(together[name])


# ---- filters


def _only_segment(index: ExactIndex) -> Segment:
    (segment,) = index._snapshot.segments
    assert segment is not None
    return segment


@pytest.mark.parametrize("wanted", WISHES)
def test_a_mask_says_what_a_loop_says(wanted: Wanted) -> None:
    """For each row of each subject, and `finds` says the same of a single one."""
    index, rows = ExactIndex(MODEL), many(120, 2)
    filled(index, rows)
    segment = _only_segment(index)
    mask = segment.masks.mask_of(segment, wanted)
    flags = np.ones(segment.rows, np.bool_) if mask is None else mask.flags
    wished = [may_be_found(row.profile, wanted) for row in rows]
    assert flags.tolist() == [found for found in wished for _ in range(2)]
    assert [finds(segment, 2 * at, wanted) for at in range(len(rows))] == wished


def test_masks_are_kept_until_somebody_s_validity_changes() -> None:
    """The same mask serves every moment in between, and another one the next moment after."""
    noon = PROFILES[3].valid_from
    assert noon is not None
    index = ExactIndex(MODEL)
    filled(index, many(60, 1))
    segment = _only_segment(index)

    def mask_at(after: timedelta) -> object:
        return segment.masks.mask_of(segment, Wanted(at=noon + after))

    assert mask_at(timedelta()) is mask_at(timedelta(minutes=59, seconds=59, microseconds=999_999))
    assert mask_at(timedelta()) is not mask_at(timedelta(hours=1))
    everyday = ExactIndex(MODEL)
    filled(everyday, [row_of("ada", POOL[:1]), row_of("bob", POOL[:1], SearchProfile(labels=("staff",)))])
    segment = _only_segment(everyday)
    wanted = Wanted(frozenset({"staff"}), at=noon)
    assert segment.masks.mask_of(segment, wanted) is segment.masks.mask_of(segment, Wanted(wanted.labels))


# ---- rows


def test_segments_are_of_about_16_mib() -> None:
    """65,536 rows at 128 numbers, fewer of longer rows, and never more."""
    assert [segment_rows(dimensions) for dimensions in (1, 128, 512, 4096)] == [65_536, 65_536, 16_384, 2_048]


def test_a_piece_of_a_segment_tells_its_own_nearest_rows() -> None:
    """By their numbers in the segment."""
    index = ExactIndex(MODEL)
    filled(index, many(50, 1))
    segment = _only_segment(index)
    rows, scores = Piece(segment, None, 20, 45).nearest(segment.halves[30].astype(np.float32), 3)
    assert rows[0] == 30
    assert scores[0] == pytest.approx(1, abs=1e-2)
    assert set(rows.tolist()) <= set(range(20, 45))


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan, 3.0])
def test_vectors_that_no_search_could_use_are_refused(value: float) -> None:
    """Zeros, what is not finite, and what is far from length 1."""
    vectors = half(POOL[:2].astype(np.float32))
    vectors[1] = value
    with pytest.raises(InvalidInputError, match="unit vectors"):
        new_rows(RowBatch(["a", "b"], [PROFILES[0]] * 2, [1, 1], ["t", "u"], vectors))


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    """A batch that lacks a template, a profile or a vector."""
    whole = batch_of([row_of("ada", POOL[:2]), row_of("bob", POOL[:1])])
    for broken in (
        RowBatch(whole.subject_ids, whole.profiles, [2, 2], whole.template_ids, whole.vectors),
        RowBatch(whole.subject_ids, whole.profiles[:1], whole.counts, whole.template_ids, whole.vectors),
        RowBatch(whole.subject_ids, whole.profiles, whole.counts, whole.template_ids[:2], whole.vectors),
        RowBatch(whole.subject_ids, whole.profiles, whole.counts, whole.template_ids, whole.vectors[:2]),
    ):
        with pytest.raises(InvalidInputError):
            new_rows(broken)
