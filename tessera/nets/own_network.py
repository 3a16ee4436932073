"""From an ONNX file to the two files of an imported encoder, and the networks that it is tried with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch

from tessera.domain.artifact import InputFormat, Manifest
from tessera.domain.errors import ArtifactError
from tessera.nets.artifact import BringFile, SampleNetworks, load_face_networks
from tessera.nets.graph import dump_program, load_network
from tessera.nets.imported import PresentedNetwork
from tessera.nets.onnx_file import OnnxGraph, open_onnx
from tessera.nets.onnx_graph import convert
from tessera.nets.trial import Parity, Rows, Speed, for_inference, measure_parity, measure_speed, run_network
from tessera.nets.yunet import decode


@dataclass(frozen=True, slots=True, eq=False)
class OwnNetwork:
    """A network that was converted, saved and loaded again; what is tried is what will be served."""

    graph: OnnxGraph
    program: bytes
    """The content of `network.json`."""
    weights: bytes
    """The content of `weights.safetensors`."""
    presented: InputFormat
    network: PresentedNetwork
    steps: Mapping[str, int]
    """How many steps there are of each kind."""
    numbers: int
    """Weights, counted one by one."""

    def embed(self, crops: Rows) -> Rows:
        """Embed aligned faces: float32 (n, 3, 112, 112), RGB, 0 to 255, to (n, d) of length 1."""
        made = run_network(self.network, crops)
        unit: Rows = made / np.linalg.norm(made, axis=1, keepdims=True)
        return unit

    def parity(self, crops: Rows) -> Parity:
        """As `measure_parity`."""
        return measure_parity(self.network, self.presented, self.graph, crops)


def convert_own(path: Path, presented: InputFormat, side_px: int, dimensions: int) -> OwnNetwork:
    """Convert an ONNX file.

    Args:
        path: of the file.
        presented: what it wants to see.
        side_px: of its input.
        dimensions: of its output, as its owner states them.

    Raises:
        ArtifactError: it cannot be imported; the error says what and what is allowed.
    """
    graph = open_onnx(path)
    made = convert(graph, side_px)
    if made.program.dimensions != dimensions:
        raise ArtifactError(
            path.name, f"gives {made.program.dimensions} numbers for a face; `dimensions` is {dimensions}"
        )
    program, weights = dump_program(made.program), safetensors.torch.save(made.state_dict())
    network = PresentedNetwork(load_network(program, weights, path.name), presented)
    for_inference(network)
    steps = dict(Counter(step.op for step in made.program.steps).most_common())
    return OwnNetwork(graph, program, weights, presented, network, steps, sum(p.numel() for p in made.parameters()))


@dataclass(frozen=True, slots=True, eq=False)
class ShippedNetworks:
    """The networks that ship, on the CPU, as arrays see them."""

    networks: SampleNetworks

    def landmarks(self, values: Rows, score_threshold: float) -> Rows:
        """The landmarks of the largest face.

        Args:
            values: one picture as `tessera.imaging.preprocess.detector_input` makes it.
            score_threshold: detections at or below it are none.

        Returns:
            (n, 5, 2), the largest face first, in pixels of the input.
        """
        output = run_network(self.networks.detector, values)[0]
        found = decode(output, *values.shape[2:], score_threshold=score_threshold)
        order = np.argsort(-found.boxes[:, 2] * found.boxes[:, 3], kind="stable")
        made: Rows = found.landmarks[order].astype(np.float32)
        return made

    def speed_against(self, own: OwnNetwork, crops: Rows) -> Speed:
        """As `measure_speed`."""
        return measure_speed(own.network, self.networks.embedder, crops)


def load_shipped(manifest: Manifest, bring: BringFile, cache_dir: Path) -> ShippedNetworks:
    """Load the networks of a shipped encoder.

    Raises:
        ArtifactError: the weights cannot be had.
    """
    return ShippedNetworks(load_face_networks(manifest, bring, cache_dir))
