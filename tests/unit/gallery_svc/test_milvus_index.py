"""The index on a Milvus engine: the exact index's own answers, over a real embedded engine and through its outages."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from milvus_lite.adapter.grpc.server import start_server_in_thread  # type: ignore[import-untyped]  # it ships none

from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.milvus import MilvusIndex
from gallery_svc.index.milvus_engine import EngineAddress, EngineIndex, MilvusEngine
from gallery_svc.index.milvus_rows import table_name
from gallery_svc.index.milvus_turns import Turns
from gallery_svc.index.protocol import EVERYBODY, Hit, Put, Removal, Update, Wanted
from gallery_svc.rows import HalfVector, RowBatch, SearchProfile, SearchRow, TemplateRow, half
from tessera.chassis.ports import free_port
from tessera.domain.embedding import Embedding
from tessera.domain.errors import InvalidInputError, ModelMismatchError, UnavailableError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId

MODEL = ModelId("face@1")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
POOL = np.random.default_rng(5).normal(size=(40, 8))
POOL[20:30] = POOL[0]  # ten templates that are the same, so that ties are common
POOL = (POOL / np.linalg.norm(POOL, axis=1, keepdims=True)).astype(np.float32)
T = TypeVar("T")

LIMIT_S = 10.0
"""Twenty times what a call may take: the library tries again within it, and connects anew."""
NASTY = ['"', "'", "\\", '\\"', '"] or true or labels in ["', "a\nb", "{x}", "%", "ä\t€", " "]

Held = Mapping[SubjectId, SearchRow]
_tables = count()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusEngine]:
    """An embedded engine, spoken to over its port as a server is."""
    server, database, port = start_server_in_thread(str(tmp_path_factory.mktemp("milvus")))
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{port}", timeout_s=20))
    yield engine
    engine.close()
    server.stop(None).wait()
    database.close()


@pytest.fixture
def make_index(engine: MilvusEngine) -> Callable[[ModelId], MilvusIndex]:
    """Empty indexes, each with a table of its own."""
    return lambda model_id: MilvusIndex(model_id, engine, _new_table())


@pytest.fixture
def index(make_index: Callable[[ModelId], MilvusIndex]) -> MilvusIndex:
    """An empty index."""
    return make_index(MODEL)


@pytest.fixture(scope="module")
def shared(engine: MilvusEngine) -> MilvusIndex:
    """One index for many examples, which begin by removing what is there."""
    return MilvusIndex(MODEL, engine, _new_table())


@pytest.fixture(scope="module")
def people(engine: MilvusEngine) -> MilvusIndex:
    """Who is found by whom, and when."""
    index = MilvusIndex(MODEL, engine, _new_table())
    rows = [SearchRow(SubjectId(who), what, _row(who, [half(POOL[0])]).templates) for who, what in PEOPLE.items()]
    index.apply([Put(row) for row in rows])
    return index


def _new_table() -> str:
    return table_name(CollectionId("people"), "g1", next(_tables))


def _row(who: str, vectors: Sequence[HalfVector], **profile: object) -> SearchRow:
    templates = tuple(TemplateRow(TemplateId(f"t{n}"), vector) for n, vector in enumerate(vectors))
    return SearchRow(SubjectId(who), SearchProfile(**profile), templates)  # type: ignore[arg-type]  # of the test's own


def _probe(vector: Sequence[float] | np.ndarray) -> Embedding:
    return Embedding.from_raw(vector, MODEL)


def _is_wanted(profile: SearchProfile, wanted: Wanted) -> bool:
    if not wanted.labels <= set(profile.labels):
        return False
    if wanted.camera_id and profile.camera_ids and wanted.camera_id not in profile.camera_ids:
        return False
    if wanted.at is None:
        return True
    begun = profile.valid_from is None or profile.valid_from <= wanted.at
    return begun and (profile.valid_until is None or wanted.at < profile.valid_until)


def _naive(held: Held, probe: Embedding, limit: int, wanted: Wanted = EVERYBODY) -> list[tuple[str, str, float]]:
    """Every comparison in float64, the best of each subject, sorted."""
    best = []
    for row in held.values():
        if row.templates and _is_wanted(row.profile, wanted):
            scored = [(-_score(t.vector, probe), t.template_id) for t in row.templates]
            score, template_id = min(scored)
            best.append((score, row.subject_id, template_id))
    return [(who, template, -score) for score, who, template in sorted(best)[:limit]]


def _score(vector: HalfVector, probe: Embedding) -> float:
    row = vector.astype(np.float64)
    return float(np.clip(np.sum(row * probe.vector.astype(np.float64)) / np.sqrt(np.sum(row * row)), -1, 1))


def _assert_same(hits: Sequence[Hit], expected: Sequence[tuple[str, str, float]]) -> None:
    assert [(h.subject_id, h.template_id) for h in hits] == [(who, template) for who, template, _ in expected]
    np.testing.assert_allclose([h.score for h in hits], [score for _, _, score in expected], atol=1e-12)


def _random_rows(subjects: int, each: int, dimensions: int = 16, seed: int = 2) -> dict[SubjectId, SearchRow]:
    raw = np.random.default_rng(seed).normal(size=(subjects, each, dimensions))
    vectors = half(raw / np.linalg.norm(raw, axis=2, keepdims=True))
    rows = (_row(f"s{n:05d}", list(vectors[n])) for n in range(subjects))
    return {row.subject_id: row for row in rows}


def _batch(rows: Sequence[SearchRow]) -> RowBatch:
    templates = [template for row in rows for template in row.templates]
    return RowBatch(
        [row.subject_id for row in rows],
        [row.profile for row in rows],
        [len(row.templates) for row in rows],
        [template.template_id for template in templates],
        np.array([template.vector for template in templates], np.float16),
        [row.profile.display_name for row in rows],
    )


# ---- the same answers as every comparison in float64


@pytest.mark.parametrize("limit", [1, 5, 100, 1000])
def test_search_equals_a_naive_loop(index: MilvusIndex, limit: int) -> None:
    """Subjects, templates, order and scores, for one candidate and for more than there are."""
    held = _random_rows(subjects=300, each=3)
    index.load(_batch(list(held.values())))
    for vector in np.random.default_rng(9).normal(size=(3, 16)):
        _assert_same(index.search(_probe(vector), limit), _naive(held, _probe(vector), limit))


def test_flat_answers_are_the_exact_indexs_own(index: MilvusIndex) -> None:
    """Hit for hit and bit for bit, with names, filters and ties; one probe and many."""
    rng = np.random.default_rng(6)
    held = _random_rows(subjects=400, each=2, dimensions=64)
    twins = [_row(f"twin{n}", [t.vector for t in held[SubjectId("s00007")].templates]) for n in range(30)]
    rows = [
        SearchRow(row.subject_id, SearchProfile(f"Person {n}", labels=("odd",) if n % 2 else ()), row.templates)
        for n, row in enumerate([*held.values(), *twins])
    ]
    exact = ExactIndex(MODEL)
    for one in (index, exact):
        one.load(_batch(rows))
        one.apply([Removal(row.subject_id) for row in rows[:40:3]])
    near = [held[SubjectId("s00007")].templates[0].vector, *rng.normal(size=(12, 64))]
    probes = [_probe(np.asarray(vector, np.float32)) for vector in near]
    for limit in (1, 9, 60):
        for wanted in (EVERYBODY, Wanted(labels=frozenset({"odd"}))):
            assert index.search_many(probes, limit, wanted) == exact.search_many(probes, limit, wanted)
            assert index.search(probes[0], limit, wanted) == exact.search(probes[0], limit, wanted)


def test_many_probes_get_what_each_gets_alone(index: MilvusIndex) -> None:
    """Also when some need more rows than others."""
    held = _random_rows(subjects=60, each=2, dimensions=8)
    held |= {row.subject_id: row for row in [_row("alike", [half(POOL[0])] * 50), _row("alone", [half(POOL[0])])]}
    index.apply([Put(row) for row in held.values()])
    probes = [_probe(vector) for vector in [POOL[0], *np.random.default_rng(1).normal(size=(4, 8))]]
    for found, probe in zip(index.search_many(probes, 4), probes, strict=True):
        _assert_same(found, _naive(held, probe, 4))
    assert index.search_many([], 4) == []


@pytest.mark.parametrize("most_rows", [None, 16])
def test_ties_are_broken_by_subject_id_however_many_there_are(engine: MilvusEngine, most_rows: int | None) -> None:
    """At the edge of the list too, and where one answer of the engine cannot hold all that are alike."""
    index = MilvusIndex(MODEL, engine, _new_table(), most_rows=most_rows)
    names = [f"s{n:04d}" for n in range(200)]
    order = np.random.default_rng(4).permutation(200)
    index.apply([Put(_row(names[n], [half(POOL[1]), half(POOL[0])])) for n in order])
    hits = index.search(_probe(POOL[0]), 7)
    assert [(hit.subject_id, hit.template_id) for hit in hits] == [(name, "t1") for name in names[:7]]


@pytest.mark.parametrize("kind", [EngineIndex.FLAT, EngineIndex.HNSW])
def test_a_subject_with_more_templates_than_an_answer_holds_hides_nobody(
    engine: MilvusEngine, kind: EngineIndex
) -> None:
    """As many subjects are found as are asked for, and of templates that are alike the first by id."""
    index = MilvusIndex(MODEL, engine, _new_table(), kind=kind, most_rows=16)
    alike = tuple(TemplateRow(TemplateId(f"t{n:02d}"), half(POOL[0])) for n in reversed(range(60)))
    many = SearchRow(SubjectId("many"), SearchProfile(), alike)
    held = {row.subject_id: row for row in [many, *_random_rows(9, 1, 8).values()]}
    index.apply([Put(row) for row in held.values()])
    for limit in (4, 10, 20) if kind is EngineIndex.HNSW else (1, 4, 10, 20):
        _assert_same(index.search(_probe(POOL[0]), limit), _naive(held, _probe(POOL[0]), limit))


PEOPLE = {
    "ada": SearchProfile(labels=("staff",)),
    "bob": SearchProfile(labels=("night", "staff"), camera_ids=("door",)),
    "cyd": SearchProfile(labels=("night",), camera_ids=("door", "gate"), valid_from=NOON),
    "dan": SearchProfile(valid_until=NOON),
    "eve": SearchProfile(valid_from=NOON - timedelta(microseconds=1), valid_until=NOON + timedelta(microseconds=1)),
}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (EVERYBODY, "ada bob cyd dan eve"),
        (Wanted(labels=frozenset({"staff"})), "ada bob"),
        (Wanted(labels=frozenset({"staff", "night"})), "bob"),
        (Wanted(labels=frozenset({"nobody"})), ""),
        (Wanted(camera_id="door"), "ada bob cyd dan eve"),
        (Wanted(camera_id="gate"), "ada cyd dan eve"),
        (Wanted(at=NOON), "ada bob cyd eve"),
        (Wanted(at=NOON - timedelta(microseconds=1)), "ada bob dan eve"),
        (Wanted(at=NOON + timedelta(microseconds=1)), "ada bob cyd"),
        (Wanted(at=datetime(1950, 1, 1, tzinfo=UTC)), "ada bob dan"),
        (Wanted(frozenset({"night"}), "gate", NOON), "cyd"),
    ],
)
def test_each_wish_narrows_a_search_and_all_of_them_together(
    people: MilvusIndex, wanted: Wanted, expected: str
) -> None:
    """Labels all, the camera or none, validity from its first moment to before its last."""
    assert sorted(hit.subject_id for hit in people.search(_probe(POOL[0]), 9, wanted)) == expected.split()
    found = [who for who in PEOPLE if people.best_of(SubjectId(who), _probe(POOL[0]), wanted)]
    assert found == expected.split()


_subjects = st.sampled_from([SubjectId(f"s{n}") for n in range(6)])
_times = st.none() | st.sampled_from([NOON + timedelta(microseconds=n) for n in (-1, 0, 1)])
_profiles = st.builds(
    SearchProfile,
    display_name=st.sampled_from(["", "Ada", "Bob"]),
    labels=st.sets(st.sampled_from(["a", "b", *NASTY])).map(lambda some: tuple(sorted(some))),
    camera_ids=st.sets(st.sampled_from(["door", "gate", '"'])).map(lambda some: tuple(sorted(some))),
    valid_from=_times,
    valid_until=_times,
)
_updates = st.lists(
    st.builds(Removal, _subjects)
    | st.builds(
        lambda who, profile, picks: Put(
            SearchRow(who, profile, tuple(TemplateRow(TemplateId(f"t{n}"), half(POOL[pick])) for n, pick in picks))
        ),
        _subjects,
        _profiles,
        st.dictionaries(st.integers(0, 3), st.integers(0, 39), max_size=3).map(lambda picks: list(picks.items())),
    ),
    max_size=6,
)
_wishes = st.builds(
    Wanted,
    labels=st.frozensets(st.sampled_from(["a", "b", *NASTY]), max_size=2),
    camera_id=st.sampled_from(["", "door", "gate", '"', '") or (true']),
    at=st.none() | st.just(NOON),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(_updates, min_size=1, max_size=4), _wishes, st.integers(0, 39), st.integers(1, 7))
def test_any_history_gives_the_answers_of_its_end(
    shared: MilvusIndex, history: list[list[Update]], wanted: Wanted, pick: int, limit: int
) -> None:
    """Whatever was put, replaced and removed: search, best template, names and counts are those of what is left."""
    index = shared
    index.apply([Removal(SubjectId(f"s{n}")) for n in range(6)])
    held: dict[SubjectId, SearchRow] = {}
    for updates in history:
        for update in updates:
            if isinstance(update, Put):
                held[update.row.subject_id] = update.row
            else:
                held.pop(update.subject_id, None)
        index.apply(updates)
        index.apply(updates)  # again: it changes nothing
    here = {who: row for who, row in held.items() if row.templates}
    probe = _probe(POOL[pick])
    hits = index.search(probe, limit, wanted)
    _assert_same(hits, _naive(here, probe, limit, wanted))
    assert [hit.display_name for hit in hits] == [here[hit.subject_id].profile.display_name for hit in hits]
    for n in range(6):
        who = SubjectId(f"s{n}")
        best = index.best_of(who, probe, wanted)
        mine = {who: here[who]} if who in here else {}
        _assert_same([best] if best else [], _naive(mine, probe, 1, wanted))
        assert (who in index) == (who in here)
        assert index.name_of(who) == (here[who].profile.display_name if who in here else "")
    assert index.subject_count == len(here)
    assert index.template_count == sum(len(row.templates) for row in here.values())


def test_no_label_camera_or_id_can_speak_the_engines_language(index: MilvusIndex) -> None:
    """Quotes, backslashes and line ends are letters like others: each finds its own subject and no other."""
    rows = [_row(text, [half(POOL[n])], labels=(text,), camera_ids=(text,)) for n, text in enumerate(NASTY)]
    index.apply([Put(row) for row in rows])
    for text in NASTY:
        for wanted in (Wanted(labels=frozenset({text})), Wanted(camera_id=text)):
            assert [hit.subject_id for hit in index.search(_probe(POOL[0]), 20, wanted)] == [text]
        assert SubjectId(text) in index
    for text in NASTY:
        index.apply([Removal(SubjectId(text))])
        assert SubjectId(text) not in index
    assert index.template_count == 0


def test_two_subjects_may_have_templates_of_one_id(index: MilvusIndex) -> None:
    """A template is known by its subject and its own id together."""
    index.apply([Put(_row("a", [half(POOL[0])])), Put(_row("b", [half(POOL[1])]))])
    index.apply([Removal(SubjectId("a"))])
    assert [hit.subject_id for hit in index.search(_probe(POOL[0]), 5)] == ["b"]


def test_an_index_without_a_table_finds_nobody(index: MilvusIndex) -> None:
    """Before the first subject, and after a reset; nothing has to be there for a removal either."""
    probe = _probe(POOL[0])
    for _ in range(2):
        index.apply([Removal(SubjectId("a"))])
        assert index.search(probe, 3) == []
        assert index.best_of(SubjectId("a"), probe) is None
        assert (index.subject_count, index.template_count, SubjectId("a") in index) == (0, 0, False)
        index.apply([Put(_row("a", [half(POOL[0])], display_name="Ada"))])
        index.reset()
        assert index.name_of(SubjectId("a")) == ""


def test_loading_a_subject_twice_is_refused(index: MilvusIndex) -> None:
    """In one batch and in two."""
    row = _row("a", [half(POOL[0])])
    with pytest.raises(ValueError, match="there already"):
        index.load(_batch([row, row]))
    index.load(_batch([row]))
    with pytest.raises(ValueError, match="there already"):
        index.load(_batch([row]))
    assert index.template_count == 1


def test_other_models_and_other_lengths_are_refused(index: MilvusIndex) -> None:
    """A probe of another model is never compared, and neither is a vector of another length."""
    index.apply([Put(_row("a", [half(POOL[0])]))])
    other = Embedding.from_raw(POOL[0], ModelId("face@2"))
    with pytest.raises(ModelMismatchError):
        index.search(other, 1)
    with pytest.raises(ModelMismatchError):
        index.best_of(SubjectId("a"), other)
    with pytest.raises(InvalidInputError, match="limit"):
        index.search(_probe(POOL[0]), 0)
    with pytest.raises(InvalidInputError, match="8 numbers"):
        index.search(_probe(np.ones(4)), 1)
    with pytest.raises(InvalidInputError, match="8 numbers"):
        index.apply([Put(_row("b", [half(np.ones(4) / 2)]))])


def test_an_approximate_index_says_so_and_honours_k(engine: MilvusEngine) -> None:
    """A graph finds nearly all that a scan does, and as many subjects as are asked for, filtered or not."""
    index = MilvusIndex(MODEL, engine, _new_table(), kind=EngineIndex.HNSW)
    held = _random_rows(subjects=400, each=2)
    few = {row.subject_id: row for row in [_row(f"few{n}", [half(np.eye(16)[n])], labels=("few",)) for n in range(5)]}
    index.load(_batch([*held.values(), *few.values()]))
    index.compact()  # an engine builds its graph when it writes its files
    assert not index.coverage.exact
    probes = [_probe(vector) for vector in np.random.default_rng(3).normal(size=(20, 16))]
    expected = [{who for who, _, _ in _naive(held | few, probe, 10)} for probe in probes]
    found = [{hit.subject_id for hit in hits} for hits in index.search_many(probes, 10)]
    assert all(len(hits) == 10 for hits in found)
    assert sum(len(a & b) for a, b in zip(found, expected, strict=True)) >= 190
    assert len(index.search(probes[0], 10, Wanted(labels=frozenset({"few"})))) == 5


# ---- what is told, and to whom


def test_coverage_says_what_an_answer_is_worth(index: MilvusIndex) -> None:
    """Exact when every row is compared, always in clear, and the memory is that of the names."""
    before = index.coverage.memory_bytes
    index.apply([Put(_row(f"s{n}", [half(POOL[n])], display_name="N" * 100)) for n in range(20)])
    assert index.coverage.exact
    assert index.coverage.vectors_in_clear
    assert index.coverage.memory_bytes > before + 20 * 100
    index.apply([Removal(SubjectId(f"s{n}")) for n in range(20)])
    assert index.coverage.memory_bytes < before + 20 * 100


def test_names_and_labels_never_reach_the_engine(tmp_path: Path) -> None:
    """None of the engine's files has them; the control: the subject's id is there."""
    server, database, port = start_server_in_thread(str(tmp_path))
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{port}", timeout_s=20))
    index = MilvusIndex(MODEL, engine, _new_table())
    profile = {"display_name": "Canary Name", "labels": ("canarylabel",), "camera_ids": ("canarycamera",)}
    index.apply([Put(_row("canarysubject", [half(POOL[0])], **profile))])
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    engine.close()
    server.stop(None).wait()
    database.close()
    assert b"canarysubject" in files
    for secret in (b"Canary Name", b"canarylabel", b"canarycamera"):
        assert secret not in files


def test_a_missing_library_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, engine: MilvusEngine) -> None:
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(InvalidInputError, match=r"tessera\[gallery-milvus\]"):
        MilvusIndex(MODEL, engine, _new_table()).search(_probe(POOL[0]), 1)


# ---- several processes


def test_a_restarted_gallery_goes_on_where_the_engine_stands(engine: MilvusEngine) -> None:
    """The marker, the counts and the answers are there without loading; the names are when they are told."""
    held = _random_rows(subjects=20, each=2)
    first = MilvusIndex(MODEL, engine, name := _new_table())
    assert first.marker() == {}
    first.load(_batch(list(held.values())))
    first.set_marker({0: (41, "chain"), 7: (2**40, "other")})
    first.set_marker({0: (42, "newer")})
    second = MilvusIndex(MODEL, engine, name)
    assert second.marker() == {0: (42, "newer"), 7: (2**40, "other")}
    assert (second.subject_count, second.template_count) == (20, 40)
    probe = _probe(np.ones(16))
    _assert_same(second.search(probe, 5), _naive(held, probe, 5))
    named = [SearchRow(row.subject_id, SearchProfile(row.subject_id.upper()), row.templates) for row in held.values()]
    second.take_names(_batch(named))
    assert [hit.display_name for hit in second.search(probe, 5)] == [w.upper() for w, _, _ in _naive(held, probe, 5)]


def test_markers_of_other_indexes_are_their_own(engine: MilvusEngine) -> None:
    """A reset forgets one and leaves the others."""
    one, other = (MilvusIndex(MODEL, engine, _new_table()) for _ in range(2))
    one.set_marker({0: (1, "a")})
    other.set_marker({0: (2, "b")})
    one.reset()
    assert (one.marker(), other.marker()) == ({}, {0: (2, "b")})


def test_one_that_does_not_write_sees_what_another_wrote(engine: MilvusEngine) -> None:
    """It changes nothing on the engine, takes the names, and hears of counts with the marker."""
    writer = MilvusIndex(MODEL, engine, name := _new_table())
    reader = MilvusIndex(MODEL, engine, name, writes=False)
    row = _row("a", [half(POOL[0])], display_name="Ada")
    reader.apply([Put(row)])
    reader.set_marker({0: (9, "mine")})
    assert (reader.search(_probe(POOL[0]), 1), reader.marker(), reader.subject_count) == ([], {}, 0)
    writer.apply([Put(row)])
    writer.set_marker({0: (1, "c")})
    assert [hit.display_name for hit in reader.search(_probe(POOL[0]), 1)] == ["Ada"]
    assert (reader.marker(), reader.subject_count) == ({0: (1, "c")}, 1)
    reader.apply([Removal(SubjectId("a"))])
    reader.reset()
    assert SubjectId("a") in writer
    writer.apply([Removal(SubjectId("a"))])
    assert reader.search(_probe(POOL[0]), 1) == []


def test_a_search_beside_writes_sees_each_of_them_whole(index: MilvusIndex) -> None:
    """Two subjects change places in one apply: nobody ever sees both in front, or neither."""
    front, back = (TemplateRow(TemplateId(f"t{n}"), half(POOL[n])) for n in range(2))
    pairs = ((front, back), (back, front))
    states = [
        [Put(SearchRow(SubjectId(who), SearchProfile(), (one,))) for who, one in zip("ab", pair, strict=True)]
        for pair in pairs
    ]
    index.apply(states[0])
    stop = threading.Event()

    def write() -> None:
        for n in range(20):
            index.apply(states[n % 2])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not stop.is_set():
        seen.add(tuple(round(hit.score, 2) for hit in index.search(_probe(POOL[0]), 2)))
    writer.join()
    assert seen == {(1.0, round(float(POOL[0] @ POOL[1]), 2))}


def test_a_writer_waits_for_readers_and_goes_before_later_ones() -> None:
    """Readers share; a writer is alone; and readers that keep coming cannot keep it waiting."""
    turns, order = Turns(), []
    waits = threading.Event()

    def write() -> None:
        waits.set()
        with turns.writing():
            order.append("write")

    def read() -> None:
        with turns.reading():
            order.append("read")

    with turns.reading(), turns.reading():
        threads = [threading.Thread(target=write)]
        threads[0].start()
        waits.wait()
        while not turns.is_wanted:
            time.sleep(0)
        threads.append(threading.Thread(target=read))
        threads[1].start()
        assert order == []
    for thread in threads:
        thread.join()
    assert order == ["write", "read"]


# ---- an engine that goes away


@dataclass(slots=True)
class PrivateEngine:
    """An engine as a process of its own, on one port and one folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may not answer yet."""
        place = f"{str(self.folder)!r}, '127.0.0.1', {self.port}"
        code = f"from milvus_lite.adapter.grpc.server import run_server; run_server({place})"
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop it, wait until no thread of it runs any more, and let it go on at the end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            give_up_s = time.monotonic() + 60
            threads = Path(f"/proc/{self.process.pid}/task")
            while any(stat.read_text().rpartition(") ")[2][0] != "T" for stat in threads.glob("*/stat")):
                assert time.monotonic() < give_up_s
                time.sleep(0.01)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    """An engine that may be killed, and is there again afterwards."""
    engine = PrivateEngine(tmp_path_factory.mktemp("private"), free_port())
    engine.start()
    yield engine
    engine.kill()


def _until_answered(ask: Callable[[], T], limit_s: float = 60) -> T:
    """What is answered in the end: a busy machine keeps an engine from answering in time now and then."""
    give_up_s = time.monotonic() + limit_s
    while True:
        try:
            return ask()
        except UnavailableError:
            assert time.monotonic() < give_up_s


def test_an_engine_that_dies_is_unavailable_and_comes_back(private: PrivateEngine) -> None:
    """Each call ends with UNAVAILABLE within its time; what was written and the marker are there afterwards."""
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{private.port}", timeout_s=0.5))
    index = MilvusIndex(MODEL, engine, _new_table())
    put, probe = Put(_row("a", [half(POOL[0])], display_name="Ada")), _probe(POOL[0])
    _until_answered(lambda: index.apply([put]))
    _until_answered(lambda: index.set_marker({0: (1, "c")}))
    private.kill()
    calls: list[Callable[[], object]] = [lambda: index.search(probe, 1), lambda: index.apply([put]), index.marker]
    for call in calls:
        began_s = time.monotonic()
        with pytest.raises(UnavailableError, match="milvus is unavailable") as told:
            call()
        assert time.monotonic() - began_s < LIMIT_S
        assert "Ada" not in str(told.value)
    private.start()
    assert [hit.display_name for hit in _until_answered(lambda: index.search(probe, 1))] == ["Ada"]
    assert _until_answered(index.marker) == {0: (1, "c")}
    engine.close()


def test_an_engine_that_began_anew_unnoticed_works_again(tmp_path: Path) -> None:
    """It has the tables and has none of them loaded: at most one call tells so."""
    port = free_port()
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{port}", timeout_s=20))
    index = MilvusIndex(MODEL, engine, _new_table())
    for life in range(2):
        server, database, _ = start_server_in_thread(str(tmp_path), port=port)
        if life == 0:
            index.apply([Put(_row("a", [half(POOL[0])]))])
        assert [hit.subject_id for hit in _until_answered(lambda: index.search(_probe(POOL[0]), 1))] == ["a"]
        server.stop(None).wait()
        database.close()
    engine.close()


def test_an_engine_that_hangs_is_unavailable_in_time(private: PrivateEngine) -> None:
    """A stopped process answers nothing; the call does not wait for it, and the next works when it goes on."""
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{private.port}", timeout_s=0.5))
    index = MilvusIndex(MODEL, engine, _new_table())
    _until_answered(lambda: index.apply([Put(_row("a", [half(POOL[0])]))]))
    with private.stopped():
        began_s = time.monotonic()
        with pytest.raises(UnavailableError):
            index.search(_probe(POOL[0]), 1)
        assert time.monotonic() - began_s < LIMIT_S
    _until_answered(lambda: index.search(_probe(POOL[0]), 1))
    engine.close()


# ---- erasure


def test_an_erased_vector_leaves_the_embedded_engine_with_its_table(tmp_path: Path) -> None:
    """After a removal it is found by no search; in the engine's files it stays until the table goes. The control: it
    was there."""
    server, database, port = start_server_in_thread(str(tmp_path))
    engine = MilvusEngine(EngineAddress(f"http://127.0.0.1:{port}", timeout_s=20))
    index = MilvusIndex(MODEL, engine, _new_table())
    canary = half(POOL[7])
    index.apply([Put(_row("canary", [canary])), Put(_row("other", [half(POOL[1])]))])
    index.compact()
    wanted = canary.astype(np.float32).tobytes()
    assert _files_with(tmp_path, wanted)
    index.apply([Removal(SubjectId("canary"))])
    index.compact()
    assert [hit.subject_id for hit in index.search(_probe(POOL[7]), 5)] == ["other"]
    left = _files_with(tmp_path, wanted)
    index.reset()
    gone = not _files_with(tmp_path, wanted)
    engine.close()
    server.stop(None).wait()
    database.close()
    assert left  # told in docs/gallery-at-scale.md; when this fails, the engine has learnt it
    assert gone


def _files_with(folder: Path, wanted: bytes) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]
