"""The exact index beyond what every index owes: small segments, threads, memory, and what an erasure leaves behind."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from test_index_oracle import (
    MODEL,
    POOL,
    PROFILES,
    WISHES,
    Model,
    assert_same,
    expected,
    filled,
    many,
    probe_of,
    row_of,
)

from gallery_svc.index import changes, segments
from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import EVERYBODY, Put, Removal, Update
from gallery_svc.index.segments import Segment
from gallery_svc.rows import SearchProfile, half
from tessera.domain.ids import SubjectId


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 rows, so that a few dozen subjects make several."""
    monkeypatch.setattr(segments, "MAX_SEGMENT_ROWS", 16)


def _segments(index: ExactIndex) -> list[Segment]:
    return [segment for segment in index._snapshot.segments if segment is not None]


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("dimensions", [7, 32, 130, 4096])
def test_answers_are_those_of_a_loop_in_many_segments(dimensions: int) -> None:
    """With rows of even and odd length, one probe and many, before and after some subjects went."""
    index = ExactIndex(MODEL)
    model = filled(index, many(60, 2, dimensions))
    assert len(_segments(index)) > 6
    for subject_id in list(model)[::7]:
        index.apply([Removal(subject_id)])
        del model[subject_id]
    probes = [probe_of(row.templates[0].vector.astype(np.float32)) for row in list(model.values())[:8]]
    for wanted in (EVERYBODY, WISHES[1]):
        for probe, found in zip(probes, index.search_many(probes, 4, wanted), strict=True):
            wished = expected(model, probe, 4, wanted)
            assert_same(found, wished)
            assert_same(index.search(probe, 4, wanted), wished)


@pytest.mark.usefixtures("small_segments")
def test_a_subject_with_more_templates_than_a_segment_has_rows() -> None:
    """Gets a segment of its own length, and goes with it."""
    index = ExactIndex(MODEL)
    model: Model = {}
    for subject, count in (("few", 3), ("lots", 37), ("more", 5)):
        row = row_of(subject, POOL[np.arange(count) % 20])
        model[row.subject_id] = row
        index.apply([Put(row)])
    assert_same(index.search(probe_of(POOL[4]), 3), expected(model, probe_of(POOL[4]), 3, EVERYBODY))
    index.apply([Removal(SubjectId("lots"))])
    assert (index.subject_count, index.template_count) == (2, 8)


@pytest.mark.usefixtures("small_segments")
def test_an_erasure_copies_its_own_segment_alone() -> None:
    """The columns of all others are the very same."""
    index = ExactIndex(MODEL)
    filled(index, [row_of(f"s{n:03d}", POOL[n % 20 : n % 20 + 1]) for n in range(160)])
    before = _segments(index)
    index.apply([Removal(SubjectId("s037"))])
    after = _segments(index)
    assert [old.columns is new.columns for old, new in zip(before, after, strict=True)] == [n != 2 for n in range(10)]


def test_an_enrolment_copies_nothing() -> None:
    """It is written behind the last row of the same memory."""
    index = ExactIndex(MODEL)
    filled(index, [row_of("ada", POOL[:2])])
    before = _segments(index)[0]
    index.apply([Put(row_of("bob", POOL[5:6]))])
    assert _segments(index)[0].columns is before.columns
    assert before.rows == 2


def test_an_erased_vector_is_wiped_after_the_last_reader() -> None:
    """The copy never had it; the original keeps it for a search that has begun, and is zeros afterwards."""
    index = ExactIndex(MODEL)
    filled(index, [row_of(f"s{n:03d}", POOL[n % 20 : n % 20 + 1], PROFILES[1]) for n in range(100)])
    reader = index._snapshot
    old = _segments(index)[0].columns
    halves, arenas = old.halves, [old.subject_ids.arena, old.template_ids.arena]
    index.apply([Removal(SubjectId("s003"))])
    kept = _segments(index)[0].columns
    assert not (kept.halves == POOL[3]).all(axis=1)[3]
    assert b"s003" not in kept.subject_ids.arena.tobytes() + kept.template_ids.arena.tobytes()
    assert (halves[3] == POOL[3]).all()
    del old, reader
    gc.collect()
    assert not halves.any()
    assert not any(arena.any() for arena in arenas)


