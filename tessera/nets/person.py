"""The network of a person encoder, from its manifest: a graph as data that lies beside it."""

from __future__ import annotations

import torch

from tessera.domain.artifact import ImportedGraph, Manifest
from tessera.domain.errors import ArtifactError
from tessera.nets.imported import load_graph
from tessera.nets.runtime import Network


def load_person_network(manifest: Manifest, device: torch.device | None = None) -> Network:
    """Load the embedder that a manifest names; who finds people is no part of it, and the caller checks the manifest's
    preprocessing.

    Args:
        manifest: of a person encoder.
        device: where it shall run; the CPU by default.

    Returns:
        In evaluation mode: float32 (n, 3, 128, 64) as `tessera.imaging.person.person_input` gives, to (n, d) of any
        length; compared by cosine.

    Raises:
        ArtifactError: it is no graph beside the manifest, not the one that the manifest names, or it wants other crops.
    """
    if not isinstance(manifest.embedder, ImportedGraph):
        raise ArtifactError(manifest.name, f"has the embedder {manifest.embedder.network!r}; allowed: a graph")
    network = load_graph(manifest.embedder)
    wanted = (3, manifest.crop.height_px, manifest.crop.width_px)
    if network.program.input_shape != wanted or network.program.dimensions != manifest.dimensions:
        found = f"{network.program.input_shape} to {network.program.dimensions}"
        told = f"has a network {found}; its manifest says {wanted} to {manifest.dimensions}"
        raise ArtifactError(manifest.name, told)
    made: Network = network.requires_grad_(requires_grad=False).to(device or torch.device("cpu"))
    return made
