"""Encoders of people by name, as functions of crops: one that ships or was brought, or what ImageNet taught alone."""

from __future__ import annotations

from dataclasses import dataclass

from siamese_lab.persons.backbone import trunk_weights
from siamese_lab.persons.judging import embed_crops
from siamese_lab.persons.measuring import EmbedCrops
from siamese_lab.persons.network import GenericBackbone
from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.domain.artifact import available_encoders, load_manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.imaging.person import PERSON_PREPROCESSING
from tessera.nets.person import load_person_network
from tessera.nets.runtime import Network

GENERIC = "imagenet"
"""Stands for MobileNetV2 as ImageNet left it: the baseline."""


@dataclass(frozen=True, slots=True)
class PersonEncoder:
    """An encoder that is ready."""

    name: str
    learned_on: str
    embed: EmbedCrops


def person_encoders() -> tuple[str, ...]:
    """The names of encoders of people, of those that ship and those that were brought."""
    folders = encoder_folders()
    return tuple(
        name for name in available_encoders(folders) if load_manifest(name, folders).modality is Modality.PERSON
    )


def open_encoder(name: str) -> PersonEncoder:
    """Load an encoder.

    Args:
        name: one of `person_encoders`, or `GENERIC`.

    Raises:
        InvalidInputError: there is none of that name, or it wants other crops.
        ArtifactError: its files cannot be had.
    """
    if name == GENERIC:
        return PersonEncoder(name, "ImageNet", _embedder(generic_backbone()))
    if name not in person_encoders():
        raise InvalidInputError("--encoder", name, f"one of {', '.join((*person_encoders(), GENERIC))}")
    manifest = load_manifest(name, encoder_folders())
    if manifest.preprocessing != PERSON_PREPROCESSING:
        raise InvalidInputError("preprocessing", manifest.preprocessing, f"{PERSON_PREPROCESSING}, of this version")
    return PersonEncoder(manifest.model_id, manifest.embedder.requirement, _embedder(load_person_network(manifest)))


def generic_backbone(*, fine: bool = False) -> GenericBackbone:
    """MobileNetV2 as ImageNet left it; its file is fetched at first use."""
    network = GenericBackbone(fine=fine)
    network.features.load_state_dict(trunk_weights(default_cache_dir(), default_supplied_dir()))
    return network.eval()


def _embedder(network: Network) -> EmbedCrops:
    return lambda crops: embed_crops(network, crops)