def test_readers_see_whole_changes() -> None:
    """While a writer moves two subjects between two states over and over, no search and no lookup sees a third."""
    index = ExactIndex(MODEL)
    filled(index, [row_of(f"s{n:04d}", POOL[10:11]) for n in range(400)])
    states: list[list[Update]] = [
        [Put(row_of("a", POOL[:1])), Put(row_of("b", POOL[:1]))],
        [Put(row_of("a", POOL[1:3])), Removal(SubjectId("b"))],
        [Removal(SubjectId("a")), Put(row_of("b", POOL[:1], PROFILES[1]))],
    ]
    allowed = {("a", "b"), ("a",), ("b",)}
    index.apply(states[0])
    done = threading.Event()
    seen: list[tuple[str, ...]] = []
    always_there: list[bool] = []

    def read() -> None:
        while not done.is_set():
            hits = index.search(probe_of(POOL[0]), 402)
            seen.append(tuple(sorted(hit.subject_id for hit in hits if hit.subject_id in {"a", "b"})))
            always_there.append(SubjectId("s0399") in index)

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            for at in range(150):
                index.apply(states[at % 3])
                if at % 10 == 0:  # the others move too: their segment is written anew
                    index.apply([Removal(SubjectId(f"s{at:04d}"))])
        finally:
            done.set()
        for reader in readers:
            reader.result()
    assert set(seen) <= allowed
    assert all(always_there)


@pytest.mark.usefixtures("small_segments")
def test_helpers_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that are shared among threads find the same, with one probe and with many, filtered and not."""
    monkeypatch.setattr("gallery_svc.index.snapshots._WORTH_SHARING", 1)
    rows = many(100, 2)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        shared, alone = ExactIndex(MODEL, [one, two]), ExactIndex(MODEL)
        filled(shared, rows)
        filled(alone, rows)
        probes = [probe_of(row.templates[0].vector.astype(np.float32)) for row in rows[:9]]
        for wanted in (EVERYBODY, WISHES[1], WISHES[5]):
            assert shared.search_many(probes, 5, wanted) == alone.search_many(probes, 5, wanted)
            assert shared.search(probes[0], 5, wanted) == alone.search(probes[0], 5, wanted)


def test_a_helper_that_has_other_work_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share is done by the thread that asks."""
    monkeypatch.setattr("gallery_svc.index.snapshots._WORTH_SHARING", 1)
    release = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        busy.submit(release.wait, 30)
        index = ExactIndex(MODEL, [busy])
        rows = many(100, 1)
        model = filled(index, rows)
        probe = probe_of(rows[0].templates[0].vector.astype(np.float32))
        assert_same(index.search(probe, 3), expected(model, probe, 3, EVERYBODY))
        release.set()


@pytest.mark.usefixtures("small_segments")
def test_a_change_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were written before the failure never show, and the next change works."""
    index = ExactIndex(MODEL)
    model = filled(index, [row_of(f"s{n:03d}", POOL[n : n + 1]) for n in range(10)])

    def fail(*_: object) -> Segment:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(changes, "segment_of", fail)
        with pytest.raises(MemoryError):
            index.apply([Put(row_of("lost", POOL[30:33])), Removal(SubjectId("s003"))])
    assert_same(index.search(probe_of(POOL[31]), 20), expected(model, probe_of(POOL[31]), 20, EVERYBODY))
    row = row_of("found", POOL[30:32])
    index.apply([Put(row), Removal(SubjectId("s004"))])
    model[row.subject_id] = row
    del model[SubjectId("s004")]
    assert_same(index.search(probe_of(POOL[31]), 20), expected(model, probe_of(POOL[31]), 20, EVERYBODY))
    assert (SubjectId("lost") in index, SubjectId("s003") in index) == (False, True)


def test_memory_is_that_of_the_vectors_and_little_more() -> None:
    """A quarter of a million templates in a fresh process: resident memory grows by at most 1.2 of their float16 bytes.

    The benchmark holds the bar of 1.15 at a million; in this smaller index, what a process grows by itself counts.
    """
    done = subprocess.run([sys.executable, "-c", _FILL_AND_MEASURE], capture_output=True, text=True, check=True)
    claimed, grown = (float(word) for word in done.stdout.split())
    assert claimed <= 1.15
    assert grown <= 1.2


_FILL_AND_MEASURE = """
import numpy as np
from pathlib import Path
from gallery_svc.index.exact import ExactIndex
from gallery_svc.rows import RowBatch, SearchProfile, half

