"""The lab's own backbone for small pictures: as far as a few minutes of a GPU or an hour of two CPU cores go.

A wide and shallow network. Its first layer is not learned: it makes the pixels of each small patch independent of each
other (whitening), which is what a first layer spends its first epochs on. A pool stands before its batch norm, so that
both of them and everything after work on a quarter of the places.

Source: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498 (2024), section 3, after Page,
"How to Train Your ResNet" (2018); its GELU is SiLU here, which exported networks have.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from siamese_lab.networks.subnet import MAX_WIDTH, Activation, Shape, Subnet, activation_layer, require_side
from siamese_lab.options import require_between
from tessera.domain.errors import InvalidInputError

STAGES = 3
NORM_MOMENTUM = 0.4
"""A short training has few steps for the running statistics to settle in; the paper's is 0.4 (0.6 kept)."""
WHITENING_EPSILON = 5e-4
"""Added to the variances of patches: the directions that hold noise alone are not blown up."""
WHITENING_IMAGES = 5000


class WideBlock(nn.Module):
    """Half the side: a convolution and a pool, then one more convolution, or two beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, convolutions: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.norm1 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.conv3: nn.Module | None = None
        self.norm3: nn.Module | None = None
        if convolutions == 3:
            self.conv3 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.norm3 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.activation = activation_layer(activation)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h // 2, w // 2)."""
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        out: Tensor = self.activation(self.norm2(self.conv2(x)))
        if self.conv3 is not None and self.norm3 is not None:
            out = self.activation(self.norm3(self.conv3(out)) + x)
        return out


class WideResNet(Subnet):
    """A whitening layer, three wide blocks, the largest of the last places, a dense embedding.

    2,003,000 weights for 3 x 32 x 32, about 120 million multiplications a picture.

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding.
        width: channels of the first block; the others have `growth` times as many.
        growth: see `width`.
        convolutions: of a block; 2, or 3 with a shortcut.
        patch_px: side of the patches that are made independent.
        activation: of every layer.
        identity_start: whether convolutions start by handing on what they are given (the first channels).
        output_scale: of the last layer; 1/9 keeps the first steps of a softmax on the embedding small.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = 128,
        width: int = 64,
        growth: int = 4,
        convolutions: int = 2,
        patch_px: int = 2,
        activation: Activation = Activation.SILU,
        identity_start: bool = True,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("growth", growth, 1, 16)
        require_between("width", width, 1, MAX_WIDTH // growth)
        require_between("convolutions", convolutions, 2, 3)
        require_between("patch_px", patch_px, 2, 4)
        require_between("output_scale", output_scale, 1e-3, 1.0)
        ends = require_side(input_shape, STAGES, lost_px=patch_px - 1)
        patch = input_shape[0] * patch_px**2
        widths = (2 * patch, width, growth * width, growth * width)
        self.whitening = nn.Conv2d(input_shape[0], 2 * patch, patch_px)
        self.whitening.weight.requires_grad_(False)
        self.activation = activation_layer(activation)
        self.blocks = nn.Sequential(*(WideBlock(a, b, convolutions, activation) for a, b in pairwise(widths)))
        self.pool = nn.MaxPool2d(ends)
        self.embedding = nn.Linear(widths[-1], dimensions, bias=False)
        self.output_scale = output_scale
        self.identity_start = identity_start

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        features = self.pool(self.blocks(self.activation(self.whitening(images)))).flatten(1)
        out: Tensor = self.embedding(features)
        return out if self.output_scale == 1.0 else out * self.output_scale

    @torch.no_grad()
    def finish_initialisation(self) -> None:
        """Let the convolutions of blocks start by handing on their input, where `identity_start` says so."""
        if not self.identity_start:
            return
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith("conv3"):
                nn.init.dirac_(module.weight[: module.in_channels])

    @torch.no_grad()
    def prepare(self, images: Tensor) -> None:
        """Measure how the pixels of a patch hang together, and set the first layer by it.

        Args:
            images: float32 (n, c, h, w), 0 to 1; the first 5,000 are looked at.

        Raises:
            InvalidInputError: they are not pictures of this network's shape.
        """
        if tuple(images.shape[1:]) != self.input_shape or not len(images):
            raise InvalidInputError("images", tuple(images.shape), f"(n, {', '.join(map(str, self.input_shape))})")
        seen = images[:WHITENING_IMAGES].float()
        filters = whitening_filters(seen, self.whitening.kernel_size[0])
        self.whitening.weight.copy_(torch.cat([filters, -filters]))
        if self.whitening.bias is not None:
            self.whitening.bias.zero_()


def whitening_filters(images: Tensor, patch_px: int) -> Tensor:
    """Filters whose answers on these pictures are uncorrelated and, where there is more than noise, of variance 1.

    Args:
        images: float32 (n, c, h, w).
        patch_px: side of a filter.

    Returns:
        float32 (c * patch_px**2, c, patch_px, patch_px), that of the greatest variance first.
    """
    channels = images.shape[1]
    patches = images.unfold(2, patch_px, 1).unfold(3, patch_px, 1)
    flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, channels * patch_px**2)
    covariance = torch.zeros(flat.shape[1], flat.shape[1], dtype=torch.float64, device=flat.device)
    mean = flat.mean(0, dtype=torch.float64)
    for part in torch.split(flat, 1 << 18):
        centred = part.double() - mean
        covariance += centred.T @ centred
    variances, directions = torch.linalg.eigh(covariance / max(1, len(flat) - 1))
    filters: Tensor = directions / (variances.clamp_min(0.0) + WHITENING_EPSILON).sqrt()
    return filters.flip(1).T.reshape(-1, channels, patch_px, patch_px).float()
