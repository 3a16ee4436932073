"""The embedder that somebody brought: read from its folder, checked, and shown crops the way it was trained on them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from tessera.domain.artifact import NETWORK_FILE, WEIGHTS_FILE, Channels, ImportedGraph, InputFormat, is_shipped
from tessera.domain.errors import ArtifactError
from tessera.nets.graph import ImportedNetwork, load_network

MAX_NETWORK_BYTES = 1 << 24
MAX_WEIGHTS_BYTES = 1 << 30


class PresentedNetwork(nn.Module):
    """A network behind its input format: takes what every embedder here takes, RGB from 0 to 255.

    Args:
        network: takes `presented`.
        presented: its channel order and value range.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, network: ImportedNetwork, presented: InputFormat) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("offset", torch.tensor(presented.offset).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(presented.scale).reshape(1, 3, 1, 1))
        self._flipped = presented.channels is Channels.BGR
        self._ranged = presented != InputFormat(presented.channels)
        self.eval()

    def extra_repr(self) -> str:
        """What its buffers do not tell."""
        return f"flipped={self._flipped}, ranged={self._ranged}"

    def forward(self, crops: Tensor) -> Tensor:
        """Embed aligned faces.

        Args:
            crops: float32 (n, 3, 112, 112), RGB, 0 to 255.

        Returns:
            float32 (n, d), of any length.
        """
        x = crops.flip(1) if self._flipped else crops
        out: Tensor = self.network((x - self.offset) * self.scale if self._ranged else x)
        return out


def load_imported(graph: ImportedGraph, presented: InputFormat) -> PresentedNetwork:
    """Load an imported embedder.

    Args:
        graph: where it lies, and the sums of its files.
        presented: its input format.

    Raises:
        ArtifactError: a file is missing or is not the one of the manifest, or they are no network.
    """
    return PresentedNetwork(load_graph(graph), presented)


def load_graph(graph: ImportedGraph) -> ImportedNetwork:
    """Load a network as data, of whatever input.

    Args:
        graph: where it lies, and the sums of its files.

    Raises:
        ArtifactError: a file is missing or is not the one of the manifest, or they are no network.
    """
    program = _read_checked(graph.folder / NETWORK_FILE, graph.network_sha256, MAX_NETWORK_BYTES)
    weights = _read_checked(graph.folder / WEIGHTS_FILE, graph.sha256, MAX_WEIGHTS_BYTES)
    is_known = is_shipped(graph.folder)
    return load_network(program, weights, f"{graph.folder.name}/{NETWORK_FILE}", is_known=is_known)


def _read_checked(path: Path, sha256: str, max_bytes: int) -> bytes:
    named = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise ArtifactError(named, f"cannot be read: {error.strerror}; import the encoder again") from error
    found = hashlib.sha256(content).hexdigest()
    if len(content) > max_bytes or found != sha256:
        raise ArtifactError(named, f"has sha256 {found}; the manifest says {sha256}. Import the encoder again")
    return content
