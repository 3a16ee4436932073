"""The demo camera: who is seen when, the same each time, as a JPEG of 720p."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from camera_ingest.sources.demo import HEIGHT_PX, WIDTH_PX, DemoSource, Scene
from camera_ingest.sources.demo_cast import CUT_FACE_PX, CutOut, cut_out
from camera_ingest.sources.demo_script import ROUND_S, poses_at, walks_of_round
from tessera.chassis.clock import SystemClock
from tessera.demo.portraits import WALKERS


@pytest.fixture(scope="module")
def cast(portraits: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> list[CutOut]:
    folder = tmp_path_factory.mktemp("portraits")
    return [cut_out(walker, _written(folder, walker.portrait.file.name, portraits)) for walker in WALKERS]


def _written(folder: Path, name: str, portraits: Mapping[str, bytes]) -> Path:
    path = folder / name
    path.write_bytes(portraits[name])
    return path


def whole_in_picture(moment_s: float) -> list[int]:
    """Whose face is well inside the picture."""
    return [pose.walker for pose in poses_at(moment_s, 3, 7) if 0.1 < pose.x < 0.9]


def test_somebody_who_is_enrolled_is_there_within_a_second() -> None:
    """The first face is the first walker's, at once."""
    assert whole_in_picture(0.5) == [0]


def test_the_stranger_comes_within_eight_seconds() -> None:
    """The unknown person walks second."""
    stranger = next(at for at, walker in enumerate(WALKERS) if walker.subject_id is None)
    assert any(stranger in whole_in_picture(moment_s / 10) for moment_s in range(80))


def test_every_round_shows_everybody_and_once_two_at_a_time() -> None:
    """For ever: each walker comes in each round, and sometimes two walk at once."""
    for number in range(5):
        assert {walk.walker for walk in walks_of_round(number, 3, 7)} == {0, 1, 2}
        moments = (number * ROUND_S + tenth / 10 for tenth in range(int(ROUND_S * 10)))
        assert max(len(whole_in_picture(moment_s)) for moment_s in moments) >= 2


def test_rounds_vary() -> None:
    """Later rounds are not the first one again."""
    assert len({walks_of_round(number, 3, 7)[0].duration_s for number in range(1, 6)}) == 5


def test_faces_have_the_sizes_of_a_corridor_camera() -> None:
    """Each face is 90 to 260 px high wherever it walks."""
    sizes = [pose.face_px for tenth in range(1000) for pose in poses_at(tenth / 10, 3, 7)]
    assert 90 <= min(sizes) <= max(sizes) <= CUT_FACE_PX


def test_a_frame_is_the_same_for_the_same_moment(cast: list[CutOut]) -> None:
    """The scene depends on its seed and the moment alone; noise makes no two moments alike."""
    scene = Scene(cast)
    first, again, later = scene.draw(2.0), Scene(cast).draw(2.0), scene.draw(2.2)
    assert first.shape == (HEIGHT_PX, WIDTH_PX, 3)
    np.testing.assert_array_equal(first, again)
    assert np.mean(first != later) > 0.5


def test_an_empty_corridor_never_looks_frozen(cast: list[CutOut]) -> None:
    """Nobody in the picture, and still two frames differ, as a sensor's do."""
    scene = Scene(cast)
    assert whole_in_picture(5.0) == []
    assert np.any(scene.draw(5.0) != scene.draw(5.2))


def test_the_source_gives_jpegs_at_its_rate(portraits: Mapping[str, bytes]) -> None:
    """Opened, it yields 720p JPEGs whose capture times are a fifteenth of a second apart or a multiple of that."""
    source, stopped = DemoSource(SystemClock()), threading.Event()
    source.open()
    frames = source.frames(stopped)
    first, second = next(frames), next(frames)
    height_px, width_px, *_ = simplejpeg.decode_jpeg_header(_bytes(first.picture()))
    stopped.set()
    assert list(frames) == []
    source.close()
    assert (width_px, height_px) == (WIDTH_PX, HEIGHT_PX)
    steps = (second.capture_time - first.capture_time).total_seconds() * 15
    assert steps == pytest.approx(round(steps), abs=1e-3)
    assert round(steps) >= 1


def _bytes(picture: object) -> bytes:
    assert isinstance(picture, bytes)
    return picture
