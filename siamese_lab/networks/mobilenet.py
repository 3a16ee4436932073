"""MobileNetV2 as a trunk that embeds: the network of torchvision's ImageNet file, with the names of that file.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TRUNK_CHANNELS = 1280
"""Of what the trunk gives."""

# expansion, channels, how often, stride of the first; table 2 of the paper
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_LAST_HALVING = 5


class InvertedResidual(nn.Module):
    """Widen, look at each channel's places, narrow; what came in is added where the shape is the same."""

    def __init__(self, channels: int, made: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        widen = [_convolution(channels, wide, 1)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *widen,
            _convolution(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, made, 1, bias=False),
            nn.BatchNorm2d(made),
        )
        self.adds = stride == 1 and channels == made

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, h, w) -> (n, made, h / stride, w / stride)."""
        made: Tensor = self.conv(x)
        return x + made if self.adds else made


def mobilenet_trunk(*, fine: bool) -> nn.Sequential:
    """The convolutions of MobileNetV2, from 3 channels to `TRUNK_CHANNELS`.

    Args:
        fine: the last halving is left out, so that there are places of 16 pixels rather than of 32; the weights fit
            both. Source: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-identification", CVPRW
            2019, section 3.5.
    """
    layers: list[nn.Module] = [_convolution(3, 32, 3, 2)]
    channels = 32
    for at, (expansion, made, count, stride) in enumerate(_STAGES):
        first = 1 if fine and at == _LAST_HALVING else stride
        for block in range(count):
            layers.append(InvertedResidual(channels, made, first if block == 0 else 1, expansion))
            channels = made
    layers.append(_convolution(channels, TRUNK_CHANNELS, 1))
    return nn.Sequential(*layers)


def imagenet_colours() -> nn.BatchNorm2d:
    """From RGB values of 0 to 1 to what ImageNet networks were trained on; to be kept in evaluation mode."""
    layer = nn.BatchNorm2d(3, eps=0.0, affine=False)
    layer.register_buffer("running_mean", torch.tensor([0.485, 0.456, 0.406]))
    layer.register_buffer("running_var", torch.tensor([0.229, 0.224, 0.225]).square())
    return layer.eval()


def _convolution(channels: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, made, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(made),
        nn.ReLU6(),
    )
