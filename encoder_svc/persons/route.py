"""The way of a picture in which persons are looked for: decode -> detect -> find -> embed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from encoder_svc.candidates import FoundSamples
from encoder_svc.frames import Encoded, Picture
from encoder_svc.looking import PreparedFrame
from encoder_svc.pipeline import Rehearsal
from encoder_svc.scheduling.journeys import Way
from encoder_svc.scheduling.work import Done, Want, run_ms
from encoder_svc.two_stage import TwoStageRoute

if TYPE_CHECKING:
    from encoder_svc.persons.pipeline import PersonPipeline


class PersonRoute(TwoStageRoute):
    """The stages of a person encoder.

    Args:
        pipeline: what they run.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: PersonPipeline, priority: int) -> None:
        super().__init__(pipeline, priority)
        self._pipeline = pipeline
        self._find = self._make.beside("find", 2, pipeline.find)

    def way_on(self, picture: Picture, frame: PreparedFrame) -> Way[Encoded]:
        """What is done with a picture once it is decoded."""
        detected = yield self.to_detect(frame)
        to_find = (frame, detected[0].output, picture.options, picture.known)
        (measured,) = yield [Want(self._find, None, to_find)]
        found: FoundSamples = measured.output
        crops, embedded = [person.crop for person in found.wanted], list[Done]()
        if crops:
            embedded = yield self.to_embed(crops)
            self._pipeline.give_embeddings(found.wanted, [one.output for one in embedded])
        return Encoded(self._pipeline.seen(frame, found, run_ms(detected), run_ms(embedded)), crops)

    def rehearsals(self) -> Sequence[Rehearsal]:
        """Both networks at the usual shapes and batch sizes."""
        return [*self.embed_rehearsals(), *self.detect_rehearsals()]
