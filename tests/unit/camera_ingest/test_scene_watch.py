"""What is told of a scene: covers, blur and moves, once each, after they have lasted; light and passers-by never."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scene_camera import HEIGHT, WIDTH, YARD, Camera, Disturb, view

from camera_ingest.looking.alarm import Alarm, Look, Patience
from camera_ingest.looking.scene import SceneState
from camera_ingest.looking.small import Grey
from tessera.domain.camera_events import CameraEventKind as Kind


@pytest.fixture
def camera() -> Camera:
    """A minute of an undisturbed scene."""
    made = Camera()
    made.run(60.0)
    assert made.watch.state is SceneState.CLEAR
    return made


def bag(seen: Grey, _since_s: float) -> Grey:
    return np.full_like(seen, 25)


def bright_cover_of_two_thirds(seen: Grey, _since_s: float) -> Grey:
    seen[:, : 2 * WIDTH // 3] = 205
    return seen


def blurred(seen: Grey, _since_s: float) -> Grey:
    return cv2.GaussianBlur(seen, (0, 0), 1.25).astype(np.uint8)


def far_out_of_focus(seen: Grey, _since_s: float) -> Grey:
    return cv2.GaussianBlur(seen, (0, 0), 4.0).astype(np.uint8)


def pushed(_seen: Grey, _since_s: float) -> Grey:
    return view(70 + 26, 60)


def turned(_seen: Grey, _since_s: float) -> Grey:
    matrix = cv2.getRotationMatrix2D((230, 150), 6.0, 1.0)
    return cv2.warpAffine(YARD, matrix, (480, 320))[60 : 60 + HEIGHT, 70 : 70 + WIDTH].astype(np.uint8)


@pytest.mark.parametrize(
    ("disturb", "kind"),
    [
        (bag, Kind.COVERED),
        (bright_cover_of_two_thirds, Kind.COVERED),
        (blurred, Kind.DEFOCUSED),
        (far_out_of_focus, Kind.DEFOCUSED),
        (pushed, Kind.MOVED),
        (turned, Kind.MOVED),
    ],
    ids=["bag", "two-thirds", "blurred", "far-out-of-focus", "pushed", "turned"],
)
def test_tampering_is_told_once_within_five_seconds_and_when_it_is_over(
    camera: Camera, disturb: Disturb, kind: Kind
) -> None:
    """One alarm however long it lasts, one end; then the scene is clear."""
    camera.run(30.0, disturb)
    assert camera.kinds() == [kind]
    after_s, told = camera.told[0]
    assert after_s <= 5.0
    assert 0.0 < told.probability <= 1.0
    assert told.regions
    assert told.detail
    camera.run(15.0)
    assert camera.kinds() == [kind, Kind.SCENE_CLEAR]
    assert camera.watch.state is SceneState.CLEAR


def test_a_cover_is_told_with_its_place(camera: Camera) -> None:
    """The region is where the scene is not seen."""
    camera.run(10.0, bright_cover_of_two_thirds)
    region = camera.told[0][1].regions[0]
    assert region.x == 0.0
    assert 0.6 <= region.width <= 0.75
    box = region.box(1280, 720)
    assert (box.x_px, box.width_px) == (0.0, region.width * 1280)


def lamp(seen: Grey, since_s: float) -> Grey:
    """Half the light goes at once, and comes back, every ten seconds; brightest at the left."""
    if since_s % 20.0 < 10.0:
        return seen
    return (seen * np.linspace(0.75, 0.35, WIDTH)[None, :]).astype(np.uint8)


def cloud(seen: Grey, since_s: float) -> Grey:
    return np.clip(seen * (1.0 + 0.3 * np.sin(since_s / 4.0)), 0, 255).astype(np.uint8)


def walkers(seen: Grey, since_s: float) -> Grey:
    """Somebody crosses near the camera each few seconds."""
    x = int((since_s % 6.0) / 6.0 * (WIDTH + 60)) - 60
    cv2.rectangle(seen, (x, 30), (x + 60, HEIGHT), 50, -1)
    return seen


def hand_for_a_second(seen: Grey, since_s: float) -> Grey:
    return np.full_like(seen, 25) if 3.0 <= since_s % 20.0 < 4.0 else seen


@pytest.mark.parametrize("disturb", [lamp, cloud, walkers, hand_for_a_second])
def test_light_and_passers_by_are_never_told(camera: Camera, disturb: Disturb) -> None:
    """Three minutes of each."""
    camera.run(180.0, disturb)
    assert camera.kinds() == []


def test_nothing_is_told_while_the_scene_is_learned() -> None:
    """Without a reference nothing is known to have changed."""
    camera = Camera()
    camera.run(5.0)
    camera.run(5.0, pushed)
    assert camera.watch.state is SceneState.LEARNING
    assert camera.kinds() == []


def test_a_scene_without_a_pattern_is_not_judged() -> None:
    """A plain wall can be covered by anything and look the same."""
    camera = Camera()
    plain = np.full((HEIGHT, WIDTH), 120, np.uint8)
    camera.run(60.0, frame=plain)
    camera.run(30.0, frame=np.full((HEIGHT, WIDTH), 60, np.uint8))
    assert camera.kinds() == []


def test_pictures_of_another_size_are_another_scene(camera: Camera) -> None:
    """The stream's settings were changed: it is learned anew, and nobody is alarmed."""
    camera.run(8.0, frame=YARD[:240, :320])
    assert camera.watch.state is SceneState.LEARNING
    assert camera.kinds() == []


