"""Reading the archives, and dividing the writers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from siamese_lab.signatures.canvases import ENLARGED, keep, kept, prepare
from siamese_lab.signatures.data import (
    BHSIG_TAR,
    SIGCOMP_TAR,
    TEST,
    TRAINING,
    VALIDATION,
    read_bhsig,
    read_sigcomp,
)
from siamese_lab.signatures.invented import invented_signatures
from tessera.demo.signatures import draw, invent_hand, sign
from tessera.domain.errors import ArtifactError
from tessera.imaging.signature import prepare_signature


def packed(folder: Path, name: str, members: list[str]) -> Path:
    """An archive of drawn signatures under those names."""
    path = folder / name
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for member in members:
            _, data = cv2.imencode(".png", draw(sign(invent_hand(rng), rng)))
            entry = tarfile.TarInfo(member)
            entry.size = data.size
            archive.addfile(entry, io.BytesIO(data.tobytes()))
    return path


def test_no_writer_is_in_two_parts() -> None:
    """Training, validation and test share nobody, and are writers 1 to 120."""
    parts = [set(part) for part in (TRAINING, VALIDATION, TEST)]
    assert set.union(*parts) == set(range(1, 121))
    assert sum(len(part) for part in parts) == 120


def test_bhsig_is_read_by_writer(tmp_path: Path) -> None:
    """Only the writers asked for, with what their folders say."""
    names = ["x/bhh_001/bhh_001_g_01.png", "x/bhh_001_forg/bhh_001_f_01.png", "x/bhh_002/bhh_002_g_01.png", "x/a.txt"]
    found = list(read_bhsig(packed(tmp_path, BHSIG_TAR, names), [1]))
    assert [(file.name, file.writer, file.forged) for file in found] == [
        ("bhh_001_g_01.png", 1, False),
        ("bhh_001_f_01.png", 1, True),
    ]


def test_sigcomp_tells_who_wrote_whose(tmp_path: Path) -> None:
    """Genuine where writer and owner are one; a forgery belongs to the writer whose signature it imitates."""
    names = ["s/genuine/NFI-00102001.png", "s/forged/NFI-00103014.png"]
    found = {file.name: file for file in read_sigcomp(packed(tmp_path, SIGCOMP_TAR, names))}
    assert (found["NFI-00102001.png"].writer, found["NFI-00102001.png"].forged) == (1, False)
    assert (found["NFI-00103014.png"].writer, found["NFI-00103014.png"].forged) == (14, True)


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error says which file is missing."""
    with pytest.raises(ArtifactError, match="nowhere"):
        list(read_bhsig(tmp_path / "nowhere.tar", TRAINING))


def test_training_sees_what_serving_sees(tmp_path: Path) -> None:
    """The small canvases are those of `prepare_signature`, and survive being kept."""
    files = list(read_bhsig(packed(tmp_path, BHSIG_TAR, ["bhh_001/bhh_001_g_01.png"]), [1]))
    made = prepare(files)
    assert np.array_equal(made.small[0], prepare_signature(files[0].picture()).canvas)
    keep(made, tmp_path / "kept.npz")
    again = kept(tmp_path / "kept.npz")
    assert np.array_equal(again.small, made.small)
    assert np.array_equal(again.writer, made.writer)
    shrunk = cv2.resize(made.large[0], None, fx=1 / ENLARGED, fy=1 / ENLARGED, interpolation=cv2.INTER_AREA)
    assert np.corrcoef(shrunk.ravel(), made.small[0].ravel())[0, 1] > 0.97


def test_invented_writers_are_the_same_by_seed() -> None:
    """Each writer has as many genuine signatures as forgeries, and more writers change none of the first ones."""
    two, three = list(invented_signatures(2, each=2)), list(invented_signatures(3, each=2))
    assert [(file.writer, file.forged) for file in two] == [
        (writer, forged) for writer in (10_001, 10_002) for forged in (False, False, True, True)
    ]
    assert [file.data for file in three[:8]] == [file.data for file in two]
    assert len({file.data for file in three}) == len(three)
    assert two[0].picture().min() < 128
