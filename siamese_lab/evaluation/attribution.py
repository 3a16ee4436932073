"""What in a picture drives its score with a reference: gradients, integrated gradients, covering; each map is tested.

Beside `encoder_svc.explaining`, which covers parts of a face for a served encoder; here the network's gradients are at
hand. Every method ends in the same form, a signed map over a grid of cells, and in the same test: is covering the
map's strongest tenth worse than covering as much anywhere? A map that fails it is a picture and no explanation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from siamese_lab.comparison import Comparison
from siamese_lab.evaluation.attacks import similarity
from siamese_lab.evaluation.embedding import Pictures, as_batch, testing
from tessera.domain.saliency import (
    Cells,
    Weights,
    cell_weights,
    faithfulness,
    patches,
    random_parts,
    strongest,
)
from tessera.imaging.covering import blurred, cell_of, cover
from tessera.imaging.overlay import draw

Picture = Pictures
"""uint8 (height, width, channels), gray or RGB."""
Floats = npt.NDArray[np.float64]
Score = Callable[[Tensor], Tensor]
"""Pictures (n, c, h, w) to scores (n,)."""

MOST_CELLS = 14
STEPS = 32
RANDOM_DRAWS = 16


class Attribution(StrEnum):
    """How a map is made."""

    GRADIENT = "gradient times change"
    """What a straight line through the score at the picture says of taking its features away."""
    INTEGRATED = "integrated gradients"
    """The same along the whole way from the blurred picture; the parts add up to the score's difference."""
    OCCLUSION = "occlusion"
    """Patches of 2 x 2 cells are blurred, and the score is taken anew."""


@dataclass(frozen=True, slots=True, eq=False)
class PairAttribution:
    """One map and what its test says."""

    method: Attribution
    weights: Weights
    """(rows, columns): positive speaks for the match."""
    faithfulness: float
    """How many times more the strongest tenth changes the score than as much anywhere; 1 and less: it tells nothing."""
    drawn: bytes
    """PNG of the picture with the map over it."""


def attribute_pair(
    network: nn.Module,
    picture: Picture,
    reference: Picture,
    method: Attribution,
    *,
    comparison: Comparison = Comparison.EUCLIDEAN,
    device: str = "cpu",
    seed: int = 0,
) -> PairAttribution:
    """Map what drives the score of a picture with a reference.

    Args:
        network: the embedder, on `device`.
        picture: whose parts are asked about.
        reference: what it is compared with, of the same shape.
        method: how.
        comparison: Euclidean or cosine.
        device: where it computes.
        seed: draws the random parts that the map is tested against.
    """
    with testing(network):
        with torch.no_grad():
            template = network(as_batch(reference[None], device))

        def score(pictures: Tensor) -> Tensor:
            return similarity(network(pictures), template.expand(len(pictures), -1), comparison)

        grid = min(MOST_CELLS, *picture.shape[:2])
        weights = _MAPS[method](score, picture, grid, device)
        tests = np.concatenate((strongest(weights), random_parts(weights.shape, RANDOM_DRAWS, seed=seed)))
        changes = _changes(score, picture, tests, device)
    trusted = faithfulness(weights, float(changes[0]), changes[1:])
    return PairAttribution(method, weights, trusted, draw(_blue_first(picture), weights))


def _blue_first(picture: Picture) -> Picture:
    channels = picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)
    return np.ascontiguousarray(channels[..., ::-1])


# ---- covering


def _occlusion(score: Score, picture: Picture, grid: int, device: str) -> Weights:
    covered = patches(grid)
    return cell_weights(_changes(score, picture, covered, device), covered)


def _changes(score: Score, picture: Picture, covered: Cells, device: str) -> Floats:
    """By how much each variant scores lower than the picture as it is."""
    variants = np.stack([_shaped(one, picture) for one in cover(picture, _blurred(picture), covered)])
    with torch.no_grad():
        whole, parts = score(as_batch(picture[None], device)), score(as_batch(variants, device))
    return (whole - parts).double().cpu().numpy()


def _blurred(picture: Picture) -> Picture:
    return _shaped(blurred(picture), picture)


def _shaped(changed: npt.NDArray[np.uint8], like: Picture) -> Picture:
    """OpenCV drops the axis of a single channel."""
    return changed.reshape(like.shape)


# ---- gradients


def _gradient(score: Score, picture: Picture, grid: int, device: str) -> Weights:
    there, start = as_batch(picture[None], device), as_batch(_blurred(picture)[None], device)
    return to_cells((gradient(score, there) * (there - start)).sum(dim=1)[0], grid)


def _integrated(score: Score, picture: Picture, grid: int, device: str) -> Weights:
    there, start = as_batch(picture[None], device), as_batch(_blurred(picture)[None], device)
    return to_cells(integrated_gradients(score, there, start).sum(dim=1)[0], grid)


def gradient(score: Score, pictures: Tensor) -> Tensor:
    """How each value of each picture moves its score: the same shape."""
    there = pictures.detach().clone().requires_grad_()
    with torch.enable_grad():
        (found,) = torch.autograd.grad(score(there).sum(), there)
    return found


