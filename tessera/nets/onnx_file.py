"""An ONNX file of unknown origin, opened with care: one image in, one row of numbers out, every weight an array.

Nothing here runs the graph. The file may be as wrong as it likes: it is refused with a sentence.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, numpy_helper

from tessera.domain.errors import ArtifactError

Array = npt.NDArray[Any]

MAX_FILE_BYTES = 1 << 30
"""Of the ONNX file, and of all weights together."""
MAX_NODES = 5000
MIN_OPSET, MAX_OPSET = 7, 24

_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNode:
    """One node."""

    name: str
    """For people: its name, or its operator and its first output."""
    op: str
    inputs: tuple[str, ...]
    """An empty one is left out on purpose."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGraph:
    """What a file holds."""

    path: Path
    opset: int
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Array]
    input: str
    input_shape: tuple[int | None, ...]
    """None: any size."""
    output: str

    @property
    def source(self) -> str:
        """The file's name, for errors."""
        return self.path.name


def open_onnx(path: Path) -> OnnxGraph:
    """Read an ONNX file.

    Args:
        path: of the file; weights that it keeps outside must lie in files beside it.

    Raises:
        ArtifactError: it is no ONNX file, is too large, or is not a network of one image and one answer.
    """
    source = path.name
    if not path.is_file():
        raise ArtifactError(source, "there is no such file")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ArtifactError(source, f"has {path.stat().st_size:,} bytes; allowed: {MAX_FILE_BYTES:,}")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except (DecodeError, ValueError) as error:
        raise ArtifactError(source, f"not an ONNX file: {error}") from error
    except OSError as error:
        raise ArtifactError(source, f"cannot be read: {error.strerror}") from error
    graph = model.graph
    if not 1 <= len(graph.node) <= MAX_NODES:
        raise ArtifactError(source, f"has {len(graph.node)} nodes; allowed: 1 to {MAX_NODES}")
    weights = _Weights(path)
    nodes = tuple(_node(node, weights) for node in graph.node)
    constants = {tensor.name: weights.read(tensor) for tensor in graph.initializer}
    # Old files list weights as inputs, and quantised ones list some that nothing takes.
    taken = {name for node in nodes for name in node.inputs} - constants.keys()
    inputs = [value for value in graph.input if value.name in taken]
    if len(inputs) != 1 or len(graph.output) != 1:
        names = f"inputs {[v.name for v in inputs]}, outputs {[v.name for v in graph.output]}"
        raise ArtifactError(source, f"has {names}; allowed: one of each")
    if inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise ArtifactError(source, f"input {inputs[0].name} is not float32; export the network in float32")
    shape = tuple(d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim)
    return OnnxGraph(path, _opset(model, source), nodes, constants, inputs[0].name, shape, graph.output[0].name)


def _opset(model: Any, source: str) -> int:  # noqa: ANN401 - onnx ships no types
    versions = {entry.domain: entry.version for entry in model.opset_import}
    version = next((int(versions[domain]) for domain in _DOMAINS if domain in versions), 0)
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise ArtifactError(source, f"has opset {version}; allowed: {MIN_OPSET} to {MAX_OPSET}")
    return version


def _node(node: Any, weights: _Weights) -> OnnxNode:  # noqa: ANN401 - onnx ships no types
    name = node.name or f"{node.op_type} -> {', '.join(node.output)}"
    op = node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
    attributes = dict(_attributes(node, name, weights))
    return OnnxNode(name, op, tuple(node.input), tuple(node.output), attributes)


def _attributes(node: Any, name: str, weights: _Weights) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - onnx ships no types
    for attribute in node.attribute:
        if attribute.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
            raise ArtifactError(weights.path.name, f"node {name} ({node.op_type}) holds a graph of its own; none may")
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = weights.read(value)
        yield attribute.name, value.decode("utf-8", "replace") if isinstance(value, bytes) else value


class _Weights:
    """Reads the weights of one file; all that it reads together has a bound."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0

    def read(self, tensor: Any) -> Array:  # noqa: ANN401 - onnx ships no types
        try:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                _require_beside(tensor, self.path)
                external_data_helper.load_external_data_for_tensor(tensor, str(self.path.parent))
            array = np.asarray(numpy_helper.to_array(tensor))
            self._count(array.nbytes)
        except (ValueError, TypeError, KeyError, OSError, onnx.checker.ValidationError) as error:
            raise ArtifactError(self.path.name, f"weight {tensor.name!r} cannot be read: {error}") from error
        return array

    def _count(self, read_bytes: int) -> None:
        # Many weights may name the same gigabyte beside the file.
        self._read_bytes += read_bytes
        if self._read_bytes > MAX_FILE_BYTES:
            raise ValueError(f"the weights have more than {MAX_FILE_BYTES:,} bytes together")


def _require_beside(tensor: Any, path: Path) -> None:  # noqa: ANN401 - onnx ships no types
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    beside = path.parent / location
    if not location or Path(location).name != location:
        raise ValueError(f"it lies in {location!r}; allowed: a file beside the ONNX file")
    facts = beside.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_FILE_BYTES:
        raise ValueError(f"{location!r} must be a plain file of at most {MAX_FILE_BYTES:,} bytes")
