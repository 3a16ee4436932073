"""Scores of tracking, against cases worked out by hand; and the hand-made truth of the clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cameras.face_truth import load_all, load_truth
from benchmarks.cameras.tracking_scores import ScoredFrame, score
from tessera.domain.observation import Box


def at(x_px: float) -> Box:
    return Box(x_px, 0.0, 10.0, 10.0)


A, B = at(0.0), at(100.0)


def test_a_perfect_follower_scores_one_everywhere() -> None:
    """Two people, each with one tracklet in every frame."""
    frames = [ScoredFrame({"ann": A, "ben": B}, {"t1": A, "t2": B})] * 5
    found = score(frames)
    assert (found.mota, found.idf1, found.hota) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.misses, found.false_boxes, found.id_switches, found.fragmentations) == (0, 0, 0, 0)
    assert found.tracklets_of == {"ann": 1, "ben": 1}


def test_a_change_of_tracklet_is_a_switch_and_no_fragment() -> None:
    """Ten frames, half under another id: MOTA loses one of ten, IDF1 half; HOTA's association is half in each part."""
    frames = [ScoredFrame({"ann": A}, {"t1" if n < 5 else "t2": A}) for n in range(10)]
    found = score(frames)
    assert (found.id_switches, found.fragmentations) == (1, 0)
    assert found.mota == pytest.approx(0.9)
    assert found.idf1 == pytest.approx(0.5)
    assert found.hota == pytest.approx(0.5**0.5)
    assert found.followed == [2]


def test_a_gap_is_a_fragment_and_misses() -> None:
    """Seen, missed twice, seen again by the same tracklet: 2 misses of 6, one fragment, no switch."""
    frames = [ScoredFrame({"ann": A}, {} if n in {2, 3} else {"t1": A}) for n in range(6)]
    found = score(frames)
    assert (found.misses, found.fragmentations, found.id_switches) == (2, 1, 0)
    assert found.mota == pytest.approx(4 / 6)
    assert found.idf1 == pytest.approx(2 * 4 / (6 + 4))


def test_whoever_is_hidden_is_not_lost() -> None:
    """While a face is not to be seen nobody can follow it, and the tracklet that goes on afterwards is not broken."""
    frames = [ScoredFrame({} if n in {2, 3} else {"ann": A}, {} if n in {2, 3} else {"t1": A}) for n in range(6)]
    found = score(frames)
    assert (found.fragmentations, found.misses, found.mota) == (0, 0, 1.0)


def test_two_people_who_swap_their_tracklets_are_two_switches() -> None:
    """Every box is right and every name wrong from the middle on."""
    frames = [ScoredFrame({"ann": A, "ben": B}, {"t1": A, "t2": B} if n < 4 else {"t1": B, "t2": A}) for n in range(8)]
    found = score(frames)
    assert (found.id_switches, found.mota) == (2, pytest.approx(14 / 16))
    assert found.idf1 == pytest.approx(0.5)


def test_a_pair_that_held_goes_on_though_another_overlaps_more() -> None:
    """A second tracklet that lies better on the person takes nothing over while the first still overlaps enough."""
    frames = [
        ScoredFrame({"ann": A}, {"t1": at(2.0)}),
        ScoredFrame({"ann": A}, {"t1": at(2.0), "t2": A}),
    ]
    found = score(frames)
    assert (found.id_switches, found.false_boxes) == (0, 1)


def test_boxes_of_nobody_are_false_and_nobody_followed_is_counted_as_none() -> None:
    """Too little overlap is a miss and a false box at once."""
    found = score([ScoredFrame({"ann": A}, {"t1": at(8.0)})])
    assert (found.misses, found.false_boxes, found.mota) == (1, 1, -1.0)
    assert (found.tracklets_of, found.followed) == ({"ann": 0}, [])


def test_a_lower_bar_for_the_overlap_takes_more_pairs() -> None:
    """Boxes that share 60 of 140 px overlap by 0.43: a pair at 0.3, none at 0.5."""
    frames = [ScoredFrame({"ann": A}, {"t1": at(4.0)})]
    assert (score(frames, 0.3).misses, score(frames, 0.5).misses) == (0, 1)


def test_an_empty_clip_has_a_score() -> None:
    """Nobody there and nobody told: nothing is wrong, and nothing is divided by nothing."""
    found = score([ScoredFrame({}, {})])
    assert (found.mota, found.idf1, found.truth_boxes) == (1.0, 1.0, 0)


def test_the_committed_truth_can_be_read_and_lies_in_its_clips() -> None:
    """Each track lies in its clip, is judged somewhere, and says how it was made."""
    clips = load_all()
    assert {clip.clip for clip in clips} >= {"vtest.avi", "one-by-one-person-detection.mp4"}
    for clip in clips:
        assert "Looked at frames" in clip.method
        for track in clip.tracks:
            frames = [row[0] for span in track.spans for row in span]
            assert 0 <= frames[0] <= frames[-1] < clip.frames
            assert any(clip.is_judged(frame) for frame in frames)


def test_between_two_rows_a_box_moves_in_a_straight_line(tmp_path: Path) -> None:
    """Half-way in time is half-way in place and size; between spans nothing is to be seen."""
    path = tmp_path / "clip.json"
    spans = [[[0, 0, 0, 10, 10], [4, 40, 8, 20, 10]], [[8, 0, 0, 10, 10]]]
    track = {"track": "one", "person": "ann", "spans": spans}
    whole = {"clip": "c", "rate_hz": 5.0, "frames": 9, "judged": [[0, 8]], "method": "", "tracks": [track]}
    path.write_text(json.dumps(whole))
    truth = load_truth(path)
    assert truth.boxes_at(2) == {"one": Box(20.0, 4.0, 15.0, 10.0)}
    assert truth.boxes_at(6) == {}
    assert truth.boxes_at(8) == {"one": Box(0.0, 0.0, 10.0, 10.0)}


@pytest.mark.parametrize(
    "spans",
    [
        pytest.param([[[4, 0, 0, 1, 1], [2, 0, 0, 1, 1]]], id="falling"),
        pytest.param([[[0, 0, 0, 1, 1], [4, 0, 0, 1, 1]], [[3, 0, 0, 1, 1]]], id="overlapping"),
        pytest.param([[]], id="empty"),
    ],
)
def test_truth_whose_rows_do_not_rise_is_refused(tmp_path: Path, spans: list[list[list[int]]]) -> None:
    """A slip of the hand in the truth is an error, and no wrong figure."""
    path = tmp_path / "clip.json"
    track = {"track": "one", "person": "ann", "spans": spans}
    whole = {"clip": "c", "rate_hz": 5.0, "frames": 9, "judged": [[0, 8]], "method": "", "tracks": [track]}
    path.write_text(json.dumps(whole))
    with pytest.raises(ValueError, match="do not rise"):
        load_truth(path)
