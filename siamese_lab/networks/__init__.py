"""The networks of the lab: from pictures to embeddings, each by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from siamese_lab.networks.dense import Dense
from siamese_lab.networks.grid import ConvGrid
from siamese_lab.networks.initialisation import Initialisation, initialise
from siamese_lab.networks.lenet5 import LeNet5, LeNet5Classifier
from siamese_lab.networks.resnet import ResNet
from siamese_lab.networks.subnet import Shape, Subnet
from siamese_lab.networks.triplet_cnn import TripletCnn
from siamese_lab.networks.vgg import Vgg
from siamese_lab.networks.wide_resnet import WideResNet
from siamese_lab.options import Option, read_options
from tessera.domain.errors import InvalidInputError

__all__ = ["NETWORKS", "Initialisation", "Shape", "Subnet", "build", "initialise"]

NETWORKS: Mapping[str, Callable[..., Subnet]] = {
    "lenet5": LeNet5,
    "lenet5-classifier": LeNet5Classifier,
    "dense": Dense,
    "conv-grid": ConvGrid,
    "triplet-cnn": TripletCnn,
    "vgg": Vgg,
    "resnet": ResNet,
    "wide-resnet": WideResNet,
}
"""Every network; its options are the keyword parameters of the class."""


def build(name: str, input_shape: Shape, options: Mapping[str, Option]) -> Subnet:
    """A network of the table, its weights not yet drawn (call `initialise`).

    Args:
        name: a key of `NETWORKS`.
        input_shape: channels, height, width of the pictures.
        options: by name; see the class.

    Raises:
        InvalidInputError: there is no such network or option, or a value is out of range.
    """
    if name not in NETWORKS:
        raise InvalidInputError("network.name", name, f"one of {', '.join(NETWORKS)}")
    made_by = NETWORKS[name]
    return made_by(input_shape, **read_options(made_by, options, "network.options"))
