"""Figures of searches: by hand, against naive loops, and as laws; examples, maps, folds and histories beside them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation import cross_validation as cv
from siamese_lab.evaluation import maps
from siamese_lab.evaluation import neighbours as n
from siamese_lab.evaluation.history import read_history
from siamese_lab.evaluation.retrieval import LabelledVectors, retrievals, worst_retrievals
from tessera.domain.errors import InvalidInputError


def clouds(seed: int, count: int, classes: int = 4, d: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping clouds whose middles are the same for every seed."""
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(size=(classes, d)) * 1.2
    labels = rng.integers(0, classes, count)
    return (middles[labels] + rng.normal(size=(count, d))).astype(np.float32), labels.astype(np.int64)


def naive(gallery, gallery_labels, queries, labels, k, *, within=False):  # noqa: ANN001, ANN201 - the plainest loop
    """(k-NN accuracy, precision, recall, hit, mAP) by loops over pictures."""
    right, precision, recall, hit, average = [], [], [], [], []
    for at, (query, label) in enumerate(zip(queries, labels, strict=True)):
        others = [row for row in range(len(gallery)) if not (within and row == at)]
        others.sort(key=lambda row: (float(np.sum((gallery[row].astype(float) - query.astype(float)) ** 2)), row))
        same = [gallery_labels[row] == label for row in others]
        if not any(same):
            continue
        votes = Counter(int(gallery_labels[row]) for row in others[:k])
        most = max(votes.values())
        winner = next(int(gallery_labels[row]) for row in others if votes[int(gallery_labels[row])] == most)
        right.append(winner == label)
        precision.append(sum(same[:k]) / k)
        recall.append(sum(same[:k]) / sum(same))
        hit.append(any(same[:k]))
        ranks = [rank for rank, one in enumerate(same, start=1) if one]
        average.append(np.mean([(position + 1) / rank for position, rank in enumerate(ranks)]))
    return [float(np.mean(one)) for one in (right, precision, recall, hit, average)]


def told(found: n.NeighbourFigures, k: int) -> list[float]:
    """The same five of a value object."""
    at = found.at_k(k)
    rates = (at.knn_accuracy, at.precision, at.recall, at.hit, found.mean_average_precision)
    return [one.value for one in rates]


# ---- by hand


def test_four_pictures_on_a_line() -> None:
    """From 0 the gallery's 1, 2, 3 are of classes a, b, a: precision@2 is a half, average precision (1 + 2/3) / 2."""
    gallery = np.array([[1.0], [2.0], [3.0]], np.float32)
    found = n.neighbours(gallery, np.array([0, 1, 0]), np.zeros((1, 1), np.float32), np.array([0]), (1, 2, 3))
    assert told(found, 2) == pytest.approx([1.0, 0.5, 0.5, 1.0, 5 / 6])
    assert told(found, 3)[:4] == pytest.approx([1.0, 2 / 3, 1.0, 1.0])
    assert found.confusion.tolist() == [[1, 0], [0, 0]]


def test_of_equally_many_votes_the_nearest_class_wins() -> None:
    """b, a, a, b: two each, and b comes first; with a fifth vote a has more."""
    assert n.vote(np.array([[1, 0, 0, 1]]), 2).tolist() == [1]
    assert n.vote(np.array([[1, 0, 0, 1, 0]]), 2).tolist() == [0]
    assert n.vote(np.array([[2, 0, 1]]), 3).tolist() == [2]


def test_of_equal_distances_the_gallery_s_order_decides() -> None:
    """Eight copies of one picture: the first five, whatever the way they are sought."""
    places, far = n.nearest(np.ones((40, 2), np.float32), np.zeros((1, 2), np.float32), 5)
    assert places.tolist() == [[0, 1, 2, 3, 4]]
    assert far == pytest.approx(np.sqrt(2.0))


def test_a_query_without_a_class_is_counted_apart() -> None:
    """Nobody could answer it: it is in no figure. Where all are so, there is no figure."""
    gallery, queries = np.array([[0.0], [1.0]], np.float32), np.array([[0.1], [0.9]], np.float32)
    found = n.neighbours(gallery, np.array([0, 1]), queries, np.array([0, 5]), (1,))
    assert (found.queries, found.unanswerable) == (1, 1)
    assert found.at[0].hit.value == 1.0
    with pytest.raises(InvalidInputError, match="query_labels"):
        n.neighbours(gallery, np.array([0, 1]), queries, np.array([5, 5]), (1,))


@pytest.mark.parametrize("k", [0, 4])
def test_k_is_within_the_gallery(k: int) -> None:
    """Of three pictures nobody has four neighbours, nor none."""
    vectors = np.zeros((3, 2), np.float32)
    with pytest.raises(InvalidInputError, match="ks"):
        n.neighbours(vectors, np.zeros(3, np.int64), vectors, np.zeros(3, np.int64), (k,))


