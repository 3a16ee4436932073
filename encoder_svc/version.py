"""One loaded version of one encoder, and the way of a picture through it.

admission -> the stages of its pipeline's route. The networks run in batches with other pictures, the rest one by one.
Between two stages it is seen whether anybody still wants the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from encoder_svc.admission import Admission
from encoder_svc.frames import AlignedSample, Encoded, EncodedFrame, Picture
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import Pipeline
from encoder_svc.scheduling.journeys import Journey, Way
from encoder_svc.scheduling.scheduler import Scheduler
from encoder_svc.scheduling.work import Asker, Want
from encoder_svc.together import seen_together
from encoder_svc.two_stage import TwoStageRoute
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import record
from tessera.domain.embedding import Vectors
from tessera.domain.errors import ExpiredError, ImageRejectedError, InvalidInputError
from tessera.domain.not_one import NOT_ONE
from tessera.imaging.decode import Image

_HEADER_READ_AT_ONCE_BYTES = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What all versions of all encoders of one device share."""

    admission: Admission
    scheduler: Scheduler
    clock: Clock
    metrics: EncoderMetrics


class EncoderVersion:
    """A pipeline behind the queues of its device.

    Args:
        pipeline: its networks.
        parts: what it shares with other encoders.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: Pipeline, parts: Parts, priority: int = 0) -> None:
        self.pipeline = pipeline
        self._parts = parts
        self._route = pipeline.route(priority)
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def under_way(self) -> int:
        """Pictures that it has begun and not finished."""
        return self._under_way

    async def finished(self) -> None:
        """Wait until nothing is under way."""
        await self._idle.wait()

    async def encode(self, picture: Picture, persons: EncoderVersion | None = None) -> EncodedFrame:
        """Encode one picture when its turn comes.

        Args:
            picture: and who wants what of it.
            persons: looks for persons in the same picture; None: nobody does.

        Raises:
            InvalidInputError: this encoder looks for something that persons do not go beside.
            ImageRejectedError: the picture cannot be used.
            ExpiredError: its time ran out first.
            OverloadedError: a queue was full, or newer work took its place.
            UnavailableError: the scheduler is closed.
        """
        with self.working(), persons.working() if persons else nullcontext():
            return await self._encode(picture, self._way(picture, persons))

    @contextmanager
    def working(self) -> Iterator[None]:
        """While the block runs this version is not taken out of service."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if self._under_way == 0:
                self._idle.set()

    # ---- for what goes on with a sample after its embedding; whoever calls these has been admitted

    async def only_sample(self, picture: Picture, field: str) -> AlignedSample:
        """Encode a picture with exactly one face, or whatever else it is that this encoder embeds.

        Args:
            picture: and who wants it.
            field: the request field that held it, for errors.

        Raises:
            ImageRejectedError: it cannot be used; NO_FACE and EXCEEDS_MAX_FACES too.
            ExpiredError: its time ran out first.
            UnavailableError: the scheduler is closed.
        """
        try:
            size = await self._decoded_bytes(picture)
            async with self._parts.admission.pixels.held(picture.work_class, size):
                self._require_wanted(picture)
                return await self._travel(self._way_of_one(picture), picture.asker)
        except ImageRejectedError as error:
            raise error.in_field(field) from None

    async def embed(self, make: Callable[[], Sequence[Image]], asker: Asker) -> Vectors:
        """Embed pictures that are aligned already.

        Args:
            make: gives them, at most `EMBED_BATCH`, all of one shape; called when its turn comes.
            asker: for whom.

        Returns:
            float32 (n, d), each row of length 1.

        Raises:
            ExpiredError: its time ran out first.
            UnavailableError: the scheduler is closed.
        """
        return await self._travel(self._way_of_made(make), asker)

    async def run_beside(self, work: Callable[[], T], asker: Asker) -> T:
        """Have something done where pictures are decoded and measured, when its turn comes.

        Raises:
            ExpiredError: its time ran out first.
            UnavailableError: the scheduler is closed.
        """
        return await self._travel(self._way_of(work), asker)

    async def warm_up(self) -> None:
        """Run every network at the usual shapes and batch sizes, so that no caller pays for what is built on first use,
        and so that the scheduler knows what a batch costs.

        Raises:
            UnavailableError: the scheduler is closed.
        """
        for rehearsal in self._route.rehearsals():
            for learn in (False, True):
                run = self._parts.scheduler.rehearse(rehearsal.stage, rehearsal.bucket, rehearsal.items, learn=learn)
                await asyncio.wrap_future(run)
        self._parts.scheduler.way_of_a_picture(self.pipeline.manifest.name, list(self._route.lone_picture()))

    async def _encode(self, picture: Picture, way: Way[Encoded]) -> EncodedFrame:
        parts, received_s = self._parts, self._parts.clock.monotonic_s()
        async with parts.admission.entered(picture.work_class, self._remaining_s(picture)):
            record("queue", received_s, parts.clock.monotonic_s())
            size = await self._decoded_bytes(picture)
            async with parts.admission.pixels.held(picture.work_class, size):
                self._require_wanted(picture)
                frame = (await self._travel(way, picture.asker)).frame
        total_ms = (parts.clock.monotonic_s() - received_s) * 1e3
        queue_ms = max(0.0, total_ms - frame.times.total_ms)
        return replace(frame, times=replace(frame.times, queue_ms=queue_ms, total_ms=total_ms))

    def _way(self, picture: Picture, persons: EncoderVersion | None) -> Way[Encoded]:
        if persons is None:
            return self._route.way(picture)
        routes = (self._route, persons._route)
        if not isinstance(routes[0], TwoStageRoute) or not isinstance(routes[1], TwoStageRoute):
            raise InvalidInputError("persons", "set", f"absent beside {self.pipeline.manifest.modality.value}")
        return seen_together(routes[0], routes[1], picture, persons.pipeline.model_id)

    def _way_of_one(self, picture: Picture) -> Way[AlignedSample]:
        encoded = yield from self._route.way(picture)
        told = NOT_ONE[self.pipeline.manifest.modality]
        if not encoded.frame.samples:
            raise ImageRejectedError(told.none, f"no {told.noun} is seen; allowed: exactly one")
        if len(encoded.frame.samples) > 1:
            raise ImageRejectedError(told.several, f"several {told.noun}s are seen; allowed: exactly one")
        return AlignedSample(encoded.frame.observations[0], encoded.crops[0])

    def _way_of_made(self, make: Callable[[], Sequence[Image]]) -> Way[Vectors]:
        crops = yield from self._way_of(make)
        embedded = yield self._route.to_embed(crops)
        return np.stack([one.output for one in embedded])

    def _way_of(self, work: Callable[[], T]) -> Way[T]:
        (done,) = yield [Want(self._route.beside, None, (work,))]
        output: T = done.output
        return output

    async def _travel(self, way: Way[T], asker: Asker) -> T:
        """The end of a way; what was done on it goes to the trace, also when the way was not finished."""
        journey = Journey(way, self._parts.scheduler, asker)
        journey.begin()
        try:
            return await asyncio.wrap_future(journey.future)
        except asyncio.CancelledError:
            journey.cancel()
            raise
        finally:
            for ran in dict.fromkeys(journey.ran):  # several of its items in one batch are one line of the trace
                record(ran.stage, ran.started_s, ran.started_s + ran.run_s, {"batch": ran.items})
            del journey, way  # an error's traceback holds this frame: the picture would wait for the garbage collector

    async def _decoded_bytes(self, picture: Picture) -> int:
        """What the decoded picture will take. Reading a header takes microseconds, unless a long file hides it."""
        if len(picture.data) <= _HEADER_READ_AT_ONCE_BYTES:
            return self.pipeline.decoded_bytes(picture.data)
        return await self._travel(self._way_of_a_header(picture), picture.asker)

    def _way_of_a_header(self, picture: Picture) -> Way[int]:
        (read,) = yield [Want(self._route.header, None, (picture.data,))]
        size: int = read.output
        return size

    def _remaining_s(self, picture: Picture) -> float | None:
        if picture.expires_at_s is None:
            return None
        return picture.expires_at_s - self._parts.clock.monotonic_s()

    def _require_wanted(self, picture: Picture) -> None:
        remaining_s = self._remaining_s(picture)
        if remaining_s is not None and remaining_s <= 0.0:
            raise ExpiredError("queue")
