"""The way from JPEGs to embeddings with nothing around it: what the peers' servers run, and the bare pipeline's parts.

All of it is the service's own `FacePipeline`, here for a batch of pictures on the calling thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from encoder_svc.faces.found import FoundFaces
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.frames import EncodeOptions
from encoder_svc.loading import load_face_pipeline
from encoder_svc.settings import DeviceChoice, EncoderSettings, RuntimeChoice
from encoder_svc.two_stage import DetectorOutput

OPTIONS = EncodeOptions()


def load(device: str = "cpu", *, eager: bool = False) -> FacePipeline:
    """The pipeline that the service runs, or the same with plain float32 modules.

    Args:
        device: `cpu` or `cuda`.
        eager: plain modules, whatever the service would choose.
    """
    runtime = RuntimeChoice.EAGER if eager else RuntimeChoice.AUTO
    return load_face_pipeline(EncoderSettings(device=DeviceChoice(device), runtime=runtime))


def run_batch(pipeline: FacePipeline, pictures: Sequence[bytes], embed_batch: int = 16) -> list[FoundFaces]:
    """Faces of pictures of one size, each with its embedding."""
    frames = [pipeline.prepare(picture) for picture in pictures]
    outputs = pipeline.detect([frame.detector for frame in frames])
    found = [pipeline.find(frame, output, OPTIONS) for frame, output in zip(frames, outputs, strict=True)]
    look_closer(pipeline, found)
    wanted = [candidate for faces in found for candidate in faces.wanted]
    for first in range(0, len(wanted), embed_batch):
        batch = wanted[first : first + embed_batch]
        pipeline.give_embeddings(batch, pipeline.embed([candidate.crop for candidate in batch]))
    return found


def look_closer(pipeline: FacePipeline, found: Sequence[FoundFaces]) -> None:
    """The second look of the recipe: views of one size share a batch, whosever they are."""
    views = [(faces, at) for faces in found for at in range(len(faces.views))]
    outputs: dict[tuple[int, int], DetectorOutput] = {}
    for size in sorted({faces.views[at].shape for faces, at in views}):
        same = [(faces, at) for faces, at in views if faces.views[at].shape == size]
        looked = pipeline.look([faces.views[at] for faces, at in same])
        outputs |= {(id(faces), at): output for (faces, at), output in zip(same, looked, strict=True)}
    for faces in found:
        if faces.views:
            pipeline.realign(faces, [outputs[id(faces), at] for at in range(len(faces.views))])
