"""Runtimes of the two networks on one CPU thread, as ratios to plain float32 torch in the same run.

    make bench-runtimes

Every variant takes its turn in each round, so that what else runs on the machine slows all of them alike. The first
run on a machine compiles for a minute or two. CUDA graphs need a GPU and are not measured.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.figures import Figure, report
from tessera.chassis.allocator import tune_for_networks
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.domain.artifact import SourceFile, load_manifest
from tessera.nets.artifact import SampleNetworks, load_face_networks
from tessera.nets.compilation import compile_networks, load_compiled
from tessera.nets.onnx_weights import read_weights
from tessera.nets.parity import MAX_BOX_PX, MIN_COSINE, parity
from tessera.nets.runtime import Network
from tessera.nets.sface import build_sface
from tessera.nets.yunet import build_yunet

COMMAND = "make bench-runtimes"
ENCODER = "face-sface-1"
BATCHES = (1, 4, 16)
ROUNDS, WARM_UP_ROUNDS = 12, 3
FRAME_PX = (384, 640)
NOTES = [
    "One thread; CPU time of that thread. Neighbours still share caches and memory: run it on a quiet machine.",
    "Every variant gets its input channels last, as the service makes it, plain torch too.",
    "The halves with and without the tuned allocator do not take turns: compare ratios within a half, not across.",
]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run both networks."""

    name: str
    networks: SampleNetworks


def variants() -> tuple[Variant, ...]:
    """Plain first: what every ratio is to."""
    manifest, cpu = load_manifest(ENCODER), torch.device("cpu")
    assert isinstance(manifest.detector, SourceFile)
    assert isinstance(manifest.embedder, SourceFile)
    bring = partial(bring_weights, default_cache_dir(), default_supplied_dir())
    paths = {source.network: bring(source) for source in (manifest.detector, manifest.embedder)}
    plain = SampleNetworks(
        build_yunet(read_weights(paths["yunet"]), "yunet"), build_sface(read_weights(paths["sface"]), "sface"), cpu
    )
    eager = load_face_networks(manifest, lambda source: paths[source.network], default_cache_dir())
    compile_networks(ENCODER, default_cache_dir())
    compiled = load_compiled(eager, manifest.crop, default_cache_dir(), lanes=1)
    assert compiled is not None
    assert isinstance(eager.detector, torch.nn.Module)
    assert isinstance(eager.embedder, torch.nn.Module)
    fused = SampleNetworks(_rows_first(eager.detector), _rows_first(eager.embedder), cpu)
    named = {"plain": plain, "fused": fused, "fused, weights channels last": eager, "compiled": compiled}
    return tuple(Variant(name, networks) for name, networks in named.items())


def _rows_first(module: torch.nn.Module) -> torch.nn.Module:
    return copy.deepcopy(module).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def measure(networks: dict[str, Network], batch: Tensor) -> dict[str, float]:
    """Median CPU milliseconds of the calling thread per item, the variants in turn."""
    spent: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for _ in range(ROUNDS + WARM_UP_ROUNDS):
            for name, network in networks.items():
                started_s = time.thread_time()
                network(batch)
                spent[name].append((time.thread_time() - started_s) * 1e3 / len(batch))
    return {name: statistics.median(values[WARM_UP_ROUNDS:]) for name, values in spent.items()}


def stage_figures(
    stage: str, networks: dict[str, Network], batch_of: Callable[[int], Tensor], note: str
) -> list[Figure]:
    """Milliseconds of plain networks, and how many times as fast the others are, by batch."""
    figures: list[Figure] = []
    for rows in BATCHES:
        spent = measure(networks, batch_of(rows))
        plain_ms = spent.pop("plain")
        title = f"{stage}, batch {rows}{note}"
        figures.append(Figure(f"{title}: plain", plain_ms, "ms of CPU per item", "", None, COMMAND))
        for name, ms in spent.items():
            bar, holds = ("faster than plain", ms < plain_ms) if name == "compiled" else ("", None)
            figures.append(Figure(f"{title}: {name}", plain_ms / ms, "times as fast", bar, holds, COMMAND))
    return figures


def _frames(rows: int) -> Tensor:
    return (torch.rand(rows, 3, *FRAME_PX) * 255).contiguous(memory_format=torch.channels_last)


def _crops(rows: int) -> Tensor:
    return (torch.rand(rows, 3, 112, 112) * 255).contiguous(memory_format=torch.channels_last)


def main() -> int:
    """Measure, print and keep."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    found = variants()
    detectors = {variant.name: variant.networks.detector for variant in found}
    embedders = {variant.name: variant.networks.embedder for variant in found}
    figures: list[Figure] = []
    for note in ("", ", allocator tuned"):
        if note and not tune_for_networks():
            continue
        figures += stage_figures("detect 640x384", detectors, _frames, note)
        figures += stage_figures("embed 112x112", embedders, _crops, note)
    measured = parity(found[0].networks, found[-1].networks)
    figures.append(
        Figure("compiled to plain: least cosine", measured.min_cosine, "", f">= {MIN_COSINE}", measured.holds, COMMAND)
    )
    figures.append(
        Figure("compiled to plain: box edges", measured.max_box_px, "px", f"<= {MAX_BOX_PX}", measured.holds, COMMAND)
    )
    return report("runtimes", figures, NOTES)


if __name__ == "__main__":
    sys.exit(main())
