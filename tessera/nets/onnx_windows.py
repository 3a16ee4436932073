"""Convolutions and poolings of ONNX in the terms of torch: `auto_pad` and `ceil_mode` become plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tessera.nets.graph_builder import UnfitNodeError
from tessera.nets.onnx_file import OnnxNode

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Where a window goes; each pair is of height and width."""

    kernel: Pair
    stride: Pair
    dilation: Pair
    pads: tuple[int, int, int, int]
    """Top, left, bottom, right."""
    overhang: Pair
    """How much further down and right it reaches because its number of places is rounded up."""


def window_of(node: OnnxNode, kernel: Sequence[int], side_px: Sequence[int]) -> Window:
    """The window of a node.

    Args:
        node: Conv, MaxPool or AveragePool.
        kernel: height and width.
        side_px: height and width of what it goes over.

    Raises:
        UnfitNodeError: it is not over height and width, or its numbers make no sense.
    """
    if len(kernel) != 2 or len(side_px) != 2:
        raise UnfitNodeError(f"works on {len(side_px)} axes beside batch and channels; allowed: 2, height and width")
    kernel_pair = _pair(node, "kernel", kernel)
    stride = _pair(node, "strides", node.attributes.get("strides", (1, 1)))
    dilation = _pair(node, "dilations", node.attributes.get("dilations", (1, 1)))
    if min(*kernel_pair, *stride, *dilation) < 1:
        raise UnfitNodeError(f"kernel {kernel_pair}, strides {stride}, dilations {dilation}; allowed: 1 or more each")
    reach = (dilation[0] * (kernel_pair[0] - 1) + 1, dilation[1] * (kernel_pair[1] - 1) + 1)
    sides = [_side(node, axis, side_px[axis], reach[axis], stride[axis]) for axis in (0, 1)]
    pads = (sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    return Window(kernel_pair, stride, dilation, pads, (sides[0][2], sides[1][2]))


def _side(node: OnnxNode, axis: int, side_px: int, reach_px: int, stride: int) -> tuple[int, int, int]:
    """Padding before and after, and the overhang, along one axis."""
    automatic = node.attributes.get("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        total = max((-(-side_px // stride) - 1) * stride + reach_px - side_px, 0)
        less, more = total // 2, total - total // 2
        return (less, more, 0) if automatic == "SAME_UPPER" else (more, less, 0)
    pads = tuple(node.attributes.get("pads", (0, 0, 0, 0))) if automatic == "NOTSET" else (0, 0, 0, 0)
    if automatic not in {"NOTSET", "VALID"} or len(pads) != 4 or min(pads) < 0:
        raise UnfitNodeError(f"auto_pad {automatic}, pads {pads}; allowed: 4 pads of 0 or more")
    before, after = pads[axis], pads[axis + 2]
    slack = side_px + before + after - reach_px
    if not node.attributes.get("ceil_mode", 0) or slack % stride == 0:
        return before, after, 0
    overhang = stride - slack % stride
    # A place that would begin beyond the picture and its padding before is none.
    begins = slack + overhang
    return before, after, overhang if begins < side_px + before else 0


def _pair(node: OnnxNode, key: str, values: Sequence[int]) -> Pair:
    if len(values) != 2:
        raise UnfitNodeError(f"{key} {list(values)} of {node.op}; allowed: two numbers, for height and width")
    return int(values[0]), int(values[1])
