"""A TensorFlow.js graph, evaluated node by node in NumPy: what a port is compared with. It knows nothing of a port."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def evaluate(graph: Mapping[str, Any], constants: Mapping[str, Array], fed: Array) -> dict[str, Array]:
    """Run a graph on one input.

    Args:
        graph: the parsed `model.json`.
        constants: as `read_constants` gives them.
        fed: what its one placeholder holds.

    Returns:
        What each `Identity` node gives, by its name.
    """
    known: dict[str, Any] = dict(constants)
    left = [node for node in graph["modelTopology"]["node"] if node["op"] != "Const"]
    while left:
        waiting = []
        for node in left:
            inputs = node.get("input", [])
            if all(name.partition(":")[0] in known for name in inputs):
                known[node["name"]] = (
                    fed if node["op"] == "Placeholder" else _run(node, [_take(known, n) for n in inputs])
                )
            else:
                waiting.append(node)
        assert len(waiting) < len(left), "the graph has a circle"
        left = waiting
    return {node["name"]: known[node["name"]] for node in graph["modelTopology"]["node"] if node["op"] == "Identity"}


def read_constants(graph: Mapping[str, Any], content: bytes) -> dict[str, Array]:
    """The constants of a graph out of its flat file, in float32 where they are kept in half precision."""
    constants, at = {}, 0
    for entry in graph["weightsManifest"][0]["weights"]:
        kept = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"], dtype=np.int64))
        constants[entry["name"]] = (
            np.frombuffer(content, kept, count, at).reshape(entry["shape"]).astype(entry["dtype"])
        )
        at += count * kept.itemsize
    assert at == len(content)
    return constants


def offsets(graph: Mapping[str, Any]) -> dict[str, int]:
    """Where each constant begins in the flat file, in bytes."""
    found, at = {}, 0
    for entry in graph["weightsManifest"][0]["weights"]:
        found[entry["name"]] = at
        kept = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
        at += int(np.prod(entry["shape"], dtype=np.int64)) * kept.itemsize
    return found


def _take(known: Mapping[str, Any], name: str) -> Any:
    base, _, place = name.partition(":")
    found = known[base]
    return found[int(place or 0)] if isinstance(found, list) else found


def _run(node: Mapping[str, Any], inputs: list[Any]) -> Any:
    return _OPERATIONS[node["op"]](node.get("attr", {}), *inputs)


def _conv(attributes: Mapping[str, Any], x: Array, weight: Array) -> Array:
    stride = int(attributes["strides"]["list"]["i"][1])
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[:2], axis=(1, 2))[:, ::stride, ::stride]
    flat = np.moveaxis(windows, 3, -1).reshape(*windows.shape[:3], -1)
    made: Array = flat @ weight.reshape(-1, weight.shape[3])
    return made


def _max_pool(attributes: Mapping[str, Any], x: Array) -> Array:
    size, stride = (int(attributes[name]["list"]["i"][1]) for name in ("ksize", "strides"))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]
    made: Array = windows.max((-2, -1))
    return made


def _resize(attributes: Mapping[str, Any], x: Array, size: Array) -> Array:
    assert attributes["half_pixel_centers"]["b"]
    for axis in (1, 2):
        x = np.moveaxis(_along(np.moveaxis(x, axis, 0), int(size[axis - 1])), 0, axis)
    return x


def _along(x: Array, wanted: int) -> Array:
    places = np.clip((np.arange(wanted) + 0.5) * (len(x) / wanted) - 0.5, 0, len(x) - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(x) - 1)
    share = (places - below).reshape(-1, *[1] * (x.ndim - 1)).astype(np.float32)
    return x[below] * (1 - share) + x[above] * share


def _split(_: Mapping[str, Any], x: Array, sizes: Array, axis: Array) -> list[Array]:
    return np.split(x, np.cumsum(sizes)[:-1], int(axis))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Conv2D": _conv,
    "MaxPool": _max_pool,
    "ResizeBilinear": _resize,
    "SplitV": _split,
    "Pad": lambda _, x, by: np.pad(x, by),
    "PadV2": lambda _, x, by, value: np.pad(x, by, constant_values=value),
    "Add": lambda _, a, b: a + b,
    "AddV2": lambda _, a, b: a + b,
    "Transpose": lambda _, x, order: np.transpose(x, order),
    "LeakyRelu": lambda attributes, x: np.where(x > 0, x, x * np.float32(attributes["alpha"]["f"])),
    "ConcatV2": lambda _, *given: np.concatenate(given[:-1], int(given[-1])),
    "Reshape": lambda _, x, shape: x.reshape(shape),
    "Sigmoid": lambda _, x: 1 / (1 + np.exp(-x)),
    "Identity": lambda _, x: x,
    "SparseToDense": lambda _, at, shape, values, default: _dense(at, shape, values, default),
}


def _dense(at: Array, shape: Array, values: Array, default: Array) -> Array:
    dense = np.full(shape, default)
    for place, value in zip(at, values, strict=True):
        dense[tuple(place)] = value
    return dense


def parse(text: str) -> Mapping[str, Any]:
    """A `model.json`."""
    graph: Mapping[str, Any] = json.loads(text)
    return graph
