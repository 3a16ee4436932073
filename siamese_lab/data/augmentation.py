"""Variations of pictures, drawn anew for each batch on the device that trains; never used when judging.

In order: one geometric step (flip, rotation, shear, scale, translation, elastic), a shift of whole pixels, brightness
and contrast, noise, an erased rectangle. What is off costs nothing, and a recipe with all off returns its batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from tessera.domain.errors import InvalidInputError

_ELASTIC_CELLS = 4
"""Control points along a side beside the first: neighbouring strokes of a digit move together, distant ones apart."""


class Border(StrEnum):
    """What comes in where a picture is moved away."""

    ZEROS = "zeros"
    """Black: right where the ground is black, as in MNIST."""
    REFLECTION = "reflection"
    EDGE = "edge"
    """The outermost pixels, repeated."""


_GRID_BORDER = {Border.ZEROS: "zeros", Border.REFLECTION: "reflection", Border.EDGE: "border"}
_PAD_BORDER = {Border.ZEROS: "constant", Border.REFLECTION: "reflect", Border.EDGE: "replicate"}


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far pictures may be varied; each number is the largest deviation to either side, and 0 is off."""

    rotation_degrees: float = 0.0
    shear_degrees: float = 0.0
    """Upright lines lean by up to this."""
    translation: float = 0.0
    """Of the side, in [0, 1]; between pixels."""
    scale: float = 0.0
    """0.1: between 1 / 1.1 and 1.1 times as large."""
    elastic_px: float = 0.0
    """Standard deviation of how far each of 5 x 5 points is moved; what is between them follows smoothly."""
    flip: bool = False
    """Mirror every second picture, left to right; wrong for digits, letters and signatures."""
    crop_px: int = 0
    """Shift by whole pixels: as padding by this and cropping anywhere."""
    brightness: float = 0.0
    """Added to every pixel, in [0, 1]."""
    contrast: float = 0.0
    """0.2: deviations from the picture's mean times 0.8 to 1.2; in [0, 1]."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, in [0, 1]."""
    erase: float = 0.0
    """The share of pictures of which a rectangle is filled with their mean, in [0, 1]."""
    erase_side: float = 0.5
    """The longest side of that rectangle, of the picture's, in (0, 1]."""
    border: Border = Border.ZEROS

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        shares = ("translation", "brightness", "contrast", "noise", "erase", "erase_side")
        limits = {**dict.fromkeys(shares, 1.0), "rotation_degrees": 180.0, "shear_degrees": 60.0, "scale": 4.0}
        for one in fields(self):
            value = getattr(self, one.name)
            limit = limits.get(one.name, 1024.0)
            if isinstance(value, (int, float)) and not 0.0 <= value <= limit:
                raise InvalidInputError(f"augmentation.{one.name}", value, f"0 to {limit:g}")

    @property
    def moves(self) -> bool:
        """Whether pixels are drawn from between others."""
        geometric = (self.rotation_degrees, self.shear_degrees, self.translation, self.scale, self.elastic_px)
        return self.flip or any(geometric)


