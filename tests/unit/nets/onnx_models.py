"""Tiny ONNX files for tests, and what `onnx.reference` says they compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    """A node; the names of its inputs are separated by spaces, `-` is one left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op, names, [output], name=f"{op.lower()}-{output}", **attributes)


def model(
    nodes: Sequence[Any],
    constants: dict[str, Array],
    shape: Sequence[int | str] = ("n", 3, 8, 8),
    *,
    output: str = "y",
    opset: int = 21,
    kind: int = TensorProto.FLOAT,
) -> Any:
    """A model of one image `x` and one output."""
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    given = helper.make_tensor_value_info("x", kind, list(shape))
    made = helper.make_tensor_value_info(output, kind, None)
    graph = helper.make_graph(list(nodes), "tiny", [given], [made], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write(path: Path, made: Any) -> Path:
    """Save a model."""
    path.write_bytes(made.SerializeToString())
    return path


def refer(made: Any, values: Array) -> Array:
    """What the reference says, one row at a time."""
    evaluator = ReferenceEvaluator(made)
    return np.concatenate([evaluator.run(None, {"x": row[None]})[0] for row in values])


def random(*shape: int, seed: int = 0) -> Array:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small_embedder(dimensions: int = 16, seed: int = 0) -> Any:
    """A network for 112 x 112 crops, of the size of a toy: convolution, batch norm, ReLU, pooling, a linear layer."""
    constants = {
        "w": random(8, 3, 5, 5, seed=seed) * np.float32(0.05),
        "gain": np.ones(8, np.float32), "shift": np.zeros(8, np.float32),
        "mean": np.zeros(8, np.float32), "variance": np.ones(8, np.float32),
        "matrix": random(8 * 7 * 7, dimensions, seed=seed + 1), "bias": random(dimensions, seed=seed + 2),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w", "a", strides=[4, 4], pads=[2, 2, 2, 2]),
        node("BatchNormalization", "a gain shift mean variance", "b"),
        node("Relu", "b", "c"),
        node("AveragePool", "c", "d", kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", "d", "e"),
        node("Gemm", "e matrix bias", "y"),
    ]
    return model(nodes, constants, ("n", 3, 112, 112))


def with_external_data(made: Any, tensor: str, location: str) -> Any:
    """The model with one weight said to lie in another file."""
    for stored in made.graph.initializer:
        if stored.name == tensor:
            stored.ClearField("raw_data")
            stored.data_location = TensorProto.EXTERNAL
            entry = stored.external_data.add()
            entry.key, entry.value = "location", location
    return made


def load(path: Path) -> Any:
    """Read a model."""
    return onnx.load(str(path))
