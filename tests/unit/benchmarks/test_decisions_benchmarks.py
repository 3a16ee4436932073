"""The benchmark of decisions: who calibrates and who is judged are never the same, and what is counted is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.decisions import __main__ as command
from benchmarks.decisions import data
from benchmarks.decisions.coverage import NAIVE, STATED, Tally, cover, part_of
from benchmarks.decisions.data import LabelledFaces
from benchmarks.decisions.fpir import blends, calibrate, draw, halves, tail
from benchmarks.decisions.plan import Plan
from siamese_lab.embedding_run import EmbeddedPictures
from tessera.domain.error_rates import Interval
from tessera.domain.errors import ArtifactError
from tessera.domain.ids import ModelId
from tessera.domain.measurement import compare_all_pairs


@pytest.fixture(scope="module")
def people() -> LabelledFaces:
    """Four hundred people who differ in how much they are like others, half of them with two pictures."""
    rng = np.random.default_rng(3)
    owner = np.sort(np.concatenate([np.arange(400), np.arange(200)]))
    centres = rng.normal(size=(400, 24)) + rng.normal(size=24) * rng.random((400, 1))
    vectors = centres[owner] + rng.normal(scale=0.3, size=(600, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(f"{subject}_{at}.jpg" for at, subject in enumerate(owner))
    people = tuple(str(subject) for subject in owner)
    return LabelledFaces(names, people, owner, vectors.astype(np.float32), ModelId("m@1"), "0" * 64, ())


def test_a_part_holds_the_comparisons_among_its_own_subjects_alone(people: LabelledFaces) -> None:
    """As many as there are, each with the score and the subjects that it has in the whole."""
    whole = compare_all_pairs(people.vectors, people.subjects, 1.0)
    chosen = np.random.default_rng(1).random(400) < 0.3
    part = part_of(whole, chosen)
    rows = chosen[people.subjects]
    again = compare_all_pairs(people.vectors[rows], np.unique(people.subjects[rows], return_inverse=True)[1], 1.0)
    assert part.trials.total == again.non_mated_total
    np.testing.assert_allclose(part.scores, again.non_mated_scores, atol=1e-6)
    threshold = float(part.scores[40])
    assert part.reaching(threshold) == int((again.non_mated_scores >= threshold - 1e-9).sum())


def test_coverage_tells_stated_intervals_from_naive_ones(people: LabelledFaces) -> None:
    """On people who differ in how much they are like others, the naive interval holds far fewer than the stated one."""
    tallies = cover(people, 40, 4, np.random.default_rng(1), (STATED, NAIVE))
    stated, naive = tallies[1e-2, STATED], tallies[1e-2, NAIVE]
    assert len(stated.held) == 40
    assert np.mean(stated.held) > np.mean(naive.held) + 0.1
    assert np.median(stated.width) > np.median(naive.width)


def test_halves_share_nobody(people: LabelledFaces) -> None:
    """Whoever calibrates is not searched; together they are all."""
    own, others = halves(people, np.random.default_rng(1))
    assert not set(own.subjects.tolist()) & set(others.subjects.tolist())
    assert own.subjects.size + others.subjects.size == 600
    pictures, who = own.one_of_each(np.random.default_rng(2))
    assert who.size == np.unique(own.subjects).size
    for picture, subject in zip(pictures[:20], who[:20], strict=True):
        assert (own.vectors[own.subjects == subject] == picture).all(axis=1).any()


def test_probes_are_of_people_who_are_not_enrolled(people: LabelledFaces) -> None:
    """Nobody finds oneself: scores near 1 would be one's own other picture."""
    _, others = halves(people, np.random.default_rng(1))
    gallery = draw(others, np.empty((0, 24), np.float32), 100, np.random.default_rng(2))
    assert 100 <= gallery.best.size < others.subjects.size
    assert gallery.finds(-1.0) == 1.0
    assert gallery.finds(1.1) == 0.0
    assert gallery.finds(0.97) < 0.05


def test_distractors_are_unit_vectors_of_nobody_with_the_tail_of_strangers(people: LabelledFaces) -> None:
    """Blends of two people; probes reach them about as often as they reach strangers."""
    own, others = halves(people, np.random.default_rng(1))
    distractors = blends(own, 500, np.random.default_rng(2))
    assert distractors.shape == (500, 24)
    np.testing.assert_allclose(np.linalg.norm(distractors, axis=1), 1.0, atol=1e-5)
    assert 0.3 < tail(others, distractors, np.random.default_rng(3))[0] < 3.0


def test_a_threshold_of_half_of_the_people_holds_for_the_other_half(people: LabelledFaces) -> None:
    """Within a factor of two and a half, of so few: the mean over splits, at galleries of 60."""
    rng, ratios = np.random.default_rng(4), []
    for _ in range(20):
        own, others = halves(people, rng)
        threshold = calibrate(own, people).threshold_for_fpir(0.05, 60).score
        ratios.append(draw(others, np.empty((0, 24), np.float32), 60, rng).finds(threshold) / 0.05)
    assert 0.4 < np.mean(ratios) < 2.5


def test_embeddings_are_kept_under_the_names_of_model_and_data(
    tmp_path: Path, people: LabelledFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made once; whose each row is comes back as numbers without gaps."""
    embedded = EmbeddedPictures(people.names, people.people, people.vectors, people.model_id, ("none.jpg",))
    data._write(tmp_path / "kept.npz", embedded)
    found = data._read(tmp_path / "kept.npz", people.model_id, "f" * 64)
    assert (found.names, found.people, found.without_face) == (people.names, people.people, ("none.jpg",))
    assert np.array_equal(found.vectors, people.vectors)
    assert sorted(set(found.subjects.tolist())) == list(range(400))
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.delenv("TESSERA_DATA", raising=False)
    with pytest.raises(ArtifactError, match="TESSERA_DATA"):
        data.faces()


def test_without_the_data_a_scenario_says_that_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that was not measured is missing, and a note says so."""
    monkeypatch.delenv("TESSERA_DATA", raising=False)
    story = command.run("fpir", Plan(quick=True))
    assert not story.figures
    assert "TESSERA_DATA" in story.notes[0]
    assert command.SCENARIOS.keys() >= command.NEED_LFW


def test_a_tally_knows_on_which_side_an_interval_missed() -> None:
    """Held, and realised above."""
    tallies = Tally()
    for realised in (0.5, 2.0, 4.0):
        tallies.add(Interval(1.0, 3.0), 2.0, realised)
    assert tallies.held == [False, True, False]
    assert tallies.above == [False, False, True]
    assert tallies.width == [1.0, 1.0, 1.0]
