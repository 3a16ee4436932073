"""The shipped person encoder with its real weights: a person in a photograph is found and embedded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from encoder_svc.loading import describe_encoder, load_pipeline
from encoder_svc.persons.pipeline import PersonPipeline
from tessera.chassis.pinned_files import Carrier, CarrierKind, default_cache_dir, default_supplied_dir, fetch
from tessera.chassis.weight_files import pinned_weights
from tessera.domain.artifact import load_manifest
from tessera.domain.errors import ArtifactError
from tessera.domain.person_detector import PERSON_DETECTOR, detector_of, sources_of
from tests.encoder_world import encoder_settings

ENCODER = "person-mobilenet-1"


@pytest.fixture(scope="module")
def pipeline() -> PersonPipeline:
    """The encoder as the service loads it; no test downloads 145 MB."""
    absent = Carrier("absent@0.0.0", "0" * 64, CarrierKind.NPM)
    try:
        fetch(replace(pinned_weights(PERSON_DETECTOR), carrier=absent), default_cache_dir(), default_supplied_dir())
    except ArtifactError:
        pytest.skip("no nanodet.bin (tessera encoder install person): unproved is the shipped person encoder")
    loaded = load_pipeline(encoder_settings(), describe_encoder(ENCODER).manifest)
    assert isinstance(loaded, PersonPipeline)
    return loaded


def test_a_person_in_a_photograph_is_found(pipeline: PersonPipeline, portraits: Mapping[str, bytes]) -> None:
    """In each of the portraits somebody fills much of the picture, cut off by its lower edge."""
    for data in portraits.values():
        frame = pipeline.run(data)
        largest = frame.observations[0]
        assert largest.detection_probability > 0.5
        assert largest.box.height_px > 0.5 * frame.height_px
        assert largest.embedding is not None
        assert largest.embedding.vector.shape == (pipeline.manifest.dimensions,)


def test_a_person_encoder_that_names_no_detector_has_the_one_that_all_share() -> None:
    """It is told with its licence wherever encoders are listed; a signature encoder has none."""
    manifest = load_manifest(ENCODER)
    assert detector_of(manifest) == PERSON_DETECTOR
    assert sources_of(manifest) == (PERSON_DETECTOR, manifest.embedder)
    assert detector_of(load_manifest("signature-strokes-1")) is None
