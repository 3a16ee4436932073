"""From a trained network to a program of `tessera.nets.graph`: steps and weights that a service runs without its code.

Follows the network's forward once with `torch.fx` and knows the layers that the lab's networks are made of; anything
else is refused by its name. Batch norms are folded into the layer before them, dropouts vanish.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from siamese_lab.networks import Subnet
from tessera.domain.errors import ArtifactError, InvalidInputError
from tessera.nets.graph import INPUT, Program
from tessera.nets.graph_builder import GraphBuilder, UnfitNodeError
from tessera.nets.graph_ops import Option

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue. Source: ITU-R BT.601."""
_LARGEST = 3e38
"""An upper bound that bounds nothing: options are finite numbers."""


def trace(network: Subnet, seen_shape: tuple[int, int, int] | None = None) -> tuple[Program, dict[str, Tensor]]:
    """Write a network down as steps.

    Args:
        network: as trained; it is not changed.
        seen_shape: what the steps shall take, where that is not the network's own input: three channels for a gray
            network (it sees their luminance), or a whole multiple of its sides (it sees means of squares).

    Returns:
        The program, which takes values from 0 to 1, and its weights by name.

    Raises:
        InvalidInputError: `seen_shape` cannot be brought to the network's input.
        ArtifactError: the network has a layer that no step stands for.
    """
    name = type(network).__name__
    tracing = _Tracing(GraphBuilder(seen_shape or network.input_shape, name))
    try:
        seen = _fitted(tracing, seen_shape or network.input_shape, network.input_shape)
        output = tracing.follow(fx.symbolic_trace(network.cpu().eval()), seen)
        return tracing.builder.finish(output)
    except (UnfitNodeError, fx.proxy.TraceError) as error:
        raise ArtifactError(name, f"cannot be written down as steps: {error}") from error


@dataclass(frozen=True, slots=True)
class _Tracing:
    """The way from nodes to steps."""

    builder: GraphBuilder

    def follow(self, graph: fx.GraphModule, seen: str) -> str:
        """Take every node in order; returns the name of what the network gives."""
        values: dict[fx.Node, str] = {}
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                values[node] = seen
            elif node.op == "output":
                return values[cast("fx.Node", node.args[0])]
            elif node.op == "call_module":
                values[node] = self._layer(graph.get_submodule(str(node.target)), values[cast("fx.Node", node.args[0])])
            else:
                values[node] = self._call(node, values)
        raise UnfitNodeError("it gives nothing")

    def step(self, op: str, inputs: list[str], **options: Option) -> str:
        """Add a step."""
        return self.builder.step(op, inputs, options)

    def weight(self, value: Tensor | float) -> str:
        """Keep numbers."""
        return self.builder.weight(np.atleast_1d(torch.as_tensor(value).detach().numpy().astype(np.float32)))

    def affine(self, x: str, gain: Tensor | float, shift: Tensor | float) -> str:
        """gain * x + shift."""
        return self.step("affine", [x, self.weight(gain), self.weight(shift)])

    def _layer(self, layer: nn.Module, x: str) -> str:
        for kinds, take in _LAYERS.items():
            if isinstance(layer, kinds):
                return take(self, layer, x)
        raise UnfitNodeError(f"a layer {type(layer).__name__}")

    def _call(self, node: fx.Node, values: Mapping[fx.Node, str]) -> str:
        name = str(getattr(node.target, "__name__", node.target))
        take = _CALLS.get(name)
        if take is None:
            raise UnfitNodeError(f"a call of {name}")
        inputs = [values[one] for one in node.args if isinstance(one, fx.Node)]
        numbers = [one for one in node.args if not isinstance(one, fx.Node)]
        return take(self, inputs, numbers, node.kwargs)


def _fitted(tracing: _Tracing, seen: tuple[int, int, int], wanted: tuple[int, int, int]) -> str:
    """From the picture that is given to the one that the network takes."""
    at = INPUT
    if seen[0] != wanted[0]:
        if (seen[0], wanted[0]) != (3, 1):
            raise InvalidInputError("seen_shape", seen, f"{wanted[0]} channels, or 3 for a gray network")
        weights = tracing.weight(torch.tensor(LUMINANCE).reshape(1, 3, 1, 1))
        at = tracing.step("conv2d", [at, weights], stride=(1, 1), pads=(0, 0, 0, 0), dilation=(1, 1), groups=1)
    height, width = seen[1] // wanted[1], seen[2] // wanted[2]
    if (height * wanted[1], width * wanted[2]) != seen[1:]:
        raise InvalidInputError("seen_shape", seen, f"whole multiples of {wanted[1]} x {wanted[2]} pixels")
    if (height, width) != (1, 1):
        sides = (height, width)
        at = tracing.step("average_pool", [at], kernel=sides, stride=sides, pads=(0, 0, 0, 0), count_include_pad=0)
    return at


# ---- layers


def _convolution(tracing: _Tracing, layer: nn.Conv2d, x: str) -> str:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise UnfitNodeError(f"a convolution with padding {layer.padding} of {layer.padding_mode}")
    inputs = [x, tracing.weight(layer.weight)] + ([] if layer.bias is None else [tracing.weight(layer.bias)])
    top, left = layer.padding
    return tracing.step(
        "conv2d", inputs, stride=tuple(layer.stride), pads=(top, left, top, left), dilation=tuple(layer.dilation),
        groups=layer.groups,
    )  # fmt: skip


