"""The pipeline by itself: the numbers that calibration, benchmarks and the service all get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
import pytest

from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodeOptions
from tessera.client.stream_values import KnownTracklet
from tessera.domain.artifact import Manifest
from tessera.domain.errors import ArtifactError, ImageRejectedError
from tessera.domain.ids import TrackletId
from tessera.domain.observation import Box
from tessera.imaging.decode import DecodeLimits
from tessera.nets.artifact import SampleNetworks


@pytest.fixture(scope="module")
def pipeline(face_manifest: Manifest, face_networks: SampleNetworks) -> FacePipeline:
    """The shipped encoder."""
    return FacePipeline(face_manifest, face_networks)


def test_the_whole_way_in_one_call(pipeline: FacePipeline, portraits: Mapping[str, bytes]) -> None:
    """One face, its embedding of unit length and of this model, and the stages that add up to the total."""
    frame = pipeline.run(portraits["biden.jpg"])
    (face,) = frame.observations
    assert face.embedding is not None
    assert face.embedding.model_id == pipeline.model_id
    assert np.linalg.norm(face.embedding.vector) == pytest.approx(1.0, abs=1e-5)
    t = frame.times
    assert t.total_ms == pytest.approx(t.decode_ms + t.detect_ms + t.align_ms + t.quality_ms + t.embed_ms)


@pytest.mark.parametrize(
    ("kind", "options", "bytes_a_pixel"),
    [(".jpg", [], 3), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], 9), (".png", [], 6)],
)
def test_what_decoding_takes_is_told_from_the_header(
    pipeline: FacePipeline, kind: str, options: list[int], bytes_a_pixel: int
) -> None:
    """A progressive JPEG keeps its coefficients until the last scan: three times the memory of its pixels."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    ok, data = cv2.imencode(kind, pixels, options)
    assert ok
    assert pipeline.decoded_bytes(data.tobytes()) == bytes_a_pixel * 48 * 64


def test_two_runs_give_the_same_bits(pipeline: FacePipeline, portraits: Mapping[str, bytes]) -> None:
    """Nothing random, nothing left over from the picture before."""
    first = pipeline.run(portraits["obama.jpg"]).observations[0]
    pipeline.run(portraits["biden.jpg"])
    again = pipeline.run(portraits["obama.jpg"]).observations[0]
    assert first.embedding is not None
    assert again.embedding is not None
    np.testing.assert_array_equal(first.embedding.vector, again.embedding.vector)


def test_boxes_are_in_pixels_of_the_picture_as_sent(pipeline: FacePipeline, portraits: Mapping[str, bytes]) -> None:
    """A picture larger than the detector's input gives boxes on its own scale."""
    frame = pipeline.run(portraits["obama3.jpg"])
    box = frame.observations[0].box
    assert max(frame.width_px, frame.height_px) > 640
    assert box.x_px >= 0
    assert box.x_px + box.width_px <= frame.width_px
    assert box.width_px > frame.width_px * 0.1


@pytest.mark.parametrize("shift_px", [0.0, 10_000.0])
def test_a_known_tracklet_is_recognised_only_where_it_was_predicted(
    pipeline: FacePipeline, portraits: Mapping[str, bytes], shift_px: float
) -> None:
    """A prediction elsewhere is another face: it gets no name and is embedded."""
    face = pipeline.run(portraits["biden.jpg"]).observations[0]
    predicted = Box(face.box.x_px + shift_px, face.box.y_px, face.box.width_px, face.box.height_px)
    known = [KnownTracklet(TrackletId("t-1"), predicted, best_quality=1.0)]
    (seen,) = pipeline.run(portraits["biden.jpg"], known=known).samples
    assert (seen.tracklet_id == "t-1") is (shift_px == 0.0)
    assert (seen.observation.embedding is None) is (shift_px == 0.0)


def test_of_two_predictions_the_closer_takes_the_face(pipeline: FacePipeline, portraits: Mapping[str, bytes]) -> None:
    """One face never answers for two tracklets."""
    box = pipeline.run(portraits["biden.jpg"]).observations[0].box
    aside = Box(box.x_px + box.width_px * 0.2, box.y_px, box.width_px, box.height_px)
    known = [KnownTracklet(TrackletId("far"), aside, 0.0), KnownTracklet(TrackletId("near"), box, 0.0)]
    (seen,) = pipeline.run(portraits["biden.jpg"], known=known).samples
    assert seen.tracklet_id == "near"


def test_the_probability_bound_is_the_callers(pipeline: FacePipeline, portraits: Mapping[str, bytes]) -> None:
    """Nothing is reported at or below it."""
    strict = EncodeOptions(min_detection_probability=0.999)
    assert pipeline.run(portraits["biden.jpg"], strict).samples == ()


def test_detections_below_the_bar_for_embedding_come_without_one(
    pipeline: FacePipeline, portraits: Mapping[str, bytes]
) -> None:
    """They are found and measured all the same: whoever follows people needs to know where they went on to."""
    (plain,) = pipeline.run(portraits["biden.jpg"]).observations
    (bare,) = pipeline.run(portraits["biden.jpg"], EncodeOptions(min_embedded_probability=0.999)).observations
    assert plain.embedding is not None
    assert bare.embedding is None
    assert (bare.box, bare.quality) == (plain.box, plain.quality)


def test_limits_hold(face_manifest: Manifest, face_networks: SampleNetworks, portraits: Mapping[str, bytes]) -> None:
    """The pipeline decodes within the limits that it was given."""
    small = FacePipeline(face_manifest, face_networks, limits=DecodeLimits(max_pixels=1000))
    with pytest.raises(ImageRejectedError, match="TOO_MANY_PIXELS"):
        small.run(portraits["biden.jpg"])


def test_another_preprocessing_is_refused(face_manifest: Manifest, face_networks: SampleNetworks) -> None:
    """An encoder runs only with the preprocessing that it was measured with."""
    with pytest.raises(ArtifactError, match="face-112-0"):
        FacePipeline(replace(face_manifest, preprocessing="face-112-0"), face_networks)
