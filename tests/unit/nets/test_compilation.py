"""Compiled networks on disk: whole or not there, of exactly this network, and never in the way of serving."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from tessera.domain.artifact import CropSize, Manifest
from tessera.nets import compilation, compiled_files
from tessera.nets.artifact import SampleNetworks
from tessera.nets.compilation import compile_networks, load_compiled
from tessera.nets.compiled import CompiledNetwork, InputRange
from tessera.nets.compiled_files import LIBRARY, compiled_folder, find_library, locked, network_key, store_library
from tessera.nets.runtime import RuntimeUnavailableError
from tessera.nets.yunet import SeparableUnit

ANY_SIZE = InputRange(4, 3, 32, 64, 640)


def _network(seed: int = 1, outputs: int = 4, stride: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, outputs, 3, stride), nn.ReLU()).eval()


def test_the_key_is_that_of_the_network() -> None:
    """The same layers and weights have one key; other weights, shapes or options have another."""
    assert network_key(_network()) == network_key(_network())
    others = [_network(seed=2), _network(outputs=5), _network(stride=2), nn.Sequential(*_network(), nn.Identity())]
    assert len({network_key(network) for network in (_network(), *others)}) == 5


def test_the_key_knows_what_a_layer_does_not_print() -> None:
    """Whether a unit is activated stands in no printed form and in no weight, and changes the answer."""
    units = []
    for activated in (True, False):
        torch.manual_seed(3)
        units.append(SeparableUnit(4, 4, activated=activated))
    assert repr(units[0]) == repr(units[1])
    assert network_key(units[0]) != network_key(units[1])


def test_a_key_of_another_processor_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code made for one processor may not run on another that shares the cache."""
    here = network_key(_network())
    monkeypatch.setattr(compiled_files, "_processor", lambda: ("x86_64", "AVX2", "flags avx2"))
    assert network_key(_network()) != here


def test_a_library_is_found_only_whole(tmp_path: Path) -> None:
    """Missing, cut short or changed: not found, and written anew over the damaged one."""
    folder = compiled_folder(tmp_path, _network())
    assert find_library(folder) is None
    with locked(folder):
        store_library(folder, b"code")
    assert find_library(folder) == folder / LIBRARY
    (folder / LIBRARY).write_bytes(b"cod")
    assert find_library(folder) is None
    with locked(folder):
        store_library(folder, b"code")
    assert find_library(folder) == folder / LIBRARY
    assert [path.name for path in folder.parent.glob(".part-*")] == []


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written whole is not there, not even in part."""

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled_files, "_write_durably", full)
    folder = compiled_folder(tmp_path, _network())
    with locked(folder), pytest.raises(RuntimeUnavailableError, match="No space left"):
        store_library(folder, b"code")
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file stands where the folder should: the error says so, and is the one that callers go on eager after."""
    (tmp_path / "compiled").write_text("not a folder")
    with (
        pytest.raises(RuntimeUnavailableError, match="cannot be written"),
        locked(compiled_folder(tmp_path, _network())),
    ):
        pass


def test_old_versions_make_room(tmp_path: Path) -> None:
    """Of each kind of network eight stay, the ones used last; the newest is always among them."""
    folders = [compiled_folder(tmp_path, _network(seed)) for seed in range(11)]
    for folder in folders:
        with locked(folder):
            store_library(folder, b"code")
    left = [folder for folder in folders if find_library(folder)]
    assert len(left) == 8
    assert folders[-1] in left


def test_what_another_process_takes_away_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that goes while room is made is none of ours: what was stored stays stored."""
    folder = compiled_folder(tmp_path, _network())
    there = Path.glob

    def with_one_that_is_gone(path: Path, pattern: str) -> list[Path]:
        return [*there(path, pattern), path / "sequential-gone"]

    monkeypatch.setattr(Path, "glob", with_one_that_is_gone)
    with locked(folder):
        store_library(folder, b"code")
    assert find_library(folder) == folder / LIBRARY


def test_one_process_at_a_time_compiles_a_network(tmp_path: Path) -> None:
    """The second waits, and then finds what the first made."""
    folder = compiled_folder(tmp_path, _network())
    found: list[Path | None] = []

    def second() -> None:
        with locked(folder):
            found.append(find_library(folder))

    with locked(folder):
        thread = threading.Thread(target=second)
        thread.start()
        store_library(folder, b"code")
        assert found == []
    thread.join()
    assert found == [folder / LIBRARY]


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    """Whatever lies there with a right digest, an error comes of it and not a crash."""
    library = tmp_path / LIBRARY
    library.write_bytes(b"not a library")
    with pytest.raises(RuntimeUnavailableError, match="cannot be loaded"):
        CompiledNetwork(library, 1, ANY_SIZE, _network())


def test_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The interface is that of one release; a newer one could read memory otherwise."""
    monkeypatch.setattr(torch, "__version__", "2.14.0+cpu")
    with pytest.raises(RuntimeUnavailableError, match=r"2\.14\.0"):
        CompiledNetwork(tmp_path / LIBRARY, 1, ANY_SIZE, _network())


@pytest.mark.parametrize(
    ("shape", "held"),
    [
        ((1, 3, 64, 640), True),
        ((4, 3, 640, 64), True),
        ((5, 3, 64, 64), False),
        ((0, 3, 64, 64), False),
        ((1, 1, 64, 64), False),
        ((1, 3, 32, 64), False),
        ((1, 3, 65, 64), False),
        ((1, 3, 672, 64), False),
        ((3, 64, 64), False),
    ],
)
def test_only_what_was_compiled_for_reaches_the_code(shape: tuple[int, ...], *, held: bool) -> None:
    """The code does not check: a shape beyond its range would be read past the end."""
    assert ANY_SIZE.holds(torch.Size(shape)) is held


def test_nothing_compiled_is_no_error(face_networks: SampleNetworks, tmp_path: Path) -> None:
    """A first start finds nothing and goes on eager."""
    assert load_compiled(face_networks, CropSize(112, 112), tmp_path, lanes=2) is None


def test_without_a_compiler_the_reason_is_told(
    face_manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slim container has none; the log shall say so rather than show a traceback."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeUnavailableError, match="no-such-compiler"):
        compile_networks(face_manifest.name, tmp_path)


def test_a_compiler_that_fails_leaves_nothing(
    face_manifest: Manifest, face_networks: SampleNetworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process says why in one line, and the cache stays as it was: here its weights are missing."""
    with pytest.raises(RuntimeUnavailableError, match="load the encoder before"):
        compile_networks(face_manifest.name, tmp_path)
    assert load_compiled(face_networks, CropSize(112, 112), tmp_path, lanes=2) is None


@pytest.mark.parametrize(
    ("limit_s", "is_set", "why"), [(900.0, True, "cancelled"), (0.3, False, r"longer than 0\.3 s")]
)
def test_compiling_ends_when_it_is_told_to(
    face_manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    limit_s: float,
    is_set: bool,
    why: str,
) -> None:
    """A stop or the limit kills the process and what it started; nobody waits for two minutes."""
    started = []
    really = compilation.subprocess.Popen

    def remembered(*arguments: object, **options: object) -> object:
        started.append(really(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(compilation.subprocess, "Popen", remembered)
    cancelled = threading.Event()
    if is_set:
        cancelled.set()
    with pytest.raises(RuntimeUnavailableError, match=why):
        compile_networks(face_manifest.name, tmp_path, limit_s=limit_s, cancelled=cancelled)
    assert started[0].returncode == -9
