"""The two sets of signatures as they lie in archives, and who of the writers is for what.

BHSig260 (Hindi): Pal et al., "Performance of an off-line signature verification method based on texture features on a
large Indic-script signature dataset", DAS 2016. SigComp 2009 (NFI): Blankers et al., "The ICDAR 2009 signature
verification competition", ICDAR 2009. Neither may be passed on: nothing here copies them.

Writers are divided once and for all. Whoever chooses anything (a layer, a loss, a weight, when to stop) looks at
`VALIDATION` alone; `TEST` is for the figures of the card, SigComp 2009 for what becomes of them elsewhere.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from tessera.domain.errors import ArtifactError
from tessera.imaging.pixels import Bytes

BHSIG_TAR = "bhsig260-hindi-writers-001-120.tar"
SIGCOMP_TAR = "sigcomp2009-nfi.tar"

TRAINING = range(1, 91)
VALIDATION = range(91, 101)
TEST = range(101, 121)

_BHSIG = re.compile(r"bhh_(\d{3})(_forg)?/[^/]+\.png$")
_SIGCOMP = re.compile(r"NFI-(\d{3})\d{2}(\d{3})\.png$")


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """One picture of one signature."""

    name: str
    """Of the file, such as `bhh_001_g_01.png`."""
    writer: int
    """Whose signature it is, or is meant to be."""
    forged: bool
    """Whether somebody else wrote it, having practised."""
    data: bytes

    def picture(self) -> Bytes:
        """Decode it.

        Returns:
            uint8 (height, width).

        Raises:
            ArtifactError: it is no picture.
        """
        levels = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if levels is None:
            raise ArtifactError(self.name, "is no picture")
        return levels.astype(np.uint8, copy=False)


def read_bhsig(tar: Path, writers: Iterable[int]) -> Iterator[SignatureFile]:
    """The signatures of some writers of BHSig260 (Hindi): 24 genuine and 30 forged each.

    Args:
        tar: the archive; folders `bhh_001/` (genuine) and `bhh_001_forg/`.
        writers: such as `TRAINING`.

    Raises:
        ArtifactError: the archive is not there.
    """
    wanted = set(writers)
    for path, data in _pictures(tar):
        found = _BHSIG.search(path)
        if found and int(found[1]) in wanted:
            yield SignatureFile(PurePosixPath(path).name, int(found[1]), found[2] is not None, data)


def read_sigcomp(tar: Path) -> Iterator[SignatureFile]:
    """SigComp 2009 (NFI), whole: `NFI-AAANNBBB.png`, AAA who wrote, BBB whose signature it is.

    Args:
        tar: the archive.

    Raises:
        ArtifactError: the archive is not there.
    """
    for path, data in _pictures(tar):
        found = _SIGCOMP.search(path)
        if found:
            yield SignatureFile(PurePosixPath(path).name, int(found[2]), found[1] != found[2], data)


def _pictures(tar: Path) -> Iterator[tuple[str, bytes]]:
    if not tar.is_file():
        raise ArtifactError(str(tar), "not found; TESSERA_DATA must name the folder that holds it")
    with tarfile.open(tar) as archive:
        members = [member for member in archive.getmembers() if member.name.endswith(".png")]
        for member in sorted(members, key=lambda member: member.name):
            file = archive.extractfile(member)
            if file is not None:
                yield member.name, file.read()
