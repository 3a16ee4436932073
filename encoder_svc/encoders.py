"""The encoders of this process and their life: loading, warming up, ready, draining, failed.

A new version is loaded beside the one that serves, warmed up, and takes over in one step. What the old one had begun it
finishes; then it goes. When loading fails the old one stays. Every picture is counted here, whatever became of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from encoder_svc.frames import EncodedFrame, Picture
from encoder_svc.pipeline import Pipeline
from encoder_svc.version import EncoderVersion, Parts
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks
from tessera.domain.artifact import Manifest
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    ArtifactError,
    ExpiredError,
    ImageRejectedError,
    NotFoundError,
    OverloadedError,
    PreconditionError,
    UnavailableError,
)


class EncoderState(StrEnum):
    """What a version of an encoder is doing."""

    LOADING = "LOADING"
    WARMING_UP = "WARMING_UP"
    READY = "READY"
    DRAINING = "DRAINING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What is known of an encoder before its weights are read."""

    manifest: Manifest
    calibration_id: str
    """Empty: no calibration ships with it."""


@dataclass(frozen=True, slots=True)
class EncoderStatus:
    """One version of one encoder, as it is now."""

    facts: EncoderFacts
    state: EncoderState
    detail: str
    """Why it failed; empty otherwise."""
    device: str
    """Empty until it is loaded."""
    runtime: str
    """Empty until it is loaded."""
    priority: int
    default: bool


@dataclass(slots=True, eq=False)
class _Held:
    facts: EncoderFacts
    priority: int
    state: EncoderState = EncoderState.LOADING
    detail: str = ""
    version: EncoderVersion | None = None
    retired: asyncio.Event = field(default_factory=asyncio.Event)
    loading: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.facts.manifest.name

    @property
    def serving_version(self) -> EncoderVersion:
        if self.version is None:
            raise UnavailableError("encoder", "loading")
        return self.version

    def answers_to(self, wanted: str) -> bool:
        return wanted in {self.facts.manifest.model_id, self.name}


Load = Callable[[EncoderFacts], Awaitable[Pipeline]]
"""Makes the pipeline of an encoder, off the event loop; may download.

Raises ArtifactError when the weights cannot be had.
"""


