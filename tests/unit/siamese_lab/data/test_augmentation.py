"""Variations: each does what its name says and no more than its number, and nothing is changed in place."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from siamese_lab.data.augmentation import Augmentation, Border, augment
from tessera.domain.errors import InvalidInputError

EACH = [
    Augmentation(rotation_degrees=20),
    Augmentation(shear_degrees=15),
    Augmentation(translation=0.1),
    Augmentation(scale=0.2),
    Augmentation(elastic_px=1.0),
    Augmentation(flip=True),
    Augmentation(crop_px=3),
    Augmentation(brightness=0.2),
    Augmentation(contrast=0.5),
    Augmentation(noise=0.1),
    Augmentation(erase=0.5),
]
ALL = Augmentation(
    rotation_degrees=20, shear_degrees=9, translation=0.1, scale=0.2, elastic_px=1.0, flip=True, crop_px=2,
    brightness=0.2, contrast=0.5, noise=0.1, erase=0.5,
)  # fmt: skip


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=_seeded(seed))


def _blob(count: int, height_px: int, width_px: int, at: tuple[float, float], spread_px: float = 2.0) -> Tensor:
    """A soft spot, `at` (down, right) in pixels."""
    down, right = torch.meshgrid(torch.arange(height_px) + 0.5, torch.arange(width_px) + 0.5, indexing="ij")
    squared = (down - at[0]) ** 2 + (right - at[1]) ** 2
    return torch.exp(-squared / (2 * spread_px**2)).expand(count, 1, height_px, width_px).contiguous()


def _centres(batch: Tensor) -> np.ndarray:
    """Where the light is, (n, 2), down and right in pixels."""
    weights = batch[:, 0].double()
    total = weights.sum(dim=(1, 2))
    down = (weights.sum(2) * (torch.arange(batch.shape[2]) + 0.5)).sum(1) / total
    right = (weights.sum(1) * (torch.arange(batch.shape[3]) + 0.5)).sum(1) / total
    return torch.stack([down, right], 1).numpy()


@pytest.mark.parametrize("recipe", [*EACH, ALL], ids=lambda one: "all" if one is ALL else _name(one))
@pytest.mark.parametrize("border", list(Border))
@pytest.mark.parametrize("shape", [(5, 1, 28, 28), (3, 3, 20, 32)])
def test_form_and_range_are_kept(recipe: Augmentation, border: Border, shape: tuple[int, ...]) -> None:
    """Shape, type and [0, 1]; the batch that was given is as before; something did change."""
    batch = _noise(*shape)
    before = batch.clone()
    result = augment(batch, replace(recipe, border=border), _seeded())
    assert (result.shape, result.dtype) == (batch.shape, torch.float32)
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(batch, before)
    assert not torch.equal(result, batch)


def _name(recipe: Augmentation) -> str:
    return next(one.name for one in fields(recipe) if getattr(recipe, one.name) != one.default)


def test_nothing_on_changes_nothing() -> None:
    """The batch itself comes back, and no number is drawn."""
    batch, generator = _noise(4, 1, 8, 8), _seeded()
    before = generator.get_state()
    assert augment(batch, Augmentation(), generator) is batch
    assert torch.equal(generator.get_state(), before)


def test_a_generator_repeats_what_it_drew() -> None:
    """The same seed varies alike, another one otherwise; pictures of a batch vary on their own."""
    batch = _noise(1, 1, 28, 28).expand(6, 1, 28, 28)
    one, again, other = (augment(batch, ALL, _seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert all(not torch.equal(one[0], one[at]) for at in range(1, 6))


def test_a_flip_mirrors_about_half() -> None:
    """Each picture is as it was or mirrored exactly, left to right."""
    batch = _noise(200, 3, 7, 10)
    result = augment(batch, Augmentation(flip=True), _seeded())
    same = (result - batch).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (result - batch.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (same ^ mirrored).all()
    assert 70 <= int(mirrored.sum()) <= 130


@pytest.mark.parametrize("border", list(Border))
def test_a_crop_shifts_by_whole_pixels(border: Border) -> None:
    """Each picture is one of the crops of the padded one, and all shifts are drawn."""
    batch = _noise(1, 2, 6, 9).expand(300, 2, 6, 9)
    result = augment(batch, Augmentation(crop_px=2, border=border), _seeded())
    modes = {Border.ZEROS: "constant", Border.REFLECTION: "reflect", Border.EDGE: "edge"}
    padded = np.pad(batch[0].numpy(), [(0, 0), (2, 2), (2, 2)], mode=modes[border])
    crops = {padded[:, top : top + 6, left : left + 9].tobytes() for top in range(5) for left in range(5)}
    found = {picture.numpy().tobytes() for picture in result}
    assert found == crops


@pytest.mark.parametrize(("height_px", "width_px"), [(40, 40), (30, 60)])
def test_a_rotation_turns_about_the_middle_by_no_more(height_px: int, width_px: int) -> None:
    """A spot stays at its distance from the middle, in pictures that are not square too, within the angle."""
    middle = np.array([height_px / 2, width_px / 2])
    batch = _blob(150, height_px, width_px, (height_px / 2, width_px / 2 + 9))
    away = _centres(augment(batch, Augmentation(rotation_degrees=30), _seeded())) - middle
    np.testing.assert_allclose(np.hypot(*away.T), 9, atol=0.1)
    angles = np.degrees(np.arctan2(away[:, 0], away[:, 1]))
    assert -30.5 < angles.min() < -24
    assert 24 < angles.max() < 30.5


def test_a_translation_moves_by_no_more_than_its_share() -> None:
    """Of each side: down and right on their own."""
    batch = _blob(150, 40, 80, (20, 40))
    moved = _centres(augment(batch, Augmentation(translation=0.1), _seeded())) - (20, 40)
    for axis, most in ((0, 4.0), (1, 8.0)):
        assert 0.8 * most < np.abs(moved[:, axis]).max() < most + 0.1
        assert np.sign(moved[:, axis]).min() == -1
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.3


def test_a_scale_grows_and_shrinks_by_no_more_than_its_factor() -> None:
    """A spot off the middle comes nearer or goes farther by 1/1.25 to 1.25."""
    batch = _blob(150, 48, 48, (24, 34))
    away = _centres(augment(batch, Augmentation(scale=0.25), _seeded()))[:, 1] - 24
    assert 10 / 1.25 - 0.1 < away.min() < 8.5
    assert 11.8 < away.max() < 10 * 1.25 + 0.1


def test_a_shear_leans_upright_lines() -> None:
    """What is above the middle moves against what is below it, by up to the tangent; rows stay rows."""
    batch = _blob(150, 48, 48, (14, 24))
    moved = _centres(augment(batch, Augmentation(shear_degrees=20), _seeded())) - (14, 24)
    assert np.abs(moved[:, 0]).max() < 0.1
    assert 3.0 < np.abs(moved[:, 1]).max() < 10 * math.tan(math.radians(20)) + 0.1


def test_elastic_moves_neighbours_together() -> None:
    """By about its deviation; two spots beside each other alike, two far apart on their own."""
    recipe = Augmentation(elastic_px=1.5)
    places = [(12.0, 12.0), (12.0, 14.0), (36.0, 36.0)]
    moved = [_centres(augment(_blob(200, 48, 48, at, 1.0), recipe, _seeded()))[:, 1] - at[1] for at in places]
    assert 0.8 < moved[0].std() < 2.2
    assert np.corrcoef(moved[0], moved[1])[0, 1] > 0.9
    assert abs(np.corrcoef(moved[0], moved[2])[0, 1]) < 0.3


def test_brightness_adds_one_number_to_a_picture() -> None:
    """The same at each of its pixels, within the bound, to both sides."""
    batch = 0.4 + 0.2 * _noise(100, 3, 6, 6)
    added = augment(batch, Augmentation(brightness=0.3), _seeded()) - batch
    assert (added.amax((1, 2, 3)) - added.amin((1, 2, 3))).max() < 1e-6
    assert added.min() < -0.25
    assert 0.25 < added.max() <= 0.3


def test_contrast_stretches_about_the_mean() -> None:
    """The mean stays, deviations are multiplied by one number for each picture."""
    batch = 0.4 + 0.2 * _noise(100, 1, 6, 6)
    result = augment(batch, Augmentation(contrast=0.5), _seeded())
    torch.testing.assert_close(result.mean((1, 2, 3)), batch.mean((1, 2, 3)))
    gains = result.std((1, 2, 3)) / batch.std((1, 2, 3))
    assert 0.5 <= gains.min() < 0.6
    assert 1.4 < gains.max() <= 1.5001


def test_noise_has_its_deviation() -> None:
    """And no mean."""
    added = augment(torch.full((20, 1, 32, 32), 0.5), Augmentation(noise=0.08), _seeded()) - 0.5
    assert float(added.std()) == pytest.approx(0.08, rel=0.03)
    assert abs(float(added.mean())) < 0.003


def test_an_erased_rectangle_is_the_mean_and_not_too_large() -> None:
    """In as many pictures as asked; what is outside stays; no side is longer than its share."""
    batch = _noise(200, 1, 16, 24)
    result = augment(batch, Augmentation(erase=0.25, erase_side=0.5), _seeded())
    changed = (result != batch)[:, 0]
    hit = changed.any(dim=(1, 2))
    assert 25 <= int(hit.sum()) <= 75
    for picture, mask, before in zip(result[hit], changed[hit], batch[hit], strict=True):
        rows, columns = (torch.where(mask.any(axis))[0] for axis in (1, 0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(rows) <= 8
        assert len(columns) <= 12
        torch.testing.assert_close(picture[0][mask], before.mean().expand(int(mask.sum())))


@given(st.sampled_from(EACH), st.integers(0, 99))
def test_black_stays_black_where_nothing_is_added(recipe: Augmentation, seed: int) -> None:
    """Moving, cropping and erasing make no light out of none."""
    if recipe.brightness or recipe.noise:
        return
    assert augment(torch.zeros(2, 1, 12, 12), recipe, _seeded(seed)).max() < 1e-6


def test_one_after_another_is_not_one_for_all() -> None:
    """An empty batch is none, and is no error."""
    assert len(augment(torch.zeros(0, 1, 8, 8), ALL, _seeded())) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("rotation_degrees", 200.0), ("translation", -0.1), ("noise", 1.5), ("erase", float("nan")), ("scale", 9.0)],
)
def test_numbers_out_of_range_are_refused(field: str, value: float) -> None:
    """The error names the field as the recipe does."""
    with pytest.raises(InvalidInputError) as caught:
        Augmentation(**{field: value})
    assert caught.value.field == f"augmentation.{field}"


def test_what_is_no_batch_is_refused() -> None:
    """One picture, bytes, or pictures smaller than the crop's padding."""
    for batch in (torch.zeros(1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)):
        with pytest.raises(InvalidInputError):
            augment(batch, ALL, _seeded())
    with pytest.raises(InvalidInputError) as caught:
        augment(torch.zeros(1, 1, 8, 8), Augmentation(crop_px=8), _seeded())
    assert caught.value.field == "augmentation.crop_px"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: that variations are alike there stays unproved")
@pytest.mark.parametrize("recipe", [*EACH, ALL], ids=lambda one: "all" if one is ALL else _name(one))
def test_a_generator_on_the_cpu_varies_alike_on_a_gpu(recipe: Augmentation) -> None:
    """Within rounding, so that a run can be repeated on the other device; a generator there works, too."""
    batch = _noise(6, 3, 20, 24)
    there = augment(batch.cuda(), recipe, _seeded())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), augment(batch, recipe, _seeded()), atol=1e-4, rtol=0)
    assert augment(batch.cuda(), recipe, torch.Generator("cuda").manual_seed(0)).is_cuda
