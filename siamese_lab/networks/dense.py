"""The plain fully connected embedder: 784-1024-1024-2.

Source: MathWorks, "Train a Twin Network for Dimensionality Reduction" (Deep Learning Toolbox), after Hadsell, Chopra
and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

from siamese_lab.networks.subnet import MAX_WIDTH, Activation, Shape, Subnet, activation_layer
from siamese_lab.options import require_between


class Dense(Subnet):
    """Two hidden layers and an embedding that can be drawn on paper.

    1,855,490 weights for 1 x 28 x 28.

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding.
        hidden: numbers in each hidden layer.
        layers: hidden layers.
        activation: of the hidden layers.
        batch_norm: after every hidden layer.
        dropout: after every hidden layer.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = 2,
        hidden: int = 1024,
        layers: int = 2,
        activation: Activation = Activation.RELU,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("hidden", hidden, 1, MAX_WIDTH)
        require_between("layers", layers, 1, 8)
        require_between("dropout", dropout, 0.0, 0.9)
        made: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        inputs = math.prod(input_shape)
        for number in range(1, layers + 1):
            made[f"dense{number}"] = nn.Linear(inputs, hidden)
            if batch_norm:
                made[f"norm{number}"] = nn.BatchNorm1d(hidden)
            made[f"activation{number}"] = activation_layer(activation)
            if dropout:
                made[f"dropout{number}"] = nn.Dropout(dropout)
            inputs = hidden
        made["embedding"] = nn.Linear(inputs, dimensions)
        self.layers = nn.Sequential(made)

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        out: Tensor = self.layers(images)
        return out
