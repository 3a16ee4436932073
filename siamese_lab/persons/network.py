"""The person encoder's network: MobileNetV2's trunk, the mean over places, a narrower layer, and a batch norm.

Identities are learned after the batch norm and triplets before it; what is served is what comes after it, compared by
cosine. Source: Luo et al., CVPRW 2019, section 3.6 (the "BNNeck").
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from siamese_lab.networks.mobilenet import TRUNK_CHANNELS, imagenet_colours, mobilenet_trunk
from siamese_lab.networks.subnet import Subnet
from tessera.imaging.person import CROP_HEIGHT_PX, CROP_WIDTH_PX

DIMENSIONS = 256


class GenericBackbone(Subnet):
    """What ImageNet taught, and nothing of people: the baseline. (n, 3, 128, 64), 0 to 1 -> (n, 1280).

    Args:
        fine: as `mobilenet_trunk`'s.
    """

    def __init__(self, *, fine: bool = False) -> None:
        super().__init__((3, CROP_HEIGHT_PX, CROP_WIDTH_PX), TRUNK_CHANNELS)
        self.colours = imagenet_colours()
        self.features = mobilenet_trunk(fine=fine)

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        seen: Tensor = self.features(self.colours(images))
        return seen.mean((2, 3))


class PersonNetwork(Subnet):
    """(n, 3, 128, 64), RGB from 0 to 1 -> (n, dimensions), of any length; compared by cosine.

    Args:
        dimensions: of the embedding.
        fine: as `mobilenet_trunk`'s.
    """

    def __init__(self, dimensions: int = DIMENSIONS, *, fine: bool = True) -> None:
        super().__init__((3, CROP_HEIGHT_PX, CROP_WIDTH_PX), dimensions)
        self.colours = imagenet_colours()
        self.features = mobilenet_trunk(fine=fine)
        self.narrow = nn.Linear(TRUNK_CHANNELS, dimensions, bias=False)
        self.neck = nn.BatchNorm1d(dimensions)
        self.neck.bias.requires_grad_(False)

    def train(self, mode: bool = True) -> PersonNetwork:
        """As nn.Module's; the colours are never learned."""
        super().train(mode)
        self.colours.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """As Subnet."""
        made: Tensor = self.neck(self.before_neck(images))
        return made

    def before_neck(self, images: Tensor) -> Tensor:
        """What triplets are learned on: (n, dimensions)."""
        made: Tensor = self.narrow(self.pooled(images))
        return made

    def pooled(self, images: Tensor) -> Tensor:
        """What the narrow layer sees: (n, 1280)."""
        seen: Tensor = self.features(self.colours(images))
        return seen.mean((2, 3))

    def begin_with(self, trunk: Mapping[str, Tensor]) -> None:
        """Take the trunk's weights, named as in `siamese_lab.persons.backbone`."""
        self.features.load_state_dict(trunk)
