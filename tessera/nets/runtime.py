"""How the networks of an encoder are run: the seam between what a network is and what makes it quick.

Every runtime computes the same function. `tessera.nets.parity` measures by how much a runtime differs from another, and
nothing is served from one that differs by more than the bar there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from torch import Tensor

from tessera.domain.errors import TesseraError


class Runtime(StrEnum):
    """What runs the networks."""

    EAGER = "eager"
    """Torch, layer by layer; always there, on every device."""
    COMPILED = "compiled"
    """Machine code made from the network for this processor; needs a C++ compiler once."""
    CUDA_GRAPHS = "cuda-graphs"
    """Recorded launches in half precision; CUDA only, bound to one thread."""


class Network(Protocol):
    """A network that is ready to run, whatever runs it.

    Eager and compiled networks may be called by several threads at once; one of CUDA graphs by its own thread alone.
    """

    def __call__(self, batch: Tensor, /) -> Tensor:
        """Run one batch.

        Args:
            batch: float32 (n, channels, h, w) on the CPU, channels last.

        Returns:
            float32 (n, ...) on the CPU.
        """
        ...


class RuntimeUnavailableError(TesseraError):
    """A runtime cannot be had here; the caller goes on with the one that it has.

    Args:
        runtime: which.
        why: what stands in its way, as a phrase.
    """

    def __init__(self, runtime: Runtime, why: str) -> None:
        self.runtime = runtime
        self.why = why
        super().__init__(f"runtime {runtime.value} is not available: {why}")
