"""The exact index: the same answers as a naive loop in float64, whatever was applied and erased before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gallery_svc.index.exact import ExactIndex
from gallery_svc.index.protocol import Addition, Hit, Removal
from tessera.domain.embedding import Embedding, Vector
from tessera.domain.errors import ModelMismatchError
from tessera.domain.ids import ModelId, SubjectId, TemplateId

MODEL = ModelId("face@1")
SEED = np.random.default_rng(5)
POOL = SEED.normal(size=(40, 8))
POOL[20:30] = POOL[0]  # ten templates that are the same, so that ties are common
POOL = (POOL / np.linalg.norm(POOL, axis=1, keepdims=True)).astype(np.float32)


def _probe(vector: Sequence[float] | Vector) -> Embedding:
    return Embedding.from_raw(vector, MODEL)


def _naive(held: dict[TemplateId, tuple[SubjectId, Vector]], probe: Embedding, limit: int) -> list[tuple[str, float]]:
    """Every comparison in float64, the best of each subject, sorted."""
    best: dict[SubjectId, float] = {}
    for subject_id, vector in held.values():
        score = sum(float(a) * float(b) for a, b in zip(vector, probe.vector, strict=True))
        best[subject_id] = max(score, best.get(subject_id, -2.0))
    return sorted(best.items(), key=lambda item: (-round(item[1], 9), item[0]))[:limit]


def _shown(hits: Sequence[Hit]) -> list[tuple[str, float]]:
    return [(hit.subject_id, hit.score) for hit in hits]


def _assert_same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-9)


def _fill(
    index: ExactIndex, subjects: int, each: int, dimensions: int = 128
) -> dict[TemplateId, tuple[SubjectId, Vector]]:
    vectors = np.random.default_rng(2).normal(size=(subjects * each, dimensions))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    held = {TemplateId(f"t{n}"): (SubjectId(f"s{n // each:04d}"), vectors[n]) for n in range(len(vectors))}
    index.apply([Addition(subject, template, vector) for template, (subject, vector) in held.items()])
    return held


@pytest.mark.parametrize("limit", [1, 5, 100, 5000])
def test_search_equals_a_naive_loop(limit: int) -> None:
    """Subjects, order and scores, for one candidate and for more than there are."""
    index = ExactIndex(MODEL)
    held = _fill(index, subjects=700, each=3)
    rng = np.random.default_rng(9)
    for _ in range(3):
        probe = _probe(rng.normal(size=128))
        _assert_same(_shown(index.search(probe, limit)), _naive(held, probe, limit))


def test_ties_are_broken_by_subject_id() -> None:
    """Equal vectors score equally wherever they stand; the ids decide, at the edge of the list too."""
    index = ExactIndex(MODEL)
    vector = POOL[0]
    names = [f"s{n:04d}" for n in range(2000)]
    order = np.random.default_rng(4).permutation(2000)
    index.apply([Addition(SubjectId(names[n]), TemplateId(f"t{n}"), vector) for n in order])
    assert [hit.subject_id for hit in index.search(_probe(POOL[1]), 7)] == names[:7]


def test_best_of_a_subject_is_its_best_template() -> None:
    """And None for a subject that is not there."""
    index = ExactIndex(MODEL)
    index.apply([Addition(SubjectId("ada"), TemplateId(f"t{n}"), POOL[n]) for n in range(5)])
    hit = index.best_of(SubjectId("ada"), _probe(POOL[3]))
    assert hit is not None
    assert (hit.template_id, round(hit.score, 6)) == ("t3", 1.0)
    assert index.best_of(SubjectId("bob"), _probe(POOL[3])) is None


def test_another_model_is_refused() -> None:
    """Whatever the length of its vectors."""
    index = ExactIndex(MODEL)
    stranger = Embedding.from_raw([1.0, 0.0], ModelId("face@2"))
    with pytest.raises(ModelMismatchError):
        index.search(stranger, 1)
    with pytest.raises(ModelMismatchError):
        index.best_of(SubjectId("ada"), stranger)


def test_an_empty_index_finds_nobody() -> None:
    """Before the first template, and after the last one is gone."""
    index = ExactIndex(MODEL)
    assert index.search(_probe(POOL[0]), 5) == []
    index.apply([Addition(SubjectId("ada"), TemplateId("t0"), POOL[0])])
    index.apply([Removal(SubjectId("ada"))])
    assert index.search(_probe(POOL[0]), 5) == []
    assert (index.template_count, index.subject_count) == (0, 0)


def test_an_erased_vector_does_not_stay_in_memory() -> None:
    """The arrays that the index holds after an erasure contain no row of the erased subject."""
    index = ExactIndex(MODEL)
    index.apply([Addition(SubjectId(f"s{n}"), TemplateId(f"t{n}"), POOL[n]) for n in range(10)])
    index.apply([Removal(SubjectId("s3"))])
    rows = index._snapshot.vectors
    assert not (rows == POOL[3]).all(axis=1).any()


class IndexMachine(RuleBasedStateMachine):
    """Additions and removals in any order and grouping, beside a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.index = ExactIndex(MODEL)
        self.held: dict[TemplateId, tuple[SubjectId, Vector]] = {}
        self.made = 0

    @rule(
        steps=st.lists(
            st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, len(POOL) - 1)), min_size=1, max_size=6
        )
    )
    def apply(self, steps: list[tuple[bool, int, int]]) -> None:
        """One batch of updates, each adding a template to one of six subjects or erasing one."""
        updates: list[Addition | Removal] = []
        for adds, subject, at in steps:
            subject_id = SubjectId(f"s{subject}")
            if adds:
                self.made += 1
                updates.append(Addition(subject_id, TemplateId(f"t{self.made:05d}"), POOL[at]))
                self.held[TemplateId(f"t{self.made:05d}")] = (subject_id, POOL[at])
            else:
                updates.append(Removal(subject_id))
                self.held = {key: kept for key, kept in self.held.items() if kept[0] != subject_id}
        self.index.apply(updates)

    @rule()
    def apply_again(self) -> None:
        """Everything that is there once more: nothing changes."""
        self.index.apply([Addition(subject, key, vector) for key, (subject, vector) in self.held.items()])

    @invariant()
    def answers_like_the_loop(self) -> None:
        """Counts and searches agree with the dictionary."""
        assert self.index.template_count == len(self.held)
        assert self.index.subject_count == len({subject for subject, _ in self.held.values()})
        for probe in (_probe(POOL[0]), _probe(POOL[7])):
            _assert_same(_shown(self.index.search(probe, 3)), _naive(self.held, probe, 3))


IndexMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=12, deadline=None)
TestIndexMachine = IndexMachine.TestCase
