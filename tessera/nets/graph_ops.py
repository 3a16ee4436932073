"""What an imported network may do: every operation, its options, and the torch function that runs it.

This table is all that a `network.json` can reach; there is no way from it to other code. All operations keep the rows
of a batch apart, and all are plain tensor functions, so that `torch.export` and compilers see through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

Option = int | float | tuple[int, ...]
"""The value of an option."""

Sides = tuple[int, int, int, int]
"""Top, left, bottom, right."""

MAX_WHOLE_NUMBER = 1 << 24


class OptionKind(StrEnum):
    """What an option holds."""

    NUMBER = "a finite number"
    WHOLE = f"a whole number, at most {MAX_WHOLE_NUMBER} in size"
    WHOLES = "a list of whole numbers"


class Joins(StrEnum):
    """Which inputs of an operation depend on the picture; the others are weights."""

    WEIGHTS = "the first input with weights"
    VALUES = "any number of inputs, and no weight"
    PAIRS = "two inputs, of which one may be a weight"


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of the table."""

    run: Callable[..., Tensor]
    """Takes the inputs by position and the options by name."""
    inputs: tuple[int, int]
    """How few and how many inputs it takes."""
    options: Mapping[str, OptionKind] = field(default_factory=dict)
    """All of them have to be given."""
    joins: Joins = Joins.WEIGHTS
    broadcasts: bool = False
    """Whether inputs are stretched to fit each other; then no weight may have an axis for the batch."""


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: tuple[int, int], pads: Sides,
    dilation: tuple[int, int], groups: int,
) -> Tensor:  # fmt: skip
    x, padding = _pad_or_leave(x, pads, 0.0)
    return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _max_pool(
    x: Tensor, *, kernel: tuple[int, int], stride: tuple[int, int], pads: Sides, dilation: tuple[int, int]
) -> Tensor:
    if pads[:2] != pads[2:] or any(2 * pad > size for pad, size in zip(pads[:2], kernel, strict=True)):
        x, padding = _padded(x, pads, float("-inf")), (0, 0)
    else:
        padding = pads[:2]
    return functional.max_pool2d(x, kernel, stride, padding, dilation)


def _average_pool(
    x: Tensor, *, kernel: tuple[int, int], stride: tuple[int, int], pads: Sides, count_include_pad: int
) -> Tensor:
    if count_include_pad:
        return functional.avg_pool2d(_padded(x, pads, 0.0), kernel, stride)
    return functional.avg_pool2d(x, kernel, stride, pads[:2], count_include_pad=False)


def _pad_or_leave(x: Tensor, pads: Sides, value: float) -> tuple[Tensor, tuple[int, int]]:
    return (x, pads[:2]) if pads[:2] == pads[2:] else (_padded(x, pads, value), (0, 0))


def _padded(x: Tensor, pads: Sides, value: float) -> Tensor:
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    """One slope for each channel, or one for all."""
    return functional.prelu(x, slope)


def _prelu_broadcast(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * slope)


def _affine(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    return x * gain + shift


def _clip(x: Tensor, *, low: float, high: float) -> Tensor:
    return x.clamp(low, high)


def _hard_sigmoid(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return (x * alpha + beta).clamp(0.0, 1.0)


def _leaky_relu(x: Tensor, *, alpha: float) -> Tensor:
    return functional.leaky_relu(x, alpha)


def _reshape(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    """`shape` is that of one row."""
    return x.reshape(-1, *shape)


def _expand(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    """`shape` is that of one row."""
    return x.expand(-1, *shape)


def _transpose(x: Tensor, *, order: tuple[int, ...]) -> Tensor:
    return x.permute(order)


def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


def _pad(x: Tensor, *, pads: tuple[int, ...], value: float) -> Tensor:
    """`pads` as `torch.nn.functional.pad` takes them: the last axis first, its beginning before its end."""
    return functional.pad(x, pads, value=value)


def _mean(x: Tensor, *, axes: tuple[int, ...], keep: int) -> Tensor:
    return x.mean(axes, keepdim=bool(keep))


def _sum(x: Tensor, *, axes: tuple[int, ...], keep: int) -> Tensor:
    return x.sum(axes, keepdim=bool(keep))


def _norm(x: Tensor, *, axes: tuple[int, ...], keep: int, order: int) -> Tensor:
    made: Tensor = torch.linalg.vector_norm(x, ord=order, dim=axes, keepdim=bool(keep))
    return made


def _softmax(x: Tensor, *, axis: int) -> Tensor:
    return x.softmax(axis)


_NUMBER, _WHOLE, _WHOLES = OptionKind.NUMBER, OptionKind.WHOLE, OptionKind.WHOLES
_WINDOW = {"stride": _WHOLES, "pads": _WHOLES}
_REDUCED = {"axes": _WHOLES, "keep": _WHOLE}


def _pairwise(run: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return Operation(run, (2, 2), joins=Joins.PAIRS, broadcasts=True)


OPERATIONS: Mapping[str, Operation] = {
    "conv2d": Operation(_convolve, (2, 3), {**_WINDOW, "dilation": _WHOLES, "groups": _WHOLE}),
    "linear": Operation(functional.linear, (2, 3)),
    "matmul": Operation(torch.matmul, (2, 2), joins=Joins.VALUES),
    "affine": Operation(_affine, (3, 3), broadcasts=True),
    "relu": Operation(functional.relu, (1, 1)),
    "prelu": Operation(_prelu, (2, 2)),
    "prelu_broadcast": Operation(_prelu_broadcast, (2, 2), broadcasts=True),
    "leaky_relu": Operation(_leaky_relu, (1, 1), {"alpha": _NUMBER}),
    "clip": Operation(_clip, (1, 1), {"low": _NUMBER, "high": _NUMBER}),
    "sigmoid": Operation(torch.sigmoid, (1, 1)),
    "hard_sigmoid": Operation(_hard_sigmoid, (1, 1), {"alpha": _NUMBER, "beta": _NUMBER}),
    "hard_swish": Operation(functional.hardswish, (1, 1)),
    "silu": Operation(functional.silu, (1, 1)),
    "sqrt": Operation(torch.sqrt, (1, 1)),
    "exp": Operation(torch.exp, (1, 1)),
    "add": _pairwise(torch.add),
    "sub": _pairwise(torch.sub),
    "mul": _pairwise(torch.mul),
    "div": _pairwise(torch.div),
    "pow": _pairwise(torch.pow),
    "max_pool": Operation(_max_pool, (1, 1), {"kernel": _WHOLES, **_WINDOW, "dilation": _WHOLES}),
    "average_pool": Operation(_average_pool, (1, 1), {"kernel": _WHOLES, **_WINDOW, "count_include_pad": _WHOLE}),
    "reshape": Operation(_reshape, (1, 1), {"shape": _WHOLES}),
    "expand": Operation(_expand, (1, 1), {"shape": _WHOLES}),
    "transpose": Operation(_transpose, (1, 1), {"order": _WHOLES}),
    "concat": Operation(_concat, (1, 64), {"axis": _WHOLE}, Joins.VALUES),
    "pad": Operation(_pad, (1, 1), {"pads": _WHOLES, "value": _NUMBER}),
    "mean": Operation(_mean, (1, 1), _REDUCED),
    "sum": Operation(_sum, (1, 1), _REDUCED),
    "norm": Operation(_norm, (1, 1), {**_REDUCED, "order": _WHOLE}),
    "softmax": Operation(_softmax, (1, 1), {"axis": _WHOLE}),
}
