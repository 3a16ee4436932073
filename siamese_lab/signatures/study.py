"""What is reported of a signature encoder: the home set, another set, the ills, and the papers' recipe beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from siamese_lab.signatures.data import (
    BHSIG_TAR,
    SIGCOMP_TAR,
    TEST,
    VALIDATION,
    SignatureFile,
    read_bhsig,
    read_sigcomp,
)
from siamese_lab.signatures.ills import ILLS, Ill
from siamese_lab.signatures.judging import Fusion, fit_fusion, make_trials, skilled_and_random
from siamese_lab.signatures.training import embed
from siamese_lab.verification import Estimate
from tessera.imaging.pixels import Bytes
from tessera.imaging.signature import Canvas, prepare_signature
from tessera.imaging.signature_regions import cut_region, find_signatures

REFERENCES = (1, 3, 5, 10)
SEED = 20261122


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Signatures as unit vectors."""

    vectors: npt.NDArray[np.float32]
    """(n, d)."""
    writer: npt.NDArray[np.int64]
    forged: npt.NDArray[np.bool_]
    refused: int
    """How many a service would not compare, for a reason code or since there are several; they count all the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """Equal error rates of one way to compare."""

    data: str
    ill: str
    """Empty: as scanned."""
    references: int
    fusion: Fusion
    skilled: Estimate
    random: Estimate
    refused: float
    """Share of the pictures that a service would not compare."""


def embed_files(network: nn.Module, files: Sequence[SignatureFile], ill: Ill | None = None) -> Embedded:
    """Find, prepare and embed signatures, as the encoder service does.

    Args:
        network: takes canvases.
        files: at least one.
        ill: what is done to each picture before.

    Raises:
        ArtifactError: one is no picture.
    """
    rng = np.random.default_rng(SEED)
    pictures = (ill(file.picture(), rng) if ill else file.picture() for file in files)
    served = [as_served(picture) for picture in pictures]
    vectors = embed(network, np.stack([canvas for canvas, _ in served]))
    writer = np.array([file.writer for file in files], np.int64)
    forged = np.array([file.forged for file in files], np.bool_)
    return Embedded(vectors, writer, forged, sum(refused for _, refused in served))


def as_served(picture: Bytes) -> tuple[Canvas, bool]:
    """The canvas of a picture's surest signature, and whether a service would not compare it.

    Args:
        picture: uint8 (height, width[, 3]).

    Returns:
        Of a picture in which none is found, the canvas of the whole of it; no service would compare it.
    """
    regions = find_signatures(picture)
    prepared = prepare_signature(cut_region(picture, regions[0]) if regions else picture)
    return prepared.canvas, len(regions) != 1 or bool(prepared.reasons or regions[0].reasons)


def rows(
    data: str,
    judged: Embedded,
    references: Iterable[int] = REFERENCES,
    *,
    fusions: Iterable[Fusion] = (Fusion.MEAN,),
    learned_on: Embedded | None = None,
    ill: str = "",
) -> list[Row]:
    """Judge signatures by numbers of references and ways to fuse.

    Args:
        data: its name.
        judged: the signatures.
        references: how many of each writer.
        fusions: how they count.
        learned_on: other writers, for a trained fusion.
        ill: its name.
    """
    made: list[Row] = []
    refused = judged.refused / len(judged.writer)
    for count in references:
        for fusion in fusions:
            rng = np.random.default_rng(SEED)
            weighing = None
            if fusion is Fusion.TRAINED and learned_on is not None:
                weighing = fit_fusion(learned_on.vectors, learned_on.writer, learned_on.forged, count, rng)
            trials = make_trials(
                judged.vectors,
                judged.writer,
                judged.forged,
                count,
                fusion,
                rng=np.random.default_rng(SEED),
                weighing=weighing,
            )
            found = skilled_and_random(trials, rng)
            made.append(Row(data, ill, count, fusion, found["skilled"], found["random"], refused))
    return made


def home(network: nn.Module, folder: Path, writers: Iterable[int] = TEST, ills: Mapping[str, Ill] = ILLS) -> list[Row]:
    """BHSig260: all fusions as scanned; under each ill the best of 1 and of 5 references, as the gallery compares.

    Args:
        network: takes canvases.
        folder: with the archives.
        writers: that are judged.
        ills: to be measured.
    """
    learned = embed_files(network, list(read_bhsig(folder / BHSIG_TAR, VALIDATION)))
    files = list(read_bhsig(folder / BHSIG_TAR, writers))
    made = rows("bhsig260-hindi", embed_files(network, files), fusions=Fusion, learned_on=learned)
    for name, ill in ills.items():
        made += rows("bhsig260-hindi", embed_files(network, files, ill), (1, 5), fusions=(Fusion.MAX,), ill=name)
    return made


def elsewhere(network: nn.Module, folder: Path) -> list[Row]:
    """SigComp 2009 (NFI), whole, from 1 to 4 of its 5 references; nothing is tuned."""
    files = list(read_sigcomp(folder / SIGCOMP_TAR))
    return rows("sigcomp2009-nfi", embed_files(network, files), (1, 3, 4), fusions=(Fusion.MEAN, Fusion.MAX))
