"""What stands in a scene is told from the light on it, tile by tile."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest

from tessera.domain.change import ChangeCalibration, calibrate_changes, settled
from tessera.domain.errors import InvalidInputError
from tessera.imaging.change_map import (
    TILE_PX,
    Kind,
    Verdict,
    describe,
    distance_map,
    embedding_distance_map,
    judge,
    scene_of,
    tiles_of,
    tiles_seen,
)
from tessera.imaging.decode import Image
from tessera.imaging.registration import register, warped
from tests.unit.imaging.drawn_scenes import (
    moved,
    saved_as_jpeg,
    scene,
    with_lamp,
    with_light,
    with_noise,
    with_object,
)

REFERENCE = scene()
DESCRIBED = describe(REFERENCE)
GRID = (REFERENCE.shape[0] // TILE_PX, REFERENCE.shape[1] // TILE_PX)


def quiet_look(seed: int) -> Image:
    """The scene in some light, with noise, as a codec leaves it."""
    rng = np.random.default_rng(seed)
    lit = with_light(REFERENCE, rng.uniform(0.7, 1.2), rng.uniform(-10, 10))
    return saved_as_jpeg(with_noise(lit, rng.uniform(1, 4), seed), int(rng.integers(50, 90)))


def distances_to(look: Image) -> np.ndarray:
    """Of a look as it is."""
    return distance_map(DESCRIBED, describe(look))


@functools.cache
def calibration() -> ChangeCalibration:
    """Of sixty quiet looks, at one false alarm in twenty."""
    return calibrate_changes([distances_to(quiet_look(seed)) for seed in range(60)], 0.05)


def test_a_picture_is_at_no_distance_from_itself() -> None:
    """Equal pictures are 0 apart at every tile, and distances are in [0, 1] and the same either way about."""
    other = describe(with_object(REFERENCE))
    mine = DESCRIBED
    assert distance_map(mine, mine).max() == 0.0
    there, back = distance_map(mine, other), distance_map(other, mine)
    assert np.array_equal(there, back)
    assert there.min() >= 0.0
    assert there.max() <= 1.0
    assert there.shape == GRID


@pytest.mark.parametrize(
    "change",
    [
        lambda look: with_light(look, 0.6),
        lambda look: with_light(look, 1.15, 10.0),
        with_lamp,
        lambda look: with_noise(look, 4.0, 5),
        lambda look: saved_as_jpeg(look, 50),
    ],
    ids=["less light", "more light", "a lamp at one side", "noise", "JPEG"],
)
def test_an_object_stands_out_of_what_light_noise_and_jpeg_do(change: object) -> None:
    """The tile that changed most by a disturbance changed less than the middle of an object does."""
    disturbed = distances_to(change(REFERENCE))  # type: ignore[operator] # parametrised
    put_down = distances_to(with_object(REFERENCE))
    assert np.quantile(disturbed, 0.98) < 0.5 * put_down.max()


def test_an_object_is_found_where_it_is() -> None:
    """A box that was put down in another light is a local change, its region covers it, and it has appeared."""
    said = judge(REFERENCE, with_light(with_object(REFERENCE, 150, 110, 40), 0.8), calibration())
    assert said.verdict is Verdict.LOCAL
    first = said.regions[0]
    assert first.x_px <= 150 + 20 <= first.x_px + first.width_px
    assert first.y_px <= 110 + 20 <= first.y_px + first.height_px
    assert first.width_px <= 40 + 4 * TILE_PX


def test_left_and_removed_are_told_apart_on_plain_ground() -> None:
    """A box on paving appears; the same two pictures the other way about show it vanish."""
    paving = np.full((96, 128), 120, np.uint8)
    ground, box = paving, with_object(paving, 40, 30, 40)
    quiet = [distance_map(describe(ground), describe(with_noise(paving, 2.0, seed))) for seed in range(60)]
    calibrated = calibrate_changes(quiet, 0.05)
    assert judge(ground, box, calibrated).regions[0].kind is Kind.APPEARED
    assert judge(box, ground, calibrated).regions[0].kind is Kind.VANISHED


def test_light_alone_is_called_light() -> None:
    """The undisturbed scene is the same; darker, it is another light and no alarm."""
    assert judge(REFERENCE, with_noise(REFERENCE, 2.0, 7), calibration()).verdict is Verdict.SAME
    darker = judge(REFERENCE, with_light(REFERENCE, 0.75), calibration())
    assert darker.verdict is Verdict.LIGHT
    assert darker.light < -12
    assert darker.regions == ()


@pytest.mark.parametrize(
    "look",
    [scene(seed=9), cv2.GaussianBlur(REFERENCE, (0, 0), 8.0), np.full_like(REFERENCE, 60)],
    ids=["another scene", "defocused", "covered"],
)
def test_a_whole_change_is_told_from_a_local_one(look: Image) -> None:
    """Another scene, a defocused and a covered camera change most tiles, and are told as one thing."""
    assert judge(REFERENCE, look, calibration()).verdict is Verdict.WHOLE


def test_a_shaken_camera_is_no_change_once_registered() -> None:
    """A shift of three pixels is a change where nobody registers, and none after registration; an object still is."""
    shift = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]])

    def registered(look: Image) -> float:
        back, covered = warped(look, register(REFERENCE, look))
        return calibration().score(distance_map(describe(REFERENCE), describe(back), tiles_seen(covered)))

    shaken = moved(quiet_look(100), shift)
    assert calibration().score(distances_to(shaken)) > calibration().threshold
    assert registered(shaken) < 1.5 * calibration().threshold
    assert registered(moved(with_object(quiet_look(101)), shift)) > 3.0 * calibration().threshold


def test_somebody_who_walks_through_leaves_no_change() -> None:
    """In each look alone somebody is a change; settled over nine looks nobody is, and a box that stayed is."""
    walking = [with_object(quiet_look(200 + at), 10 + 33 * at, 60, 24) for at in range(9)]
    staying = [with_object(look, 150, 170, 40) for look in walking]
    alone = [calibration().score(distances_to(look)) for look in walking]
    gone, stayed = (settled([distances_to(look) for look in looks]) for looks in (walking, staying))
    assert min(alone) > calibration().threshold
    assert judge(REFERENCE, walking[0], calibration(), gone).verdict is not Verdict.LOCAL
    assert judge(REFERENCE, staying[0], calibration(), stayed).verdict is Verdict.LOCAL


def test_the_scene_is_what_stays() -> None:
    """The median of looks is the scene without who walks through."""
    walking = [with_object(REFERENCE, 10 + 33 * at, 60, 24) for at in range(9)]
    assert np.array_equal(scene_of(walking), REFERENCE)


def test_tiles_are_those_of_the_plain_loop() -> None:
    """Tiles as pictures, and which of them are whole, agree with cutting them one by one."""
    tiles = tiles_of(REFERENCE)
    covered = np.ones(REFERENCE.shape[:2], bool)
    covered[:3, 100] = False
    seen = tiles_seen(covered)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            place = (slice(row * TILE_PX, (row + 1) * TILE_PX), slice(column * TILE_PX, (column + 1) * TILE_PX))
            assert np.array_equal(tiles[row, column], REFERENCE[place])
            assert seen[row, column] == covered[place].all()


def test_embeddings_of_the_callers_own_give_a_map_too() -> None:
    """Half of 1 - cosine of each tile's two embeddings, whatever their lengths; unseen tiles are NaN."""
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(3, 4, 5)).astype(np.float32) for _ in range(2))
    seen = np.ones((3, 4), bool)
    seen[1, 2] = False
    found = embedding_distance_map(first, 7.0 * second, seen)
    for row in range(3):
        for column in range(4):
            a, b = first[row, column], second[row, column]
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            expected = (1.0 - cosine) / 2.0 if seen[row, column] else np.nan
            assert found[row, column] == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_what_does_not_fit_is_told() -> None:
    """Grids that differ, tiles that do not fit and embeddings without length are errors."""
    mine = DESCRIBED
    with pytest.raises(InvalidInputError):
        distance_map(mine, mine[1:])
    with pytest.raises(InvalidInputError):
        describe(REFERENCE, 7)
    with pytest.raises(InvalidInputError):
        embedding_distance_map(np.zeros((2, 2, 3), np.float32), np.ones((2, 2, 3), np.float32))
    with pytest.raises(InvalidInputError):
        scene_of([])
