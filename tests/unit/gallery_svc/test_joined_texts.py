"""Columns of texts that nobody makes objects of: what they say is what a list would, and an index packs them alike."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.index.directory import hashes_of
from gallery_svc.index.texts import NAMES, SUBJECT_IDS, TEMPLATE_IDS, Packed
from gallery_svc.rows import JoinedTexts
from gallery_svc.store.first_seen import FirstSeen

_digits = st.binary(min_size=12, max_size=12).map(bytes.hex)
_ascii = st.text(st.characters(max_codepoint=127), max_size=14) | _digits.map("subject-{}".format)


def joined(texts: list[str]) -> JoinedTexts:
    """Texts of ASCII, joined."""
    return JoinedTexts("".join(texts).encode(), np.array([len(text) for text in texts], np.int64))


def plain(packed: Packed) -> tuple[bytes, list[int]]:
    """What was packed, so that two can be compared."""
    return packed.raw.tobytes(), packed.lengths.tolist()


@given(st.lists(_ascii, max_size=8))
def test_they_are_a_list(texts: list[str]) -> None:
    """One by one before anybody read all, all of them, from the end, in slices; and their hashes."""
    column = joined(texts)
    assert [column[at] for at in range(-len(texts), len(texts))] == texts * 2
    assert (len(column), list(column), column[1:3]) == (len(texts), texts, texts[1:3])
    assert column == texts
    assert hashes_of(joined(texts)).tolist() == hashes_of(texts).tolist()


@given(st.lists(_ascii, max_size=8) | st.lists(_digits.map("subject-{}".format), max_size=8))
def test_an_index_packs_them_as_a_list(texts: list[str]) -> None:
    """Byte by byte, with each spelling, whether it packs all of them, some or none."""
    for spelling in (NAMES, SUBJECT_IDS, TEMPLATE_IDS):
        assert plain(spelling.pack_all(joined(texts))) == plain(spelling.pack_all(texts))


@given(st.lists(st.binary(min_size=12, max_size=12), max_size=8))
def test_ids_of_our_own_making_stay_packed(raw: list[bytes]) -> None:
    """They read as ids, and a column that packs such ids takes them as they are; another one does not."""
    column = JoinedTexts(b"".join(raw), np.full(len(raw), 12), "template-")
    texts = [f"template-{each.hex()}" for each in raw]
    assert [column[at] for at in range(len(raw))] == texts
    assert column == texts
    assert column.hashes.tolist() == [hash(text) for text in texts]
    for spelling in (TEMPLATE_IDS, SUBJECT_IDS):
        assert plain(spelling.pack_all(column)) == plain(spelling.pack_all(texts))


@given(st.lists(st.lists(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), max_size=40), max_size=6))
def test_who_was_seen_is_a_set(pages: list[list[int]]) -> None:
    """Also where hashes share cells, come twice at once, or are 0."""
    seen, held = FirstSeen(), set[int]()
    for page in pages:
        hashes = np.array(page, np.int64)
        marks = [number or 1 for number in page]  # 0 and 1 are taken for one: see the module
        are_new = len(held.union(marks)) == len(held) + len(marks)
        assert seen.take_all(hashes) == are_new
        expected = [mark not in held and mark not in marks[:at] for at, mark in enumerate(marks)]
        assert seen.take(hashes).tolist() == ([False] * len(marks) if are_new else expected)
        held.update(marks)


def test_more_are_seen_than_were_expected() -> None:
    """Its table grows, and forgets nobody."""
    seen = FirstSeen()
    pages = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, (40, 500))
    for page in pages:
        assert seen.take(page).all()
    assert not any(seen.take(page).any() for page in pages)
