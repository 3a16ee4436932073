"""Who is enrolled in the demo, who walks through its camera, and the pinned photographs of both.

The four portraits of the two men are official photographs, works of the US government; they are test pictures in the
source archive of `face_recognition`. The astronaut is NASA's portrait of Eileen Collins, public domain, which
scikit-image ships. Files are taken out of those archives, checked by sha256; nothing of them is run or installed.

An honest word on each walk: Barack Obama walks in a photograph (`obama3.jpg`) that is not among his enrolled ones.
Of Eileen Collins there is a single picture: what walks is a changed rendition (moved, scaled, turned, blurred, noisy)
of the very one that is enrolled, so her match shows the chain working and says nothing about accuracy. Joe Biden is
not enrolled, and the demo is right only when he stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tessera.chassis.pinned_files import (
    Carrier,
    CarrierKind,
    PinnedFile,
    WheelTags,
    default_cache_dir,
    default_supplied_dir,
    fetch_all,
)
from tessera.domain.ids import SubjectId
from tessera.domain.observation import Box

_FACE_RECOGNITION = Carrier(
    "face_recognition==1.3.0",
    "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
    CarrierKind.SDIST,
)
_SCIKIT_IMAGE = Carrier(
    "scikit-image==0.24.0",
    "fa27b3a0dbad807b966b8db2d78da734cb812ca4787f7fbb143764800ce2fa9c",
    tags=WheelTags("3.11", "cp", "cp311", "manylinux2014_x86_64"),
)
_TEST_IMAGES = "face_recognition-1.3.0/tests/test_images"


@dataclass(frozen=True, slots=True)
class Portrait:
    """One photograph of one person."""

    file: PinnedFile
    face: Box
    """Where the face is in the photograph; the file is pinned, so this stays true."""


OBAMA_SMILING = Portrait(
    PinnedFile(
        "obama.jpg",
        f"{_TEST_IMAGES}/obama.jpg",
        "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
        _FACE_RECOGNITION,
    ),
    Box(374, 95, 231, 321),
)
OBAMA_SPEAKING = Portrait(
    PinnedFile(
        "obama2.jpg",
        f"{_TEST_IMAGES}/obama2.jpg",
        "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
        _FACE_RECOGNITION,
    ),
    Box(195, 225, 275, 389),
)
OBAMA_STANDING = Portrait(
    PinnedFile(
        "obama3.jpg",
        f"{_TEST_IMAGES}/obama3.jpg",
        "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
        _FACE_RECOGNITION,
    ),
    Box(638, 246, 272, 367),
)
BIDEN_STANDING = Portrait(
    PinnedFile(
        "biden.jpg",
        f"{_TEST_IMAGES}/biden.jpg",
        "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
        _FACE_RECOGNITION,
    ),
    Box(428, 177, 277, 383),
)
COLLINS_IN_ORANGE = Portrait(
    PinnedFile(
        "astronaut.png",
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        _SCIKIT_IMAGE,
    ),
    Box(178, 63, 90, 114),
)


@dataclass(frozen=True, slots=True)
class EnrolledPerson:
    """Somebody whom the demo knows."""

    subject_id: SubjectId
    display_name: str
    portraits: tuple[Portrait, ...]
    """What is enrolled of them."""


@dataclass(frozen=True, slots=True)
class Walker:
    """Somebody who walks through the demo camera's picture."""

    portrait: Portrait
    subject_id: SubjectId | None
    """Whom a right answer names; None: nobody, this person is not enrolled."""


ENROLLED: tuple[EnrolledPerson, ...] = (
    EnrolledPerson(SubjectId("barack-obama"), "Barack Obama", (OBAMA_SMILING, OBAMA_SPEAKING)),
    EnrolledPerson(SubjectId("eileen-collins"), "Eileen Collins", (COLLINS_IN_ORANGE,)),
)

WALKERS: tuple[Walker, ...] = (
    Walker(OBAMA_STANDING, SubjectId("barack-obama")),
    Walker(BIDEN_STANDING, None),
    Walker(COLLINS_IN_ORANGE, SubjectId("eileen-collins")),
)
"""In the order in which they first appear."""


def fetch_portraits(cache_dir: Path | None = None, supplied_dir: Path | None = None) -> dict[str, Path]:
    """Bring every photograph of the demo into the cache.

    Args:
        cache_dir: where they are kept; None: the default.
        supplied_dir: a folder with files supplied by hand; None: the one that the environment names, if any.

    Returns:
        The path of each file, by its name, such as `obama.jpg`.

    Raises:
        ArtifactError: one cannot be had, or is not the file that is pinned.
    """
    enrolled = [portrait.file for person in ENROLLED for portrait in person.portraits]
    walking = [walker.portrait.file for walker in WALKERS]
    files = list(dict.fromkeys([*enrolled, *walking]))
    paths = fetch_all(files, cache_dir or default_cache_dir(), supplied_dir or default_supplied_dir())
    return {file.name: path for file, path in zip(files, paths, strict=True)}
