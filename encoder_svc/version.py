"""One loaded version of one encoder, and the way of a picture through it.

admission -> decode -> detect -> find -> refine -> align -> embed. Each is a stage of the scheduler: the networks run in
batches with other pictures, the rest one by one. Between two stages it is seen whether anybody still wants the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from encoder_svc.admission import Admission
from encoder_svc.frames import EncodedFrame, EncodeOptions, FoundFaces, PreparedFrame
from encoder_svc.metrics import EncoderMetrics
from encoder_svc.pipeline import DETECT_BATCH, EMBED_BATCH, REFINE_BATCH, FacePipeline
from encoder_svc.scheduling.journeys import Journey, Way
from encoder_svc.scheduling.scheduler import Scheduler
from encoder_svc.scheduling.work import Asker, Done, Stage, Want, WorkClass
from tessera.chassis.clock import Clock
from tessera.chassis.tracing import record
from tessera.client.stream_values import KnownTracklet
from tessera.domain.embedding import Vectors
from tessera.domain.errors import ExpiredError, ImageRejectedError
from tessera.domain.observation import Observation
from tessera.domain.reasons import Reason
from tessera.imaging.decode import Image
from tessera.imaging.refine import VIEWS

_WARM_UP_SIZES_PX = ((360, 640), (480, 640), (640, 360), (640, 640))
_WARM_UP_BATCHES = (1, 2, 4, 8)


_HEADER_READ_AT_ONCE_BYTES = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What all versions of all encoders of one device share."""

    admission: Admission
    scheduler: Scheduler
    clock: Clock
    metrics: EncoderMetrics


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture to encode, and who wants what of it."""

    data: bytes
    """JPEG, PNG, WebP or BMP."""
    options: EncodeOptions
    work_class: WorkClass
    known: Sequence[KnownTracklet] = ()
    """Tracklets that need no new embedding."""
    expires_at_s: float | None = None
    """On the clock's monotonic time; later nobody wants the answer."""
    source: str = ""
    """The stream that it comes from; empty: none."""

    @property
    def asker(self) -> Asker:
        """For whom it is encoded."""
        return Asker(self.work_class, self.source, self.expires_at_s)


@dataclass(frozen=True, slots=True, eq=False)
class AlignedFace:
    """The one face of a picture, and the pixels that its embedding was made of."""

    observation: Observation
    crop: Image


