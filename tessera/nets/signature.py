"""The network of a signature encoder, from its manifest: a graph as data that lies beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tessera.domain.artifact import ImportedGraph, Manifest
from tessera.domain.errors import ArtifactError
from tessera.nets.imported import load_graph
from tessera.nets.runtime import Network, Runtime


@dataclass(frozen=True, slots=True, eq=False)
class SignatureNetworks:
    """The one network of a signature encoder, in evaluation mode; it is so small that it always runs on the CPU."""

    embedder: Network
    """float32 (n, 1, height, width), 0 = paper to 1 = ink, to (n, d) of any length."""
    device: torch.device
    runtime: Runtime = Runtime.EAGER


def load_signature_networks(manifest: Manifest) -> SignatureNetworks:
    """Load the network that a manifest names.

    Args:
        manifest: of a signature encoder.

    Raises:
        ArtifactError: it is no graph beside the manifest, not the one that the manifest names, or it wants another
            canvas.
    """
    if not isinstance(manifest.embedder, ImportedGraph):
        raise ArtifactError(manifest.name, f"has the embedder {manifest.embedder.network!r}; allowed: a graph")
    network = load_graph(manifest.embedder)
    wanted = (1, manifest.crop.height_px, manifest.crop.width_px)
    if network.program.input_shape != wanted or network.program.dimensions != manifest.dimensions:
        found = f"{network.program.input_shape} to {network.program.dimensions}"
        raise ArtifactError(
            manifest.name, f"has a network {found}; its manifest says {wanted} to {manifest.dimensions}"
        )
    return SignatureNetworks(network.eval().requires_grad_(requires_grad=False), torch.device("cpu"))