class Encoders:
    """All encoders of one device.

    Args:
        describe: the facts of an encoder by its name; raises NotFoundError.
        load: makes its pipeline.
        parts: what all versions share; the scheduler has been started.
    """

    def __init__(self, describe: Callable[[str], EncoderFacts], load: Load, parts: Parts) -> None:
        self._describe = describe
        self._load = load
        self._parts = parts
        self._held: list[_Held] = []
        self._defaults: dict[Modality, str] = {}
        self._loading: set[asyncio.Task[None]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self.draining = asyncio.Event()

    # ---- what there is

    def statuses(self) -> tuple[EncoderStatus, ...]:
        """Every version, those that serve first."""
        held = sorted(self._held, key=lambda one: (one.state is not EncoderState.READY, one.name))
        return tuple(self._status(one) for one in held)

    def ready(self) -> bool:
        """Whether any encoder takes work."""
        return not self.draining.is_set() and any(one.state is EncoderState.READY for one in self._held)

    def serving(self, wanted: str = "", modality: Modality = Modality.FACE) -> EncoderStatus:
        """The version that would take a picture now.

        Args:
            wanted: a model id or a name; empty: the modality's default.
            modality: of the default; a wanted encoder must have it.

        Raises:
            NotFoundError: there is no such encoder.
            UnavailableError: it takes no work now.
        """
        return self._status(self._serving(wanted, modality))

    def version(self, wanted: str = "", modality: Modality = Modality.FACE) -> EncoderVersion:
        """The version that takes work now, for what is more than one picture's way through it.

        Raises:
            NotFoundError: there is no such encoder.
            UnavailableError: it takes no work now.
        """
        return self._serving(wanted, modality).serving_version

    def retired(self, model_id: str) -> asyncio.Event:
        """Set once no version with this model id serves any more.

        Raises:
            NotFoundError: none does now.
        """
        for one in self._held:
            if one.facts.manifest.model_id == model_id and one.state is EncoderState.READY:
                return one.retired
        raise NotFoundError("encoder", model_id)

    # ---- work

    async def encode(
        self, picture: Picture, wanted: str = "", modality: Modality = Modality.FACE, wanted_persons: str = ""
    ) -> EncodedFrame:
        """Encode one picture on the version that serves now, and count what became of it.

        Args:
            picture: and who wants what of it.
            wanted: a model id or a name; empty: the modality's default.
            modality: of the default.
            wanted_persons: as `wanted`, of persons; only where the picture asks for them.

        Raises:
            ImageRejectedError: the picture cannot be used.
            ExpiredError: its time ran out first.
            OverloadedError: a queue was full, or newer work took its place.
            NotFoundError: there is no such encoder.
            UnavailableError: the encoder takes no work.
        """
        metrics, work_class = self._parts.metrics, picture.work_class.value
        metrics.received(work_class)
        try:
            version = self.version(wanted, modality)
            persons = self.version(wanted_persons, Modality.PERSON) if picture.persons else None
            with metrics.pending.labels(work_class).track_inprogress():
                frame = await version.encode(picture, persons)
        except BaseException as error:
            metrics.frames.labels(work_class, *outcome_of(error)).inc()
            raise
        finally:
            metrics.sent(work_class)
        metrics.observe_frame(work_class, frame)
        return frame

    # ---- life

    def load(self, name: str, priority: int | None = None, *, make_default: bool = False) -> EncoderStatus:
        """Begin to load an encoder; `statuses` tells how it goes.

        Args:
            name: of a folder of weights.
            priority: among encoders, lower goes first; None: what it had before, else 0.
            make_default: make it its modality's default once it is ready.

        Raises:
            NotFoundError: there is no such encoder.
            PreconditionError: it is being loaded already, or its files cannot be used.
            UnavailableError: the service drains.
        """
        if self.draining.is_set():
            raise UnavailableError("encoder", "draining")
        before = [one for one in self._held if one.name == name]
        if any(one.state in {EncoderState.LOADING, EncoderState.WARMING_UP} for one in before):
            raise PreconditionError("ENCODER_LOADING", "name", name, "an encoder that is not being loaded")
        facts = self._described(name)
        if priority is None:
            priority = before[-1].priority if before else 0
        for failed in [one for one in before if one.state is EncoderState.FAILED]:
            self._held.remove(failed)
        held = _Held(facts, priority)
        self._held.append(held)
        self._defaults.setdefault(facts.manifest.modality, name)
        held.loading = _kept(self._loading, self._bring_up(held, make_default=make_default))
        return self._status(held)

    async def replace(self, name: str, pipeline: Pipeline) -> None:
        """Let another pipeline of the same encoder take over, such as one with a faster runtime.

        Raises:
            NotFoundError: no version of it serves.
        """
        old = next((one for one in self._held if one.name == name and one.state is EncoderState.READY), None)
        if old is None:
            raise NotFoundError("encoder", name)
        held = _Held(old.facts, old.priority, EncoderState.WARMING_UP)
        self._held.append(held)
        try:
            await self._warm_up_and_flip(held, pipeline, instead_of=old)
        except BaseException:
            if held in self._held:
                self._held.remove(held)
            raise

    async def unload(self, model_id: str) -> bool:
        """Take an encoder out of service; returns once what it had begun is finished.

        Whoever waits for that may go away: it is taken out all the same.

        Returns:
            False when it was not there.

        Raises:
            PreconditionError: it is its modality's default.
        """
        here = [one for one in self._held if one.facts.manifest.model_id == model_id]
        for one in here:
            if self._defaults.get(one.facts.manifest.modality) == one.name:
                allowed = "an encoder that is not the default; make another one the default first"
                raise PreconditionError("ENCODER_IS_DEFAULT", "model_id", model_id, allowed)
        leaving = [self._step_down(one) for one in here]
        if leaving:
            await asyncio.wait(leaving)
        return bool(here)

    async def loaded(self) -> None:
        """Wait until nothing is being loaded.

        Raises:
            ArtifactError: an encoder failed, and no version of it serves.
        """
        while self._loading:
            await asyncio.wait(self._loading)
        serving = {one.name for one in self._held if one.state is EncoderState.READY}
        for one in self._held:
            if one.state is EncoderState.FAILED and one.name not in serving:
                raise ArtifactError(one.name, one.detail)

    def drain(self) -> None:
        """Take no more work; what is under way is finished."""
        self.draining.set()

    async def close(self) -> None:
        """End loading, lanes and threads."""
        self.drain()
        await end_tasks(*self._loading, *self._retiring)
        await asyncio.to_thread(self._parts.scheduler.close)

    # ---- inside

    def _serving(self, wanted: str, modality: Modality) -> _Held:
        wanted = wanted or self._defaults.get(modality, "")
        here = [one for one in self._held if one.answers_to(wanted) and one.facts.manifest.modality is modality]
        if not self._held:
            raise UnavailableError("encoder", "loading")
        if not here:
            known = ", ".join(sorted({one.facts.manifest.model_id for one in self._held}))
            raise NotFoundError("encoder", wanted or modality.value, f"this service has {known}")
        if self.draining.is_set():
            raise UnavailableError("encoder", "draining")
        for one in here:
            if one.state is EncoderState.READY:
                return one
        raise UnavailableError("encoder", here[-1].state.value.lower().replace("_", " "))

    def _status(self, held: _Held) -> EncoderStatus:
        pipeline = held.version.pipeline if held.version else None
        draining = self.draining.is_set() and held.state is EncoderState.READY
        return EncoderStatus(
            held.facts,
            EncoderState.DRAINING if draining else held.state,
            held.detail,
            str(pipeline.device) if pipeline else "",
            pipeline.runtime if pipeline else "",
            held.priority,
            self._defaults.get(held.facts.manifest.modality) == held.name,
        )

    def _described(self, name: str) -> EncoderFacts:
        try:
            return self._describe(name)
        except ArtifactError as error:
            allowed = f"an encoder whose files can be used ({error})"
            raise PreconditionError("ENCODER_UNUSABLE", "name", name, allowed) from error

    async def _bring_up(self, held: _Held, *, make_default: bool) -> None:
        try:
            await self._warm_up_and_flip(held, await self._load(held.facts))
        except Exception as error:  # noqa: BLE001 - the edge of a task; ListEncoders and readiness tell of it
            held.state, held.detail = EncoderState.FAILED, str(error)
            known = isinstance(error, ArtifactError)
            get_logger().error("encoder.load_failed", encoder=held.name, error=str(error), exc_info=not known)
            return
        if make_default:
            self._defaults[held.facts.manifest.modality] = held.name

    async def _warm_up_and_flip(self, held: _Held, pipeline: Pipeline, instead_of: _Held | None = None) -> None:
        version = EncoderVersion(pipeline, self._parts, held.priority)
        held.state = EncoderState.WARMING_UP
        await version.warm_up()
        # From here to the end nothing waits: whoever asks sees the old one or the new one.
        if held not in self._held or (instead_of is not None and instead_of.state is not EncoderState.READY):
            raise NotFoundError("encoder", held.name, "it was unloaded meanwhile")
        held.version, held.state = version, EncoderState.READY
        over = {EncoderState.READY, EncoderState.FAILED}
        for old in [one for one in self._held if one.name == held.name and one is not held and one.state in over]:
            same_embeddings = old.facts.manifest.model_id == held.facts.manifest.model_id
            if old.state is EncoderState.READY and same_embeddings:
                # Streams go on, and learn of a later end from the successor.
                held.retired = old.retired
            self._step_down(old)
        self._parts.metrics.show_model(held.facts.manifest, str(pipeline.device), pipeline.runtime)
        get_logger().info(
            "encoder.ready", model=pipeline.model_id, device=str(pipeline.device), runtime=pipeline.runtime
        )

    def _step_down(self, old: _Held) -> asyncio.Task[None]:
        """Give it no more work, and forget it once it has finished what it had begun."""
        old.state = EncoderState.DRAINING
        if old.loading is not None:
            old.loading.cancel()
        if not any(one.retired is old.retired and one.state is EncoderState.READY for one in self._held):
            old.retired.set()
        if not any(one.name == old.name and one.state is EncoderState.READY for one in self._held):
            self._parts.metrics.hide_model(old.name)
        return _kept(self._retiring, self._retire(old))

    async def _retire(self, old: _Held) -> None:
        if old.loading is not None:
            await asyncio.wait({old.loading})
        if old.version is not None:
            await old.version.finished()
        if old in self._held:
            self._held.remove(old)


def _kept(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin a task that nobody needs to wait for."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


_OUTCOMES: dict[type[BaseException], tuple[str, str]] = {
    ExpiredError: ("expired", "EXPIRED"),
    OverloadedError: ("skipped", "QUEUE_FULL"),
    UnavailableError: ("skipped", "ENCODER_UNAVAILABLE"),
    NotFoundError: ("failed", "ENCODER_NOT_FOUND"),
    asyncio.CancelledError: ("cancelled", ""),
}


def outcome_of(error: BaseException) -> tuple[str, str]:
    """How a picture that was not encoded is counted: outcome and reason."""
    if isinstance(error, ImageRejectedError):
        return "failed", error.reason.value
    return _OUTCOMES.get(type(error), ("failed", "INTERNAL"))
