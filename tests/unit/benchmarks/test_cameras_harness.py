"""The harness of the cameras' benchmark: which figures are kept, under which command, and what it computes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cameras.arithmetic import busiest_share, chosen, encoded_ratio, max_over_min, unaccounted, wanted
from benchmarks.cameras.cutting_proxy import Line, cutting_proxy
from benchmarks.cameras.jumping_clock import JumpingClock
from benchmarks.cameras.mjpeg import mjpeg_server
from benchmarks.cameras.mjpeg_server import part
from benchmarks.cameras.plan import MINUTES_VARIABLE, Part, command_of, is_kept, minutes_of
from benchmarks.cameras.unplug import Signs, independent_shares
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


# ---- what was taken away


def signs(decided: float, **encoded: int) -> Signs:
    return Signs(is_well=True, encoded=encoded, decided=decided)


def test_a_process_that_counts_from_zero_again_must_still_move_on() -> None:
    """After a restart the counts fall: life is what grows from where they fell to, on every camera."""
    before, fallen = signs(50.0, door=900, yard=800), signs(1.0, door=3, yard=0)
    lowest = before.at_most(fallen)
    assert not fallen.is_beyond(before)
    assert not fallen.is_beyond(lowest)
    assert signs(2.0, door=4, yard=1).is_beyond(lowest)
    assert not signs(2.0, door=4, yard=0).is_beyond(lowest)
    assert not signs(1.0, door=4, yard=1).is_beyond(lowest)


def test_cameras_that_draw_their_own_pauses_are_hardly_ever_in_step() -> None:
    """The comparison itself: fifty in step would be a share of 1 at each attempt; independent ones are far below."""
    shares = independent_shares(cameras=50, seconds=40.0, draws=50)
    assert 0.0 < min(shares) < max(shares) < 0.3
    assert shares == independent_shares(cameras=50, seconds=40.0, draws=50)


# ---- a line that is cut


def test_a_cut_line_ends_what_is_there_and_takes_nothing_new(tmp_path: Path) -> None:
    """What passes when it is whole, ends when it is cut, and passes again when it is mended; arrivals are counted."""
    (tmp_path / "0.jpg").write_bytes(PICTURE)
    with mjpeg_server({"door": tmp_path}, 20.0) as server, cutting_proxy(server.port) as proxy:
        with asked_for(proxy.port) as camera:
            assert shows_picture(camera)
            proxy.set(Line.CUT)
            assert not shows_picture(camera, least=1_000_000)
        with asked_for(proxy.port) as camera:
            assert not shows_picture(camera)
        proxy.set(Line.WHOLE)
        with asked_for(proxy.port) as camera:
            assert shows_picture(camera)
        assert len(proxy.arrivals_s) == 3
        assert {name for name, _ in server.connections} == {"door"}


def test_a_silent_line_holds_what_comes_until_it_is_mended(tmp_path: Path) -> None:
    """Connections stay open, and nothing passes: what hurts cameras most."""
    (tmp_path / "0.jpg").write_bytes(PICTURE)
    with mjpeg_server({"door": tmp_path}, 20.0) as server, cutting_proxy(server.port) as proxy:
        proxy.set(Line.SILENT)
        with asked_for(proxy.port) as camera:
            camera.settimeout(0.3)
            with pytest.raises(TimeoutError):
                camera.recv(65536)
            camera.settimeout(LIMIT_S)
            proxy.set(Line.WHOLE)
            assert shows_picture(camera)


PICTURE = b"\xff\xd8jpeg\xff\xd9"
LIMIT_S = 30.0


def asked_for(port: int) -> socket.socket:
    camera = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
    camera.sendall(b"GET /door HTTP/1.1\r\n\r\n")
    return camera


def shows_picture(camera: socket.socket, least: int = 1) -> bool:
    """Whether at least so many pictures come before the connection ends."""
    received = b""
    while received.count(PICTURE) < least:
        try:
            data = camera.recv(65536)
        except ConnectionError:
            return False
        if not data:
            return False
        received += data
    return True


# ---- a clock that jumps

CLOCK_READER = """
import sys, time
for line in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
    time.sleep(0.01)
"""


@pytest.mark.skipif(not JumpingClock.can_be_had(), reason="needs a C compiler; the clock's jumps stay unproved")
def test_the_wall_clock_of_a_process_jumps_and_its_monotonic_clock_does_not(tmp_path: Path) -> None:
    """Ahead by an hour and back, while the process runs and sleeps."""
    clock = JumpingClock(tmp_path)
    clock.build()
    with subprocess.Popen(
        [sys.executable, "-c", CLOCK_READER],
        env={**os.environ, **clock.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_s in (0, 3600, 0, -3600):
            clock.set_s(offset_s)
            process.stdin.write("\n")
            process.stdin.flush()
            wall_s, monotonic_s = map(float, process.stdout.readline().split())
            assert abs(wall_s - time.time() - offset_s) < 60
            assert abs(monotonic_s - time.monotonic()) < 60
        process.stdin.close()
        assert process.wait(timeout=30) == 0