def augment(batch: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Vary each picture of a batch on its own.

    Args:
        batch: float32 (n, c, h, w) in [0, 1], on any device; not changed.
        recipe: how far.
        generator: decides; numbers are drawn on its device, so that one on the CPU varies alike on every device.

    Returns:
        float32 (n, c, h, w) in [0, 1], on the batch's device.

    Raises:
        InvalidInputError: the batch is no such tensor, or `crop_px` is not smaller than its sides.

    Source: elastic deformation after Simard, Steinkraus and Platt, ICDAR 2003; erasing after DeVries and Taylor,
    "Improved regularization of convolutional neural networks with cutout" (2017).
    """
    if batch.ndim != 4 or batch.dtype != torch.float32:
        raise InvalidInputError("batch", f"{batch.dtype} {tuple(batch.shape)}", "float32 (n, c, h, w)")
    if recipe.crop_px >= min(batch.shape[2:]):
        raise InvalidInputError("augmentation.crop_px", recipe.crop_px, f"below {min(batch.shape[2:])}, the side")
    if not len(batch):
        return batch
    draw = _Draws(len(batch), generator, batch.device)
    varied = _moved(batch, recipe, draw) if recipe.moves else batch
    varied = _shifted(varied, recipe, draw) if recipe.crop_px else varied
    varied = _lit(varied, recipe, draw) if recipe.brightness or recipe.contrast else varied
    varied = varied + recipe.noise * draw.normal(*batch.shape[1:]) if recipe.noise else varied
    varied = _erased(varied, recipe, draw) if recipe.erase else varied
    return varied if varied is batch else varied.clamp(0.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Draws:
    """Random numbers, one row for each picture."""

    count: int
    generator: torch.Generator
    device: torch.device

    def within(self, limit: float) -> Tensor:
        """(n,), evenly in [-limit, limit]."""
        return (2.0 * self.share() - 1.0) * limit

    def share(self) -> Tensor:
        """(n,), evenly in [0, 1)."""
        return torch.rand(self.count, generator=self.generator, device=self.generator.device).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape), of mean 0 and deviation 1."""
        shape = (self.count, *shape)
        return torch.randn(shape, generator=self.generator, device=self.generator.device).to(self.device)

    def whole(self, below: int) -> Tensor:
        """(n,) of int64, evenly in [0, below)."""
        size = (self.count,)
        return torch.randint(below, size, generator=self.generator, device=self.generator.device).to(self.device)


# ---- geometry


def _moved(batch: Tensor, recipe: Augmentation, draw: _Draws) -> Tensor:
    height_px, width_px = batch.shape[2:]
    matrix = _affine(recipe, draw, width_px / height_px)
    grid = functional.affine_grid(matrix, list(batch.shape), align_corners=False)
    if recipe.elastic_px:
        grid = grid + _elastic(recipe.elastic_px, height_px, width_px, draw)
    border = _GRID_BORDER[recipe.border]
    return functional.grid_sample(batch, grid, mode="bilinear", padding_mode=border, align_corners=False)


def _affine(recipe: Augmentation, draw: _Draws, aspect: float) -> Tensor:
    """(n, 2, 3), from places in the result to places in the picture, both in [-1, 1]; `aspect` is width / height."""
    turn, lean = (draw.within(math.radians(one)) for one in (recipe.rotation_degrees, recipe.shear_degrees))
    smaller = (1.0 + recipe.scale) ** draw.within(1.0)
    mirror = torch.where(draw.share() < 0.5, -1.0, 1.0) if recipe.flip else torch.ones_like(turn)
    cos, sin, slope = torch.cos(turn) * smaller, torch.sin(turn) * smaller, torch.tan(lean)
    # In pixels a turn is a turn; in [-1, 1] the sides of a picture that is not square are of different lengths.
    x_row = torch.stack([mirror * cos, mirror * (cos * slope - sin) / aspect, 2.0 * draw.within(recipe.translation)], 1)
    y_row = torch.stack([sin * aspect, sin * slope + cos, 2.0 * draw.within(recipe.translation)], 1)
    return torch.stack([x_row, y_row], 1)


def _elastic(deviation_px: float, height_px: int, width_px: int, draw: _Draws) -> Tensor:
    """(n, h, w, 2), in units of [-1, 1]."""
    points = draw.normal(2, _ELASTIC_CELLS + 1, _ELASTIC_CELLS + 1) * deviation_px
    smooth = functional.interpolate(points, (height_px, width_px), mode="bicubic", align_corners=True)
    units = smooth.new_tensor([2.0 / width_px, 2.0 / height_px])
    return smooth.permute(0, 2, 3, 1) * units


def _shifted(batch: Tensor, recipe: Augmentation, draw: _Draws) -> Tensor:
    count, _, height_px, width_px = batch.shape
    padded = functional.pad(batch, [recipe.crop_px] * 4, mode=_PAD_BORDER[recipe.border])
    top, left = draw.whole(2 * recipe.crop_px + 1), draw.whole(2 * recipe.crop_px + 1)
    crops = padded.unfold(2, height_px, 1).unfold(3, width_px, 1)  # all of them, as a view: nothing is copied yet
    return crops[torch.arange(count, device=batch.device), :, top, left]


# ---- light


def _lit(batch: Tensor, recipe: Augmentation, draw: _Draws) -> Tensor:
    mean = batch.mean(dim=(1, 2, 3), keepdim=True)
    gain = 1.0 + draw.within(recipe.contrast).view(-1, 1, 1, 1)
    return mean + (batch - mean) * gain + draw.within(recipe.brightness).view(-1, 1, 1, 1)


def _erased(batch: Tensor, recipe: Augmentation, draw: _Draws) -> Tensor:
    hit = draw.share() < recipe.erase
    rows = _span(batch.shape[2], recipe.erase_side, draw)
    columns = _span(batch.shape[3], recipe.erase_side, draw)
    hidden = (hit[:, None, None] & rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(hidden, batch.mean(dim=(2, 3), keepdim=True), batch)


def _span(side_px: int, longest: float, draw: _Draws) -> Tensor:
    """(n, side) of bool: a run of pixels in each row, a quarter of the longest or more, wholly inside."""
    length = (side_px * longest * (0.25 + 0.75 * draw.share())).round().clamp(1, side_px)
    start = (draw.share() * (side_px - length + 1)).floor()
    places = torch.arange(side_px, device=draw.device)
    return (places >= start[:, None]) & (places < (start + length)[:, None])
