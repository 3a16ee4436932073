"""A backbone in the style of VGG: stacks of 3x3 convolutions, each stack twice as wide on half the side.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015; batch
norm (Ioffe and Szegedy, ICML 2015) is added, as everybody does who trains it without a pretrained beginning.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from siamese_lab.networks.subnet import MAX_WIDTH, Activation, Shape, Subnet, activation_layer, require_side
from siamese_lab.options import require_between


class Vgg(Subnet):
    """Stacks of convolutions, a hidden dense layer, an embedding.

    614,944 weights for 1 x 28 x 28; 844,896 for 3 x 32 x 32.

    Args:
        input_shape: as a Subnet's.
        dimensions: of the embedding.
        stacks: how many; the side is halved after each.
        depth: convolutions a stack.
        width: channels of the first stack.
        hidden: numbers in the hidden dense layer.
        dropout: before both dense layers.
        batch_norm: after every convolution.
        activation: of every layer but the last.
    """

    def __init__(
        self,
        input_shape: Shape,
        *,
        dimensions: int = 128,
        stacks: int = 3,
        depth: int = 2,
        width: int = 32,
        hidden: int = 256,
        dropout: float = 0.2,
        batch_norm: bool = True,
        activation: Activation = Activation.RELU,
    ) -> None:
        super().__init__(input_shape, dimensions)
        require_between("stacks", stacks, 1, 6)
        require_between("depth", depth, 1, 6)
        require_between("width", width, 1, MAX_WIDTH >> stacks)
        require_between("hidden", hidden, 1, MAX_WIDTH)
        require_between("dropout", dropout, 0.0, 0.9)
        height, wide = require_side(input_shape, stacks)
        widths = [width << number for number in range(stacks)]
        inputs = [input_shape[0], *widths[:-1]]
        self.stacks = nn.Sequential(
            *(_stack(a, b, depth, activation, batch_norm=batch_norm) for a, b in zip(inputs, widths, strict=True))
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * height * wide, hidden),
            activation_layer(activation),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimensions),
        )

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        out: Tensor = self.head(self.stacks(images))
        return out


def _stack(inputs: int, outputs: int, depth: int, activation: Activation, *, batch_norm: bool) -> nn.Sequential:
    made: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        made[f"conv{number}"] = nn.Conv2d(
            inputs if number == 1 else outputs, outputs, 3, padding=1, bias=not batch_norm
        )
        if batch_norm:
            made[f"norm{number}"] = nn.BatchNorm2d(outputs)
        made[f"activation{number}"] = activation_layer(activation)
    made["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(made)
