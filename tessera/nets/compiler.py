"""`python -m tessera.nets.compiler`: the process that compiles, so that the one that serves does not.

`tessera.nets.compilation` starts it, with the environment that keeps it to one thread, and kills it when it is told to.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch._inductor
from torch import Tensor, nn

from tessera.domain.artifact import Manifest, load_manifest
from tessera.domain.errors import ArtifactError, TesseraError
from tessera.nets.artifact import load_sample_networks
from tessera.nets.compilation import eager_modules
from tessera.nets.compiled import CompiledNetwork, InputRange, detector_range, embedder_range
from tessera.nets.compiled_files import LIBRARY, compiled_folder, find_library, locked, store_library
from tessera.nets.parity import detectors_agree, drawn_samples, embedders_agree
from tessera.nets.runtime import Network, Runtime, RuntimeUnavailableError

_LOWEST_PRIORITY = 19
_SETTINGS = {
    "freezing": True,
    "cpp.threads": 1,  # no OpenMP in the generated code: a lane is one thread
    "aot_inductor.precompile_headers": False,
    "aot_inductor.enable_line_tables": False,
}


Agrees = Callable[[Network, Network], bool]
"""Whether a compiled network, the second, gives what the first gives."""


def compile_module(module: nn.Module, accepts: InputRange, agrees: Agrees, cache_dir: Path) -> None:
    """Compile one network into the cache, unless it is there.

    Args:
        module: in evaluation mode, channels last, on the CPU.
        accepts: the batches that it is compiled for.
        agrees: decides whether the result is kept.
        cache_dir: of which `compiled` is a part.

    Raises:
        RuntimeUnavailableError: the cache cannot be written, or the result does not agree.
    """
    folder = compiled_folder(cache_dir, module)
    with locked(folder), tempfile.TemporaryDirectory() as work:
        if find_library(folder) is None:
            library = _compile(module, accepts, Path(work))
            if not agrees(module, CompiledNetwork(library, 1, accepts, module)):
                raise RuntimeUnavailableError(Runtime.COMPILED, f"{folder.name} does not give what eager gives")
            store_library(folder, library.read_bytes())


def _compile(module: nn.Module, accepts: InputRange, work: Path) -> Path:
    example, dynamic = _example(accepts)
    package = work / "network.pt2"
    with torch.no_grad():
        exported = torch.export.export(module, (example,), dynamic_shapes=(dynamic,))
        torch._inductor.aoti_compile_and_package(exported, package_path=str(package), inductor_configs=_SETTINGS)
    with zipfile.ZipFile(package) as archive:
        (member,) = [name for name in archive.namelist() if name.endswith(".so")]
        library = work / LIBRARY
        library.write_bytes(archive.read(member))
    return library


def _example(accepts: InputRange) -> tuple[Tensor, dict[int, object]]:
    dynamic: dict[int, object] = {0: torch.export.Dim("n", min=1, max=accepts.max_batch)}
    cells = accepts.max_side_px // accepts.side_multiple_px
    height_px, width_px = accepts.only_px or (accepts.max_side_px, accepts.max_side_px)
    if accepts.only_px is None and accepts.min_side_px < accepts.max_side_px:
        height_px, width_px = 12 * accepts.side_multiple_px, 20 * accepts.side_multiple_px
        least = accepts.min_side_px // accepts.side_multiple_px
        for axis, name in ((2, "h"), (3, "w")):
            dynamic[axis] = accepts.side_multiple_px * torch.export.Dim(name, min=least, max=cells)
    example = torch.rand(2, accepts.channels, height_px, width_px) * 255
    return example.contiguous(memory_format=torch.channels_last), dynamic


def _no_file(source: object) -> Path:
    raise ArtifactError(str(source), "its conversion is not in the cache: load the encoder before it is compiled")


def _compile_both(manifest: Manifest, cache_dir: Path) -> None:
    detector, embedder = eager_modules(load_sample_networks(manifest, _no_file, cache_dir))
    samples = drawn_samples(manifest)
    agree = partial(detectors_agree, frames=samples.frames, reading=samples.reading)
    compile_module(detector, detector_range(), agree, cache_dir)
    agree = partial(embedders_agree, crops=samples.crops)
    compile_module(embedder, embedder_range(manifest.crop), agree, cache_dir)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile the networks of one encoder; the process that `compile_networks` starts."""
    parser = argparse.ArgumentParser(prog="python -m tessera.nets.compiler", description=main.__doc__)
    parser.add_argument("encoder")
    parser.add_argument("cache_dir", type=Path)
    parser.add_argument("folders", type=Path, nargs="*", help="where encoders are that do not ship")
    wanted = parser.parse_args(arguments)
    os.nice(_LOWEST_PRIORITY)
    torch.set_num_threads(1)
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        _compile_both(load_manifest(wanted.encoder, wanted.folders), wanted.cache_dir)
    except TesseraError as error:
        print(str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
