"""What every network of the lab is: one half of a Siamese network, from pictures to embeddings.

Both halves are the same module with the same weights; it is called once for each side of a pair. It knows nothing of
pairs, losses or scores. Its forward has no branch that depends on numbers, so that an exporter can trace it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from siamese_lab.options import require_between
from tessera.domain.errors import InvalidInputError

Shape = tuple[int, int, int]
"""Channels, height, width."""

MAX_SIDE_PX = 1024
MAX_DIMENSIONS = 4096
MAX_WIDTH = 4096


class Activation(StrEnum):
    """What follows a layer."""

    RELU = "relu"
    SILU = "silu"
    """Smooth; x * sigmoid(x)."""
    TANH = "tanh"
    """As LeNet-5 had it in 1998."""


class Pooling(StrEnum):
    """How four places become one."""

    MAX = "max"
    AVERAGE = "average"


class Subnet(nn.Module):
    """One half of a Siamese network.

    Args:
        input_shape: channels (1 or 3), height and width of a picture.
        dimensions: length of an embedding.

    Raises:
        InvalidInputError: one of them cannot be.
    """

    input_shape: Shape
    dimensions: int

    def __init__(self, input_shape: Shape, dimensions: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        if channels not in {1, 3}:
            raise InvalidInputError("input_shape[0]", channels, "1 (gray) or 3 (RGB) channels")
        require_between("input_shape[1]", height, 1, MAX_SIDE_PX)
        require_between("input_shape[2]", width, 1, MAX_SIDE_PX)
        require_between("dimensions", dimensions, 1, MAX_DIMENSIONS)
        self.input_shape = (channels, height, width)
        self.dimensions = dimensions
        self.register_forward_pre_hook(_require_pictures)

    def forward(self, images: Tensor) -> Tensor:
        """Embed.

        Args:
            images: float32 (n, c, h, w), 0 to 1, of `input_shape`.

        Returns:
            float32 (n, dimensions), of any length.
        """
        raise NotImplementedError

    def prepare(self, images: Tensor) -> None:
        """Set what is measured on training pictures rather than learned; most networks have nothing of the kind.

        Called once, after `initialise` and before the first step.

        Args:
            images: float32 (n, c, h, w), 0 to 1; a few thousand are enough.
        """

    def finish_initialisation(self) -> None:
        """Set what must start at a certain value whatever the initialisation; `initialise` calls it last."""


def _require_pictures(module: nn.Module, given: tuple[Any, ...]) -> None:
    # A hook and no line of forward: tracers follow forward alone, and a shape is no number of the graph.
    if not isinstance(given[0], Tensor):  # a tracer's stand-in has no shape
        return
    shape = tuple(given[0].shape)
    wanted: Any = module.input_shape
    if shape[1:] != wanted:
        raise InvalidInputError("images", shape, f"(n, {', '.join(map(str, wanted))})")


class UnitLength(nn.Module):
    """Brings embeddings to length 1; one of length 0 stays."""

    def forward(self, embeddings: Tensor) -> Tensor:
        """(n, d) -> (n, d)."""
        lengths: Tensor = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        return embeddings / lengths.clamp_min(1e-12)


_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    Activation.RELU: nn.ReLU,
    Activation.SILU: nn.SiLU,
    Activation.TANH: nn.Tanh,
}


def activation_layer(kind: Activation) -> nn.Module:
    """A layer without weights."""
    return _ACTIVATIONS[kind]()


def pooling_layer(kind: Pooling) -> nn.Module:
    """A layer that halves height and width, rounded down."""
    return nn.MaxPool2d(2) if kind is Pooling.MAX else nn.AvgPool2d(2)


def require_side(shape: Shape, halvings: int, lost_px: int = 0) -> tuple[int, int]:
    """Height and width after some halvings.

    Args:
        shape: of the picture.
        halvings: how many.
        lost_px: taken from each side before the first.

    Raises:
        InvalidInputError: nothing of the picture is left.
    """
    height, width = ((side - lost_px) >> halvings for side in shape[1:])
    if min(height, width) < 1:
        raise InvalidInputError("input_shape", shape, f"at least {(1 << halvings) + lost_px} pixels a side")
    return height, width
