"""What is known of a scene from before: after a restart, at another time of day, and once a person has accepted it."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from scene_camera import HEIGHT, WIDTH, Camera, view

from camera_ingest.looking.album import Album, Page, Usual, part_of
from camera_ingest.looking.bands import bands_of
from camera_ingest.looking.reference import Reference
from camera_ingest.looking.scene import SceneState, SceneWatch
from camera_ingest.looking.small import Grey
from tessera.domain.camera_events import CameraEventKind as Kind

DAY, NIGHT = 4, 7


def pushed(_seen: Grey, _since_s: float) -> Grey:
    return view(96, 60)


def infrared(seen: Grey, _since_s: float) -> Grey:
    """Plants shine and paint vanishes: most patterns are others."""
    chance = np.random.default_rng(3)
    tiles = chance.integers(0, 2, (HEIGHT // 12, WIDTH // 16)).astype(bool).repeat(12, 0).repeat(16, 1)
    seen[tiles] = 235 - seen[tiles]
    return (seen * 0.6).astype(np.uint8)


def watched(for_s: float = 150.0, part: int = DAY) -> Camera:
    """A camera whose scene was followed for long enough to be kept."""
    camera = Camera(part_of_day=part)
    camera.run(for_s)
    return camera


def restarted(camera: Camera, part: int = DAY) -> Camera:
    """The same camera under a new worker, which has what was kept."""
    watch = SceneWatch()
    watch.album = Album.load(camera.watch.album.dump())
    return Camera(watch, part_of_day=part)


def test_after_a_restart_the_scene_is_known_at_once() -> None:
    """Nothing is learned anew, and nothing told."""
    again = restarted(watched())
    again.run(2.0)
    assert again.watch.state is SceneState.CLEAR
    again.run(60.0)
    assert again.kinds() == []


def test_what_happened_while_nobody_watched_is_told() -> None:
    """A camera that was pushed before the worker started again is told as that, as soon as it has lasted."""
    again = restarted(watched())
    again.run(10.0, pushed)
    assert again.kinds() == [Kind.MOVED]


def test_at_a_time_of_day_that_is_not_known_the_scene_is_learned() -> None:
    """Unless it looks as at another one: nobody is woken by a first night."""
    again = restarted(watched(), NIGHT)
    again.run(10.0, infrared)
    assert (again.kinds(), again.watch.state) == ([], SceneState.LEARNING)
    same = restarted(watched(), NIGHT)
    same.run(2.0)
    assert same.watch.state is SceneState.CLEAR


def test_an_accepted_look_is_known_from_then_on_and_so_is_the_one_before() -> None:
    """A camera that switches to infrared is told once; the nights and days after it are told no more."""
    camera = watched()
    camera.part_of_day = NIGHT
    camera.run(20.0, infrared)
    assert len(camera.told) == 1
    camera.watch.accept()
    camera.run(20.0, infrared)
    assert camera.kinds()[1:] == [Kind.SCENE_CLEAR]
    assert "accepted" in camera.told[1][1].detail
    for part, look in ((DAY, None), (NIGHT, infrared), (DAY, None)):
        camera.part_of_day = part
        camera.run(30.0, look) if look else camera.run(30.0)
        assert camera.watch.state is SceneState.CLEAR
    assert len(camera.told) == 2


def test_tampering_is_told_whatever_is_known() -> None:
    """A defocused, covered or pushed camera is no other time of day."""
    camera = watched()
    camera.part_of_day = NIGHT
    camera.run(20.0, infrared)
    camera.watch.accept()
    camera.run(40.0, infrared)
    camera.told.clear()
    camera.run(10.0, lambda _seen, since_s: infrared(np.roll(view(), 40, 1), since_s))
    assert len(camera.told) == 1
    camera.run(10.0, infrared)
    camera.run(10.0, lambda seen, _s: np.full_like(seen, 25))
    assert camera.kinds()[1:] == [Kind.SCENE_CLEAR, Kind.COVERED]


def test_a_scene_that_was_turned_on_purpose_is_accepted() -> None:
    """MOVED is over at once, and a push back is told."""
    camera = watched()
    camera.run(10.0, pushed)
    camera.watch.accept()
    camera.run(30.0, pushed)
    assert camera.kinds() == [Kind.MOVED, Kind.SCENE_CLEAR]
    assert camera.watch.state is SceneState.CLEAR
    camera.run(10.0, lambda _seen, _s: view(60, 40))
    assert camera.kinds()[2:] == [Kind.MOVED]


def test_an_album_comes_back_as_it_was() -> None:
    """Each page in its part of the day, up to half precision; pages of another size are not offered."""
    page = Page(Reference([bands_of(np.asarray(view()))]), Usual(0.9, -0.1, 0.8, 0.05))
    album = Album()
    album.keep(3, page)
    back = Album.load(album.dump()).page(3, page.reference.shape)
    assert back is not None
    assert back.usual == page.usual
    np.testing.assert_allclose(back.reference.middle, page.reference.middle, atol=2e-3)
    np.testing.assert_array_equal(back.reference.textured, page.reference.textured)
    assert album.page(3, (90, 160)) is None
    assert album.page(2, page.reference.shape) is None


@pytest.mark.parametrize("data", [b"", b"no album", Album().dump()[:-9]], ids=["empty", "nonsense", "cut"])
def test_what_is_no_album_is_refused(data: bytes) -> None:
    """And nothing of it is believed."""
    with pytest.raises(ValueError, match="no album"):
        Album.load(data)


@pytest.mark.parametrize(("hour", "part"), [(0, 0), (2, 0), (3, 1), (12, 4), (23, 7)])
def test_a_day_has_eight_parts(hour: int, part: int) -> None:
    """Of three hours each."""
    assert part_of(datetime(2026, 11, 23, hour, 59, tzinfo=UTC)) == part
