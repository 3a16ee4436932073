"""What is looked at: the motion gate, zones and masks, and the pace; each alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import simplejpeg
from ingest_fakes import moment

from camera_ingest.camera import Camera, Zone, dump_camera, load_camera
from camera_ingest.looking.motion import MotionConfig, MotionGate
from camera_ingest.looking.pace import FLOOR_HZ, Pace
from camera_ingest.looking.places import Places
from camera_ingest.looking.small import Grey, small_grey
from tessera.client.stream_values import FrameOutcome
from tessera.domain.errors import ImageRejectedError, InvalidInputError
from tessera.domain.ids import CameraId
from tessera.domain.observation import Box
from tessera.domain.reasons import Reason

LEFT = Zone("left", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)), False)
TOP = Zone("top", ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (0.0, 0.5)), False)
CORNER = Zone("", ((0.0, 0.0), (0.25, 0.0), (0.25, 0.25), (0.0, 0.25)), True)


def room(seed: int = 1) -> Grey:
    """A still scene with some texture, 320 x 180."""
    coarse = np.random.default_rng(seed).integers(60, 200, (12, 20)).astype(np.uint8)
    return cv2.resize(coarse, (320, 180), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def noisy(picture: Grey, seed: int, sigma: float = 3.0) -> Grey:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def warmed(config: MotionConfig | None = None) -> MotionGate:
    """A gate that has seen the still room for ten seconds, at 5 a second."""
    gate = MotionGate(config)
    for number in range(50):
        gate.passes(noisy(room(), number), number / 5, in_any_case=False)
    return gate


def test_a_still_room_passes_once_each_two_seconds() -> None:
    """Noise is no motion; a frame goes through each `every_s` all the same."""
    gate = warmed()
    passed = [gate.passes(noisy(room(), 100 + n), 10 + n / 5, in_any_case=False) for n in range(50)]
    assert sum(passed) == 5


def test_somebody_small_who_comes_in_passes_at_once() -> None:
    """A place of 6 x 8 px in 320 with a third more or less light is motion."""
    gate = warmed(MotionConfig(every_s=1e9))
    picture = room()
    picture[80:88, 100:106] = np.clip(picture[80:88, 100:106] * 0.6, 0, 255).astype(np.uint8)
    assert gate.passes(noisy(picture, 300), 10.0, in_any_case=False)


@pytest.mark.parametrize("gain", [0.5, 0.8, 1.2])
def test_light_that_changes_in_half_a_minute_is_no_motion(gain: float) -> None:
    """A cloud, a dimmed lamp, the evening: nothing passes."""
    gate = warmed(MotionConfig(every_s=1e9))
    for n in range(150):
        light = 1.0 + (gain - 1.0) * n / 150
        seen = np.clip(room() * light, 0, 255).astype(np.uint8)
        assert not gate.passes(noisy(seen, 500 + n), 10 + n / 5, in_any_case=False), n


def test_whoever_is_followed_is_looked_at_though_nothing_moves() -> None:
    """While a tracklet is active every frame goes through."""
    gate = warmed(MotionConfig(every_s=1e9))
    assert all(gate.passes(noisy(room(), 100 + n), 10 + n / 5, in_any_case=True) for n in range(10))


def test_a_picture_of_another_size_passes() -> None:
    """Nothing is compared with what had another shape."""
    gate = warmed(MotionConfig(every_s=1e9))
    assert gate.passes(np.zeros((240, 320), np.uint8), 10.0, in_any_case=False)


def test_a_jpeg_is_as_small_as_its_pixels() -> None:
    """The same small picture, from a file or from pixels; what is no picture is None."""
    picture = cv2.cvtColor(cv2.resize(room(), (1280, 720)), cv2.COLOR_GRAY2BGR).astype(np.uint8)
    of_file = small_grey(simplejpeg.encode_jpeg(picture, 95, "BGR", "420"))
    of_pixels = small_grey(picture)
    assert of_file is not None
    assert of_pixels is not None
    assert of_file.shape == of_pixels.shape == (180, 320)
    assert np.abs(of_file.astype(int) - of_pixels.astype(int)).max() <= 6
    assert small_grey(b"no picture at all") is None


def test_a_box_is_in_the_zones_of_its_middle() -> None:
    """Zones overlap; the rim counts; a mask is no zone."""
    places = Places([LEFT, TOP, CORNER])
    assert places.names_at(Box(90, 40, 20, 20), 400, 200) == ("left", "top")
    assert places.names_at(Box(290, 140, 20, 20), 400, 200) == ()
    assert places.names_at(Box(190, 140, 20, 20), 400, 200) == ("left",)


def test_what_is_masked_is_black_and_the_rest_as_it_was() -> None:
    """In pixels and in files; the picture that was given is not changed."""
    picture = np.full((100, 200, 3), 200, np.uint8)
    places = Places([CORNER])
    for given in (picture, simplejpeg.encode_jpeg(picture, 95, "BGR", "420")):
        left = places.blacked(given)
        assert isinstance(left, np.ndarray)
        assert not left[:25, :50].any()
        assert (left[26:, :] >= 198).all()
        assert (left[:, 51:] >= 198).all()
    assert (picture == 200).all()
    with pytest.raises(ImageRejectedError):
        places.blacked(b"no picture at all")


def test_only_zones_hides_all_others_and_a_mask_beats_a_zone() -> None:
    """A region of interest is a mask of everything else."""
    left = Places([LEFT, CORNER], only_zones=True).blacked(np.full((100, 200, 3), 200, np.uint8))
    assert isinstance(left, np.ndarray)
    assert not left[:, 102:].any()
    assert not left[:25, :50].any()
    assert (left[30:, :99] == 200).all()


def test_without_masks_a_file_stays_a_file() -> None:
    """Nothing is decoded where nothing is hidden."""
    assert Places([LEFT]).blacked(b"whatever") == b"whatever"


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("zones.name", lambda: Zone("", LEFT.corners, False)),
        ("zones.corners", lambda: Zone("a", LEFT.corners[:2], False)),
        ("zones.corners", lambda: Zone("a", ((0.0, 0.0), (1.1, 0.0), (0.0, 1.0)), False)),
        ("only_zones", lambda: Camera(CameraId("door"), "demo:", zones=(CORNER,), only_zones=True)),
    ],
    ids=["no-name", "two-corners", "outside", "no-zone"],
)
def test_a_wrong_zone_names_its_field(field: str, make: object) -> None:
    """What cannot be meant is refused with its field."""
    assert callable(make)
    with pytest.raises(InvalidInputError) as caught:
        make()
    assert caught.value.field == field


def test_a_camera_of_an_earlier_version_has_the_defaults() -> None:
    """What was kept before there were gates is read; what was set is kept."""
    camera = Camera(CameraId("door"), "demo:", zones=(LEFT, CORNER), motion_gate=False, only_zones=True)
    assert load_camera(dump_camera(camera), "k") == camera
    earlier = dump_camera(Camera(CameraId("door"), "demo:"))
    for name in ("motion_gate", "only_zones", "watch_scene"):
        earlier = (
            earlier.replace(f'"{name}": true, ', "").replace(f'"{name}": false, ', "").replace(f', "{name}": true', "")
        )
    assert "motion_gate" not in earlier
    assert load_camera(earlier, "k").motion_gate


def test_the_pace_falls_to_the_floor_and_rises_again() -> None:
    """Starved of credits it falls, never below the floor; served again it comes back, and never above the target."""
    pace = Pace(10.0, 0.0)
    rates = []
    for second in range(1, 15):
        pace.ended(FrameOutcome.SKIPPED, Reason.NO_CREDIT, second)
        rates.append(pace.rate_hz)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == FLOOR_HZ
    for second in range(15, 40):
        pace.ended(FrameOutcome.ENCODED, None, second)
    assert pace.rate_hz == 10.0


def test_an_encoder_that_is_away_is_no_reason_for_another_pace() -> None:
    """Only frames that found no room count: when the encoder comes back, so does the rate at once."""
    pace = Pace(10.0, 0.0)
    for second in range(1, 15):
        pace.ended(FrameOutcome.SKIPPED, Reason.ENCODER_UNAVAILABLE, second)
    assert pace.rate_hz == 10.0


def test_a_reduced_pace_takes_frames_evenly() -> None:
    """Of 10 a second sampled, about two are looked at where the pace has fallen to two."""
    pace = Pace(10.0, 0.0)
    second = 0
    while pace.rate_hz > 2.0:
        second += 1
        pace.ended(FrameOutcome.EXPIRED, None, second)
    wanted = [n / 10 for n in range(300) if pace.wants(moment(n / 10))]
    gaps = np.diff(wanted[1:])
    assert 0.8 * pace.rate_hz <= len(wanted) / 30 <= 1.2 * pace.rate_hz
    assert gaps.max() <= 1.5 / pace.rate_hz
