"""From a picture to the template of its face within this process: the service's way, step by step, for the lab.

Every step is the function that the service calls; only the queueing is missing. The steps are apart here, so that a
recipe can be measured without the ones it does not need. Of several faces the one in the middle is taken, where data
sets of one person a picture have theirs.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from siamese_lab.embedding_run import EmbeddedPictures
from siamese_lab.lfw import Picture
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.weight_files import bring_weights
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Vectors
from tessera.domain.errors import ArtifactError, ImageRejectedError
from tessera.domain.observation import Landmarks
from tessera.domain.templates import as_templates
from tessera.imaging.align import align
from tessera.imaging.decode import DEFAULT_LIMITS, Image, decode_for_detection
from tessera.imaging.preprocess import DETECT_SIDE_PX, detector_input, embedder_input, views_input
from tessera.imaging.refine import MIN_PROBABILITY, SIZES, cut_views, join_landmarks
from tessera.nets.artifact import SampleNetworks, load_face_networks
from tessera.nets.yunet import decode as decode_faces

DETECTION_PROBABILITY = 0.7
"""What the service asks for when nobody says otherwise."""

BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """The face in the middle of a picture."""

    picture: Picture
    landmarks: Landmarks
    """Of the first detection, in pixels of `image()`."""

    def image(self) -> Image:
        """Decoded anew each time: a data set's pixels would not fit into memory.

        No larger than detection needs. (The service decodes a large picture in full for a face that is small in it.)
        """
        return decode_for_detection(self.picture.data, DEFAULT_LIMITS, DETECT_SIDE_PX).image


def shipped_networks(manifest: Manifest) -> SampleNetworks:
    """The networks that a manifest names, on the CPU."""
    bring = functools.partial(bring_weights, default_cache_dir(), default_supplied_dir())
    return load_face_networks(manifest, bring, default_cache_dir())


class FaceTemplates:
    """Every step from a picture to a template.

    Args:
        networks: of a face encoder, on the CPU.
    """

    def __init__(self, networks: SampleNetworks) -> None:
        self._networks = networks

    def find(self, picture: Picture) -> FoundFace | None:
        """The face nearest to the middle; None when there is none, or the picture cannot be used."""
        try:
            image = decode_for_detection(picture.data, DEFAULT_LIMITS, DETECT_SIDE_PX).image
        except ImageRejectedError:
            return None
        seen = detector_input(image)
        output = self._detect(seen.values)[0]
        found = decode_faces(output, seen.height_px, seen.width_px, score_threshold=DETECTION_PROBABILITY)
        if not len(found.boxes):
            return None
        middle = np.array([image.shape[1], image.shape[0]]) / 2 * seen.scale
        off = found.boxes[:, :2] + found.boxes[:, 2:] / 2 - middle
        nearest = int(np.argmin((off**2).sum(axis=1)))
        return FoundFace(picture, found.landmarks[nearest] * np.float32(1.0 / seen.scale))

    def refine(self, image: Image, landmarks: Landmarks) -> Landmarks:
        """The landmarks of a closer look, as `tessera.imaging.refine` joins them."""
        views = cut_views(image, landmarks)
        outputs = [
            (output, side_px)
            for at, (side_px, _) in enumerate(SIZES)
            for output in self._detect(views_input(views[2 * at : 2 * at + 2]))
        ]
        found = [decode_faces(output, side, side, score_threshold=MIN_PROBABILITY) for output, side in outputs]
        return join_landmarks(landmarks, [(faces.boxes, faces.landmarks) for faces in found])

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """What the embedder says, of any length: float32 (n, d)."""
        with torch.inference_mode():
            raw: Vectors = self._networks.embedder(torch.from_numpy(embedder_input(crops))).numpy()
        return raw

    def template(self, faces: Sequence[FoundFace], manifest: Manifest) -> Vectors:
        """Templates by the recipe of a manifest: float32 (n, d), unit rows."""
        recipe, crops = manifest.template, []
        for face in faces:
            image = face.image()
            crops.append(align(image, self.refine(image, face.landmarks) if recipe.refined else face.landmarks))
        seen = [*crops, *(crop[:, ::-1] for crop in crops)] if recipe.mirrored else crops
        return as_templates(self.embed(seen), len(faces), recipe.centre)

    def _detect(self, values: Vectors) -> Vectors:
        with torch.inference_mode():
            output: Vectors = self._networks.detector(torch.from_numpy(values)).numpy()
        return output


def embed_in_process(pictures: Sequence[Picture], manifest: Manifest, networks: SampleNetworks) -> EmbeddedPictures:
    """One template for each picture that shows a face, by the recipe of a manifest.

    Raises:
        ArtifactError: no picture shows a face.
    """
    way = FaceTemplates(networks)
    found = [(picture, way.find(picture)) for picture in pictures]
    faces = [face for _, face in found if face is not None]
    if not faces:
        raise ArtifactError("pictures", f"none of {len(pictures)} shows a face")
    rows = [way.template(faces[at : at + BATCH], manifest) for at in range(0, len(faces), BATCH)]
    return EmbeddedPictures(
        names=tuple(face.picture.name for face in faces),
        people=tuple(face.picture.person for face in faces),
        vectors=np.concatenate(rows),
        model_id=manifest.model_id,
        without_face=tuple(picture.name for picture, face in found if face is None),
    )
