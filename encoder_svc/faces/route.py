"""The way of a picture in which faces are looked for: decode -> detect -> find -> refine -> align -> embed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from encoder_svc.faces.found import FoundFaces
from encoder_svc.frames import Encoded, Picture
from encoder_svc.looking import PreparedFrame
from encoder_svc.pipeline import EMBED_BATCH, WARM_UP_BATCHES, Rehearsal
from encoder_svc.scheduling.journeys import Way
from encoder_svc.scheduling.work import Done, Stage, Want, run_ms
from encoder_svc.two_stage import TwoStageRoute
from tessera.imaging.decode import Image
from tessera.imaging.refine import VIEWS

if TYPE_CHECKING:
    from encoder_svc.faces.pipeline import FacePipeline

REFINE_BATCH = 32
"""Views of faces that are looked at together, at most."""


class FaceRoute(TwoStageRoute):
    """The stages of a face encoder.

    Args:
        pipeline: what they run.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: FacePipeline, priority: int) -> None:
        super().__init__(pipeline, priority)
        self._pipeline = pipeline
        self._find = self._make.beside("find", 2, pipeline.find)
        self._look = self._make.network("refine", 3, REFINE_BATCH, pipeline.look)
        self._align = self._make.beside("align", 4, pipeline.realign)
        self._pad = self._make.network("pad", 5, EMBED_BATCH, pipeline.judge)

    def way_on(self, picture: Picture, frame: PreparedFrame) -> Way[Encoded]:
        """What is done with a picture once it is decoded."""
        detected = yield self.to_detect(frame)
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

    def rehearsals(self) -> Sequence[Rehearsal]:
        """Every network at the usual shapes and batch sizes."""
        looks = [Rehearsal(self._look, v.shape, [v] * batch) for v in self._views() for batch in WARM_UP_BATCHES]
        return [*self.embed_rehearsals(), *self.detect_rehearsals(), *looks]

    def lone_picture(self) -> Sequence[tuple[Stage, Hashable, int]]:
        """What a picture with one face takes."""
        views = self._views()
        looked = [(self._look, view.shape, VIEWS // len(views)) for view in views]
        return [*super().lone_picture(), *looked]

    def _views(self) -> tuple[Image, ...]:
        return self._pipeline.blank_views() if self._pipeline.refines else ()
