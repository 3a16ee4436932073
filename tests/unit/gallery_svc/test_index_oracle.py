"""What every index owes: the answers of a plain loop in float64, ties included, whatever was put and removed before.

Another index runs the same tests: its test module imports them all (`from test_index_oracle import *`) and has a
fixture `make_index` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import EVERYBODY, Hit, Index, Put, Removal, Update, Wanted
from gallery_svc.rows import HalfVectors, RowBatch, SearchProfile, SearchRow, TemplateRow, half
from tessera.domain.embedding import Embedding, Vector
from tessera.domain.errors import InvalidInputError, ModelMismatchError
from tessera.domain.ids import ModelId, SubjectId, TemplateId

MODEL = ModelId("face@1")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MakeIndex = Callable[[], Index]
Model = dict[SubjectId, SearchRow]
Step = Sequence[tuple[int, list[int], int, int] | int]


def _unit(count: int, dimensions: int, seed: int) -> HalfVectors:
    raw = np.random.default_rng(seed).normal(size=(count, dimensions))
    return half(raw / np.linalg.norm(raw, axis=1, keepdims=True))


POOL = _unit(40, 16, 5)
POOL[20:30] = POOL[0]  # ten templates that are the same, so that ties are common
PROFILES = (
    SearchProfile(),
    SearchProfile("Ada Lovelace", labels=("staff",)),
    SearchProfile("Älva 北", labels=("night", "staff"), camera_ids=("door",)),
    SearchProfile(camera_ids=("door", "hall"), valid_from=NOON, valid_until=NOON + HOUR),
    SearchProfile("late", labels=("night",), valid_from=NOON + HOUR),
    SearchProfile("early", valid_until=NOON),
)
WISHES = (
    EVERYBODY,
    Wanted(frozenset({"staff"})),
    Wanted(frozenset({"staff", "night"})),
    Wanted(camera_id="hall"),
    Wanted(camera_id="roof"),
    Wanted(at=NOON),
    Wanted(at=NOON - timedelta(microseconds=1)),
    Wanted(frozenset({"night"}), "door", NOON + HOUR),
    Wanted(frozenset({"nobody has this"})),
)


@pytest.fixture(scope="module")
def make_index() -> MakeIndex:
    """The index under test, empty."""
    return lambda: ExactIndex(MODEL)


# ---- the oracle


def score_of(template: HalfVectors, probe: Vector) -> float:
    """Cosine similarity in float64 of a float16 row and a float32 probe of length 1."""
    row = template.astype(np.float64)
    return float(np.clip(np.sum(row * probe.astype(np.float64)) / np.sqrt(np.sum(row * row)), -1.0, 1.0))


def may_be_found(profile: SearchProfile, wanted: Wanted) -> bool:
    """What the protocol says of filters."""
    return (
        wanted.labels <= set(profile.labels)
        and (not wanted.camera_id or not profile.camera_ids or wanted.camera_id in profile.camera_ids)
        and (wanted.at is None or profile.valid_from is None or profile.valid_from <= wanted.at)
        and (wanted.at is None or profile.valid_until is None or wanted.at < profile.valid_until)
    )


def expected(model: Mapping[SubjectId, SearchRow], probe: Embedding, limit: int, wanted: Wanted) -> list[Hit]:
    """Every comparison, the best of each subject, sorted."""
    best = []
    for row in model.values():
        if row.templates and may_be_found(row.profile, wanted):
            scored = [(-score_of(each.vector, probe.vector), each.template_id) for each in row.templates]
            score, template_id = min(scored)
            best.append((score, row.subject_id, template_id, row.profile.display_name))
    return [Hit(subject, template, -score, name) for score, subject, template, name in sorted(best)[:limit]]


def assert_same(found: Sequence[Hit], wished: Sequence[Hit]) -> None:
    """Subjects, templates, names and order exactly; scores up to the last bits of float64."""
    shown = [[(hit.subject_id, hit.template_id, hit.display_name) for hit in hits] for hits in (found, wished)]
    assert shown[0] == shown[1]
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in wished], rtol=0, atol=1e-12)


# ---- building blocks


def row_of(subject: str, vectors: HalfVectors, profile: SearchProfile = PROFILES[0], first: int = 0) -> SearchRow:
    """A subject whose templates are numbered."""
    templates = tuple(
        TemplateRow(TemplateId(f"{subject}-t{first + at:04d}"), vector) for at, vector in enumerate(vectors)
    )
    return SearchRow(SubjectId(subject), profile, templates)


def probe_of(vector: HalfVectors | Vector) -> Embedding:
    """A probe of the index's model."""
    return Embedding.from_raw(vector, MODEL)


def filled(index: Index, rows: Sequence[SearchRow]) -> Model:
    """The rows, loaded in bulk; and as a dictionary."""
    templates = [template for row in rows for template in row.templates]
    index.load(
        RowBatch(
            [row.subject_id for row in rows],
            [row.profile for row in rows],
            [len(row.templates) for row in rows],
            [template.template_id for template in templates],
            np.array([template.vector for template in templates], np.float16),
            [row.profile.display_name for row in rows],
        )
    )
    return {row.subject_id: row for row in rows}


