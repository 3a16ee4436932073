"""The grid of small convolutional networks: 1 to 3 layers, 8, 16 or 32 kernels, 1 to 3 pools.

The paper names its cells layers/kernels/pools ("3/16/3"); a cell is one set of options here.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from siamese_lab.networks.subnet import (
    MAX_WIDTH,
    Activation,
    Pooling,
    Shape,
    Subnet,
    activation_layer,
    pooling_layer,
    require_side,
)
from siamese_lab.options import require_between
from tessera.domain.errors import InvalidInputError


class ConvGrid(Subnet):
    """Convolutions that keep the side, a pool after each as long as there are pools, and a dense embedding.

    Weights for 1 x 28 x 28 and 64 dimensions: 100,496 for 1/8/1, 52,720 for 2/16/2, 14,080 for 3/16/3.

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding; 2 gives one that can be drawn.
        layers: convolutions, 1 to 3.
        kernels: of each convolution.
        pools: 1 to 3; those beyond the layers stand at the end.
        kernel_px: side of a kernel, odd.
        activation: after each convolution.
        pooling: of every pool.
        batch_norm: after each convolution.
        dropout: before the embedding.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = 64,
        layers: int = 3,
        kernels: int = 16,
        pools: int = 3,
        kernel_px: int = 3,
        activation: Activation = Activation.RELU,
        pooling: Pooling = Pooling.MAX,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("layers", layers, 1, 3)
        require_between("kernels", kernels, 1, MAX_WIDTH)
        require_between("pools", pools, 1, 3)
        require_between("dropout", dropout, 0.0, 0.9)
        if kernel_px not in {1, 3, 5, 7}:
            raise InvalidInputError("kernel_px", kernel_px, "1, 3, 5 or 7")
        height, width = require_side(input_shape, pools)
        made: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = input_shape[0]
        for number in range(1, layers + 1):
            made[f"conv{number}"] = nn.Conv2d(inputs, kernels, kernel_px, padding=kernel_px // 2)
            if batch_norm:
                made[f"norm{number}"] = nn.BatchNorm2d(kernels)
            made[f"activation{number}"] = activation_layer(activation)
            if number <= pools:
                made[f"pool{number}"] = pooling_layer(pooling)
            inputs = kernels
        for number in range(layers + 1, pools + 1):
            made[f"pool{number}"] = pooling_layer(pooling)
        made["flatten"] = nn.Flatten()
        if dropout:
            made["dropout"] = nn.Dropout(dropout)
        made["embedding"] = nn.Linear(kernels * height * width, dimensions)
        self.layers = nn.Sequential(made)

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        out: Tensor = self.layers(images)
        return out
