"""Networks on a CUDA device as recorded launches: one graph for each shape and batch bucket, on one thread.

**Not yet run on a GPU**: it was written where there is none. The tests that need one are skipped there and say so;
what runs everywhere are the buckets, and the numerics on a CPU, which decided the precisions:

- the embedder in half precision: cosine 0.999997 or more to float32 on real and drawn faces; no activation passes 60;
- the detector in float32 without TF32: in half precision real boxes move by up to 0.1 px, twice what is allowed.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tessera.nets.artifact import SampleNetworks
from tessera.nets.runtime import Network, Runtime, RuntimeUnavailableError

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
"""Batches are filled up to one of these; a larger batch goes in several runs."""

_MAX_GRAPHS = 64
_WARM_UP_RUNS = 3


def bucket_of(rows: int) -> int:
    """The smallest bucket that holds so many rows.

    Raises:
        ValueError: there is none.
    """
    for bucket in BATCH_BUCKETS:
        if 1 <= rows <= bucket:
            return bucket
    raise ValueError(f"{rows} rows; allowed: 1 to {BATCH_BUCKETS[-1]}")


def load_cuda_graphs(networks: SampleNetworks, device: torch.device) -> SampleNetworks:
    """The same networks, recorded; the thread that runs one first is the only one that may.

    Args:
        networks: eager, on any device; they stay as they are.
        device: the CUDA device.

    Raises:
        RuntimeUnavailableError: there is no such device, or the networks are not eager.
    """
    detector, embedder = networks.detector, networks.embedder
    if device.type != "cuda" or not torch.cuda.is_available():
        raise RuntimeUnavailableError(Runtime.CUDA_GRAPHS, f"there is no CUDA device {device}")
    if not isinstance(detector, nn.Module) or not isinstance(embedder, nn.Module):
        raise RuntimeUnavailableError(Runtime.CUDA_GRAPHS, f"needs eager networks, not {networks.runtime}")
    return replace(
        networks,
        detector=GraphedNetwork(detector, device, torch.float32),
        embedder=GraphedNetwork(embedder, device, torch.float16),
        device=device,
        runtime=Runtime.CUDA_GRAPHS,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    graph: torch.cuda.CUDAGraph
    host_input: Tensor
    device_input: Tensor
    device_output: Tensor
    host_output: Tensor


class GraphedNetwork:
    """A network whose launches are recorded at the first batch of each shape, and replayed.

    Args:
        module: in evaluation mode; a copy goes to the device.
        device: a CUDA device.
        precision: what the layers compute in.
    """

    def __init__(self, module: nn.Module, device: torch.device, precision: torch.dtype) -> None:
        moved = copy.deepcopy(module).to(device, precision)
        self._module: Network = moved.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self._precision = precision
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Waiting sleeps: the core is needed for pictures.
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._recordings: OrderedDict[tuple[int, ...], _Recording] = OrderedDict()
        self._thread: int | None = None

    def __call__(self, batch: Tensor, /) -> Tensor:
        """Run one batch and wait for it.

        Raises:
            RuntimeError: another thread than the first one calls.
            ValueError: the batch is empty.
        """
        self._require_thread()
        most = BATCH_BUCKETS[-1]
        with torch.inference_mode(), torch.cuda.device(self._device):
            parts = [self._run(batch[first : first + most]) for first in range(0, max(1, len(batch)), most)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _run(self, batch: Tensor) -> Tensor:
        recording = self._recording((bucket_of(len(batch)), *batch.shape[1:]))
        recording.host_input[: len(batch)].copy_(batch)  # the rows behind hold older pictures; no row sees another
        with torch.cuda.stream(self._stream):
            recording.device_input.copy_(recording.host_input, non_blocking=True)
            recording.graph.replay()
            recording.host_output.copy_(recording.device_output, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        return recording.host_output[: len(batch)].clone()

    def _recording(self, shape: tuple[int, ...]) -> _Recording:
        if shape not in self._recordings:
            while len(self._recordings) >= _MAX_GRAPHS:
                self._recordings.popitem(last=False)
            self._recordings[shape] = self._record(shape)
        self._recordings.move_to_end(shape)
        return self._recordings[shape]

    def _record(self, shape: tuple[int, ...]) -> _Recording:
        host_input = torch.zeros(shape).contiguous(memory_format=torch.channels_last).pin_memory()
        device_input = torch.zeros(shape, device=self._device).contiguous(memory_format=torch.channels_last)
        graph = torch.cuda.CUDAGraph()
        torch.cuda.current_stream(self._device).synchronize()
        with _exact(), torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP_RUNS):  # libraries choose and allocate here; neither may happen in a recording
                self._forward(device_input)
        self._stream.synchronize()
        with _exact(), torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            device_output = self._forward(device_input)
        host_output = torch.empty(device_output.shape, pin_memory=True)
        return _Recording(graph, host_input, device_input, device_output, host_output)

    def _forward(self, device_input: Tensor) -> Tensor:
        return self._module(device_input.to(self._precision)).float()

    def _require_thread(self) -> None:
        here = threading.get_ident()
        self._thread = self._thread or here
        if self._thread != here:
            raise RuntimeError("a recorded network was called by another thread than the one that recorded it")


def _exact() -> AbstractContextManager[None]:
    # TF32 has the ten bits of half precision, which move a box too far.
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)
    return flags
