"""The way of a picture in which signatures are looked for: find -> embed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from encoder_svc.frames import Encoded, Picture
from encoder_svc.pipeline import WARM_UP_BATCHES, Rehearsal, StageMaker
from encoder_svc.scheduling.journeys import Way
from encoder_svc.scheduling.work import Done, Stage, Want, run_ms
from encoder_svc.signatures.found import FoundSignatures
from tessera.imaging.decode import Image

if TYPE_CHECKING:
    from encoder_svc.signatures.pipeline import SignaturePipeline


SIGNATURE_BATCH = 8
"""Signatures that are embedded together, at most: a canvas has four times the memory of a face on its way through."""


class SignatureRoute:
    """The stages of a signature encoder.

    Args:
        pipeline: what they run.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: SignaturePipeline, priority: int) -> None:
        self._pipeline = pipeline
        make = StageMaker(pipeline.manifest.name, priority)
        self.header = make.beside("header", 0, pipeline.decoded_bytes)
        self._find = make.beside("find", 0, pipeline.find)
        self._embed = make.network("embed", 5, SIGNATURE_BATCH, pipeline.embed)
        self.beside = make.beside("explain", 6, lambda work: work())

    def way(self, picture: Picture) -> Way[Encoded]:
        """What is done with a picture, step by step."""
        (measured,) = yield [Want(self._find, None, (picture.data, picture.options))]
        found: FoundSignatures = measured.output
        crops = [one.crop for one in found.signatures if self._pipeline.wanted(one, picture.options)]
        embedded = list[Done]()
        if crops:
            embedded = yield self.to_embed(crops)
        rows = [one.output for one in embedded]
        return Encoded(self._pipeline.seen(found, picture.options, rows, run_ms(embedded)), crops)

    def to_embed(self, crops: Sequence[Image]) -> list[Want]:
        """Embed canvases."""
        return [Want(self._embed, crop.shape, crop) for crop in crops]

    def rehearsals(self) -> Sequence[Rehearsal]:
        """The network at its batch sizes."""
        crop = self._pipeline.blank_crop()
        return [Rehearsal(self._embed, crop.shape, [crop] * batch) for batch in WARM_UP_BATCHES]

    def lone_picture(self) -> Sequence[tuple[Stage, Hashable, int]]:
        """What a picture with one signature takes."""
        return [(self._embed, self._pipeline.blank_crop().shape, 1)]
