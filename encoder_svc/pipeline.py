"""What every modality brings to this service: its networks, and the way of a picture through them.

A pipeline says what is done with pictures; its route puts that behind the queues of the device, stage by stage. Faces
are detected, aligned and embedded; a signature is found and embedded; the service around them is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from encoder_svc.frames import Encoded, Picture
from encoder_svc.scheduling.journeys import Way
from encoder_svc.scheduling.work import Stage, Want
from tessera.domain.artifact import Manifest
from tessera.domain.ids import ModelId
from tessera.domain.saliency import Weights
from tessera.imaging.decode import Image

EMBED_BATCH = 32
"""Samples that are embedded together, at most."""

WARM_UP_BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """A batch that is run before anybody asks for one like it."""

    stage: Stage
    bucket: Hashable
    items: Sequence[object]


class Route(Protocol):
    """A pipeline behind the queues of its device."""

    @property
    def header(self) -> Stage:
        """Reads how large a picture will be: payload (bytes,)."""
        ...

    @property
    def beside(self) -> Stage:
        """Does anything where pictures are decoded and measured: payload (a call,)."""
        ...

    def way(self, picture: Picture) -> Way[Encoded]:
        """What is done with a picture, step by step."""
        ...

    def to_embed(self, crops: Sequence[Image]) -> list[Want]:
        """Embed what is aligned already; each gives a unit row."""
        ...

    def rehearsals(self) -> Sequence[Rehearsal]:
        """Every network at the usual shapes and batch sizes."""
        ...

    def lone_picture(self) -> Sequence[tuple[Stage, Hashable, int]]:
        """What a picture with one sample takes: stage, shape, how many."""
        ...


class Pipeline(Protocol):
    """The encoder of one manifest, whatever it embeds."""

    manifest: Manifest

    @property
    def model_id(self) -> ModelId:
        """What its embeddings carry."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its networks run."""
        ...

    @property
    def runtime(self) -> str:
        """What runs its networks."""
        ...

    def decoded_bytes(self, data: bytes) -> int:
        """How much memory decoding the picture will take, from its header.

        Raises:
            ImageRejectedError: the header cannot be read.
        """
        ...

    def without_features(self, crop: Image) -> Image:
        """What covers a part of a crop in an explanation: a crop of the same shape with nothing to know it by."""
        ...

    def overlay(self, data: bytes, crop: Image, weights: Weights) -> bytes:
        """A PNG for people: a map over what was looked at.

        Args:
            data: the picture as it was sent.
            crop: what its one sample was embedded from.
            weights: the map over the crop.
        """
        ...

    def route(self, priority: int = 0) -> Route:
        """Its stages, for the scheduler of its device.

        Args:
            priority: among encoders, within a class of work: lower goes first.
        """
        ...


class StageMaker:
    """Makes the stages of one encoder that take one picture at a time and run no network.

    Args:
        encoder: its name.
        priority: among encoders.
    """

    def __init__(self, encoder: str, priority: int) -> None:
        self.encoder = encoder
        self.priority = priority

    def beside(self, stage: str, order: int, work: Callable[..., object]) -> Stage:
        """A stage that is done with the picture beside the networks: payloads are the arguments of `work`."""
        return Stage(stage, self.encoder, order, 1, _with_one(work), self.priority, network=False, teaches=False)

    def network(self, stage: str, order: int, batch: int, run: Callable[..., object]) -> Stage:
        """A stage that runs a network on up to `batch` items of one shape."""
        return Stage(stage, self.encoder, order, batch, run, self.priority)


def _with_one(work: Callable[..., object]) -> Callable[[Sequence[tuple[object, ...]]], list[object]]:
    return lambda payloads: [work(*arguments) for arguments in payloads]
