"""The way of a picture in which faces are looked for: decode -> detect -> find -> refine -> align -> embed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from encoder_svc.faces.found import FoundFaces, PreparedFrame
from encoder_svc.frames import Encoded, Picture
from encoder_svc.pipeline import EMBED_BATCH, WARM_UP_BATCHES, Rehearsal, StageMaker
from encoder_svc.scheduling.journeys import Way
from encoder_svc.scheduling.work import Done, Stage, Want, run_ms
from tessera.imaging.decode import Image
from tessera.imaging.refine import VIEWS

if TYPE_CHECKING:
    from encoder_svc.faces.pipeline import FacePipeline

DETECT_BATCH = 16
"""Pictures that are looked at together, at most."""

REFINE_BATCH = 32
"""Views of faces that are looked at together, at most."""

_WARM_UP_SIZES_PX = ((360, 640), (480, 640), (640, 360), (640, 640))
_MOST_FRAMES_WARMED_UP = 4


class FaceRoute:
    """The stages of a face encoder.

    Args:
        pipeline: what they run.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: FacePipeline, priority: int) -> None:
        self._pipeline = pipeline
        make = StageMaker(pipeline.manifest.name, priority)
        # In the order of the way. Within a class the later ones go first: what has begun is finished.
        self.header = make.beside("header", 0, pipeline.decoded_bytes)
        self._decode = make.beside("decode", 0, pipeline.prepare)
        self._detect = make.network("detect", 1, DETECT_BATCH, pipeline.detect)
        self._find = make.beside("find", 2, pipeline.find)
        self._look = make.network("refine", 3, REFINE_BATCH, pipeline.look)
        self._align = make.beside("align", 4, pipeline.realign)
        self._pad = make.network("pad", 5, EMBED_BATCH, pipeline.judge)
        self._embed = make.network("embed", 5, EMBED_BATCH, pipeline.embed)
        self.beside = make.beside("explain", 6, lambda work: work())

    def way(self, picture: Picture) -> Way[Encoded]:
        """What is done with a picture, step by step."""
        (prepared,) = yield [Want(self._decode, None, (picture.data,))]
        frame: PreparedFrame = prepared.output
        detected = yield [Want(self._detect, frame.detector.shape, frame.detector)]
        to_find = (frame, detected[0].output, picture.options, picture.known)
        (measured,) = yield [Want(self._find, None, to_find)]
        found: FoundFaces = measured.output
        looked: list[Done] = []
        if found.views:
            looked = yield [Want(self._look, view.shape, view) for view in found.views]
            yield [Want(self._align, None, (found, [one.output for one in looked]))]
        if found.surroundings:
            judged = yield [Want(self._pad, surrounding.shape, surrounding) for surrounding in found.surroundings]
            self._pipeline.give_liveness(found.wanted, [one.output for one in judged])
        crops, embedded = [face.crop for face in found.wanted], list[Done]()
        if crops:
            embedded = yield self.to_embed(crops)
            self._pipeline.give_embeddings(found.wanted, [one.output for one in embedded])
        seen = self._pipeline.seen(frame, found, run_ms(detected) + run_ms(looked), run_ms(embedded))
        return Encoded(seen, crops)

    def to_embed(self, crops: Sequence[Image]) -> list[Want]:
        """Embed aligned faces."""
        return [Want(self._embed, crop.shape, crop) for crop in crops]

    def rehearsals(self) -> Sequence[Rehearsal]:
        """Every network at the usual shapes and batch sizes."""
        crop = self._pipeline.blank_crop()
        frames = [self._pipeline.blank_frame(*size) for size in _WARM_UP_SIZES_PX]
        few = [batch for batch in WARM_UP_BATCHES if batch <= _MOST_FRAMES_WARMED_UP]
        return [
            *(Rehearsal(self._embed, crop.shape, [crop] * batch) for batch in WARM_UP_BATCHES),
            *(Rehearsal(self._detect, frame.shape, [frame] * batch) for frame in frames for batch in few),
            *(Rehearsal(self._look, view.shape, [view] * batch) for view in self._views() for batch in WARM_UP_BATCHES),
        ]

    def lone_picture(self) -> Sequence[tuple[Stage, Hashable, int]]:
        """What a picture with one face takes."""
        views = self._views()
        return [
            (self._detect, self._pipeline.blank_frame(*_WARM_UP_SIZES_PX[0]).shape, 1),
            *((self._look, view.shape, VIEWS // len(views)) for view in views),
            (self._embed, self._pipeline.blank_crop().shape, 1),
        ]

    def _views(self) -> tuple[Image, ...]:
        return self._pipeline.blank_views() if self._pipeline.refines else ()
