"""Nodes that depend on nothing but constants, such as packed weights, are worked out while a graph is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tessera.nets.graph_builder import UnfitNodeError
from tessera.nets.onnx_file import Array, OnnxNode
from tessera.nets.onnx_weights import dequantize

MAX_ELEMENTS = 1 << 28
"""Of one constant, and of all that are worked out together."""

Fold = Callable[[OnnxNode, Sequence[Array]], Array]


def fold(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    """Work out a node whose inputs are all known.

    Args:
        node: one of `FOLDED`.
        inputs: in its order.

    Raises:
        UnfitNodeError: it cannot be worked out.
    """
    if node.op not in FOLDED:
        raise UnfitNodeError(f"works on constants alone; allowed for them: {', '.join(FOLDED)}")
    try:
        return FOLDED[node.op](node, inputs)
    except (ValueError, IndexError, TypeError, KeyError, OverflowError) as error:
        raise UnfitNodeError(f"cannot be worked out: {error}") from error


def axes_of(node: OnnxNode, inputs: Sequence[Array | None], at: int = 1) -> tuple[int, ...] | None:
    """The axes of a node: an attribute in older files, an input in newer ones; None: all."""
    given = node.attributes.get("axes")
    if given is None and len(inputs) > at:
        given = inputs[at]
    return None if given is None else tuple(int(axis) for axis in given)


def _constant(node: OnnxNode, _: Sequence[Array]) -> Array:
    kinds: Mapping[str, type] = {
        "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
    }  # fmt: skip
    if "value" in node.attributes:
        return np.asarray(node.attributes["value"])
    key = next((key for key in kinds if key in node.attributes), "value")
    return np.asarray(node.attributes[key], dtype=kinds[key])


def _identity(_: OnnxNode, inputs: Sequence[Array]) -> Array:
    return inputs[0]


def _cast(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    kinds: Mapping[int, type] = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
    return inputs[0].astype(kinds[node.attributes["to"]])


def _reshape(_: OnnxNode, inputs: Sequence[Array]) -> Array:
    values, wanted = inputs
    shape = [values.shape[at] if size == 0 else int(size) for at, size in enumerate(wanted)]
    return values.reshape(shape)


def _transpose(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    return np.transpose(inputs[0], node.attributes.get("perm"))


def _unsqueeze(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    return np.expand_dims(inputs[0], axes_of(node, inputs) or ())


def _squeeze(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    return np.squeeze(inputs[0], axes_of(node, inputs))


def _concat(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    if sum(part.size for part in inputs) > MAX_ELEMENTS:
        raise ValueError(f"more than {MAX_ELEMENTS:,} numbers")
    return np.concatenate(inputs, node.attributes["axis"])


def _dequantize(node: OnnxNode, inputs: Sequence[Array]) -> Array:
    q, scales = inputs[:2]
    zero = inputs[2] if len(inputs) > 2 else np.zeros(scales.shape, dtype=q.dtype)
    axis, block_size = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    if block_size:
        if not 1 <= block_size <= q.shape[axis] or scales.shape[axis] != -(-q.shape[axis] // block_size):
            raise ValueError(f"block_size {block_size} does not fit {q.shape} with scales {scales.shape}")
        return dequantize(q, scales, zero, axis, block_size)
    if scales.ndim == 1 and scales.size > 1:
        shape = [1] * q.ndim
        shape[axis] = scales.size
        scales, zero = scales.reshape(shape), zero.reshape(shape)
    return np.asarray((q.astype(np.float32) - zero.astype(np.float32)) * scales, dtype=np.float32)


def _arithmetic(operation: Callable[[Array, Array], Array]) -> Fold:
    def folded(_: OnnxNode, inputs: Sequence[Array]) -> Array:
        a, b = inputs
        if np.prod(np.broadcast_shapes(a.shape, b.shape), dtype=float) > MAX_ELEMENTS:
            raise ValueError(f"more than {MAX_ELEMENTS:,} numbers")
        return np.asarray(operation(a, b), dtype=a.dtype)

    return folded


def _sqrt(_: OnnxNode, inputs: Sequence[Array]) -> Array:
    return np.sqrt(inputs[0])


FOLDED: Mapping[str, Fold] = {
    "Constant": _constant,
    "Identity": _identity,
    "Cast": _cast,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "DequantizeLinear": _dequantize,
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(np.divide),
    "Pow": _arithmetic(np.power),
    "Sqrt": _sqrt,
}
