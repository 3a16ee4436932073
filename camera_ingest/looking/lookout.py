"""Between a sampled picture and the backlog: masks, the motion gate, and the scene, on a thread of its own.

One picture of a camera is looked at at a time, and one more may wait: the newest. So frames stay in order, and a
process that is short of CPU loses frames here, where they are counted, and no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from camera_ingest.backlog import Backlog, SampledFrame
from camera_ingest.camera import Camera
from camera_ingest.looking.album import part_of
from camera_ingest.looking.changes import SceneChange
from camera_ingest.looking.motion import MotionGate
from camera_ingest.looking.places import Places
from camera_ingest.looking.scene import SceneWatch
from camera_ingest.looking.small import small_grey
from camera_ingest.sources.source import Picture
from tessera.chassis.logs import get_logger
from tessera.domain.errors import ImageRejectedError
from tessera.domain.reasons import Reason

log = get_logger()

OnLook = Callable[[SampledFrame, Reason | None], None]
"""Told of a frame that was looked at, masked; and why it is not to be encoded, if so."""
OnScene = Callable[[SampledFrame, SceneChange], None]
"""Told what happened to the scene, with the frame that showed it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """What one look found."""

    picture: Picture
    reason: Reason | None = None
    changes: tuple[SceneChange, ...] = ()


class Lookout:
    """The looks of one camera. Used from one event loop; looks run in the executor.

    Args:
        camera: where it looks.
        places: its zones and masks.
        gate: None: every frame goes on.
        scene: None: the scene is not watched.
        executor: where pictures are looked at.
        is_followed: whether somebody is followed now, so that every frame goes on.
        on_look: told of each frame that was looked at.
        on_scene: told of each change of the scene.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        places: Places,
        gate: MotionGate | None,
        scene: SceneWatch | None,
        executor: Executor,
        is_followed: Callable[[], bool],
        on_look: OnLook,
        on_scene: OnScene,
    ) -> None:
        self._camera = camera
        self._places = places
        self._gate = gate
        self._scene = scene
        self._executor = executor
        self._is_followed = is_followed
        self._on_look = on_look
        self._on_scene = on_scene
        self._waiting = Backlog()

    def put(self, frame: SampledFrame) -> SampledFrame | None:
        """Take a frame; returns the one that it pushes out, if any."""
        return self._waiting.put(frame)

    async def run(self) -> None:
        """Look at frames, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._waiting.wait()
            frame = self._waiting.take()
            if frame is None:
                continue
            followed = self._is_followed()
            try:
                looked = await loop.run_in_executor(self._executor, self._look, frame, followed)
            except Exception:  # the edge of a task: one picture that nobody can look at must not blind the camera
                log.exception("look.failed", camera=self._camera.camera_id)
                looked = _Looked(frame.picture, Reason.INTERNAL)
            for change in looked.changes:
                self._on_scene(frame, change)
            shown = frame if looked.picture is frame.picture else replace(frame, picture=looked.picture)
            self._on_look(shown, looked.reason)

    def _look(self, frame: SampledFrame, followed: bool) -> _Looked:
        try:
            picture = self._places.blacked(frame.picture)
        except ImageRejectedError:
            return _Looked(frame.picture)  # the encoder refuses it as well, and says why
        looks_at_scene = self._scene is not None and self._scene.is_due(frame.captured_s)
        small = small_grey(picture) if self._gate is not None or looks_at_scene else None
        if small is None:
            return _Looked(picture)
        part = part_of(frame.capture_time)
        changes = self._scene.look(small, frame.captured_s, part) if self._scene is not None else ()
        if self._gate is None or self._gate.passes(small, frame.captured_s, in_any_case=followed or bool(changes)):
            return _Looked(picture, None, changes)
        return _Looked(picture, Reason.NO_MOTION, changes)
