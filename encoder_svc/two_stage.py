"""What pipelines share whose samples are found by a network and embedded by another: faces, persons.

A pipeline says how its detector's output becomes candidates (`find`) and how crops are embedded (`embed`); the rest of
the way is one. The service calls the stages on different threads, and `detect` and `embed` with items of many pictures.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from encoder_svc.candidates import Candidate, FoundSamples, give_embeddings, seen_sample
from encoder_svc.frames import Encoded, EncodedFrame, Picture
from encoder_svc.looking import PreparedFrame, decoded_bytes, prepare
from encoder_svc.pipeline import EMBED_BATCH, WARM_UP_BATCHES, Rehearsal, StageMaker
from encoder_svc.scheduling.journeys import Way
from encoder_svc.scheduling.work import Stage, Want
from tessera.client.stream_values import StageTimes
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Vector, Vectors
from tessera.domain.errors import ArtifactError
from tessera.domain.ids import ModelId
from tessera.imaging.decode import DecodeLimits, Image
from tessera.imaging.preprocess import DetectorInput, detector_input
from tessera.nets.artifact import SampleNetworks

DETECT_BATCH = 16
"""Pictures that are looked at together, at most."""

_WARM_UP_SIZES_PX = ((360, 640), (480, 640), (640, 360), (640, 640))
_MOST_FRAMES_WARMED_UP = 4

DetectorOutput = npt.NDArray[np.float32]
"""float32 (priors, values): what the detector gave for one picture."""


class TwoStagePipeline:
    """The encoder of one manifest.

    Args:
        manifest: names the model id that embeddings carry.
        networks: loaded from that manifest.
        preprocessing: the version that this Tessera has.
        detect_side_px: frames are shrunk to this longer side for detection.
        limits: of pictures.

    Raises:
        ArtifactError: the encoder was measured with another preprocessing than this version has.
    """

    def __init__(
        self,
        manifest: Manifest,
        networks: SampleNetworks,
        *,
        preprocessing: str,
        detect_side_px: int,
        limits: DecodeLimits,
    ) -> None:
        if manifest.preprocessing != preprocessing:
            raise ArtifactError(
                manifest.name, f"was made with preprocessing {manifest.preprocessing}; this version has {preprocessing}"
            )
        self.manifest = manifest
        self._networks = networks
        self._detect_side_px = detect_side_px
        self._limits = limits

    @property
    def model_id(self) -> ModelId:
        """What its embeddings carry."""
        return self.manifest.model_id

    @property
    def device(self) -> torch.device:
        """Where its networks run."""
        return self._networks.device

    @property
    def runtime(self) -> str:
        """What runs its networks."""
        return self._networks.runtime.value

    def decoded_bytes(self, data: bytes) -> int:
        """How much memory decoding the picture will take, from its header.

        Raises:
            ImageRejectedError: the header cannot be read.
        """
        return decoded_bytes(data, self._limits)

    def prepare(self, data: bytes) -> PreparedFrame:
        """Decode a picture and shrink it for the detector; any thread may do it.

        Raises:
            ImageRejectedError: the picture cannot be used.
        """
        return prepare(data, self._limits, self._detect_side_px)

    def detect(self, inputs: Sequence[DetectorInput]) -> list[DetectorOutput]:
        """Look at pictures of one shape; only the device's threads may do it.

        Args:
            inputs: of `prepare`, all of one height and width.

        Returns:
            One (priors, values) each, as the detector gives it.
        """
        rows = [one.values.transpose(0, 2, 3, 1) for one in inputs]
        joined = rows[0] if len(rows) == 1 else np.concatenate(rows)
        with torch.inference_mode():
            outputs: DetectorOutput = self._networks.detector(torch.from_numpy(joined.transpose(0, 3, 1, 2))).numpy()
        return list(outputs)

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """Embed crops, of one picture or of many; only the device's threads may do it.

        Returns:
            float32 (n, d), each row of length 1.
        """
        raise NotImplementedError

    def give_embeddings(self, candidates: Sequence[Candidate], vectors: Iterable[Vector]) -> None:
        """Put each embedding to its sample."""
        give_embeddings(candidates, vectors, self.model_id)

    def embed_wanted(self, found: FoundSamples) -> float:
        """Embed on the calling thread what is to be embedded of one picture.

        Returns:
            Milliseconds that it took.
        """
        started_s = time.perf_counter()
        for first in range(0, len(found.wanted), EMBED_BATCH):
            batch = found.wanted[first : first + EMBED_BATCH]
            self.give_embeddings(batch, self.embed([candidate.crop for candidate in batch]))
        return since_ms(started_s)

    def seen(self, frame: PreparedFrame, found: FoundSamples, detect_ms: float, embed_ms: float) -> EncodedFrame:
        """The answer, once all is known; nothing has waited here."""
        decode_ms = frame.decode_ms + found.decode_ms
        times = StageTimes(
            decode_ms=decode_ms,
            detect_ms=detect_ms,
            align_ms=found.align_ms,
            quality_ms=found.quality_ms,
            embed_ms=embed_ms,
            total_ms=decode_ms + detect_ms + found.align_ms + found.quality_ms + embed_ms,
        )
        samples = tuple(seen_sample(c) for c in found.candidates)
        return EncodedFrame(samples, frame.scaled.height_px, frame.scaled.width_px, times)

    def blank_frame(self, height_px: int, width_px: int) -> DetectorInput:
        """A black picture as the detector sees it, for warming up."""
        return detector_input(np.zeros((height_px, width_px, 3), dtype=np.uint8), self._detect_side_px)

    def blank_crop(self) -> Image:
        """A black sample, for warming up."""
        return np.zeros((self.manifest.crop.height_px, self.manifest.crop.width_px, 3), dtype=np.uint8)


class TwoStageRoute:
    """The stages that all such encoders have, in the order of the way: 0 decode, 1 detect, 5 embed.

    Within a class the later ones go first: what has begun is finished.

    Args:
        pipeline: what they run.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: TwoStagePipeline, priority: int) -> None:
        self._blank_frame, self._blank_crop = pipeline.blank_frame, pipeline.blank_crop
        self._make = StageMaker(pipeline.manifest.name, priority)
        self.header = self._make.beside("header", 0, pipeline.decoded_bytes)
        self._decode = self._make.beside("decode", 0, pipeline.prepare)
        self._detect = self._make.network("detect", 1, DETECT_BATCH, pipeline.detect)
        self._embed = self._make.network("embed", 5, EMBED_BATCH, pipeline.embed)
        self.beside = self._make.beside("explain", 6, lambda work: work())

    def way(self, picture: Picture) -> Way[Encoded]:
        """What is done with a picture, step by step."""
        (prepared,) = yield self.to_decode(picture)
        return (yield from self.way_on(picture, prepared.output))

    def way_on(self, picture: Picture, frame: PreparedFrame) -> Way[Encoded]:
        """What is done with a picture once it is decoded."""
        raise NotImplementedError

    def to_decode(self, picture: Picture) -> list[Want]:
        """Decode a picture: gives a `PreparedFrame`."""
        return [Want(self._decode, None, (picture.data,))]

    def to_detect(self, frame: PreparedFrame) -> list[Want]:
        """Look at a picture."""
        return [Want(self._detect, frame.detector.shape, frame.detector)]

    def to_embed(self, crops: Sequence[Image]) -> list[Want]:
        """Embed aligned samples."""
        return [Want(self._embed, crop.shape, crop) for crop in crops]

    def embed_rehearsals(self) -> list[Rehearsal]:
        """The embedder at its usual batch sizes."""
        crop = self._blank_crop()
        return [Rehearsal(self._embed, crop.shape, [crop] * batch) for batch in WARM_UP_BATCHES]

    def detect_rehearsals(self) -> list[Rehearsal]:
        """The detector at the usual shapes and batch sizes."""
        frames = [self._blank_frame(*size) for size in _WARM_UP_SIZES_PX]
        few = [batch for batch in WARM_UP_BATCHES if batch <= _MOST_FRAMES_WARMED_UP]
        return [Rehearsal(self._detect, frame.shape, [frame] * batch) for frame in frames for batch in few]

    def lone_picture(self) -> Sequence[tuple[Stage, Hashable, int]]:
        """What a picture with one sample takes."""
        return [
            (self._detect, self._blank_frame(*_WARM_UP_SIZES_PX[0]).shape, 1),
            (self._embed, self._blank_crop().shape, 1),
        ]


def since_ms(started_s: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - started_s) * 1e3
