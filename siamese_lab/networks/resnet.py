"""A backbone in the style of ResNet for small pictures: three stages of blocks with shortcuts.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2; with a wider first stage it
is a wide residual network (Zagoruyko and Komodakis, BMVC 2016). The last batch norm of a block starts at gain 0, so
that a block starts as its shortcut (Goyal et al., arXiv 1706.02677, section 5.1).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from siamese_lab.networks.subnet import MAX_WIDTH, Activation, Shape, Subnet, activation_layer
from siamese_lab.options import require_between

STAGES = 3


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.activation1 = activation_layer(activation)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if (inputs, stride) != (outputs, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.activation2 = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride), rounded up."""
        inner = self.norm2(self.conv2(self.activation1(self.norm1(self.conv1(x)))))
        out: Tensor = self.activation2(inner + self.shortcut(x))
        return out


class ResNet(Subnet):
    """A stem, three stages, the mean over all places, a dense embedding.

    280,144 weights for 3 x 32 x 32 (ResNet-20 with shortcuts by convolution).

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding.
        blocks: of each stage; 3 make the paper's 20 layers.
        width: channels of the first stage; 16 is the paper's, 64 a wide one.
        activation: of every layer but the last.
        dropout: before the embedding.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = 128,
        blocks: int = 3,
        width: int = 16,
        activation: Activation = Activation.RELU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("blocks", blocks, 1, 18)
        require_between("width", width, 1, MAX_WIDTH >> (STAGES - 1))
        require_between("dropout", dropout, 0.0, 0.9)
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            activation_layer(activation),
        )
        widths = [width] * (blocks + 1) + [width << 1] * blocks + [width << 2] * blocks
        self.blocks = nn.Sequential(*(ResidualBlock(a, b, 1 if a == b else 2, activation) for a, b in pairwise(widths)))
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(widths[-1], dimensions)

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        out: Tensor = self.embedding(self.dropout(self.blocks(self.stem(images)).mean((2, 3))))
        return out

    @torch.no_grad()
    def finish_initialisation(self) -> None:
        """Let every block start as its shortcut."""
        for block in self.blocks:
            if isinstance(block, ResidualBlock):
                block.norm2.weight.zero_()
