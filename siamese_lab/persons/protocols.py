"""The standard sets of re-identification in the folders that they come in: what is searched for, and where.

Knows file names and lists, and no pictures. Every protocol removes the pictures of the probe's person by the probe's
camera, but Con-ReID's, whose camera ids carry no information.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from tessera.domain.errors import InvalidInputError
from tessera.domain.ranking import JUNK, Seen


class Protocol(StrEnum):
    """How a set lies in its folder, and how it is judged."""

    MARKET_1501 = "market-1501"
    """Folders `query` and `bounding_box_test` of `0002_c1s1_000451_03.jpg`: person -1 is junk, 0000 a distractor.
    Source: Zheng et al., ICCV 2015."""
    MSMT17 = "msmt17"
    """`list_query.txt`, `list_gallery.txt` and the folder `test` or `mask_test_v2`. Source: Wei et al., CVPR 2018."""
    CUHK03_NP = "cuhk03-np"
    """The new protocol's folders `query` and `bounding_box_test` of `0003_c1_6.png`, one of `detected` or `labeled`.
    Source: Li et al., CVPR 2014; the protocol: Zhong et al., CVPR 2017."""
    CON_REID = "con-reid"
    """Folders `bounding_box_test` (searched for) and `query` (searched in). A regression test, and nothing more: 78 %
    of its pictures have a near duplicate."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file and what its name says."""

    path: Path
    person: int
    camera: int


@dataclass(frozen=True, slots=True)
class ReidSet:
    """What one protocol judges."""

    protocol: Protocol
    probes: tuple[Picture, ...]
    gallery: tuple[Picture, ...]

    @property
    def same_camera_removed(self) -> bool:
        """Whether pictures of the probe's person by the probe's camera are left out."""
        return self.protocol is not Protocol.CON_REID

    @property
    def letterboxed(self) -> bool:
        """Whether the pictures have black bars, which are no part of a person's box and are cut off."""
        return self.protocol is Protocol.CON_REID


def seen_on(pictures: Iterable[Picture]) -> Seen:
    """Who is on pictures, and by which camera."""
    listed = list(pictures)
    return Seen(np.array([one.person for one in listed], np.int64), np.array([one.camera for one in listed], np.int64))


def read_set(protocol: Protocol, folder: Path) -> ReidSet:
    """Read the lists or file names of a set.

    Args:
        protocol: of the set.
        folder: that holds the set's own folders.

    Raises:
        InvalidInputError: they are not there, a name is none of the set's, or nobody is searched for.
    """
    return _READERS[protocol](folder)


def _from_folders(
    protocol: Protocol, folder: Path, name: re.Pattern[str], probes: str = "query", gallery: str = "bounding_box_test"
) -> ReidSet:
    found = [_named(folder / one, name) for one in (probes, gallery)]
    return ReidSet(protocol, tuple(one for one in found[0] if one.person != JUNK), tuple(found[1]))


def _named(folder: Path, name: re.Pattern[str]) -> list[Picture]:
    if not folder.is_dir():
        raise InvalidInputError("--data", str(folder.parent), f"a folder that holds {folder.name}")
    found = [_parsed(path, name) for path in sorted(folder.iterdir()) if path.suffix.lower() in {".jpg", ".png"}]
    if not found:
        raise InvalidInputError("--data", str(folder), "a folder with .jpg or .png pictures")
    return found


def _parsed(path: Path, name: re.Pattern[str]) -> Picture:
    told = name.match(path.name)
    if told is None:
        raise InvalidInputError("picture", path.name, f"a name that begins like {name.pattern}")
    return Picture(path, int(told["person"]), int(told["camera"]))


_MARKET_NAME = re.compile(r"(?P<person>-1|\d{4})_c(?P<camera>\d+)")
_MSMT_NAME = re.compile(r"\d{4}_\d{3}_(?P<camera>\d{2})_")


def _msmt17(folder: Path) -> ReidSet:
    pictures = next((folder / one for one in ("mask_test_v2", "test") if (folder / one).is_dir()), None)
    if pictures is None:
        raise InvalidInputError("--data", str(folder), "a folder that holds test or mask_test_v2")
    probes, gallery = (_listed(folder / f"list_{one}.txt", pictures) for one in ("query", "gallery"))
    return ReidSet(Protocol.MSMT17, probes, gallery)


def _listed(path: Path, pictures: Path) -> tuple[Picture, ...]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError("--data", str(path), f"a list that can be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        name, _, person = line.strip().rpartition(" ")
        told = _MSMT_NAME.match(Path(name).name)
        if not person.isdigit() or told is None:
            raise InvalidInputError(
                f"{path.name}:{number}", line, "a line like 0000/0000_000_01_0303morning_0008_0.jpg 0"
            )
        found.append(Picture(pictures / name, int(person), int(told["camera"])))
    if not found:
        raise InvalidInputError("--data", str(path), "a list of one picture at least")
    return tuple(found)


def _cuhk03(folder: Path) -> ReidSet:
    if (folder / "detected").is_dir() or (folder / "labeled").is_dir():
        raise InvalidInputError(
            "--data", str(folder), "its folder detected or its folder labeled: they are judged apart"
        )
    return _from_folders(Protocol.CUHK03_NP, folder, _MARKET_NAME)


_READERS: Mapping[Protocol, Callable[[Path], ReidSet]] = {
    Protocol.MARKET_1501: lambda folder: _from_folders(Protocol.MARKET_1501, folder, _MARKET_NAME),
    Protocol.MSMT17: _msmt17,
    Protocol.CUHK03_NP: _cuhk03,
    Protocol.CON_REID: lambda folder: _from_folders(
        Protocol.CON_REID, folder, _MARKET_NAME, "bounding_box_test", "query"
    ),
}
