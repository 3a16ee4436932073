"""The measures of a 1:1 comparison against hand-made sets and naive loops; the LFW files as they are written."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from siamese_lab import lfw
from siamese_lab import verification as v
from tessera.domain.errors import ArtifactError, InvalidInputError
from tessera.domain.measurement import compare_all_pairs


def scored(scores: list[float], mated: list[bool], fold: list[int]) -> v.ScoredPairs:
    return v.ScoredPairs(np.array(scores), np.array(mated), np.array(fold))


def test_accuracy_judges_each_fold_by_the_others() -> None:
    """Fold 0 is judged at fold 1's best threshold, 0.6: its mate at 0.5 is missed, its other at 0.4 is right."""
    pairs = scored([0.5, 0.4, 0.6, 0.1], [True, False, True, False], [0, 0, 1, 1])
    assert v.accuracy(pairs).value == pytest.approx((1 / 2 + 1.0) / 2)


def test_accuracy_needs_folds() -> None:
    """One fold has no others."""
    with pytest.raises(InvalidInputError, match="fold"):
        v.accuracy(scored([0.5, 0.1], [True, False], [0, 0]))


def test_best_threshold_against_a_naive_loop() -> None:
    """No score gets more pairs right."""
    rng = np.random.default_rng(5)
    mated = rng.random(300) < 0.5
    scores = np.round(rng.normal(size=300) + mated, 2)

    def right(threshold: float) -> int:
        return sum((score >= threshold) == bool(mate) for score, mate in zip(scores, mated, strict=True))

    assert right(v.best_threshold(scores, mated)) == max(right(score) for score in scores)


def test_the_interval_holds_the_estimate() -> None:
    """The equal error rate of overlapping scores lies inside its interval, which is neither empty nor everything."""
    rng = np.random.default_rng(2)
    mated = np.arange(600) % 2 == 0
    pairs = v.ScoredPairs(rng.normal(size=600) + 2 * mated, mated, np.arange(600) % 5)
    estimate = v.pairs_equal_error_rate(pairs, rng)
    assert estimate.interval.low < estimate.value < estimate.interval.high < 0.5


def test_fnmr_at_fmr_against_a_naive_loop() -> None:
    """Counted over all pairs one by one, the same mates are missed."""
    rng = np.random.default_rng(11)
    centres = rng.normal(size=(30, 8))
    vectors = np.repeat(centres, 4, axis=0) + rng.normal(scale=0.8, size=(120, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    owner = np.repeat(np.arange(30), 4)
    comparisons = compare_all_pairs(vectors, owner)
    estimate = v.fnmr_at_fmr(comparisons, 0.01, rng, replicates=50)
    scores = (vectors @ vectors.T).astype(np.float64)
    i, j = np.triu_indices(120, 1)
    same = owner[i] == owner[j]
    others = np.sort(scores[i, j][~same])[::-1]
    refused = others[int(0.01 * others.size)]
    assert estimate.value == pytest.approx(np.mean(scores[i, j][same] <= refused), abs=1e-9)
    assert estimate.interval.low <= estimate.value <= estimate.interval.high


def test_pairs_file_is_read(tmp_path: Path) -> None:
    """Two folds of one mated and one non-mated pair."""
    path = tmp_path / "pairs.txt"
    path.write_text("2\t1\nA_B\t1\t4\nA_B\t1\tC\t12\nC\t1\t2\nC\t1\tD\t1\n")
    assert lfw.read_pairs(path) == [
        lfw.Pair(0, "A_B_0001.jpg", "A_B_0004.jpg", mated=True),
        lfw.Pair(0, "A_B_0001.jpg", "C_0012.jpg", mated=False),
        lfw.Pair(1, "C_0001.jpg", "C_0002.jpg", mated=True),
        lfw.Pair(1, "C_0001.jpg", "D_0001.jpg", mated=False),
    ]


@pytest.mark.parametrize("text", ["", "2\t1\nA\t1\t2\n", "x\ty\n"])
def test_a_pairs_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    """Empty, cut off, or something else: the error names the file."""
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=r"pairs\.txt"):
        lfw.read_pairs(path)


def test_pictures_come_by_name_with_their_person(tmp_path: Path) -> None:
    """The folder is the person; other files are passed over; the digest depends on content and name."""
    tar = tmp_path / "x.tar"
    with tarfile.open(tar, "w") as archive:
        for name, data in (("lfw/B/B_0001.jpg", b"b"), ("lfw/A/A_0001.jpg", b"a"), ("lfw/readme.txt", b"-")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    pictures = list(lfw.read_pictures(tar))
    assert [(picture.name, picture.person, picture.data) for picture in pictures] == [
        ("A_0001.jpg", "A", b"a"),
        ("B_0001.jpg", "B", b"b"),
    ]
    assert lfw.digest(pictures) != lfw.digest(pictures[:1])
    with pytest.raises(ArtifactError, match="missing"):
        list(lfw.read_pictures(tmp_path / "missing.tar"))
