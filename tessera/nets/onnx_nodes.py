"""What each ONNX operator becomes: one function for each, from a node to the steps of a program.

Every function checks what it takes from the node; what cannot be kept within "each row of the batch for itself, shapes
known beforehand" is refused with `UnfitNodeError`, which says what would be allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tessera.nets.graph_builder import GraphBuilder, UnfitNodeError
from tessera.nets.graph_ops import Option
from tessera.nets.onnx_constants import axes_of
from tessera.nets.onnx_file import Array, OnnxNode
from tessera.nets.onnx_windows import Window, window_of

_LARGEST = float(np.finfo(np.float32).max)
_ONE_AXIS_SINCE = 13


@dataclass(frozen=True, slots=True, eq=False)
class NodeCall:
    """A node with what its inputs are by now."""

    node: OnnxNode
    opset: int
    builder: GraphBuilder
    inputs: tuple[str | Array | None, ...]
    """A value of the program, a constant, or nothing."""

    def value(self, at: int = 0) -> str:
        """The input that depends on the picture."""
        given = self.inputs[at] if at < len(self.inputs) else None
        if not isinstance(given, str):
            raise UnfitNodeError(f"has a constant as input {at}; allowed: what depends on the picture")
        return given

    def constant(self, at: int) -> Array | None:
        """The input that is a constant; None: there is none."""
        given = self.inputs[at] if at < len(self.inputs) else None
        if isinstance(given, str):
            raise UnfitNodeError(f"works out its input {at} while it runs; allowed: a constant")
        return given

    def needed(self, at: int) -> Array:
        """The input that has to be a constant."""
        given = self.constant(at)
        if given is None:
            raise UnfitNodeError(f"lacks its input {at}")
        return given

    def row(self, at: int = 0) -> tuple[int, ...]:
        """The shape of an input, without the batch."""
        return self.builder.row_shape(self.value(at))

    def attribute(self, key: str, default: Any) -> Any:  # noqa: ANN401 - ONNX attributes are of many kinds
        """An attribute, or what ONNX says it is when it is left out."""
        return self.node.attributes.get(key, default)

    def weight(self, values: Array) -> str:
        """Keep a constant."""
        return self.builder.weight(values)

    def step(self, op: str, inputs: Sequence[str], **options: Option) -> str:
        """Add a step."""
        return self.builder.step(op, inputs, options)

    def axis(self, axis: int) -> int:
        """An axis counted from the front; it may not be the batch."""
        rank = len(self.row()) + 1
        found = axis + rank if axis < 0 else axis
        if not 1 <= found < rank:
            raise UnfitNodeError(f"works along axis {axis} of {rank}; allowed: 1 to {rank - 1}, since 0 is the batch")
        return found


Translator = Callable[[NodeCall], str]


# ---- layers with weights


def _conv(call: NodeCall) -> str:
    weight, bias = call.needed(1), call.constant(2)
    window = window_of(call.node, weight.shape[2:], call.row()[1:])
    names = [call.weight(values) for values in (weight, bias) if values is not None]
    groups = int(call.attribute("group", 1))
    if groups < 1:
        raise UnfitNodeError(f"has {groups} groups; allowed: 1 or more")
    return call.step(
        "conv2d", [call.value(), *names], stride=window.stride, pads=window.pads, dilation=window.dilation,
        groups=groups,
    )  # fmt: skip


def _batch_normalization(call: NodeCall) -> str:
    gamma, beta, mean, variance = (call.needed(at).astype(np.float64) for at in (1, 2, 3, 4))
    if call.attribute("training_mode", 0) or not call.attribute("spatial", 1):
        raise UnfitNodeError("is not in inference mode over whole channels; export the network with .eval()")
    gain = gamma / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    shape = (-1, *[1] * (len(call.row()) - 1))
    shift = (beta - mean * gain).reshape(shape)
    return call.step("affine", [call.value(), call.weight(gain.reshape(shape)), call.weight(shift)])


def _gemm(call: NodeCall) -> str:
    weight, bias = call.needed(1), call.constant(2)
    if call.attribute("transA", 0) or len(call.row()) != 1:
        raise UnfitNodeError("does not multiply rows (n, d) with a matrix; allowed: transA = 0 and two axes")
    weight = weight if call.attribute("transB", 0) else weight.T
    names = [call.weight(weight * np.float32(call.attribute("alpha", 1.0)))]
    if bias is not None:
        scaled = np.broadcast_to(bias * np.float32(call.attribute("beta", 1.0)), (1, weight.shape[0]))
        names.append(call.weight(scaled.reshape(-1)))
    return call.step("linear", [call.value(), *names])


def _matmul(call: NodeCall) -> str:
    second = call.inputs[1]
    if isinstance(second, str):
        return call.step("matmul", [call.value(), second])
    matrix = call.needed(1)
    if matrix.ndim != 2:
        raise UnfitNodeError(f"multiplies with a constant of shape {matrix.shape}; allowed: a matrix")
    return call.step("linear", [call.value(), call.weight(matrix.T)])


def _prelu(call: NodeCall) -> str:
    slope, row = call.needed(1), call.row()
    per_channel = slope.shape[-len(row) :] == (row[0], *[1] * (len(row) - 1)) and slope.size == row[0]
    if slope.size == 1 or per_channel:
        return call.step("prelu", [call.value(), call.weight(slope.reshape(-1))])
    return call.step("prelu_broadcast", [call.value(), call.weight(_per_row(slope, row))])


# ---- one number at a time


def _plain(op: str, call: NodeCall) -> str:
    return call.step(op, [call.value()])


def _leaky_relu(call: NodeCall) -> str:
    return call.step("leaky_relu", [call.value()], alpha=float(call.attribute("alpha", 0.01)))


def _hard_sigmoid(call: NodeCall) -> str:
    alpha, beta = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    return call.step("hard_sigmoid", [call.value()], alpha=alpha, beta=beta)


def _clip(call: NodeCall) -> str:
    limits = []
    for at, key, default in ((1, "min", -_LARGEST), (2, "max", _LARGEST)):
        given = call.constant(at)
        limit = float(call.attribute(key, default) if given is None else given.reshape(-1)[0])
        limits.append(min(max(limit, -_LARGEST), _LARGEST))
    return call.step("clip", [call.value()], low=limits[0], high=limits[1])


def _pairwise(op: str, call: NodeCall) -> str:
    row = next(call.builder.row_shape(given) for given in call.inputs if isinstance(given, str))
    names = [given if isinstance(given, str) else call.weight(_per_row(given, row)) for given in call.inputs if
             given is not None]  # fmt: skip
    return call.step(op, names)


def _per_row(values: Array, row: tuple[int, ...]) -> Array:
    """A constant that is the same for every row of the batch."""
    if values.ndim > len(row) + 1 or (values.ndim == len(row) + 1 and values.shape[0] != 1):
        raise UnfitNodeError(f"has a constant of shape {values.shape} for rows of shape {row}; it must fit every row")
    return values


# ---- windows


def _max_pool(call: NodeCall) -> str:
    window = window_of(call.node, call.attribute("kernel_shape", ()), call.row()[1:])
    top, left, bottom, right = window.pads
    # Padding is lower than any number here, so an overhang is more of it.
    pads = (top, left, bottom + window.overhang[0], right + window.overhang[1])
    return call.step(
        "max_pool", [call.value()], kernel=window.kernel, stride=window.stride, pads=pads, dilation=window.dilation
    )


def _average_pool(call: NodeCall) -> str:
    window = window_of(call.node, call.attribute("kernel_shape", ()), call.row()[1:])
    padded = bool(call.attribute("count_include_pad", 0))
    _require_plain_average(window, padded=padded)
    return call.step(
        "average_pool", [call.value()], kernel=window.kernel, stride=window.stride, pads=window.pads,
        count_include_pad=int(padded),
    )  # fmt: skip


def _require_plain_average(window: Window, *, padded: bool) -> None:
    even = window.pads[:2] == window.pads[2:] and all(
        2 * pad <= size for pad, size in zip(window.pads[:2], window.kernel, strict=True)
    )
    if any(window.overhang) or window.dilation != (1, 1) or not (even or padded):
        raise UnfitNodeError(
            f"has ceil_mode or dilations or pads {window.pads} of which it does not average the zeros; "
            "allowed: floor, dilations of 1, equal pads on both sides"
        )


def _global_average_pool(call: NodeCall) -> str:
    return call.step("mean", [call.value()], axes=tuple(range(1, len(call.row()) + 1))[1:], keep=1)


def _pad(call: NodeCall) -> str:
    rank = len(call.row()) + 1
    given = call.attribute("pads", None)
    pads = [int(size) for size in (call.needed(1) if given is None else given)]
    axes = [axis % rank for axis in axes_of(call.node, [None, None, None, call.constant(3)], at=3) or range(rank)]
    if call.attribute("mode", "constant") != "constant" or len(pads) != 2 * len(axes):
        raise UnfitNodeError(f"pads in mode {call.attribute('mode', 'constant')!r}; allowed: constant")
    begins, ends = dict(zip(axes, pads, strict=False)), dict(zip(axes, pads[len(axes) :], strict=True))
    if begins.get(0, 0) or ends.get(0, 0):
        raise UnfitNodeError("pads the batch; allowed: the other axes")
    value = call.constant(2)
    filled = float(call.attribute("value", 0.0) if value is None else value.reshape(-1)[0])
    order = tuple(side for axis in range(rank - 1, 0, -1) for side in (begins.get(axis, 0), ends.get(axis, 0)))
    return call.step("pad", [call.value()], pads=order, value=filled)


# ---- shapes


def _flatten(call: NodeCall) -> str:
    if call.axis(call.attribute("axis", 1)) != 1:
        raise UnfitNodeError(f"flattens from axis {call.attribute('axis', 1)}; allowed: 1")
    return call.step("reshape", [call.value()], shape=(_size(call.row()),))


def _reshape(call: NodeCall) -> str:
    first, *rest = (int(size) for size in call.needed(1))
    row = call.row()
    if call.attribute("allowzero", 0) and 0 in (first, *rest):
        raise UnfitNodeError("makes an axis of size 0; allowed: 1 or more")
    shape = [row[at] if size == 0 and at < len(row) else size for at, size in enumerate(rest)]
    known = _size([size for size in shape if size != -1])
    if -1 in shape and known > 0 and _size(row) % known == 0:
        shape[shape.index(-1)] = _size(row) // known
    # The first axis stays the batch: exporters write -1, 0, or the 1 of their example.
    if first not in {-1, 0, 1} or _size(shape) != _size(row) or min(shape, default=1) < 1:
        raise UnfitNodeError(
            f"gives {(first, *rest)} to rows of shape {row}; allowed: a shape that keeps each row whole"
        )
    return call.step("reshape", [call.value()], shape=tuple(shape))


def _expand(call: NodeCall) -> str:
    first, *shape = (int(size) for size in call.needed(1))
    row = call.row()
    if (
        first != 1
        or len(shape) != len(row)
        or any(size not in {1, own} and own != 1 for size, own in zip(shape, row, strict=True))
    ):
        raise UnfitNodeError(
            f"expands rows of shape {row} to {(first, *shape)}; allowed: (1, ...), same number of axes"
        )
    wanted = tuple(max(size, own) for size, own in zip(shape, row, strict=True))
    return call.step("expand", [call.value()], shape=wanted)


def _transpose(call: NodeCall) -> str:
    rank = len(call.row()) + 1
    order = tuple(call.attribute("perm", range(rank - 1, -1, -1)))
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise UnfitNodeError(f"puts the axes in order {order}; allowed: 0 first, since it is the batch")
    return call.step("transpose", [call.value()], order=order)


def _unsqueeze(call: NodeCall) -> str:
    row = list(call.row())
    rank = len(row) + 1 + len(axes_of(call.node, _constants(call)) or ())
    for axis in sorted(axis % rank for axis in axes_of(call.node, _constants(call)) or ()):
        if axis == 0:
            raise UnfitNodeError("puts an axis before the batch; allowed: behind it")
        row.insert(axis - 1, 1)
    return call.step("reshape", [call.value()], shape=tuple(row))


def _squeeze(call: NodeCall) -> str:
    row, given = call.row(), axes_of(call.node, _constants(call))
    if given is None:
        raise UnfitNodeError("does not say which axes it takes away; allowed: axes that are stated")
    gone = {call.axis(axis) for axis in given}
    if any(row[axis - 1] != 1 for axis in gone):
        raise UnfitNodeError(f"takes axes {sorted(gone)} from rows of shape {row}; allowed: axes of size 1")
    return call.step("reshape", [call.value()], shape=tuple(s for at, s in enumerate(row, start=1) if at not in gone))


def _concat(call: NodeCall) -> str:
    return call.step(
        "concat", [call.value(at) for at in range(len(call.inputs))], axis=call.axis(call.attribute("axis", 1))
    )


def _same(call: NodeCall) -> str:
    return call.value()


def _cast(call: NodeCall) -> str:
    if call.attribute("to", 1) != 1:
        raise UnfitNodeError("casts to something else than float32; export the network in float32")
    return call.value()


# ---- along axes


def _reduced(op: str, call: NodeCall, **options: Option) -> str:
    given = axes_of(call.node, _constants(call))
    if given is None:
        raise UnfitNodeError("works along all axes, and so mixes the batch; allowed: axes that are stated")
    axes = tuple(sorted(call.axis(axis) for axis in given))
    return call.step(op, [call.value()], axes=axes, keep=int(call.attribute("keepdims", 1)), **options)


def _reduce_l2(call: NodeCall) -> str:
    return _reduced("norm", call, order=2)


def _lp_normalization(call: NodeCall) -> str:
    axis, order = call.axis(call.attribute("axis", -1)), int(call.attribute("p", 2))
    if order not in {1, 2}:
        raise UnfitNodeError(f"has p = {order}; allowed: 1, 2")
    length = call.step("norm", [call.value()], axes=(axis,), keep=1, order=order)
    return call.step("div", [call.value(), length])


def _softmax(call: NodeCall) -> str:
    axis = call.axis(call.attribute("axis", -1 if call.opset >= _ONE_AXIS_SINCE else 1))
    if call.opset < _ONE_AXIS_SINCE and axis != len(call.row()):
        raise UnfitNodeError(f"joins several axes (opset {call.opset}); allowed: the last axis, or opset 13 and later")
    return call.step("softmax", [call.value()], axis=axis)


def _constants(call: NodeCall) -> list[Array | None]:
    return [None, *(call.constant(at) for at in range(1, len(call.inputs)))]


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


TRANSLATORS: Mapping[str, Translator] = {
    "Add": partial(_pairwise, "add"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": partial(_pairwise, "div"),
    "Dropout": _same,
    "Exp": partial(_plain, "exp"),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": partial(_plain, "hard_swish"),
    "Identity": _same,
    "LeakyRelu": _leaky_relu,
    "LpNormalization": _lp_normalization,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": partial(_pairwise, "mul"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": partial(_pairwise, "pow"),
    "ReduceL2": _reduce_l2,
    "ReduceMean": partial(_reduced, "mean"),
    "ReduceSum": partial(_reduced, "sum"),
    "Relu": partial(_plain, "relu"),
    "Reshape": _reshape,
    "Sigmoid": partial(_plain, "sigmoid"),
    "Softmax": _softmax,
    "Sqrt": partial(_plain, "sqrt"),
    "Squeeze": _squeeze,
    "Sub": partial(_pairwise, "sub"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
