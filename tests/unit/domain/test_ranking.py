"""Rank-k, mAP and mINP on galleries that are solved by hand, and against loops that spell the definitions out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.domain.errors import InvalidInputError
from tessera.domain.ranking import JUNK, Labels, Seen, rank_gallery


def _labels(*values: int) -> Labels:
    return np.array(values, np.int64)


def test_a_gallery_solved_by_hand() -> None:
    """Probe 1's mates come 1st and 4th: AP (1 + 2/4) / 2, INP 2/4. Probe 2's comes 2nd: AP and INP 1/2."""
    scores = [[0.9, 0.8, 0.7, 0.6, 0.1], [0.2, 0.3, 0.9, 0.1, 0.8]]
    gallery = Seen(_labels(1, 3, 3, 1, 2))
    found = rank_gallery(scores, Seen(_labels(1, 2)), gallery, same_camera_removed=False, ranks=(1, 2, 5))
    assert found.rank == ((1, 0.5), (2, 1.0), (5, 1.0))
    assert found.mean_ap == pytest.approx((0.75 + 0.5) / 2)
    assert found.mean_inp == pytest.approx((0.5 + 0.5) / 2)
    assert (found.probes, found.probes_without_mate) == (2, 0)


def test_pictures_of_the_person_by_the_same_camera_are_removed() -> None:
    """The easy mate of camera 1 is gone, others of camera 1 stay; the mate of camera 2 comes 2nd."""
    probes, gallery = Seen(_labels(1), _labels(1)), Seen(_labels(1, 2, 1), _labels(1, 1, 2))
    kept = rank_gallery([[0.9, 0.8, 0.7]], probes, gallery, same_camera_removed=False)
    removed = rank_gallery([[0.9, 0.8, 0.7]], probes, gallery, same_camera_removed=True)
    assert (kept.at(1), removed.at(1)) == (1.0, 0.0)
    assert kept.mean_ap == pytest.approx((1 + 2 / 3) / 2)
    assert removed.mean_ap == pytest.approx(0.5)


def test_junk_takes_no_place_and_a_distractor_takes_one() -> None:
    """Junk before the mate is as if it were not there; person 0 is somebody else."""
    junk = rank_gallery([[0.9, 0.8]], Seen(_labels(1)), Seen(_labels(JUNK, 1)), same_camera_removed=False)
    distractor = rank_gallery([[0.9, 0.8]], Seen(_labels(1)), Seen(_labels(0, 1)), same_camera_removed=False)
    assert (junk.at(1), distractor.at(1)) == (1.0, 0.0)


def test_probes_without_a_mate_are_counted_and_in_no_mean() -> None:
    """Of two probes one has a mate, and is found."""
    found = rank_gallery([[0.9, 0.1], [0.9, 0.1]], Seen(_labels(1, 5)), Seen(_labels(1, 2)), same_camera_removed=False)
    assert (found.probes, found.probes_without_mate, found.mean_ap) == (1, 1, 1.0)


@given(st.integers(0, 10_000))
def test_as_the_definitions_spelled_out(seed: int) -> None:
    """Random galleries with ties, cameras and junk: the same numbers as plain loops."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (6, 15)) / 5.0
    probes = Seen(rng.integers(0, 3, 6), rng.integers(0, 2, 6))
    gallery = Seen(rng.integers(-1, 3, 15), rng.integers(0, 2, 15))
    aps, inps, firsts = [], [], []
    assert probes.camera is not None
    assert gallery.camera is not None
    for row in range(6):
        ranked = []
        for column in sorted(range(15), key=lambda at: (-scores[row, at], at)):
            person, camera = gallery.person[column], gallery.camera[column]
            if person == JUNK or (person == probes.person[row] and camera == probes.camera[row]):
                continue
            ranked.append(person == probes.person[row])
        if not any(ranked):
            continue
        precisions = [sum(ranked[: at + 1]) / (at + 1) for at, hit in enumerate(ranked) if hit]
        aps.append(sum(precisions) / len(precisions))
        inps.append(precisions[-1])
        firsts.append(ranked[0])
    if not aps:
        with pytest.raises(InvalidInputError, match="mate"):
            rank_gallery(scores, probes, gallery, same_camera_removed=True)
        return
    found = rank_gallery(scores, probes, gallery, same_camera_removed=True)
    assert found.mean_ap == pytest.approx(np.mean(aps))
    assert found.mean_inp == pytest.approx(np.mean(inps))
    assert found.at(1) == pytest.approx(np.mean(firsts))
    assert found.probes_without_mate == 6 - len(aps)


def test_what_cannot_be_judged_is_refused_by_name() -> None:
    """Scores of another shape or not finite, cameras that are wanted and unknown, ranks below 1."""
    probes, gallery = Seen(_labels(1)), Seen(_labels(1, 2))
    for scores, removed, ranks, field in (
        ([[0.1]], False, (1,), "scores"),
        ([[0.1, np.nan]], False, (1,), "scores"),
        ([[0.1, 0.2]], True, (1,), "camera"),
        ([[0.1, 0.2]], False, (0,), "ranks"),
    ):
        with pytest.raises(InvalidInputError, match=field):
            rank_gallery(scores, probes, gallery, same_camera_removed=removed, ranks=ranks)
    with pytest.raises(InvalidInputError, match="camera"):
        Seen(_labels(1), _labels(1, 2))
    with pytest.raises(InvalidInputError, match="k"):
        rank_gallery([[0.1, 0.2]], probes, gallery, same_camera_removed=False).at(3)
