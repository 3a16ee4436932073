"""The people of the benchmarks: LFW through the shipped encoder, embedded once and kept under build/decisions.

What is kept is named after the model and the digest of the pictures, so that another encoder or other pictures never
meet old embeddings. Nothing of it is committed: embeddings of people are no part of the repository.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.figures import ROOT
from siamese_lab.embedding_run import EmbeddedPictures
from siamese_lab.face_templates import embed_in_process, shipped_networks
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, digest, read_pictures
from tessera.domain.artifact import DEFAULT_ENCODERS, load_manifest
from tessera.domain.embedding import Modality, Vectors
from tessera.domain.errors import ArtifactError
from tessera.domain.ids import ModelId

Indices = npt.NDArray[np.intp]

KEPT = ROOT / "build" / "decisions"
ENCODER = DEFAULT_ENCODERS[Modality.FACE]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFaces:
    """One embedding for each picture that shows a face, and whose it is."""

    names: tuple[str, ...]
    """File names of the pictures."""
    people: tuple[str, ...]
    """Of each row; the labels of the data set, wrong ones too."""
    subjects: Indices
    """Shape (n,): of each row, whole numbers from 0 without gaps."""
    vectors: Vectors
    """float32 (n, d), unit rows."""
    model_id: ModelId
    data_digest: str
    """sha256 over the names and digests of all pictures."""
    without_face: tuple[str, ...]

    def embedded(self) -> EmbeddedPictures:
        """The same, as the lab knows it."""
        return EmbeddedPictures(self.names, self.people, self.vectors, self.model_id, self.without_face)


def has_data() -> bool:
    """Whether TESSERA_DATA names the folder of the archives (docs/evaluation.md)."""
    return bool(os.environ.get("TESSERA_DATA"))


def faces(encoder: str = ENCODER, kept: Path = KEPT) -> LabelledFaces:
    """All of LFW that is at hand (folds 1 to 5 and the cohort) by a shipped encoder; some minutes the first time.

    Raises:
        ArtifactError: the archives are not there.
    """
    if not has_data():
        raise ArtifactError("TESSERA_DATA", "not set; it must name the folder of the LFW archives")
    folder = Path(os.environ["TESSERA_DATA"])
    pictures = [*read_pictures(folder / FOLDS_TAR), *read_pictures(folder / COHORT_TAR)]
    manifest, data_digest = load_manifest(encoder), digest(pictures)
    file = kept / f"{manifest.model_id}-{data_digest[:12]}.npz"
    if not file.is_file():
        _write(file, embed_in_process(pictures, manifest, shipped_networks(manifest)))
    return _read(file, manifest.model_id, data_digest)


def _write(file: Path, embedded: EmbeddedPictures) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as out:
        np.savez(
            out,
            names=np.array(embedded.names),
            people=np.array(embedded.people),
            vectors=embedded.vectors,
            without_face=np.array(embedded.without_face, dtype=np.str_),
        )
    part.rename(file)


def _read(file: Path, model_id: ModelId, data_digest: str) -> LabelledFaces:
    with np.load(file, allow_pickle=False) as kept:
        people = kept["people"]
        return LabelledFaces(
            names=tuple(kept["names"].tolist()),
            people=tuple(people.tolist()),
            subjects=np.unique(people, return_inverse=True)[1].astype(np.intp),
            vectors=kept["vectors"],
            model_id=model_id,
            data_digest=data_digest,
            without_face=tuple(kept["without_face"].tolist()),
        )