def _dense(tracing: _Tracing, layer: nn.Linear, x: str) -> str:
    bias = [] if layer.bias is None else [tracing.weight(layer.bias)]
    return tracing.step("linear", [x, tracing.weight(layer.weight), *bias])


def _batch_norm(tracing: _Tracing, layer: nn.BatchNorm2d | nn.BatchNorm1d, x: str) -> str:
    if layer.running_mean is None or layer.running_var is None:
        raise UnfitNodeError("a batch norm without statistics")
    ones, zeros = torch.ones_like(layer.running_var), torch.zeros_like(layer.running_var)
    weight, bias = (layer.weight, layer.bias) if layer.affine else (ones, zeros)
    gain = weight.double() / (layer.running_var.double() + layer.eps).sqrt()
    shift = bias.double() - layer.running_mean.double() * gain
    shape = (-1, 1, 1) if isinstance(layer, nn.BatchNorm2d) else (-1,)
    return tracing.affine(x, gain.reshape(shape), shift.reshape(shape))


def _tanh(tracing: _Tracing, layer: nn.Tanh, x: str) -> str:  # noqa: ARG001 - every layer is taken alike
    """tanh x = 2 sigmoid(2 x) - 1; the table has no tanh."""
    return tracing.affine(tracing.step("sigmoid", [tracing.affine(x, 2.0, 0.0)]), 2.0, -1.0)


def _max_pool(tracing: _Tracing, layer: nn.MaxPool2d, x: str) -> str:
    stride, pad = _pair(layer.stride), _pair(layer.padding)
    if layer.ceil_mode:
        raise UnfitNodeError("a pool that rounds up")
    return tracing.step(
        "max_pool", [x], kernel=_pair(layer.kernel_size), stride=stride, pads=pad + pad, dilation=_pair(layer.dilation)
    )


def _average_pool(tracing: _Tracing, layer: nn.AvgPool2d, x: str) -> str:
    stride, pad = _pair(layer.stride), _pair(layer.padding)
    if layer.ceil_mode or layer.divisor_override:
        raise UnfitNodeError("a pool that rounds up or divides by a number of its own")
    counted = int(layer.count_include_pad)
    return tracing.step(
        "average_pool", [x], kernel=_pair(layer.kernel_size), stride=stride, pads=pad + pad, count_include_pad=counted
    )


def _flat(tracing: _Tracing, x: str) -> str:
    shape = tracing.builder.row_shape(x)
    return x if len(shape) == 1 else tracing.step("reshape", [x], shape=(math.prod(shape),))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


_LAYERS: Mapping[type | tuple[type, ...], Callable[[_Tracing, Any, str], str]] = {
    nn.Conv2d: _convolution,
    nn.Linear: _dense,
    (nn.BatchNorm1d, nn.BatchNorm2d): _batch_norm,
    nn.ReLU6: lambda tracing, _, x: tracing.step("clip", [x], low=0.0, high=6.0),
    nn.ReLU: lambda tracing, _, x: tracing.step("relu", [x]),
    nn.SiLU: lambda tracing, _, x: tracing.step("silu", [x]),
    nn.Tanh: _tanh,
    nn.PReLU: lambda tracing, layer, x: tracing.step("prelu", [x, tracing.weight(layer.weight)]),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.Flatten: lambda tracing, _, x: _flat(tracing, x),
    (nn.Identity, nn.Dropout, nn.Dropout2d): lambda tracing, _, x: x,  # noqa: ARG005 - every layer is taken alike
}


# ---- calls


def _norm(tracing: _Tracing, inputs: list[str], numbers: list[Any], options: Mapping[str, Any]) -> str:
    if numbers or options.get("ord", 2) != 2 or options.keys() - {"dim", "keepdim", "ord"}:
        raise UnfitNodeError("a norm other than the Euclidean")
    axes = options["dim"] if isinstance(options["dim"], tuple) else (options["dim"],)
    return tracing.step("norm", inputs, axes=axes, keep=int(options.get("keepdim", False)), order=2)


def _mean(tracing: _Tracing, inputs: list[str], numbers: list[Any], options: Mapping[str, Any]) -> str:
    axes = numbers[0] if isinstance(numbers[0], tuple) else (numbers[0],)
    return tracing.step("mean", inputs, axes=axes, keep=int(options.get("keepdim", False)))


def _at_least(tracing: _Tracing, inputs: list[str], numbers: list[Any], _: Mapping[str, Any]) -> str:
    return tracing.step("clip", inputs, low=float(numbers[0]), high=_LARGEST)


def _paired(op: str) -> Callable[[_Tracing, list[str], list[Any], Mapping[str, Any]], str]:
    def take(tracing: _Tracing, inputs: list[str], numbers: list[Any], _: Mapping[str, Any]) -> str:
        if len(inputs) == 1 and len(numbers) == 1:
            return tracing.step(op, [*inputs, tracing.weight(float(numbers[0]))])
        return tracing.step(op, inputs)

    return take


_CALLS: Mapping[str, Callable[[_Tracing, list[str], list[Any], Mapping[str, Any]], str]] = {
    "linalg_vector_norm": _norm,
    "mean": _mean,
    "clamp_min": _at_least,
    "flatten": lambda tracing, inputs, _, __: _flat(tracing, inputs[0]),
    operator.add.__name__: _paired("add"),
    operator.mul.__name__: _paired("mul"),
    operator.truediv.__name__: _paired("div"),
}
