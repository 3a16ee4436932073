"""Labeled Faces in the Wild, as it lies in a folder: pictures by person, and the pairs of View 2.

Source: Huang, Ramesh, Berg and Learned-Miller, "Labeled Faces in the Wild", UMass TR 07-49 (2007). The pictures may be
used for research and must not be passed on: nothing here copies them.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tessera.domain.errors import ArtifactError

FOLDS_TAR = "lfw-folds-1-5.tar"
COHORT_TAR = "lfw-cohort.tar"
PAIRS_FILE = "lfw-pairs-folds-1-5.txt"


@dataclass(frozen=True, slots=True)
class Picture:
    """One JPEG of one person."""

    name: str
    """File name, such as `Aaron_Peirsol_0001.jpg`."""
    person: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures, and whether they show one person."""

    fold: int
    """From 0."""
    first: str
    second: str
    mated: bool


def read_pictures(tar: Path) -> Iterator[Picture]:
    """Every JPEG of an archive, by name.

    Raises:
        ArtifactError: the archive is not there.
    """
    if not tar.is_file():
        raise ArtifactError(str(tar), "not found; TESSERA_DATA must name the folder that holds it")
    with tarfile.open(tar) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".jpg")]
        for member in sorted(members, key=lambda member: PurePosixPath(member.name).name):
            file = archive.extractfile(member)
            if file is not None:
                path = PurePosixPath(member.name)
                yield Picture(path.name, path.parent.name, file.read())


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of View 2: folds of mated, then non-mated pairs.

    Raises:
        ArtifactError: the file is not there, or is no LFW pairs file.
    """
    try:
        return _parse_pairs(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(str(path), f"not an LFW pairs file: {error}") from error


def _parse_pairs(text: str) -> list[Pair]:
    head, *lines = text.splitlines() or [""]
    folds, each = (int(number) for number in head.split())
    if len(lines) != folds * each * 2:
        raise ValueError(f"{len(lines)} pairs instead of {folds * each * 2}")
    return [_pair(line.split("\t"), at // (each * 2)) for at, line in enumerate(lines)]


def _pair(row: list[str], fold: int) -> Pair:
    if len(row) == 3:
        person, first, second = row
        return Pair(fold, _file(person, first), _file(person, second), mated=True)
    person, first, other, second = row
    return Pair(fold, _file(person, first), _file(other, second), mated=False)


def _file(person: str, number: str) -> str:
    return f"{person}_{int(number):04d}.jpg"


def digest(pictures: list[Picture]) -> str:
    """sha256 over the names and digests of pictures: what a calibration says that it was measured on."""
    total = hashlib.sha256()
    for picture in pictures:
        total.update(f"{picture.name} {hashlib.sha256(picture.data).hexdigest()}\n".encode())
    return total.hexdigest()
