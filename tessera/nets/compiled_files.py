"""Compiled networks on disk: which file belongs to which network on which processor, and whether it is whole.

`<cache>/compiled/NETWORK-KEY/` holds `network.so` beside its sha256. The key is a digest of all that decides the code:
the network's layers, weights and source, the torch release and the processor. A folder appears whole, by one rename, or
not at all, so a full disk or a killed process leaves nothing that is loaded later. The sha256 tells of damage; it does
not tell friend from foe, so the cache must belong to the user that the service runs as, like the code itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from tessera.nets.runtime import Runtime, RuntimeUnavailableError

COMPILATION = 1
"""Raised whenever the way of compiling changes."""

LIBRARY = "network.so"
_SIDECAR = f"{LIBRARY}.sha256"
_KEY_CHARACTERS = 20
_KEPT = 8  # of each kind of network: other versions, other encoders


def compiled_folder(cache_dir: Path, module: nn.Module) -> Path:
    """Where the compiled form of a network lies on this machine, whether or not it is there."""
    name = type(module).__name__.lower()
    return cache_dir / "compiled" / f"{name}-{network_key(module)}"


def network_key(module: nn.Module) -> str:
    """A digest of all that decides the compiled code of a network.

    Args:
        module: in the form that would be compiled.
    """
    digest = hashlib.sha256()
    for fact in (f"compilation {COMPILATION}", f"torch {torch.__version__}", *_processor(), repr(module)):
        digest.update(fact.encode() + b"\0")
    for name, part in module.named_modules():
        digest.update(f"{name} {type(part).__qualname__} {_plain_facts(part)}\0".encode())
    for source in sorted({type(part).__module__ for part in module.modules()}):
        digest.update(_source_of(source))
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:_KEY_CHARACTERS]


def find_library(folder: Path) -> Path | None:
    """The library in a folder, or None when there is none or it is damaged."""
    library = folder / LIBRARY
    try:
        expected = (folder / _SIDECAR).read_text(encoding="ascii").strip()
        found = hashlib.sha256(library.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # in use: `store_library` makes room among the longest unused
    return library if found == expected else None


def store_library(folder: Path, content: bytes) -> None:
    """Put a library in its place, whole or not at all.

    Args:
        folder: from `compiled_folder`; the caller holds `locked(folder)`.
        content: of the library.

    Raises:
        RuntimeUnavailableError: the disk is full or read-only.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-", ignore_cleanup_errors=True) as part:
            whole = Path(part) / "whole"
            whole.mkdir()
            _write_durably(whole / LIBRARY, content)
            _write_durably(whole / _SIDECAR, hashlib.sha256(content).hexdigest().encode("ascii"))
            if folder.exists():  # a damaged one: find_library refused it
                shutil.rmtree(folder)
            whole.rename(folder)
            _make_room(folder)
    except OSError as error:
        raise RuntimeUnavailableError(Runtime.COMPILED, f"the cache cannot be written: {error}") from error


def _make_room(folder: Path) -> None:
    # Whoever has one of them open keeps it: a library that is loaded outlives its name.
    kind = folder.name.rpartition("-")[0]
    found = sorted(folder.parent.glob(f"{kind}-*/"), key=_last_used_s, reverse=True)
    for unused in [other for other in found if other != folder][_KEPT - 1 :]:
        shutil.rmtree(unused, ignore_errors=True)


def _last_used_s(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process made room meanwhile
        return 0.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time compile what belongs into a folder; the lock ends with its process.

    Raises:
        RuntimeUnavailableError: the disk is full or read-only.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = folder.with_name(f"{folder.name}.lock").open("a+b")
    except OSError as error:
        raise RuntimeUnavailableError(Runtime.COMPILED, f"the cache cannot be written: {error}") from error
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _processor() -> tuple[str, ...]:
    # The code is made for exactly this processor (-march=native): every flag counts.
    flags = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.machine(), torch.backends.cpu.get_cpu_capability(), " ".join(sorted(flags.split()))


def _plain_facts(part: nn.Module) -> list[str]:
    # What a layer's printed form leaves out, such as whether it is activated. An address is no fact.
    facts = [f"{key}={value!r}" for key, value in sorted(vars(part).items()) if not key.startswith("_")]
    return [fact for fact in facts if " at 0x" not in fact]


def _source_of(module_name: str) -> bytes:
    file = getattr(sys.modules[module_name], "__file__", None)
    if file is None or module_name.startswith("torch."):  # torch's release is in the key already
        return b""
    return Path(file).read_bytes()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