def test_an_alarm_waits_for_looks_that_agree() -> None:
    """One clear look among the others begins anew; unsure ones neither help nor hinder."""
    alarm = Alarm(Patience(raise_s=2.0, least_looks=3, clear_s=3.0))
    looks = [Look.COVERED, Look.COVERED, Look.CLEAR, Look.COVERED, Look.UNSURE, Look.MOVED, Look.COVERED]
    assert [alarm.take(look, float(second)) for second, look in enumerate(looks)] == [None] * 6 + [Kind.COVERED]
    back = [Look.CLEAR, Look.COVERED, Look.CLEAR, Look.CLEAR, Look.UNSURE, Look.CLEAR, Look.CLEAR]
    ends = [alarm.take(look, 10.0 + second) for second, look in enumerate(back)]
    assert ends == [None] * 5 + [Kind.SCENE_CLEAR, None]


def test_a_thing_that_is_left_is_told_and_when_it_is_taken_again(camera: Camera) -> None:
    """A bag that lies still for three minutes is OBJECT_LEFT at its place; taken away again, its alarm is over."""
    camera.run(90.0)
    camera.run(230.0, with_bag)
    assert camera.kinds() == [Kind.OBJECT_LEFT]
    after_s, told = camera.told[0]
    assert 175.0 <= after_s <= 215.0
    region = told.regions[0]
    assert abs(region.x + region.width / 2 - 0.5) < 0.06
    assert abs(region.y + region.height / 2 - 0.55) < 0.1
    camera.run(60.0)
    assert camera.kinds() == [Kind.OBJECT_LEFT, Kind.SCENE_CLEAR]


def with_bag(seen: Grey, _since_s: float) -> Grey:
    seen[86:112, 148:172] = 20
    seen[92:98, 150:170] = 240
    return seen


def test_somebody_who_stands_about_is_no_thing(camera: Camera) -> None:
    """A person at one place for four minutes moves a little all the time."""

    def person(seen: Grey, since_s: float) -> Grey:
        x = 150 + round(5 * np.sin(since_s * 1.1) + 3 * np.sin(since_s * 0.37))
        seen[60:120, x : x + 18] = 25
        seen[52:62, x + 4 : x + 14] = 200
        return seen

    camera.run(90.0)
    camera.run(240.0, person)
    assert camera.kinds() == []


def test_somebody_who_stood_there_at_first_is_not_missed() -> None:
    """Whoever stands in the way while the scene is learned is taken in, and out again, untold."""
    camera = Camera()
    camera.run(40.0, with_bag)
    camera.run(330.0)
    assert camera.kinds() == []
