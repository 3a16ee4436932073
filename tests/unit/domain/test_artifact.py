"""Manifests: the model id stands for every fact that decides an embedding."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from tessera.domain.artifact import available_encoders, load_calibration_for, load_manifest, model_id_of, parse_manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError, NotFoundError


def _shipped() -> str:
    return (resources.files("tessera") / "artifacts" / "face-sface-1" / "manifest.json").read_text(encoding="utf-8")


def test_the_shipped_encoder_can_be_read() -> None:
    """Its facts are those of the model card, and its id carries its name."""
    manifest = load_manifest("face-sface-1")
    assert "face-sface-1" in available_encoders()
    assert (manifest.modality, manifest.dimensions) == (Modality.FACE, 128)
    assert manifest.model_id.startswith("face-sface-1@")


def test_an_unknown_encoder_is_told_with_those_that_exist() -> None:
    """The error helps to correct a name."""
    with pytest.raises(NotFoundError, match="face-sface-1"):
        load_manifest("face-sface-0")


@pytest.mark.parametrize("fact", ["dimensions", "crop_px", "preprocessing", "detector", "embedder"])
def test_every_fact_is_part_of_the_model_id(fact: str) -> None:
    """Two encoders that differ in one fact never share an id."""
    raw = json.loads(_shipped())
    changed = raw | {fact: "another"}
    assert model_id_of(changed) != raw["model_id"]


def test_a_manifest_whose_facts_were_changed_is_refused() -> None:
    """The id is checked at load, so that a hand-edited manifest does not pass for the measured model."""
    raw = json.loads(_shipped()) | {"preprocessing": "face-112-9"}
    with pytest.raises(ArtifactError, match="model_id"):
        parse_manifest(json.dumps(raw), "manifest.json")


def test_what_is_no_manifest_is_refused() -> None:
    """Missing facts and other schemas are named."""
    with pytest.raises(ArtifactError, match="schema"):
        parse_manifest('{"schema": 2}', "manifest.json")
    with pytest.raises(ArtifactError, match="name"):
        parse_manifest('{"schema": 1}', "manifest.json")


def test_a_shipped_calibration_belongs_to_the_shipped_model() -> None:
    """Where there is one, it was measured on exactly this model."""
    calibration = load_calibration_for("face-sface-1")
    assert calibration is None or calibration.model_id == load_manifest("face-sface-1").model_id