def resident_bytes():
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

def fill(index, count):
    profile = SearchProfile()
    for first in range(0, count, 4096):
        here = range(first, min(first + 4096, count))
        index.load(RowBatch([f"s{n:07d}" for n in here], [profile] * len(here), [1] * len(here),
                            [f"template-{n:024x}" for n in here], vectors[: len(here)]))

raw = np.random.default_rng(1).normal(size=(4096, 128))
vectors = half(raw / np.linalg.norm(raw, axis=1, keepdims=True))
fill(ExactIndex("warm"), 70_000)
before, index, count = resident_bytes(), ExactIndex("m"), 250_000
fill(index, count)
print(index.coverage.memory_bytes / (256 * count), (resident_bytes() - before) / (256 * count))
"""


class IndexMachine(RuleBasedStateMachine):
    """Puts and removals in any order and grouping over segments of 16 rows, beside a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ExactIndex(MODEL)
        self.model: Model = {}
        self.made = 0

    @rule(
        steps=st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, len(POOL) - 4)), min_size=1, max_size=25
        )
    )
    def apply(self, steps: list[tuple[int, int, int]]) -> None:
        """One batch of updates, each giving a subject some templates or erasing it."""
        updates: list[Update] = []
        for count, subject, at in steps:
            subject_id = SubjectId(f"s{subject}")
            self.model.pop(subject_id, None)
            if count:
                self.made += 1
                row = row_of(subject_id, POOL[at : at + count], PROFILES[at % len(PROFILES)], self.made)
                self.model[subject_id] = row
                updates.append(Put(row))
            else:
                updates.append(Removal(subject_id))
        self.index.apply(updates)

    @rule(first=st.integers(0, 1000))
    def load(self, first: int) -> None:
        """Twenty subjects at once, if they are new."""
        rows = [row_of(f"bulk{first}-{n}", POOL[n : n + 1 + n % 2]) for n in range(20)]
        if rows[0].subject_id not in self.model:
            self.model |= filled(self.index, rows)

    @invariant()
    def answers_like_the_loop(self) -> None:
        """Counts, lookups and searches agree with the dictionary, and no segment stays mostly dead."""
        assert self.index.template_count == sum(len(row.templates) for row in self.model.values())
        assert self.index.subject_count == len(self.model)
        probe = probe_of(POOL[self.made % len(POOL)])
        for wanted in (EVERYBODY, WISHES[self.made % len(WISHES)]):
            assert_same(self.index.search(probe, 3, wanted), expected(self.model, probe, 3, wanted))
        for subject_id in list(self.model)[:5]:
            assert subject_id in self.index
        assert all(segment.live_rows >= segment.rows * 7 / 8 for segment in _segments(self.index))


@pytest.fixture(autouse=True)
def _rows_of_the_machine(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.cls is not None:
            patch.setattr(segments, "MAX_SEGMENT_ROWS", 16)
        yield


IndexMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=8, deadline=None)
TestIndexMachine = IndexMachine.TestCase


def test_a_profile_that_changes_is_taken_and_the_same_one_costs_nothing() -> None:
    """A new name or label shows at once; a subject that is put as it was is not written again."""
    index = ExactIndex(MODEL)
    vector = half(POOL[:1].astype(np.float32))
    index.apply([Put(row_of("ada", vector, SearchProfile("Ada")))])
    before = index._snapshot
    index.apply([Put(row_of("ada", vector, SearchProfile("Ada")))])
    assert index._snapshot is before
    index.apply([Put(row_of("ada", vector, SearchProfile("Countess", labels=("staff",))))])
    assert index.name_of(SubjectId("ada")) == "Countess"
    assert [hit.display_name for hit in index.search(probe_of(POOL[0]), 1, WISHES[1])] == ["Countess"]


@pytest.mark.parametrize("subjects", [0, 10, 3000, 50_000])
def test_whatever_is_expected_the_answers_are_the_same(subjects: int) -> None:
    """Too few, as many as come, and too many; once somebody is there, nothing is made ready any more."""
    rows = many(3000, 1)
    index = ExactIndex(MODEL)
    index.expect(subjects)
    filled(index, rows)
    index.expect(1)
    assert all(row.subject_id in index for row in rows)
    assert "nobody" not in index
    assert index.subject_count == 3000
