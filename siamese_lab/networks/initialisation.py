"""How weights start: one generator decides all of them, so that a seed names a network.

Biases start at 0, batch norms at gain 1 and shift 0 with fresh statistics, PReLU slopes at 0.25, in every case.
"""

from __future__ import annotations

import math
from enum import StrEnum

import torch
from torch import Tensor, nn

from siamese_lab.networks.subnet import Subnet
from siamese_lab.options import require_above
from tessera.domain.errors import InvalidInputError

DEVIATION = 0.05
"""Of RANDOM."""


class Initialisation(StrEnum):
    """From which distribution the weights of convolutions and dense layers are drawn."""

    RANDOM = "random"
    """Normal, of one deviation whatever the layer's size."""
    XAVIER = "xavier"
    """Uniform within +-sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio, AISTATS 2010, eq. 16."""
    HE = "he"
    """Normal, of variance 2 / fan_in. Source: He et al., ICCV 2015, eq. 10."""


@torch.no_grad()
def initialise(
    network: nn.Module, kind: Initialisation, generator: torch.Generator, deviation: float = DEVIATION
) -> None:
    """Draw all weights of a network anew.

    Args:
        network: a Subnet or any module of convolutions, dense layers, batch norms and PReLUs; it is changed.
        kind: which distribution.
        generator: on the CPU; the same state gives the same weights, on whatever device the network is.
        deviation: of RANDOM; 0.01 is MATLAB's "narrow-normal".

    Raises:
        InvalidInputError: the network has weights that none of this is for, or the deviation is not above 0.
    """
    require_above("deviation", deviation, 0.0, 10.0)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            _draw(module.weight, kind, generator, deviation)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()  # draws nothing
        elif isinstance(module, nn.PReLU):
            module.weight.fill_(0.25)
        elif next(module.parameters(recurse=False), None) is not None:
            raise InvalidInputError(f"network.{name}", type(module).__name__, "a layer that `initialise` knows")
    if isinstance(network, Subnet):
        network.finish_initialisation()


def _draw(weight: Tensor, kind: Initialisation, generator: torch.Generator, deviation: float) -> None:
    place = math.prod(weight.shape[2:])
    fan_in, fan_out = weight.shape[1] * place, weight.shape[0] * place
    drawn = torch.empty(weight.shape, dtype=torch.float32)
    match kind:
        case Initialisation.RANDOM:
            drawn.normal_(0.0, deviation, generator=generator)
        case Initialisation.XAVIER:
            bound = math.sqrt(6.0 / (fan_in + fan_out))
            drawn.uniform_(-bound, bound, generator=generator)
        case Initialisation.HE:
            drawn.normal_(0.0, math.sqrt(2.0 / fan_in), generator=generator)
    weight.copy_(drawn)