def many(subjects: int, each: int, dimensions: int = 32, seed: int = 2) -> list[SearchRow]:
    """Subjects with random templates, one in twenty a copy of an earlier one, and all profiles among them."""
    vectors = _unit(subjects * each, dimensions, seed)
    rng = np.random.default_rng(seed)
    copies = rng.random(len(vectors)) < 0.05
    vectors[copies] = vectors[rng.integers(0, len(vectors), int(copies.sum()))]
    order = rng.permutation(subjects)
    return [
        row_of(f"s{order[at]:05d}", vectors[at * each : (at + 1) * each], PROFILES[at % len(PROFILES)])
        for at in range(subjects)
    ]


# ---- searches


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("wanted", WISHES)
def test_answers_are_those_of_a_loop(make_index: MakeIndex, each: int, wanted: Wanted) -> None:
    """For one probe and for many, for one candidate and for more than there are, under every filter."""
    index = make_index()
    model = filled(index, many(240, each))
    probes = [probe_of(vector) for vector in _unit(5, 32, 9)]
    probes += [probe_of(next(iter(model.values())).templates[0].vector.astype(np.float32))]
    all_wished = [expected(model, probe, 500, wanted) for probe in probes]
    for limit in (1, 7, 500):
        together = index.search_many(probes, limit, wanted)
        for probe, found, wished in zip(probes, together, all_wished, strict=True):
            assert_same(found, wished[:limit])
            assert_same(index.search(probe, limit, wanted), wished[:limit])


def test_ties_are_broken_by_subject_id(make_index: MakeIndex) -> None:
    """Equal vectors score equally wherever they stand; the ids decide, at the edge of the list too."""
    index = make_index()
    order = np.random.default_rng(4).permutation(400)
    filled(index, [row_of(f"s{number:04d}", POOL[:1]) for number in order])
    for found in (index.search(probe_of(POOL[1]), 7), *index.search_many([probe_of(POOL[1])] * 8, 7)):
        assert [hit.subject_id for hit in found] == [f"s{number:04d}" for number in range(7)]


def test_ties_within_a_subject_are_broken_by_template_id(make_index: MakeIndex) -> None:
    """Whatever their order in the row."""
    index = make_index()
    templates = tuple(TemplateRow(TemplateId(name), POOL[0]) for name in ("t3", "t1", "t2"))
    index.apply([Put(SearchRow(SubjectId("ada"), PROFILES[0], templates))])
    assert index.search(probe_of(POOL[1]), 1)[0].template_id == "t1"
    best = index.best_of(SubjectId("ada"), probe_of(POOL[1]))
    assert best is not None
    assert best.template_id == "t1"


def test_a_limit_is_honoured_whatever_crowds_the_best_places(make_index: MakeIndex) -> None:
    """One subject has 150 templates like the probe, and 200 subjects that may not be found are like it too."""
    index = make_index()
    crowd = np.repeat(POOL[:1], 150, axis=0)
    rows = [row_of("crowd", crowd, PROFILES[1])]
    rows += [row_of(f"hidden{n:03d}", POOL[:1], PROFILES[5]) for n in range(200)]
    rows += [row_of(f"s{n:03d}", POOL[1 + n % 19 : 2 + n % 19], PROFILES[1]) for n in range(300)]
    model = filled(index, rows)
    for wanted in (EVERYBODY, WISHES[1]):
        found = index.search(probe_of(POOL[0]), 20, wanted)
        assert len(found) == 20
        assert_same(found, expected(model, probe_of(POOL[0]), 20, wanted))
        for each in index.search_many([probe_of(POOL[0])] * 8, 20, wanted):
            assert_same(each, found)


def test_best_of_a_subject_is_its_best_template(make_index: MakeIndex) -> None:
    """And None for a subject that is not there, or may not be found."""
    index = make_index()
    row = row_of("ada", POOL[:5], PROFILES[1])
    index.apply([Put(row), Put(row_of("bob", POOL[3:4]))])
    found = index.best_of(SubjectId("ada"), probe_of(POOL[3]))
    assert found is not None
    assert_same([found], expected({row.subject_id: row}, probe_of(POOL[3]), 1, EVERYBODY))
    assert index.best_of(SubjectId("ada"), probe_of(POOL[3]), WISHES[1]) == found
    assert index.best_of(SubjectId("ada"), probe_of(POOL[3]), WISHES[2]) is None
    assert index.best_of(SubjectId("eve"), probe_of(POOL[3])) is None


def test_another_model_is_refused(make_index: MakeIndex) -> None:
    """Whatever the length of its vectors, and in an empty index too."""
    stranger = Embedding.from_raw([1.0, 0.0], ModelId("face@2"))
    index = make_index()
    for _ in range(2):
        with pytest.raises(ModelMismatchError):
            index.search(stranger, 1)
        with pytest.raises(ModelMismatchError):
            index.search_many([probe_of(POOL[0]), stranger], 1)
        with pytest.raises(ModelMismatchError):
            index.best_of(SubjectId("ada"), stranger)
        index.apply([Put(row_of("ada", POOL[:1]))])


