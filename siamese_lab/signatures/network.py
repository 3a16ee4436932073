"""The signature encoder: a small residual network that looks at strokes, at places, and at the whole.

Skilled forgeries share the shape of a signature and differ in small strokes, so the embedding is made of three looks:
the middle layer's statistics (how strokes are drawn, wherever), the last layer's statistics (what there is), and the
last layer place by place (where it is). Every step has its operation in `tessera.nets.graph_ops`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from siamese_lab.networks.subnet import Subnet
from tessera.imaging.signature import CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX


@dataclass(frozen=True, slots=True)
class SignatureNetworkSize:
    """How wide and how deep."""

    stem: int = 16
    widths: tuple[int, int, int] = (32, 64, 128)
    blocks: tuple[int, int, int] = (1, 1, 1)
    """Residual blocks at 20 x 64, 10 x 32 and 5 x 16 places."""
    place_channels: int = 32
    """Kept for each of the 5 x 8 places that the embedding looks at one by one."""
    place_dropout: float = 0.0
    """Of the places, in learning."""
    dimensions: int = 256


class SignatureNetwork(Subnet):
    """(n, 1, 80, 256), 0 = paper to 1 = ink -> (n, dimensions), of any length; compared by cosine.

    Args:
        size: of the network.
    """

    def __init__(self, size: SignatureNetworkSize | None = None) -> None:
        size = size or SignatureNetworkSize()
        super().__init__((1, CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX), size.dimensions)
        first, second, third = size.widths
        self.stem = _convolution(1, size.stem, kernel=5, stride=2)
        self.strokes = _stage(size.stem, first, size.blocks[0])
        self.parts = _stage(first, second, size.blocks[1])
        self.whole = _stage(second, third, size.blocks[2])
        self.place = _convolution(third, size.place_channels, kernel=1, stride=1)
        self.pairs_of_columns = nn.AvgPool2d((1, 2))
        self.forget = nn.Dropout(size.place_dropout)
        # A sum of layers is one layer over all looks beside each other; steps of a network have no way to join them.
        self.from_parts = _Statistics(second, size.dimensions)
        self.from_whole = _Statistics(third, size.dimensions)
        self.from_places = nn.Linear(size.place_channels * 5 * 8, size.dimensions, bias=False)
        self.centre = nn.BatchNorm1d(size.dimensions, affine=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed."""
        parts = self.parts(self.strokes(self.stem(images)))
        whole = self.whole(parts)
        places = self.forget(self.pairs_of_columns(self.place(whole))).flatten(1)
        embedded: Tensor = self.centre(self.from_parts(parts) + self.from_whole(whole) + self.from_places(places))
        return embedded


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, kernel=3, stride=1)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))
        self.bend = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        bent: Tensor = self.bend(x + self.second(self.first(x)))
        return bent


class _Statistics(nn.Module):
    """From the mean over all places and the Euclidean norm over them: how much there is, and how unevenly."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.mean = nn.Linear(channels, dimensions, bias=False)
        self.spread = nn.Linear(channels, dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        spread = torch.linalg.vector_norm(x, dim=(2, 3))
        made: Tensor = self.mean(x.mean((2, 3))) + self.spread(spread * 0.05)
        return made


def _convolution(into: int, out: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


def _stage(into: int, out: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_convolution(into, out, kernel=3, stride=2), *(_Residual(out) for _ in range(blocks)))
