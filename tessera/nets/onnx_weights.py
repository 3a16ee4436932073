"""Weights out of an ONNX file, as float32 arrays; this module reads the file and never runs its graph.

The pinned files hold block-quantised weights: `NAME_quantized`, with scales and zero points along one axis. They are
folded once, so that what runs afterwards is plain float32.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper

from tessera.domain.errors import ArtifactError

Weights = dict[str, npt.NDArray[np.float32]]
"""Arrays by the name that the ONNX file gives them."""

_QUANTIZED = "_quantized"


def read_weights(path: Path) -> Weights:
    """Read every weight of an ONNX file, block-quantised ones folded to float32.

    Args:
        path: the file; the caller has checked its sha256.

    Raises:
        ArtifactError: a quantised weight lacks its scales, zero points or shape.
    """
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights: Weights = {}
    try:
        for node in graph.node:
            if node.op_type == "DequantizeLinear":
                name = node.input[0].removesuffix(_QUANTIZED)
                options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                q, scales, zero = (stored.pop(part) for part in node.input)
                values = dequantize(q, scales, zero, axis=options["axis"], block_size=options["block_size"])
                weights[name] = values.reshape(stored.pop(f"{name}_shape"))
    except KeyError as error:
        raise ArtifactError(path.name, f"a quantised weight lacks {error}") from error
    weights.update({name: np.asarray(value, dtype=np.float32) for name, value in stored.items()})
    return weights


def dequantize(
    q: npt.NDArray[np.int8],
    scales: npt.NDArray[np.float32],
    zero: npt.NDArray[np.int8],
    axis: int,
    block_size: int,
) -> npt.NDArray[np.float32]:
    """Fold a block-quantised array: (q - zero) x scale.

    Args:
        q: int8, any shape.
        scales: float32, shape of `q` but for `axis`, where it has ceil(n / block_size) entries.
        zero: int8, shape of `scales`.
        axis: along which the blocks lie.
        block_size: entries of `q` that share a scale; the last block may be shorter.

    Returns:
        float32, shape of `q`.

    Source: ONNX operator DequantizeLinear, version 21, blocked.
    """
    n = q.shape[axis]
    scale = np.repeat(scales, block_size, axis=axis).take(range(n), axis=axis)
    offset = np.repeat(zero, block_size, axis=axis).take(range(n), axis=axis)
    folded: npt.NDArray[np.float32] = (q.astype(np.float32) - offset.astype(np.float32)) * scale
    return folded


def fill(
    module: torch.nn.Module,
    weights: Weights,
    names: Mapping[str, str],
    unused: Collection[str],
    source: str,
) -> None:
    """Put weights into a module; every array must find its place, and every place its array.

    Args:
        module: whose parameters and buffers are filled.
        weights: by ONNX name.
        names: state-dict name -> ONNX name.
        unused: ONNX names that belong to the graph and not to the network, such as the factor of a resize.
        source: the file, for the error.

    Raises:
        ArtifactError: an array is left over, a parameter stays empty, or a shape does not fit.
    """
    left = set(weights) - set(names.values()) - set(unused)
    missing = set(names.values()) - set(weights)
    if left or missing:
        raise ArtifactError(source, f"weights left over: {sorted(left)}; weights missing: {sorted(missing)}")
    expected = {key: value for key, value in module.state_dict().items() if "num_batches" not in key}
    try:
        state = {
            key: torch.from_numpy(np.array(weights[onnx_name])).reshape(expected[key].shape)
            for key, onnx_name in names.items()
        }
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(source, f"a weight does not fit the network: {error}") from error
    if state.keys() != expected.keys():
        raise ArtifactError(source, f"parameters without weights: {sorted(expected.keys() - state.keys())}")
    module.load_state_dict(state, strict=False)
