"""From an ONNX graph to a program: a small, strict converter for networks that turn one image into one row of numbers.

It is our own because the known converter, onnx2torch, requires torchvision, and because an imported file shall be
able to do nothing but what `tessera.nets.graph_ops` lists. What it does not know it refuses, by the node's name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tessera.domain.errors import ArtifactError
from tessera.nets.graph import INPUT, ImportedNetwork
from tessera.nets.graph_builder import GraphBuilder, UnfitNodeError
from tessera.nets.onnx_constants import FOLDED, MAX_ELEMENTS, fold
from tessera.nets.onnx_file import Array, OnnxGraph, OnnxNode
from tessera.nets.onnx_nodes import TRANSLATORS, NodeCall

ALLOWED = tuple(sorted({*TRANSLATORS, *FOLDED}))
"""Every operator that a file may hold; `DequantizeLinear` and `Constant` for weights alone."""


def convert(graph: OnnxGraph, side_px: int) -> ImportedNetwork:
    """Turn a graph into a module.

    Args:
        graph: as `open_onnx` gives it.
        side_px: height and width of its input; the file may leave them open.

    Raises:
        ArtifactError: its input is another one, or a node does what is not allowed; the error names it.
    """
    _require_input(graph, side_px)
    builder = GraphBuilder((3, side_px, side_px), graph.source)
    known: dict[str, str | Array] = {**graph.constants, graph.input: INPUT}
    worked_out = 0
    for node in graph.nodes:
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused, with all other weights, at the end
                made = _take(node, graph.opset, builder, known)
            worked_out += _new_numbers(made, [known[name] for name in node.inputs if name])
            _require_room(worked_out)
            known[node.outputs[0]] = made
        except (UnfitNodeError, ArtifactError) as error:
            reason = str(error).removeprefix(f"{graph.source}: ")
            raise ArtifactError(graph.source, f"node {node.name!r} ({node.op}) {reason}") from error
    output = known.get(graph.output)
    if not isinstance(output, str):
        raise ArtifactError(graph.source, f"output {graph.output!r} does not depend on the picture")
    program, weights = builder.finish(output)
    return ImportedNetwork(program, weights, graph.source)


def _require_room(worked_out: int) -> None:
    if worked_out > MAX_ELEMENTS:
        raise UnfitNodeError(f"brings the constants to more than {MAX_ELEMENTS:,} numbers")


def _new_numbers(made: str | Array, inputs: Sequence[str | Array]) -> int:
    """How many numbers a constant takes of the memory; none where it is a view of one of its inputs."""
    if isinstance(made, str) or any(
        not isinstance(given, str) and np.may_share_memory(made, given) for given in inputs
    ):
        return 0
    return made.size


def _require_input(graph: OnnxGraph, side_px: int) -> None:
    shape = graph.input_shape
    fits = len(shape) == 4 and shape[0] in {1, None} and shape[1] in {3, None}
    if not fits or not all(side in {side_px, None} for side in shape[2:]):
        shown = ", ".join("any" if size is None else str(size) for size in shape)
        allowed = f"(1 or any, 3, {side_px}, {side_px}): batch, channels, height, width"
        raise ArtifactError(graph.source, f"input {graph.input!r} is ({shown}); allowed: {allowed}")


def _take(node: OnnxNode, opset: int, builder: GraphBuilder, known: dict[str, str | Array]) -> str | Array:
    if node.op not in ALLOWED:
        raise UnfitNodeError(f"is not an operator that can be imported; allowed: {', '.join(ALLOWED)}")
    missing = [name for name in node.inputs if name and name not in known]
    if missing or not node.outputs:
        raise UnfitNodeError(f"takes {missing}, which no node before it makes")
    inputs = tuple(known[name] if name else None for name in node.inputs)
    if not any(isinstance(given, str) for given in inputs):
        return fold(node, [given for given in inputs if given is not None and not isinstance(given, str)])
    if node.op not in TRANSLATORS:
        raise UnfitNodeError("works on the picture; allowed: on weights alone")
    try:
        return TRANSLATORS[node.op](NodeCall(node, opset, builder, inputs))
    except (TypeError, ValueError, IndexError, ArithmeticError) as error:
        # A file may leave out any input and give any attribute any type; the translators read them as ONNX means them.
        raise UnfitNodeError(f"has inputs or attributes that make no sense: {error}") from error