def test_a_limit_below_1_is_refused(make_index: MakeIndex) -> None:
    """It would be a question without an answer."""
    with pytest.raises(InvalidInputError):
        make_index().search(probe_of(POOL[0]), 0)


def test_an_empty_index_finds_nobody(make_index: MakeIndex) -> None:
    """Before the first subject, and after the last one is gone."""
    index = make_index()
    for _ in range(2):
        assert index.search(probe_of(POOL[0]), 5) == []
        assert index.search_many([probe_of(POOL[0])] * 8, 5) == [[]] * 8
        assert index.search_many([], 5) == []
        assert (index.template_count, index.subject_count) == (0, 0)
        assert SubjectId("ada") not in index
        assert index.name_of(SubjectId("ada")) == ""
        index.apply([Put(row_of("ada", POOL[:2], PROFILES[1]))])
        assert (index.template_count, index.subject_count) == (2, 1)
        index.apply([Removal(SubjectId("ada"))])


# ---- changes


def test_a_subject_that_is_there_is_not_loaded_again(make_index: MakeIndex) -> None:
    """Not over an earlier load, and not twice in one batch; what was there stays."""
    index = make_index()
    model = filled(index, many(20, 2))
    with pytest.raises(ValueError, match="there already"):
        filled(index, [row_of("new", _unit(1, 32, 1)), *many(20, 2)[:1]])
    with pytest.raises(ValueError, match="there already"):
        filled(index, [row_of("new", _unit(1, 32, 1)), row_of("new", _unit(1, 32, 1))])
    assert index.subject_count == len(model)


def test_a_subject_without_templates_is_not_there(make_index: MakeIndex) -> None:
    """Neither when it is loaded nor when it is put so later."""
    index = make_index()
    filled(index, [row_of("ada", POOL[:1], PROFILES[1]), row_of("bob", POOL[:0], PROFILES[1])])
    assert (index.subject_count, SubjectId("bob") in index) == (1, False)
    index.apply([Put(row_of("ada", POOL[:0], PROFILES[1]))])
    assert (index.subject_count, SubjectId("ada") in index, index.name_of(SubjectId("ada"))) == (0, False, "")


def test_a_subject_with_another_model_s_numbers_is_refused(make_index: MakeIndex) -> None:
    """As a whole: nothing of the updates shows."""
    index = make_index()
    index.apply([Put(row_of("ada", POOL[:1]))])
    with pytest.raises(InvalidInputError):
        index.apply([Removal(SubjectId("ada")), Put(row_of("bob", _unit(1, 8, 1)))])
    assert SubjectId("ada") in index
    assert SubjectId("bob") not in index


def test_coverage_tells_of_memory(make_index: MakeIndex) -> None:
    """More subjects take more."""
    index = make_index()
    filled(index, many(100, 1))
    before = index.coverage.memory_bytes
    index.apply([Put(row_of(f"more{n}", _unit(1, 32, n))) for n in range(50)])
    assert index.coverage.memory_bytes > before


_PUTS = st.tuples(
    st.integers(0, 5),
    st.lists(st.integers(0, len(POOL) - 1), max_size=4),
    st.integers(0, len(PROFILES) - 1),
    st.integers(0, 2),
)
_STEPS = st.lists(st.lists(st.one_of(_PUTS, st.integers(0, 5)), min_size=1, max_size=6), min_size=1, max_size=8)


def _applied(index: Index, model: Model, step: Step) -> None:
    updates: list[Update] = []
    for what in step:
        if isinstance(what, int):
            updates.append(Removal(SubjectId(f"s{what}")))
            model.pop(SubjectId(f"s{what}"), None)
            continue
        subject, vectors, profile, first = what
        row = row_of(f"s{subject}", POOL[vectors], PROFILES[profile], first)
        updates.append(Put(row))
        model[row.subject_id] = row
        if not row.templates:
            del model[row.subject_id]
    index.apply(updates)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=_STEPS, wanted=st.sampled_from(WISHES), limit=st.integers(1, 7))
def test_answers_follow_every_change(make_index: MakeIndex, steps: Sequence[Step], wanted: Wanted, limit: int) -> None:
    """Subjects put and removed in any order and grouping, beside a dictionary; the same again changes nothing."""
    index, model = make_index(), Model()
    for step in steps:
        _applied(index, model, step)
        assert index.subject_count == len(model)
        assert index.template_count == sum(len(row.templates) for row in model.values())
        for probe in (probe_of(POOL[0]), probe_of(POOL[7])):
            assert_same(index.search(probe, limit, wanted), expected(model, probe, limit, wanted))
    before = index.search(probe_of(POOL[3]), 6)
    index.apply([Put(row) for row in model.values()])
    assert index.search(probe_of(POOL[3]), 6) == before
    assert index.template_count == sum(len(row.templates) for row in model.values())
    for number in range(6):
        subject_id = SubjectId(f"s{number}")
        assert (subject_id in index) == (subject_id in model)
        assert index.name_of(subject_id) == (model[subject_id].profile.display_name if subject_id in model else "")
