"""Networks that ship are not taken apart again at each start; the tests do it, so that the services need not."""

from __future__ import annotations

import pytest

from tessera.domain.artifact import ImportedGraph, available_encoders, is_shipped, load_manifest
from tessera.nets.graph import load_network


@pytest.mark.parametrize("name", available_encoders())
def test_every_step_of_a_shipped_network_can_be_taken(name: str) -> None:
    """Its shapes fit, its sizes stay within bounds, and it gives as many numbers as its manifest says."""
    graph = load_manifest(name).embedder
    if not isinstance(graph, ImportedGraph):
        assert graph.sha256  # a pinned file of a known network, which is no data
        return
    assert is_shipped(graph.folder)
    files = [(graph.folder / file).read_bytes() for file in ("network.json", "weights.safetensors")]
    assert load_network(files[0], files[1], name).program.dimensions == load_manifest(name).dimensions
