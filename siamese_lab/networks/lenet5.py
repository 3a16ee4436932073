"""LeNet-5: as half of SN-LeNet-5, and as the plain classifier that it is compared with.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86 (1998), Fig. 2. Its
layer C3 took part of the maps of S2 and its pools had weights; as everybody does since, C3 takes all and pools have
none.
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
)
from siamese_lab.options import require_between
from tessera.domain.errors import InvalidInputError

F6 = 84
"""Numbers in the layer before the classes."""


class LeNet5(Subnet):
    """LeNet-5 up to layer F6, which is the embedding (no activation follows it).

    60,856 weights for 1 x 28 x 28; 82,276 for 3 x 32 x 32, and 61,156 there without padding.

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding; 84 is the paper's F6.
        padding: pixels around the picture before the first layer; 2 makes 28 the 32 of the paper.
        width: maps a layer, as a multiple of the paper's 6 and 16.
        activation: of every layer but the last.
        pooling: of S2 and S4; the paper's is the average.
        batch_norm: after both convolutions.
        dropout: of the 120 numbers before the embedding.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = F6,
        padding: int = 2,
        width: int = 1,
        activation: Activation = Activation.RELU,
        pooling: Pooling = Pooling.MAX,
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("padding", padding, 0, 4)
        require_between("width", width, 1, MAX_WIDTH // 16)
        require_between("dropout", dropout, 0.0, 0.9)
        maps = (6 * width, 16 * width)
        height, wide = _end_sides(input_shape, padding)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (inputs, outputs, pad) in enumerate([(input_shape[0], maps[0], padding), (maps[0], maps[1], 0)], 1):
            layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, 5, padding=pad, bias=not batch_norm)
            if batch_norm:
                layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
            layers[f"activation{number}"] = activation_layer(activation)
            layers[f"pool{number}"] = pooling_layer(pooling)
        layers["flatten"] = nn.Flatten()
        layers["dense1"] = nn.Linear(maps[1] * height * wide, 120)
        layers["activation3"] = activation_layer(activation)
        if dropout:
            layers["dropout"] = nn.Dropout(dropout)
        layers["dense2"] = nn.Linear(120, dimensions)
        self.layers = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        out: Tensor = self.layers(images)
        return out


class LeNet5Classifier(Subnet):
    """LeNet-5 whole: what it gives are the logits of the classes, and no embedding.

    61,706 weights for 1 x 28 x 28 and ten classes. It is here for the plain network's column of the paper; train it
    with the loss `cross-entropy`.

    Args:
        input_shape: as a Subnet's.
        classes: how many.
        padding: as LeNet5's.
        activation: as LeNet5's.
        pooling: as LeNet5's.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        classes: int = 10,
        padding: int = 2,
        activation: Activation = Activation.RELU,
        pooling: Pooling = Pooling.MAX,
    ) -> None:
        super().__init__(input_shape, classes)
        self.subnet = LeNet5(input_shape, padding=padding, activation=activation, pooling=pooling).layers
        self.activation = activation_layer(activation)
        self.classes = nn.Linear(F6, classes)

    def forward(self, images: Tensor) -> Tensor:
        """float32 (n, c, h, w), 0 to 1 -> logits float32 (n, classes)."""
        out: Tensor = self.classes(self.activation(self.subnet(images)))
        return out


def _end_sides(shape: Shape, padding: int) -> tuple[int, int]:
    height, width = ((((side + 2 * padding - 4) // 2) - 4) // 2 for side in shape[1:])
    if min(height, width) < 1:
        raise InvalidInputError("input_shape", shape, f"at least {16 - 2 * padding} pixels a side")
    return height, width