class EncoderVersion:
    """A pipeline behind the queues of its device.

    Args:
        pipeline: its networks.
        parts: what it shares with other encoders.
        priority: among encoders, within a class of work: lower goes first.
    """

    def __init__(self, pipeline: FacePipeline, parts: Parts, priority: int = 0) -> None:
        self.pipeline = pipeline
        self._parts = parts
        name = pipeline.manifest.name

        def beside(stage: str, order: int, work: Callable[..., object]) -> Stage:
            return Stage(stage, name, order, 1, _with_one(work), priority, network=False, teaches=False)

        # In the order of the way. Within a class the later ones go first: what has begun is finished.
        self._header = beside("header", 0, pipeline.decoded_bytes)
        self._decode = beside("decode", 0, pipeline.prepare)
        self._detect = Stage("detect", name, 1, DETECT_BATCH, pipeline.detect, priority)
        self._find = beside("find", 2, pipeline.find)
        self._look = Stage("refine", name, 3, REFINE_BATCH, pipeline.look, priority)
        self._align = beside("align", 4, pipeline.realign)
        self._pad = Stage("pad", name, 5, EMBED_BATCH, pipeline.judge, priority)
        self._embed = Stage("embed", name, 5, EMBED_BATCH, pipeline.embed, priority)
        self._beside = beside("explain", 6, lambda work: work())
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

    async def encode(self, picture: Picture) -> EncodedFrame:
        """Encode one picture when its turn comes.

        Raises:
            ImageRejectedError: the picture cannot be used.
            ExpiredError: its time ran out first.
            OverloadedError: a queue was full, or newer work took its place.
            UnavailableError: the scheduler is closed.
        """
        with self.working():
            return await self._encode(picture)

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

    # ---- for what goes on with a face after its embedding; whoever calls these has been admitted

    async def only_face(self, picture: Picture, field: str) -> AlignedFace:
        """Encode a picture with exactly one face.

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
        crop = self.pipeline.blank_crop()
        for batch in _WARM_UP_BATCHES:
            await self._rehearse(self._embed, crop.shape, [crop] * batch)
        for height_px, width_px in _WARM_UP_SIZES_PX:
            frame = self.pipeline.blank_frame(height_px, width_px)
            for batch in _WARM_UP_BATCHES[:3]:
                await self._rehearse(self._detect, frame.shape, [frame] * batch)
        views = self.pipeline.blank_views() if self.pipeline.refines else ()
        for view in views:
            for batch in _WARM_UP_BATCHES:
                await self._rehearse(self._look, view.shape, [view] * batch)
        lone = [(self._detect, self.pipeline.blank_frame(*_WARM_UP_SIZES_PX[0]).shape, 1)]
        lone += [(self._look, view.shape, VIEWS // len(views)) for view in views]
        lone += [(self._embed, crop.shape, 1)]
        self._parts.scheduler.way_of_a_picture(self.pipeline.manifest.name, lone)

    async def _rehearse(self, stage: Stage, bucket: Hashable, items: Sequence[object]) -> None:
        for learn in (False, True):
            await asyncio.wrap_future(self._parts.scheduler.rehearse(stage, bucket, items, learn=learn))

    async def _encode(self, picture: Picture) -> EncodedFrame:
        parts, received_s = self._parts, self._parts.clock.monotonic_s()
        async with parts.admission.entered(picture.work_class, self._remaining_s(picture)):
            record("queue", received_s, parts.clock.monotonic_s())
            size = await self._decoded_bytes(picture)
            async with parts.admission.pixels.held(picture.work_class, size):
                self._require_wanted(picture)
                frame, _ = await self._travel(self._way(picture), picture.asker)
        total_ms = (parts.clock.monotonic_s() - received_s) * 1e3
        queue_ms = max(0.0, total_ms - frame.times.total_ms)
        return replace(frame, times=replace(frame.times, queue_ms=queue_ms, total_ms=total_ms))

    def _way(self, picture: Picture) -> Way[tuple[EncodedFrame, FoundFaces]]:
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
            self.pipeline.give_liveness(found.wanted, [one.output for one in judged])
        embedded: list[Done] = []
        if found.wanted:
            embedded = yield [Want(self._embed, face.crop.shape, face.crop) for face in found.wanted]
            self.pipeline.give_embeddings(found.wanted, [one.output for one in embedded])
        detect_ms = _run_ms(detected) + _run_ms(looked)
        return self.pipeline.seen(frame, found, detect_ms, _run_ms(embedded)), found

    def _way_of_one(self, picture: Picture) -> Way[AlignedFace]:
        frame, found = yield from self._way(picture)
        if not frame.faces:
            raise ImageRejectedError(Reason.NO_FACE, "no face is seen; allowed: exactly one")
        if len(frame.faces) > 1:
            raise ImageRejectedError(Reason.EXCEEDS_MAX_FACES, "several faces are seen; allowed: exactly one")
        return AlignedFace(frame.observations[0], found.wanted[0].crop)

    def _way_of_made(self, make: Callable[[], Sequence[Image]]) -> Way[Vectors]:
        crops = yield from self._way_of(make)
        embedded = yield [Want(self._embed, crop.shape, crop) for crop in crops]
        return np.stack([one.output for one in embedded])

    def _way_of(self, work: Callable[[], T]) -> Way[T]:
        (done,) = yield [Want(self._beside, None, (work,))]
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
        (read,) = yield [Want(self._header, None, (picture.data,))]
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


def _with_one(work: Callable[..., object]) -> Callable[[Sequence[tuple[object, ...]]], list[object]]:
    """A stage of what takes one picture at a time."""
    return lambda payloads: [work(*arguments) for arguments in payloads]


def _run_ms(done: Sequence[Done]) -> float:
    """How long some of the batches ran; what ran on two lanes at a time counts once."""
    seconds, until_s = 0.0, 0.0
    for begin_s, end_s in sorted((one.started_s, one.started_s + one.run_s) for one in done):
        seconds += max(0.0, end_s - max(begin_s, until_s))
        until_s = max(until_s, end_s)
    return seconds * 1e3
