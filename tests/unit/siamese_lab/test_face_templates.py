"""The lab's way of a face is the service's: the same pictures give the same templates, by every shipped recipe."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from encoder_svc.faces.pipeline import FacePipeline
from siamese_lab.face_templates import FaceTemplates, embed_in_process
from siamese_lab.lfw import Picture
from tessera.domain.artifact import available_encoders, load_manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import ArtifactError
from tessera.nets.artifact import SampleNetworks

FACES = [name for name in available_encoders() if load_manifest(name).modality is Modality.FACE]


@pytest.mark.parametrize("name", FACES)
def test_the_lab_makes_the_services_templates(
    name: str, portraits: Mapping[str, bytes], face_networks: SampleNetworks
) -> None:
    """Each portrait's template has cosine 1 with the one that the encoder's own pipeline gives."""
    manifest = load_manifest(name)
    pictures = [Picture(file, file, data) for file, data in portraits.items()]
    embedded = embed_in_process(pictures, manifest, face_networks)
    assert embedded.model_id == manifest.model_id
    pipeline = FacePipeline(manifest, face_networks)
    for picture, vector in zip(pictures, embedded.vectors, strict=True):
        served = pipeline.run(picture.data).observations[0].embedding
        assert served is not None
        assert float(served.vector @ vector) == pytest.approx(1.0, abs=1e-5)


def test_a_picture_without_a_face_is_named(portraits: Mapping[str, bytes], face_networks: SampleNetworks) -> None:
    """Broken pictures are left out and listed; when nothing is left, that is an error."""
    manifest = load_manifest("face-sface-1")
    broken = Picture("broken.jpg", "nobody", b"\xff\xd8 no picture")
    whole = Picture("obama.jpg", "obama", portraits["obama.jpg"])
    embedded = embed_in_process([broken, whole], manifest, face_networks)
    assert embedded.without_face == ("broken.jpg",)
    assert embedded.names == ("obama.jpg",)
    with pytest.raises(ArtifactError, match="none of 1"):
        embed_in_process([broken], manifest, face_networks)


def test_a_closer_look_stays_near(portraits: Mapping[str, bytes], face_networks: SampleNetworks) -> None:
    """On a sharp portrait the second landmarks are within a tenth of the eye distance of the first."""
    way = FaceTemplates(face_networks)
    face = way.find(Picture("obama.jpg", "obama", portraits["obama.jpg"]))
    assert face is not None
    refined = way.refine(face.image(), face.landmarks)
    eyes_px = float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))
    moved_px = float(np.linalg.norm(refined - face.landmarks, axis=1).max())
    assert 0.0 < moved_px < 0.1 * eyes_px