# ---- against loops, and laws


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), k=st.integers(1, 12))
def test_all_figures_against_naive_loops(seed: int, k: int) -> None:
    """Another gallery, or the set itself with each picture's own left out."""
    gallery, gallery_labels = clouds(seed, 25)
    queries, labels = clouds(seed + 1, 12)
    expected = naive(gallery, gallery_labels, queries, labels, k)
    assert told(n.neighbours(gallery, gallery_labels, queries, labels, (k,)), k) == pytest.approx(expected)
    expected = naive(gallery, gallery_labels, gallery, gallery_labels, k, within=True)
    assert told(n.neighbours_within(gallery, gallery_labels, (k,)), k) == pytest.approx(expected)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of one row and a block of all rows find the same, by either way of sorting."""
    gallery, gallery_labels = clouds(1, 200)
    queries, labels = clouds(2, 50)
    whole = n.neighbours(gallery, gallery_labels, queries, labels, (1, 7))
    places = n.nearest(gallery, queries, 7)[0]
    monkeypatch.setattr(n, "_BLOCK_ENTRIES", 1)
    by_row = n.neighbours(gallery, gallery_labels, queries, labels, (1, 7))
    assert by_row.at == whole.at
    assert by_row.mean_average_precision == whole.mean_average_precision
    assert n.nearest(gallery, queries, 7)[0].tolist() == places.tolist()
    far = ((queries[:, None].astype(float) - gallery[None].astype(float)) ** 2).sum(axis=2)
    assert np.argsort(far, axis=1, kind="stable")[:, :7].tolist() == places.tolist()


@settings(max_examples=25)
@given(seed=st.integers(0, 100))
def test_a_turn_of_the_space_changes_no_search(seed: int) -> None:
    """Every figure is the same, under either comparison."""
    vectors, labels = clouds(seed, 40)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    turned = (vectors.astype(np.float64) @ turn).astype(np.float32)
    for comparison in Comparison:
        before = n.neighbours_within(vectors, labels, (1, 5), comparison)
        after = n.neighbours_within(turned, labels, (1, 5), comparison)
        assert told(after, 5) == pytest.approx(told(before, 5), abs=1e-3)


@settings(max_examples=25)
@given(seed=st.integers(0, 100))
def test_more_neighbours_find_more(seed: int) -> None:
    """Recall and hit never fall with k; all of the gallery is a recall of 1."""
    gallery, gallery_labels = clouds(seed, 20)
    found = n.neighbours(gallery, gallery_labels, *clouds(seed + 7, 10), tuple(range(1, 21)))
    recalls, hits = [at.recall.value for at in found.at], [at.hit.value for at in found.at]
    assert recalls == sorted(recalls)
    assert hits == sorted(hits)
    assert recalls[-1] == pytest.approx(1.0)


def test_a_set_with_itself_finds_itself_unless_it_is_left_out() -> None:
    """Ten pairs of copies: each finds its copy either way, and itself only where it is not left out."""
    vectors = np.repeat(np.arange(10.0), 2)[:, None].astype(np.float32)
    labels = np.arange(20)
    assert n.neighbours(vectors, labels, vectors, labels, (2,)).at[0].hit.value == 1.0
    with pytest.raises(InvalidInputError, match="query_labels"):
        n.neighbours_within(vectors, labels, (2,))
    both = n.neighbours_within(vectors, labels // 2, (1,))
    assert both.at[0].knn_accuracy.value == 1.0
    assert both.gallery == 19


# ---- examples


def test_examples_have_every_class_before_any_comes_again() -> None:
    """Eight queries of four classes: two of each; the marks say which answers are right; the same seed, the same."""
    gallery, queries = LabelledVectors(*clouds(3, 60)), LabelledVectors(*clouds(4, 80))
    found = retrievals(gallery, queries, np.random.default_rng(0), 8)
    assert Counter(one.label for one in found) == dict.fromkeys(range(4), 2)
    for one in found:
        assert queries.labels[one.query] == one.label
        assert one.right == tuple(gallery.labels[row] == one.label for row in one.found)
        assert list(one.distances) == sorted(one.distances)
    assert found == retrievals(gallery, queries, np.random.default_rng(0), 8)


def test_worst_examples_begin_with_a_wrong_answer() -> None:
    """Each nearest is of another class; a perfect space has none."""
    gallery, queries = LabelledVectors(*clouds(3, 60)), LabelledVectors(*clouds(4, 80))
    found = worst_retrievals(gallery, queries, np.random.default_rng(0), 5)
    assert found
    assert not any(one.right[0] for one in found)
    assert worst_retrievals(gallery, gallery, np.random.default_rng(0), 5) == ()


# ---- maps


def test_principal_axes_are_those_of_the_covariance() -> None:
    """Orthonormal, the widest first, their shares those of the eigenvalues; the projection keeps that variance."""
    vectors, labels = clouds(5, 100, d=4)
    axes = maps.principal_axes(vectors, 3)
    values, _ = np.linalg.eigh(np.cov(vectors.astype(np.float64).T))
    assert axes.shares == pytest.approx(values[::-1][:3] / values.sum())
    assert axes.axes @ axes.axes.T == pytest.approx(np.eye(3), abs=1e-9)
    shown = maps.pca_map(vectors, labels, np.random.default_rng(0), most=30)
    assert shown.points.shape == (30, 2)
    assert shown.kept == pytest.approx(axes.shares[:2].sum())


def test_a_plane_of_two_dimensions_keeps_all_distances() -> None:
    """An embedding of two numbers is only turned."""
    vectors, labels = clouds(5, 20, d=2)
    shown = maps.pca_map(vectors, labels, np.random.default_rng(0))
    apart = [np.linalg.norm(rows[:, None] - rows[None], axis=2) for rows in (vectors.astype(float), shown.points)]
    assert apart[1] == pytest.approx(apart[0], abs=1e-5)
    assert shown.kept == pytest.approx(1.0)


def test_tsne_keeps_neighbours_and_its_seed() -> None:
    """Three far clouds stay three: each point's nearest on the map is of its class; the same seed, the same map."""
    labels = np.arange(36) % 3
    vectors = (np.eye(3)[labels] * 20 + np.random.default_rng(0).normal(size=(36, 3))).astype(np.float32)
    first, again = (maps.tsne_map(vectors, labels, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(first.points, again.points)
    found = n.neighbours_within(first.points.astype(np.float32), first.labels, (1,))
    assert found.at[0].knn_accuracy.value == 1.0


# ---- folds


@given(seed=st.integers(0, 500), count=st.integers(2, 6))
def test_folds_by_item_are_even_in_size_and_in_classes(seed: int, count: int) -> None:
    """Sizes differ by one at most, and so does each class's share of every fold."""
    labels = np.random.default_rng(seed).integers(0, 4, 60).astype(np.int64)
    folds = cv.folds_by_item(labels, count, np.random.default_rng(seed))
    sizes = np.bincount(folds, minlength=count)
    assert sizes.max() - sizes.min() <= 1
    for label in range(4):
        own = np.bincount(folds[labels == label], minlength=count)
        assert own.max() - own.min() <= 1


@given(seed=st.integers(0, 500), count=st.integers(2, 5))
def test_folds_by_class_never_part_a_class(seed: int, count: int) -> None:
    """Each class is in one fold; folds differ by one class at most."""
    labels = np.random.default_rng(seed).integers(0, 9, 80).astype(np.int64) * 3
    folds = cv.folds_by_class(labels, count, np.random.default_rng(seed))
    owner = {int(label): set(folds[labels == label].tolist()) for label in np.unique(labels)}
    assert all(len(one) == 1 for one in owner.values())
    held = Counter(one.pop() for one in owner.values())
    assert len(held) == count
    assert max(held.values()) - min(held.values()) <= 1


def test_each_fold_is_held_out_once_and_the_interval_is_widened() -> None:
    """Values 1, 2, 3: mean 2, deviation 1; half the interval is t(2) sqrt(1/3 + 1/2)."""
    seen = []

    def measure(train: np.ndarray, test: np.ndarray) -> float:
        assert sorted([*train, *test]) == list(range(6))
        seen.extend(test.tolist())
        return float(len(set(seen)) / 2)

    found = cv.cross_validate(np.array([0, 0, 1, 1, 2, 2]), measure)
    assert seen == list(range(6))
    assert found.values == (1.0, 2.0, 3.0)
    assert found.mean.value == 2.0
    assert found.mean.interval.high - 2.0 == pytest.approx(4.302653 * np.sqrt(1 / 3 + 1 / 2), rel=1e-3)


def test_folds_need_items_and_classes() -> None:
    """Not one fold, and no more than there is to divide."""
    labels = np.array([0, 0, 1], np.int64)
    for make, most in ((cv.folds_by_item, 3), (cv.folds_by_class, 2)):
        for count in (1, most + 1):
            with pytest.raises(InvalidInputError, match="count"):
                make(labels, count, np.random.default_rng(0))


# ---- history


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Numbers under their names, by rising epoch; what is no number is none; of an epoch twice the last counts."""
    rows = [
        {"epoch": 2, "training_loss": 0.5, "validation_loss": None, "note": "warm"},
        {"epoch": 1, "training_loss": 0.9, "validation_loss": 0.8},
        {"epoch": 2, "training_loss": 0.4, "validation_loss": float("nan")},
    ]
    path = tmp_path / "history.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    found = read_history(path)
    assert found.epochs == (1, 2)
    assert {one.name: one.values for one in found.series} == {
        "training_loss": (0.9, 0.4), "validation_loss": (0.8, None),
    }  # fmt: skip
    assert [one.name for one in found.about("validation")] == ["validation_loss"]


@pytest.mark.parametrize("line", ["", "[1]", '{"loss": 1}', "{", '{"epoch": "1"}'])
def test_a_line_that_is_no_epoch_is_refused(tmp_path: Path, line: str) -> None:
    """But for empty ones, which mean nothing."""
    path = tmp_path / "history.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    if not line:
        assert read_history(path).epochs == ()
        return
    with pytest.raises(InvalidInputError, match="history"):
        read_history(path)
