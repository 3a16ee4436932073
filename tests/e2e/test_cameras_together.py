"""A few cameras of several kinds, watched by a whole Tessera: frames counted, cameras served, a cut survived."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.cameras.arithmetic import encoded_ratio, max_over_min, unaccounted
from benchmarks.cameras.cutting_proxy import CuttingProxy, Line, cutting_proxy
from benchmarks.cameras.mjpeg import mjpeg_server
from benchmarks.cameras.scenes import RATE_HZ, h264_file, jpeg_folder
from benchmarks.cameras.watching import statuses
from benchmarks.figures import ROOT
from benchmarks.first_light import wait_serving
from benchmarks.instance import Instance, running
from tessera.client.answers import CameraState, CameraStatus
from tessera.client.errors import ServiceUnavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STREAMS = ("hall", "yard")
FILE = "archive"
SCENE_S = 3.0
LIMIT_S = 120.0
"""For a machine that is much slower; what comes true is not waited for."""
SERVED_FRAMES = 10


@dataclass(frozen=True)
class Watched:
    """A running instance and the line to its streams."""

    instance: Instance
    line: CuttingProxy

    def look(self) -> dict[str, CameraStatus]:
        """Every camera's status; whenever it is asked for, no frame is missing and none is counted twice."""
        told = statuses(self.instance)
        assert {name: unaccounted(status) for name, status in told.items()} == dict.fromkeys(told, 0)
        return told

    def wait(self, condition: Callable[[dict[str, CameraStatus]], bool], what: str) -> dict[str, CameraStatus]:
        """The statuses that a condition holds for; on a machine without a moment to spare a look may find no answer."""
        until_s, told = time.monotonic() + LIMIT_S, dict[str, CameraStatus]()
        while True:
            with suppress(ServiceUnavailable):
                told = self.look()
                if condition(told):
                    return told
            assert time.monotonic() < until_s, f"{what}: not within {LIMIT_S:g} s, but {told}"
            threading.Event().wait(0.1)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Two HTTP/MJPEG cameras behind a line that can be cut, and an H.264 file over and over."""
    command = [sys.executable, "-m", "tessera.cli", "up", "--no-view", "--base-port", "0"]
    scenes, data_dir = tmp_path / "scenes", tmp_path / "data"
    with ExitStack() as stack:
        folders = {
            name: jpeg_folder(scenes, seed, with_faces=seed == 0, seconds=SCENE_S) for seed, name in enumerate(STREAMS)
        }
        server = stack.enter_context(mjpeg_server(folders, RATE_HZ))
        line = stack.enter_context(cutting_proxy(server.port))
        instance = stack.enter_context(running([*command, "--data-dir", str(data_dir)], ROOT, data_dir, {}))
        wait_serving(instance, LIMIT_S)
        urls = {name: server.url(name, line.port) for name in STREAMS}
        urls[FILE] = str(h264_file(scenes, 2, with_faces=True, seconds=SCENE_S))
        with instance.connect() as tessera:
            for name, url in urls.items():
                tessera.add_camera(name, url, sample_rate_hz=RATE_HZ, loop=True, motion_gate=False)
        yield Watched(instance, line)


def test_cameras_are_served_alike_and_come_back_after_a_cut(watched: Watched) -> None:
    """None starves beside the others; a cut takes two of them, not the third; each frame has one outcome throughout."""
    first = watched.wait(lambda told: all(has_frames(told[name], 1) for name in (*STREAMS, FILE)), "first frames")
    served = watched.wait(
        lambda told: all(has_frames(told[name], first[name].frames_encoded + SERVED_FRAMES) for name in told), "served"
    )
    assert max_over_min(encoded_ratio(first[name], served[name]) for name in served) < 3

    watched.line.set(Line.CUT)
    lost = watched.wait(lambda told: all(told[name].state is CameraState.LOST for name in STREAMS), "lost")
    goes_on = watched.wait(lambda told: has_frames(told[FILE], lost[FILE].frames_encoded + 1), "the file goes on")
    assert goes_on[FILE].state is CameraState.ONLINE
    assert all(goes_on[name].detail for name in STREAMS)

    watched.line.set(Line.WHOLE)
    back = watched.wait(
        lambda told: all(
            told[name].state is CameraState.ONLINE and has_frames(told[name], goes_on[name].frames_encoded + 1)
            for name in told
        ),
        "back",
    )
    assert all(back[name].reconnects > 0 for name in STREAMS)
    assert back[FILE].reconnects == 0


def has_frames(status: CameraStatus, encoded: int) -> bool:
    """Whether so many of its frames were encoded."""
    return status.frames_encoded >= encoded
