"""What an embedder is put through before it is imported: does it say what its ONNX file says, and how fast.

The reference is onnxruntime where it is installed, else the evaluator that comes with `onnx`, which is slow and plain.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from tessera.domain.artifact import Channels, InputFormat
from tessera.domain.errors import ArtifactError
from tessera.nets.onnx_file import OnnxGraph
from tessera.nets.parity import MIN_COSINE
from tessera.nets.runtime import Network

Rows = npt.NDArray[np.float32]
"""float32 (n, ...)."""

BATCH_SIZES = (1, 8)

_MIN_ROW_COSINE = 0.999999
_SPEED_ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Parity:
    """How near the imported network is to its ONNX file."""

    reference: str
    """What ran the ONNX file."""
    inputs: int
    lowest_cosine: float
    lowest_batch_cosine: float
    """Between a face alone and the same face in a batch."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds for one face."""

    ms: Mapping[int, float]
    """By batch size: the median of several rounds."""
    shipped_ms: Mapping[int, float]
    """Of the shipped embedder, measured in turn with it."""

    def ratio(self, batch_size: int) -> float:
        """How many times the shipped embedder's time it takes."""
        return self.ms[batch_size] / self.shipped_ms[batch_size]


def run_network(network: Network, values: Rows) -> Rows:
    """Run one batch of numpy arrays.

    Args:
        network: takes float32 tensors.
        values: what it takes.
    """
    with torch.inference_mode():
        made: Rows = network(torch.from_numpy(values)).float().numpy()
    return made


def measure_parity(network: Network, presented: InputFormat, graph: OnnxGraph, crops: Rows) -> Parity:
    """Compare an imported network with its ONNX file.

    Args:
        network: behind its input format.
        presented: that format, which the ONNX file knows nothing of.
        graph: the ONNX file as it was opened.
        crops: float32 (n, 3, h, w), RGB, 0 to 255.

    Raises:
        ArtifactError: they differ, the faces of a batch touch each other, or the reference cannot run the file.
    """
    path = graph.path
    ours = run_network(network, crops)
    if not np.isfinite(ours).all() or not np.linalg.norm(ours, axis=1).all():
        raise ArtifactError(path.name, "gives numbers that are not finite, or nothing but zeros")
    alone = np.concatenate([run_network(network, crop[None]) for crop in crops])
    name, refer = _reference(path, graph.input)
    theirs = np.concatenate([refer(_presented(crop[None], presented)) for crop in crops])
    if theirs.shape != ours.shape:
        raise ArtifactError(path.name, f"{name} gives {theirs.shape[1:]} for each face; the import {ours.shape[1:]}")
    parity = Parity(name, len(crops), float(_cosines(ours, theirs).min()), float(_cosines(ours, alone).min()))
    if not parity.lowest_cosine >= MIN_COSINE:
        raise ArtifactError(
            path.name, f"cosine {parity.lowest_cosine:.6f} between the import and {name}; allowed: {MIN_COSINE} or more"
        )
    if not parity.lowest_batch_cosine >= _MIN_ROW_COSINE:
        raise ArtifactError(path.name, "a face alone and the same face in a batch give different embeddings")
    return parity


def measure_speed(network: Network, shipped: Network, crops: Rows) -> Speed:
    """Time an embedder and the shipped one in turn, on one thread as a lane of the service has it, on this machine now.

    Args:
        network: to be measured.
        shipped: to be compared with.
        crops: one or more; repeated to fill a batch.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure_speed(network, shipped, crops)
    finally:
        torch.set_num_threads(threads)


def _measure_speed(network: Network, shipped: Network, crops: Rows) -> Speed:
    times: dict[tuple[bool, int], list[float]] = {}
    for size in BATCH_SIZES:
        batch = torch.from_numpy(np.resize(crops, (size, *crops.shape[1:])))
        batch = batch.contiguous(memory_format=torch.channels_last)
        for round_ in range(_SPEED_ROUNDS + 1):
            for ours, chosen in ((True, network), (False, shipped)):
                started_s = time.perf_counter()
                with torch.inference_mode():
                    chosen(batch)
                if round_:
                    times.setdefault((ours, size), []).append((time.perf_counter() - started_s) * 1e3 / size)
    ms = {key: median(values) for key, values in times.items()}
    return Speed(
        {size: ms[True, size] for size in BATCH_SIZES},
        {size: ms[False, size] for size in BATCH_SIZES},
    )


def for_inference(module: nn.Module) -> nn.Module:
    """The module with its weights in the order that the service uses."""
    return module.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _reference(path: Path, input_name: str) -> tuple[str, Callable[[Rows], Rows]]:
    name, run = _by_onnxruntime(path, input_name) or ("onnx.reference", _by_evaluator(path, input_name))

    def refer(values: Rows) -> Rows:
        try:
            return np.asarray(run(values), dtype=np.float32)
        except Exception as error:  # whatever another's interpreter raises over a file of unknown origin
            raise ArtifactError(path.name, f"{name} cannot run it: {error}") from error

    return name, refer


def _by_evaluator(path: Path, input_name: str) -> Callable[[Rows], Any]:
    try:
        evaluator: Any = ReferenceEvaluator(str(path))
    except Exception as error:
        raise ArtifactError(path.name, f"onnx.reference cannot read it: {error}") from error
    return lambda values: evaluator.run(None, {input_name: values})[0]


def _by_onnxruntime(path: Path, input_name: str) -> tuple[str, Callable[[Rows], Any]] | None:
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    onnxruntime: Any = importlib.import_module("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ArtifactError(path.name, f"onnxruntime cannot read it: {error}") from error
    if [value.name for value in session.get_inputs()] != [input_name]:
        return None  # it would ask for inputs that no node takes
    return "onnxruntime", lambda values: session.run(None, {input_name: values})[0]


def _presented(crops: Rows, presented: InputFormat) -> Rows:
    """What the ONNX file wants to see, worked out by numpy and not by the module under trial."""
    ordered = crops[:, ::-1] if presented.channels is Channels.BGR else crops
    offset, scale = (np.reshape(v, (1, 3, 1, 1)) for v in (presented.offset, presented.scale))
    return np.ascontiguousarray((ordered.astype(np.float64) - offset) * scale, dtype=np.float32)


def _cosines(a: Rows, b: Rows) -> Rows:
    x, y = (rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in (a, b))
    made: Rows = (x * y).sum(axis=1).astype(np.float32)
    return made
