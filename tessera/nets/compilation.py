"""Having networks compiled for this processor, by a process of its own, and loading what was compiled before.

Compiling takes a minute or two of one core, gigabytes of address space and a C++ compiler. None of that may touch a
process that serves: `compile_networks` runs `python -m tessera.nets.compiler`, at the lowest priority, and waits
for it. That process keeps only what passes the bar of `tessera.nets.parity`. A service starts on eager networks,
compiles beside them, and changes over.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from tessera.domain.artifact import CropSize
from tessera.nets.artifact import SampleNetworks
from tessera.nets.compiled import CompiledNetwork, detector_range, embedder_range, require_known_torch
from tessera.nets.compiled_files import compiled_folder, find_library
from tessera.nets.runtime import Runtime, RuntimeUnavailableError

COMPILE_LIMIT_S = 900.0
"""After so long a compilation is given up; on two slow cores it takes two minutes."""

_LOOK_EVERY_S = 0.2
_SAID_CHARACTERS = 400


def load_compiled(networks: SampleNetworks, crop: CropSize, cache_dir: Path, lanes: int) -> SampleNetworks | None:
    """The compiled form of eager networks, when it was made here before.

    Args:
        networks: eager, on the CPU; they go on running what is not compiled, such as the narrowest pictures.
        crop: the embedder's input.
        cache_dir: the cache that `compile_networks` filled.
        lanes: how many threads will run each network at once.

    Returns:
        The compiled networks, or None when they are not in the cache or no longer whole.

    Raises:
        RuntimeUnavailableError: they are in the cache and cannot be loaded.
    """
    require_known_torch()
    detector, embedder = eager_modules(networks)
    libraries = [find_library(compiled_folder(cache_dir, module)) for module in (detector, embedder)]
    if libraries[0] is None or libraries[1] is None:
        return None
    return replace(
        networks,
        detector=CompiledNetwork(libraries[0], lanes, detector_range(), networks.detector),
        embedder=CompiledNetwork(libraries[1], lanes, embedder_range(crop), networks.embedder),
        runtime=Runtime.COMPILED,
    )


def compile_networks(
    encoder: str,
    cache_dir: Path,
    *,
    folders: Sequence[Path] = (),
    limit_s: float = COMPILE_LIMIT_S,
    cancelled: threading.Event | None = None,
) -> None:
    """Compile the networks of an encoder into the cache; what is there already is not made again.

    Blocks for a minute or two; the work is done by another process, at the lowest priority. It needs the encoder's
    converted weights in the same cache, so load the encoder first.

    Args:
        encoder: its name.
        cache_dir: where converted weights are and compiled networks will be.
        folders: where encoders are that do not ship.
        limit_s: after so long the process is killed.
        cancelled: when it is set, from any thread, the process is killed.

    Raises:
        RuntimeUnavailableError: there is no C++ compiler, or compiling failed, took too long or was cancelled, or what
            came of it does not give what the eager networks give; then nothing is kept.
    """
    require_known_torch()
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise RuntimeUnavailableError(Runtime.COMPILED, f"there is no C++ compiler ({compiler}) to compile with")
    with tempfile.TemporaryDirectory(prefix="tessera-compile-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "tessera.nets.compiler", encoder, str(cache_dir), *map(str, folders)]
        with (Path(folder) / "said").open("w+b") as said:
            process = subprocess.Popen(
                command,
                env={**os.environ, **_environment(folder)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # so that the C++ compiler it starts is killed with it
            )
            try:
                why = _wait(process, limit_s, cancelled or threading.Event())
            finally:
                _kill(process)
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2][-_SAID_CHARACTERS:]
    if why or process.returncode != 0:
        raise RuntimeUnavailableError(Runtime.COMPILED, why or f"compiling failed: {last or process.returncode}")


def _environment(folder: str) -> dict[str, str]:
    # One thread, and a cache of torch's own that goes when the work is done.
    return {
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "torch"),
        "TMPDIR": folder,
    }


def _wait(process: subprocess.Popen[bytes], limit_s: float, cancelled: threading.Event) -> str:
    """Why the process has to be killed; empty when it ended by itself."""
    give_up_s = time.monotonic() + limit_s
    while process.poll() is None:
        if cancelled.wait(_LOOK_EVERY_S):
            return "compiling was cancelled"
        if time.monotonic() >= give_up_s:
            return f"compiling took longer than {limit_s:g} s"
    return ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def eager_modules(networks: SampleNetworks) -> tuple[nn.Module, nn.Module]:
    """The detector and the embedder as torch modules.

    Raises:
        RuntimeUnavailableError: they are not eager, or not on the CPU.
    """
    detector, embedder = networks.detector, networks.embedder
    if networks.device.type != "cpu" or not isinstance(detector, nn.Module) or not isinstance(embedder, nn.Module):
        raise RuntimeUnavailableError(Runtime.COMPILED, f"needs eager networks on the cpu, not {networks.runtime}")
    return detector, embedder
