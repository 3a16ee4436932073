"""Con-ReID's pictures out of its archive, and who of its people is learned from, chosen on and judged.

Its camera ids carry no information and most of its pictures have a near duplicate: it can train an encoder and notice
one that got worse, and it can prove nothing about other cameras.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tessera.domain.errors import InvalidInputError
from tessera.imaging.decode import Image
from tessera.imaging.person import fit_crop

CON_REID_TAR = "con-reid.tar"
VALIDATION_EVERY = 9
"""Of the training people with enough pictures, so many are one validation person."""
VALIDATION_LEAST_PICTURES = 16

_MEMBER = re.compile(r"con-reid/(?P<split>[a-z_]+)/(?P<person>\d{4})_c(?P<camera>\d)s\d_\d+(?:_\d+)*\.jpg")


class Split(StrEnum):
    """A folder of the archive."""

    TRAIN = "bounding_box_train"
    PROBES = "bounding_box_test"
    """Four pictures of each of 53 people, who are not among the training people."""
    GALLERY = "query"
    """The other pictures of these 53, and those of 7 more."""


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Pictures of people, each 64 x 128."""

    crops: npt.NDArray[np.uint8]
    """(n, 128, 64, 3), blue, green, red."""
    person: npt.NDArray[np.int64]
    """(n,)."""
    names: tuple[str, ...]

    def of(self, chosen: npt.NDArray[np.bool_]) -> People:
        """Those that are chosen."""
        kept = np.flatnonzero(chosen)
        return People(self.crops[kept], self.person[kept], tuple(self.names[at] for at in kept))


def read_con_reid(path: Path, split: Split) -> People:
    """Read a split, sorted by name.

    Args:
        path: of the archive.
        split: which.

    Raises:
        InvalidInputError: the archive cannot be read or has no such pictures.
    """
    found: dict[str, tuple[int, Image]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                told = _MEMBER.fullmatch(member.name)
                if told is None or told["split"] != split:
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    found[member.name] = int(told["person"]), _decoded(content.read(), member.name)
    except (OSError, tarfile.TarError) as error:
        raise InvalidInputError("archive", path.name, f"a tar file that can be read: {error}") from error
    if not found:
        raise InvalidInputError("archive", path.name, f"one with pictures in con-reid/{split}")
    names = tuple(sorted(found))
    crops = np.stack([found[name][1] for name in names])
    return People(crops, np.array([found[name][0] for name in names], np.int64), names)


def learned_from(people: People) -> People:
    """The training people but the validation ones."""
    return people.of(~np.isin(people.person, validation_people(people.person)))


def validation_people(person: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those of the training people that nothing is learned from and choices are made on."""
    ids, counts = np.unique(person, return_counts=True)
    chosen: npt.NDArray[np.int64] = ids[counts >= VALIDATION_LEAST_PICTURES][VALIDATION_EVERY // 2 :: VALIDATION_EVERY]
    return chosen


def _decoded(content: bytes, name: str) -> Image:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InvalidInputError("picture", name, "a picture that can be decoded")
    return fit_crop(image.astype(np.uint8, copy=False))


def joined(first: People, second: People) -> People:
    """Both, one after the other."""
    return People(
        np.concatenate([first.crops, second.crops]),
        np.concatenate([first.person, second.person]),
        first.names + second.names,
    )
