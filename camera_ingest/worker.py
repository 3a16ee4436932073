"""One camera's life: its source, its frames' account, its tracklets, and what state it is in.

The worker joins the parts and keeps the state; each part says of itself what it refuses to do. Everything here runs
on the event loop, save the capture's own thread.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from camera_ingest.accounting import FrameAccount
from camera_ingest.backlog import Backlog, SampledFrame
from camera_ingest.backoff import Backoff
from camera_ingest.books import Books
from camera_ingest.camera import Camera, CameraState, CameraStatus
from camera_ingest.capture import Capture, SampledPicture
from camera_ingest.encoding import Encoding
from camera_ingest.leases.keeper import Lease
from camera_ingest.looking.lookout import Lookout
from camera_ingest.looking.motion import MotionConfig, MotionGate
from camera_ingest.looking.pace import Pace
from camera_ingest.looking.places import Places
from camera_ingest.looking.scene import SceneConfig, SceneState, SceneWatch
from camera_ingest.looking.scene_keeper import SceneKeeper
from camera_ingest.pictures import size_px, to_jpeg
from camera_ingest.sources.options import KEY_FRAMES_APART_S
from camera_ingest.sources.stream_clock import ClockReport
from camera_ingest.standing import Standing
from camera_ingest.tracker import TrackerStep
from camera_ingest.worker_parts import WorkerParts
from camera_ingest.zones_seen import ZonesSeen
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks
from tessera.client.stream_values import FrameAnswer, FrameOutcome, TrackletDecision, TrackletUpdate
from tessera.domain.errors import PreconditionError, UnavailableError
from tessera.domain.ids import CollectionId, TrackletId
from tessera.domain.reasons import Reason

log = get_logger()

_TICK_S = 0.5
_CHANGED_UNDER_WAY = frozenset({"labels", "expires_after_s", "collection_id", "person_collection_id", "min_side_px"})
"""The source does not hear of these."""


class CameraWorker:
    """Watches one camera.

    Args:
        camera: what to watch, and how.
        lease: that it is watched under.
        parts: what all workers share.
    """

    def __init__(self, camera: Camera, lease: Lease, parts: WorkerParts) -> None:
        self.camera = camera
        self.lease = lease
        self._parts = parts
        self._evidence = parts.evidence
        self._clock: Clock = parts.encoding.clock
        self._metrics = parts.encoding.metrics
        self._pace = Pace(camera.sample_rate_hz, self._clock.monotonic_s())
        self._places = Places(camera.zones, only_zones=camera.only_zones)
        self._account = FrameAccount(self._count_end)
        self._backlog = Backlog()
        self._book = Books(camera, self._new_tracklet_id, self._submit)
        s = parts.settings
        self._encoding = Encoding(
            camera=camera,
            backlog=self._backlog,
            account=self._account,
            book=self._book,
            on_answer=self._on_answer,
            on_sent=self._on_sent,
            may_send=lambda: self.lease.is_held,
            backoff=Backoff(0.2, s.encoder_backoff_longest_s, 0.05),
            parts=parts.encoding,
        )
        self._scene = SceneWatch(SceneConfig(every_s=s.scene_every_s)) if camera.watch_scene else None
        self._scene_keeper: SceneKeeper | None = None
        if self._scene is not None and parts.scenes is not None:
            executor = parts.encoding.executor
            self._scene_keeper = SceneKeeper(camera, self._scene, parts.scenes, executor, self._clock)
        self._standing = Standing(
            camera.camera_id,
            CameraState.CONNECTING if camera.enabled else CameraState.DISABLED,
            announcer=parts.announcer,
            lease_token=lease.token,
            begin_clip=parts.evidence.clips.begin if parts.evidence is not None else None,
            clock=self._clock,
            metrics=self._metrics,
        )
        self._lookout = Lookout(
            camera=camera,
            places=self._places,
            gate=MotionGate(MotionConfig(every_s=s.motion_every_s)) if camera.motion_gate else None,
            scene=self._scene,
            executor=parts.looking,
            is_followed=lambda: self._book.active_count > 0,
            on_look=self._on_look,
            on_scene=self._standing.tell_scene,
        )
        self._capture = Capture(
            name=camera.camera_id,
            make_feed=lambda: parts.feed_of(camera),
            rate_hz=camera.sample_rate_hz,
            freeze_after_s=s.frozen_after_s,
            backoff=Backoff(s.reconnect_first_s, s.reconnect_longest_s, s.reconnect_least_s),
            listener=self,
            has_room=self._has_room if camera.stream.as_fast_as_possible else None,
        )
        self._started_s = self._clock.monotonic_s()
        self._newest: SampledFrame | None = None
        self._size_px = (0, 0)
        self._zones = ZonesSeen(self._places)
        self._latency_s: float | None = None
        self._clock_report: ClockReport | None = None
        self._taken = 0
        self._losses = 0
        self._reconnects = 0
        self._encoding_task: asyncio.Task[None] | None = None
        self._looking_task: asyncio.Task[None] | None = None
        self._tick_task: asyncio.Task[None] | None = None

    # ---- life

    def start(self) -> None:
        """Begin to watch, unless the camera is disabled."""
        self._standing.show()
        if not self.camera.enabled:
            return
        log.info("camera.watching", camera=self.camera.camera_id, url=self.camera.shown_url)
        self._capture.start()
        self._encoding_task = asyncio.create_task(self._encoding.run())
        self._looking_task = asyncio.create_task(self._look())
        self._tick_task = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Stop watching: frames that are left are counted as skipped, tracklets end."""
        self._capture.stop()
        if self._looking_task is not None:
            await end_tasks(self._looking_task)
        self._encoding.drain()
        if self._encoding_task is not None:
            await asyncio.wait([self._encoding_task], timeout=self._parts.settings.drain_s)
            await end_tasks(self._encoding_task)
        if self._tick_task is not None:
            await end_tasks(self._tick_task)
        await self._capture.join(self._parts.settings.drain_s + 1.0)
        self._backlog.take()
        self._account.skip_all(Reason.SHUTTING_DOWN)
        self._book.end_all()
        if self._evidence is not None:
            self._evidence.clips.end(self.camera.camera_id)
        if self._scene_keeper is not None:
            await self._scene_keeper.save()
        a = self._account.now()
        log.info(
            "camera.stopped",
            camera=self.camera.camera_id,
            sampled=a.sampled,
            encoded=a.encoded,
            skipped=a.skipped,
            expired=a.expired,
            failed=a.failed,
        )

    def tell_age(self) -> float:
        """Put the age of the newest frame on the metrics page, in seconds; it grows while the worker rests."""
        since_s = self._newest.captured_s if self._newest else self._started_s
        age_s = self._clock.monotonic_s() - since_s
        self._metrics.last_frame_age_s.labels(self.camera.camera_id).set(age_s)
        return age_s

    def rest(self, detail: str) -> None:
        """Say why a worker that was stopped waits to be watched again."""
        self._standing.enter(CameraState.WAITING, detail)

    def take_over(self, camera: Camera) -> bool:
        """Go on with a camera that was changed.

        Returns:
            False: it was changed in more than can be changed under way; nothing has happened.
        """
        changed = {name for name in Camera.__dataclass_fields__ if getattr(camera, name) != getattr(self.camera, name)}
        if changed - _CHANGED_UNDER_WAY:
            return False
        self.camera = camera
        self._encoding.take_over(camera)
        self._book.take_over(camera)
        log.info("camera.changed", camera=camera.camera_id, fields=sorted(changed))
        return True

    # ---- what others ask

    def status(self) -> CameraStatus:
        """How the camera does."""
        account = self._account.now()
        return CameraStatus(
            camera_id=self.camera.camera_id,
            state=self._standing.state,
            detail=self._standing.detail,
            state_since=self._standing.since,
            last_frame_time=self._newest.capture_time if self._newest else None,
            frames_sampled=account.sampled,
            frames_encoded=account.encoded,
            frames_skipped=account.skipped,
            frames_expired=account.expired,
            frames_failed=account.failed,
            frames_in_flight=account.in_flight,
            width_px=self._size_px[0],
            height_px=self._size_px[1],
            latency_s=self._latency_s,
            active_tracklets=self._book.active_count,
            reconnects=self._reconnects,
            skip_counts=account.skip_counts,
            sample_rate_hz=self._pace.rate_hz,
            scene=self._scene.state if self._scene is not None else SceneState.UNWATCHED,
            clock=self._clock_report,
        )

    async def snapshot(self) -> tuple[bytes, datetime]:
        """The newest sampled frame as a JPEG, and its capture time.

        Raises:
            UnavailableError: there was no frame yet.
        """
        newest = self._newest
        if newest is None:
            raise UnavailableError("frame", self._standing.detail or "none has come yet")
        loop = asyncio.get_running_loop()
        picture = await loop.run_in_executor(self._parts.looking, self._places.blacked, newest.picture)
        jpeg = await loop.run_in_executor(self._parts.encoding.executor, to_jpeg, picture)
        return jpeg, newest.capture_time

    def accept_scene(self) -> None:
        """What the camera shows now is its scene.

        Raises:
            PreconditionError: its scene is not watched (SCENE_UNWATCHED).
        """
        if self._scene is None:
            camera_id = self.camera.camera_id
            raise PreconditionError("SCENE_UNWATCHED", "camera_id", camera_id, "a camera whose scene is watched")
        log.info("camera.scene_accepted", camera=self.camera.camera_id, state=self._scene.state.value)
        self._scene.accept()

    def decide(self, decision: TrackletDecision, collection_id: CollectionId) -> None:
        """Take in a decision on one of this camera's tracklets, taken in the collection that was asked."""
        if self._evidence is not None:
            self._evidence.told(decision, self.camera.camera_id, collection_id)
        if self._book.decide(decision):
            self._metrics.decisions.labels(self.camera.camera_id, decision.decision.outcome.value).inc()

    # ---- what the source says

    def on_sampled(self, sampled: SampledPicture, missed: int) -> None:
        """A picture was sampled: it is looked at, unless the pace leaves it out."""
        for _ in range(missed):
            self._account.end(self._account.enter(), FrameOutcome.SKIPPED, Reason.NEWER_FRAME)
        frame = SampledFrame(self._account.enter(), sampled.capture_time, sampled.captured_s, sampled.picture)
        self._taken += 1
        self._newest, self._clock_report = frame, sampled.clock
        self._size_px = size_px(sampled.picture)
        self._count_reconnects()
        detail = self._frozen_detail(sampled) or sampled.note
        self._standing.enter(CameraState.FROZEN if sampled.is_frozen else CameraState.ONLINE, detail)
        if not self._pace.wants(sampled.capture_time):
            self._account.end(frame.frame_id, FrameOutcome.SKIPPED, Reason.RATE_REDUCED)
            return
        replaced = self._lookout.put(frame)
        if replaced is not None:
            self._account.end(replaced.frame_id, FrameOutcome.SKIPPED, Reason.NEWER_FRAME)

    def on_lost(self, detail: str) -> None:
        """The source was lost or cannot be opened."""
        self._count_reconnects()
        self._losses += 1
        self._standing.enter(CameraState.LOST, detail)

    def on_ended(self) -> None:
        """The source came to its end."""
        self._standing.enter(CameraState.ENDED, "")

    # ---- inside

    async def _look(self) -> None:
        """Look at frames, for ever, and keep what the scene turns out to be."""
        if self._scene_keeper is None:
            await self._lookout.run()
            return
        await self._scene_keeper.recall()
        await asyncio.gather(self._lookout.run(), self._scene_keeper.run())

    def _has_room(self, handed: int) -> bool:
        """Whether so many frames were taken and each is with the encoder or over; asked on the capture's thread."""
        return self._taken >= handed and self._account.open_count <= self._encoding.under_way_count

    def _on_look(self, frame: SampledFrame, reason: Reason | None) -> None:
        """A frame was looked at: it goes to the backlog, and pushes out the one that waits there; or it ends here."""
        if reason is not None:
            self._account.end(frame.frame_id, FrameOutcome.SKIPPED, reason)
            return
        replaced = self._backlog.put(frame)
        if replaced is not None:
            self._account.end(replaced.frame_id, FrameOutcome.SKIPPED, self._encoding.why_waiting())

    def _on_answer(self, answer: FrameAnswer, frame: SampledFrame, step: TrackerStep | None) -> None:
        if answer.outcome is FrameOutcome.ENCODED:
            self._latency_s = self._clock.monotonic_s() - frame.captured_s
        if step is None:
            return
        for tracklet, seen in step.seen:
            self._zones.enter(tracklet.tracklet_id, seen.box, self._size_px)
        if self._evidence is not None:
            self._evidence.shots.take(self.camera.camera_id, step, frame.picture)

    def _on_sent(self, frame: SampledFrame, picture: bytes) -> None:
        if self._evidence is not None:
            self._evidence.clips.add(self.camera.camera_id, frame.capture_time, picture)

    def _count_reconnects(self) -> None:
        # Whatever the source says after a loss, it was opened again for it.
        if self._losses > self._reconnects:
            self._reconnects = self._losses
            self._metrics.reconnects.labels(self.camera.camera_id).inc()

    def _frozen_detail(self, sampled: SampledPicture) -> str:
        return f"the same picture for {self._parts.settings.frozen_after_s:g} s" if sampled.is_frozen else ""

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                self._look_after()
            except Exception:  # the edge of a task: a camera whose silence nobody notices would look well for ever
                log.exception("camera.tick_failed", camera=self.camera.camera_id)

    def _look_after(self) -> None:
        self._encoding.expire()
        # An answer may be as old as its frame may be; only then is silence an end.
        patience = timedelta(seconds=self.camera.expires_after_s + 1.0)
        if self._newest is not None:
            # By the camera's own time, which neither a recording that is read fast nor a wall clock that jumps upsets.
            since_s = self._clock.monotonic_s() - self._newest.captured_s
            self._book.end_stale(self._newest.capture_time + timedelta(seconds=since_s) - patience)
        self._notice_silence()
        if self._evidence is not None:
            self._evidence.clips.tick(self.camera.camera_id)
        self._measure_clock()
        self._metrics.tracklets_active.labels(self.camera.camera_id).set(self._book.active_count)
        self._show_scene()
        self._metrics.sample_rate_hz.labels(self.camera.camera_id).set(self._pace.rate_hz)

    def _show_scene(self) -> None:
        if self._scene is not None and self._scene.state is not SceneState.LEARNING:
            is_clear = self._scene.state is SceneState.CLEAR
            self._metrics.scene_clear.labels(self.camera.camera_id).set(int(is_clear))

    def _measure_clock(self) -> None:
        report = self._clock_report
        if report is None:
            return
        self._metrics.clock_drift_ppm.labels(self.camera.camera_id).set(report.drift_ppm)
        if report.sender_offset_s is not None:
            self._metrics.sender_offset_s.labels(self.camera.camera_id).set(report.sender_offset_s)

    def _notice_silence(self) -> None:
        age_s = self.tell_age()
        apart_s = KEY_FRAMES_APART_S if self.camera.stream.key_frames_only else 3.0 / self.camera.sample_rate_hz
        limit_s = max(self._parts.settings.silent_after_s, apart_s)
        if age_s > limit_s and self._standing.state in {CameraState.ONLINE, CameraState.FROZEN}:
            self._standing.enter(CameraState.LOST, f"no frame for {age_s:.0f} s")

    def _submit(self, update: TrackletUpdate) -> None:
        self._zones.enter(update.tracklet_id, update.box, self._size_px)
        shot_id = clip_id = ""
        if self._evidence is not None:
            shot_id = self._evidence.shots.id_of(update.camera_id, update.tracklet_id)
            clip_id = self._evidence.clip_of(update.tracklet_id)
        zones = self._zones.of(update.tracklet_id)
        told = replace(update, lease_token=self.lease.token, best_shot_id=shot_id, clip_id=clip_id, zones=zones)
        self._parts.submit(told)
        if update.ended:
            self._zones.forget(update.tracklet_id)
            if self._evidence is not None:
                self._evidence.shots.ended(update.tracklet_id)

    def _new_tracklet_id(self) -> TrackletId:
        # Time first, so that ids sort; 64 random bits keep cameras and restarts apart.
        self._metrics.tracklets.labels(self.camera.camera_id).inc()
        return TrackletId(f"t{int(self._clock.now().timestamp() * 1000):x}-{secrets.token_hex(8)}")

    def _count_end(self, outcome: FrameOutcome, reason: Reason | None) -> None:
        self._metrics.frames.labels(self.camera.camera_id, outcome.value, reason.value if reason else "").inc()
        self._pace.ended(outcome, reason, self._clock.monotonic_s())
