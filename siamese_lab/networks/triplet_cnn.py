"""The convolutional network of the triplet system on Fashion-MNIST: 64 and 128 filters, dense 128 and 64.

The paper gives the widths, dropout 0.2 and batch norm; where each stands is our reading, written below.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from siamese_lab.networks.subnet import MAX_WIDTH, Activation, Shape, Subnet, UnitLength, activation_layer, require_side
from siamese_lab.options import require_between


class TripletCnn(Subnet):
    """conv 64 - norm - pool - conv 128 - norm - pool - dropout - dense 128 - norm - dropout - dense 64.

    886,336 weights for 1 x 28 x 28.

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding.
        filters: of the first convolution; the second has twice as many.
        hidden: numbers in the dense layer before the embedding.
        dropout: before both dense layers.
        batch_norm: after both convolutions and the hidden layer.
        activation: of every layer but the last.
        unit_length: whether embeddings are brought to length 1, which a margin of 0.2 takes for granted
            (FaceNet, section 3.1).
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = 64,
        filters: int = 64,
        hidden: int = 128,
        dropout: float = 0.2,
        batch_norm: bool = True,
        activation: Activation = Activation.RELU,
        unit_length: bool = False,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("filters", filters, 1, MAX_WIDTH // 2)
        require_between("hidden", hidden, 1, MAX_WIDTH)
        require_between("dropout", dropout, 0.0, 0.9)
        height, width = require_side(input_shape, halvings=2)
        made: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (inputs, outputs) in enumerate([(input_shape[0], filters), (filters, 2 * filters)], 1):
            made[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            made[f"activation{number}"] = activation_layer(activation)
            if batch_norm:
                made[f"norm{number}"] = nn.BatchNorm2d(outputs)
            made[f"pool{number}"] = nn.MaxPool2d(2)
        made["flatten"] = nn.Flatten()
        made["dropout1"] = nn.Dropout(dropout)
        made["dense1"] = nn.Linear(2 * filters * height * width, hidden)
        made["activation3"] = activation_layer(activation)
        if batch_norm:
            made["norm3"] = nn.BatchNorm1d(hidden)
        made["dropout2"] = nn.Dropout(dropout)
        made["embedding"] = nn.Linear(hidden, dimensions)
        if unit_length:
            made["unit"] = UnitLength()
        self.layers = nn.Sequential(made)

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        out: Tensor = self.layers(images)
        return out
