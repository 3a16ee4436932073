"""A set of pictures through a subnet: the vectors that every figure of the evaluation is made of.

Knows the lab's form of pictures and nothing of pairs. The network is put into its testing mode and left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tessera.domain.errors import InvalidInputError

Embeddings = npt.NDArray[np.float32]
"""float32 (n, d)."""
Pictures = npt.NDArray[np.uint8]
"""uint8 (n, height, width, channels), one channel or three."""

BATCH = 256


def as_batch(pictures: Pictures, device: str = "cpu") -> Tensor:
    """Pictures as networks take them.

    Args:
        pictures: uint8 (n, height, width, channels).
        device: where the batch shall be.

    Returns:
        float32 (n, channels, height, width) in [0, 1].
    """
    if pictures.ndim != 4 or pictures.dtype != np.uint8:
        raise InvalidInputError("images", f"{pictures.dtype} {pictures.shape}", "uint8 (n, height, width, channels)")
    channels_first = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
    return torch.from_numpy(channels_first).to(device).float() / 255.0


def as_pictures(batch: Tensor) -> Pictures:
    """The way back: each value to the nearest of 256 levels."""
    levels = (batch.detach().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def embed(network: nn.Module, pictures: Pictures, device: str = "cpu", batch: int = BATCH) -> Embeddings:
    """The embedding of every picture.

    Args:
        network: float32 (n, c, h, w) in [0, 1] to (n, d); it is on `device` already.
        pictures: uint8 (n, height, width, channels), such as `LabelledImages.images`.
        device: where it computes.
        batch: how many at a time.

    Returns:
        float32 (n, d), in the pictures' order.

    Raises:
        InvalidInputError: there is no picture, or the network gives something that is not finite.
    """
    if not len(pictures):
        raise InvalidInputError("images", 0, "one or more")
    with testing(network), torch.inference_mode():
        parts = [
            network(as_batch(pictures[at : at + batch], device)).float().cpu().numpy()
            for at in range(0, len(pictures), batch)
        ]
    embeddings: Embeddings = np.concatenate(parts)
    if embeddings.ndim != 2 or not bool(np.isfinite(embeddings).all()):
        raise InvalidInputError("network", f"embeddings of shape {embeddings.shape}", "finite ones of shape (n, d)")
    return embeddings


@contextmanager
def testing(network: nn.Module) -> Iterator[None]:
    """The network in its testing mode (no dropout, batch norm at rest), and as it was afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
