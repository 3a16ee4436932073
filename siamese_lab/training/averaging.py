"""The running mean of a network's weights, which often judges better than the weights of any one step.

Source: Polyak and Juditsky, SIAM J. Control Optim. 30 (1992); with decay, Tarvainen and Valpola, NeurIPS 2017, eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_YOUNG = 10.0


class WeightAverage:
    """The mean so far.

    Args:
        module: whose weights; its statistics (buffers) are taken as they are.
        decay: how much of the mean stays at a step. The first steps count more: it is at most (1 + t) / (10 + t).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module, self._decay = module, decay
        self._mean = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take a step's weights in.

        Args:
            step: how many came before it.
        """
        decay = min(self._decay, (1.0 + step) / (_YOUNG + step))
        now = self._module.state_dict()
        weights = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self._mean[n] for n in weights], [now[n].detach() for n in weights], 1.0 - decay)
        for name in now.keys() - set(weights):
            self._mean[name].copy_(now[name])

    def state(self) -> Mapping[str, Tensor]:
        """The mean, as the module's `state_dict` is."""
        return self._mean

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a mean that `state` gave."""
        for name, value in state.items():
            self._mean[name].copy_(value)