def integrated_gradients(score: Score, pictures: Tensor, start: Tensor, steps: int = STEPS) -> Tensor:
    """The gradient along the straight way from `start`, times that way.

    Args:
        score: (n, c, h, w) to (n,).
        pictures: (n, c, h, w).
        start: the same shape: pictures that show nothing.
        steps: points of Gauss-Legendre's rule.

    Returns:
        The same shape; each picture's sum is its score less that of its start, up to the rule's error. captum computes
        it where it is installed.

    Source: Sundararajan, Taly and Yan, ICML 2017.
    """
    try:
        from captum.attr import IntegratedGradients  # noqa: PLC0415 - an extra that takes a second to import
    except ImportError:
        return integrated_by_hand(score, pictures, start, steps)
    found: Tensor = IntegratedGradients(score).attribute(pictures, start, n_steps=steps, method="gausslegendre")
    return found.to(pictures.dtype).detach()


def integrated_by_hand(score: Score, pictures: Tensor, start: Tensor, steps: int = STEPS) -> Tensor:
    """`integrated_gradients` without captum."""
    places, shares = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(pictures)
    for place, share in zip((places + 1.0) / 2.0, shares / 2.0, strict=True):
        total += float(share) * gradient(score, start + float(place) * (pictures - start))
    return total * (pictures - start)


def to_cells(values: Tensor, grid: int) -> Weights:
    """Values of pixels (h, w) as a map of cells: each cell's mean as a share of the largest."""
    pixels = values.detach().double().cpu().numpy()
    rows, columns = (cell_of(length, grid) for length in pixels.shape)
    cells = (np.arange(grid * grid) == (rows[:, None] * grid + columns).reshape(-1, 1)).T
    # A cell is a variant that covers itself alone, and the mean of its pixels what that did to the score.
    means = (cells @ pixels.ravel()) / cells.sum(axis=1)
    return cell_weights(means, np.eye(grid * grid, dtype=np.bool_).reshape(-1, grid, grid))


_MAPS: dict[Attribution, Callable[[Score, Picture, int, str], Weights]] = {
    Attribution.GRADIENT: _gradient,
    Attribution.INTEGRATED: _integrated,
    Attribution.OCCLUSION: _occlusion,
}


# ---- what the network likes to see


@dataclass(frozen=True, slots=True, eq=False)
class Preferred:
    """A picture that was made to please one direction of the embedding."""

    name: str
    picture: Picture
    before: float
    """The embedding's share along the direction, of the picture that was started from."""
    after: float


def activation_maximisation(
    network: nn.Module,
    direction: npt.ArrayLike,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    name: str = "",
    steps: int = 120,
    rate: float = 0.15,
    blurs: int = 3,
) -> Preferred:
    """Climb from faint noise to a picture whose embedding goes far along a direction.

    Args:
        network: the embedder, on the generator's device.
        direction: (d,): a dimension's unit vector, or the mean of a class less that of all.
        shape: (channels, height, width).
        generator: draws the noise.
        name: what the direction is called.
        steps: how many.
        rate: how far each goes, as the mean change of a value before the sigmoid.
        blurs: how often the picture is softened; 0 gives specks that only the network sees.

    Returns:
        One of many such pictures: the best of the way. It shows what the network
        answers to, not what the class looks like.

    Source: Erhan et al., University of Montreal report 1341 (2009); blurs: Yosinski et al., ICML workshop 2015.
    """
    towards = torch.as_tensor(np.asarray(direction, np.float32), device=generator.device)
    noise = torch.rand((1, *shape), generator=generator, device=generator.device)
    logits = 0.2 * (noise - 0.5)

    def reached(picture: Tensor) -> Tensor:
        along: Tensor = (network(picture)[0] * towards).sum()
        return along

    with testing(network):
        best, highest = _softened(logits, blurs), -float("inf")
        with torch.no_grad():
            start = float(reached(best))
        for _ in range(steps):
            there = logits.requires_grad_()
            with torch.enable_grad():
                picture = _softened(there, blurs)
                worth = reached(picture)
                (slope,) = torch.autograd.grad(worth, there)
            if float(worth.detach()) > highest:
                best, highest = picture.detach(), float(worth.detach())
            logits = logits.detach() + rate * slope / slope.square().mean().sqrt().clamp(min=1e-12)
        with torch.no_grad():
            after = float(reached(best))
    levels = (best[0].permute(1, 2, 0) * 255.0).round().to(torch.uint8).cpu().numpy()
    return Preferred(name, np.ascontiguousarray(levels), start, after)


def _softened(logits: Tensor, blurs: int) -> Tensor:
    """A picture without specks: each value is the mean of those around it, several times over."""
    for _ in range(blurs):
        logits = nn.functional.avg_pool2d(logits, 3, stride=1, padding=1, count_include_pad=False)
    return torch.sigmoid(logits)


def as_png(picture: Picture) -> bytes:
    """One picture as a PNG file, pixel by pixel.

    Args:
        picture: uint8 (height, width, 1 or 3), gray or RGB.
    """
    ok, data = cv2.imencode(".png", picture if picture.shape[2] == 1 else picture[..., ::-1])
    if not ok:
        raise RuntimeError("OpenCV wrote no PNG")
    return data.tobytes()


def smaller(png: bytes, side_px: int = 224) -> bytes:
    """A PNG made no longer than so much on either side, for a page that holds many."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise RuntimeError("no PNG")
    share = min(1.0, side_px / max(pixels.shape[:2]))
    resized = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    return as_png(resized.astype(np.uint8, copy=False)[..., ::-1])
