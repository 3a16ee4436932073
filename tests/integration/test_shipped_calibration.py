"""The calibration that ships keeps its word on the data that it names. Needs that data: TESSERA_DATA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from encoder_svc.faces.pipeline import FacePipeline
from siamese_lab.lfw import COHORT_TAR, FOLDS_TAR, PAIRS_FILE, Picture, digest, read_pairs, read_pictures
from tessera.domain.artifact import Manifest, load_calibration_for
from tessera.domain.calibration import Calibration
from tessera.domain.embedding import Vector
from tessera.nets.artifact import SampleNetworks

pytestmark = [
    pytest.mark.dataset,
    pytest.mark.skipif(
        "TESSERA_DATA" not in os.environ,
        reason="TESSERA_DATA is not set: that the shipped calibration fits its data stays unproved",
    ),
]
PAIRS_OF_EACH_KIND = 60


@pytest.fixture(scope="module")
def folder() -> Path:
    return Path(os.environ["TESSERA_DATA"])


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Mapping[str, Picture]:
    return {picture.name: picture for picture in read_pictures(folder / FOLDS_TAR)}


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    found = load_calibration_for("face-sface-1")
    assert found is not None
    return found


def test_it_names_the_data_it_was_measured_on(
    folder: Path, pictures: Mapping[str, Picture], calibration: Calibration
) -> None:
    """The digest in the file is that of the pictures at hand."""
    everything = [*pictures.values(), *read_pictures(folder / COHORT_TAR)]
    assert calibration.data.digest == digest(everything)


@pytest.mark.timeout(600)
def test_real_pairs_fall_on_the_right_side(
    folder: Path,
    pictures: Mapping[str, Picture],
    calibration: Calibration,
    face_manifest: Manifest,
    face_networks: SampleNetworks,
) -> None:
    """At FMR 1e-4 none of sixty pairs of strangers matches, and at most one in ten mates is missed."""
    pipeline = FacePipeline(face_manifest, face_networks)
    threshold = calibration.threshold_for_fmr(1e-4)

    def middle(name: str) -> Vector:
        frame = pipeline.run(pictures[name].data)
        face = min(frame.observations, key=lambda seen: abs(seen.box.x_px + seen.box.width_px / 2 - 125))
        assert face.embedding is not None
        return face.embedding.vector

    pairs = read_pairs(folder / PAIRS_FILE)
    for mated in (True, False):
        chosen = [pair for pair in pairs if pair.mated is mated][:: 1500 // PAIRS_OF_EACH_KIND]
        scores = np.array([float(middle(pair.first) @ middle(pair.second)) for pair in chosen])
        matches = int((scores >= threshold.score).sum())
        if mated:
            assert matches >= 0.9 * len(chosen)
        else:
            assert matches == 0
