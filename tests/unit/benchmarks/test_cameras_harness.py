"""The harness of the cameras' benchmark: which figures are kept, under which command, and what it computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cameras.arithmetic import busiest_share, chosen, encoded_ratio, max_over_min, unaccounted, wanted
from benchmarks.cameras.mjpeg_server import part
from benchmarks.cameras.plan import MINUTES_VARIABLE, Part, command_of, is_kept, minutes_of
from tessera.client.answers import CameraStatus
from tessera.client.answers_wire import camera_status_from_wire
from tessera.domain.reasons import Reason
from tessera.v1 import camera_pb2

LONG = Part(lambda _: [], minutes=15.0, short_minutes=2.0)
SHORT = Part(lambda _: [], needs_clips=True)


def status(**frames: int) -> CameraStatus:
    """As the SDK tells it; frames by their outcome."""
    counted = {f"frames_{outcome}": count for outcome, count in frames.items()}
    return camera_status_from_wire(camera_pb2.CameraStatus(camera_id="door", **counted))


# ---- what is kept


def test_a_run_shorter_than_the_stated_length_is_not_kept() -> None:
    """A figure in the file is one of the whole length; a part without a length is always whole."""
    assert [is_kept(LONG, minutes, quick=False) for minutes in (2.0, 14.9, 15.0, 60.0)] == [False, False, True, True]
    assert is_kept(SHORT, 1.0, quick=False)
    assert not is_kept(LONG, 15.0, quick=True)


def test_minutes_come_from_the_environment_or_are_the_short_ones() -> None:
    """CAMERAS_MINUTES decides; without it a part is short."""
    assert minutes_of(LONG, {}) == 2.0
    assert minutes_of(LONG, {MINUTES_VARIABLE: "15"}) == 15.0


@pytest.mark.parametrize("told", ["0", "-1", "soon", "nan", "1441"])
def test_minutes_that_are_none_are_refused_with_their_name(told: str) -> None:
    """Whoever mistypes the length is told which variable, which value, and what is allowed."""
    with pytest.raises(SystemExit, match=rf"{MINUTES_VARIABLE}='{told}': more than 0"):
        minutes_of(LONG, {MINUTES_VARIABLE: told})


def test_the_command_of_a_figure_measures_it_again_at_its_whole_length() -> None:
    """Data and length stand in it where the part has them."""
    assert command_of("fleet", LONG) == 'CAMERAS_MINUTES=15 make bench-cameras ARGS="fleet"'
    assert command_of("loop", SHORT) == 'TESSERA_DATA=DIR make bench-cameras ARGS="loop"'


# ---- accounting and fairness


def test_frames_without_an_outcome_and_frames_counted_twice_both_show() -> None:
    """The sum of outcomes and of what is in flight is what was sampled; what is missing is above 0, else below."""
    assert unaccounted(status(sampled=10, encoded=4, skipped=2, expired=1, failed=1, in_flight=2)) == 0
    assert unaccounted(status(sampled=10, encoded=4)) == 6
    assert unaccounted(status(sampled=3, encoded=3, failed=1)) == -1


def test_a_frame_that_the_camera_left_out_itself_is_no_unfairness() -> None:
    """Only frames that were wanted are judged: a camera that sees nothing move is not underserved."""
    skips = {Reason.NO_MOTION: 5, Reason.NO_CREDIT: 5}
    before = replace(status(encoded=10, skipped=10), skip_counts=skips)
    after = replace(status(encoded=16, expired=1, skipped=103), skip_counts=skips | {Reason.NO_MOTION: 95})
    assert wanted(before, after) == 6 + 1 + 3
    assert chosen(before, after) == 90
    assert encoded_ratio(before, after) == 0.6
    assert np.isnan(encoded_ratio(after, after))


def test_the_ratio_of_the_best_to_the_least_served() -> None:
    """A camera that was not served at all makes it infinite; one that wanted nothing is left out."""
    assert max_over_min([0.2, 0.3, float("nan")]) == pytest.approx(1.5)
    assert max_over_min([0.0, 0.3]) == float("inf")
    assert np.isnan(max_over_min([float("nan")]))


# ---- in step or not


def naive_share(moments: list[float], window_s: float) -> float:
    return max(sum(first <= other <= first + window_s for other in moments) for first in moments) / len(moments)


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.integers(0, 100))
def test_the_busiest_window_is_found(moments: list[int], window: int) -> None:
    """As by looking at every window that begins at a moment."""
    assert busiest_share(moments, window) == naive_share([float(at) for at in moments], window)


def test_without_moments_nothing_is_in_step() -> None:
    """Nobody came back: no share."""
    assert busiest_share([], 0.25) == 0.0


# ---- MJPEG


def test_a_part_says_how_long_its_picture_is() -> None:
    """Readers need not look for the boundary inside of a picture."""
    head, _, body = part(b"\xff\xd8jpeg\xff\xd9").partition(b"\r\n\r\n")
    assert head == b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 8"
    assert body == b"\xff\xd8jpeg\xff\xd9\r\n"
