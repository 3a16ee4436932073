"""What is kept of what was seen, as the cameras and the servicer ask for it: one part that joins the others."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from dataclasses import dataclass

from camera_ingest.evidence.clips import Clips, ClipSettings
from camera_ingest.evidence.forgetting import Check, Forgetter
from camera_ingest.evidence.keeper import Keeper
from camera_ingest.evidence.shots import MAX_TRACKLETS, Shot, Shots
from camera_ingest.evidence.vault import Kind, Vault
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.clock import Clock
from tessera.client.stream_values import TrackletDecision
from tessera.domain.decision import Outcome
from tessera.domain.errors import NotFoundError
from tessera.domain.ids import TrackletId

_FILMED = frozenset({Outcome.MATCH, Outcome.UNKNOWN})


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """How evidence is kept."""

    clips: ClipSettings = ClipSettings()  # noqa: RUF009 - immutable
    of_sightings: bool = False
    """A clip is kept of every sighting that is MATCH or UNKNOWN, too."""
    forget_every_s: float = 5.0
    """How often the gallery is asked what was erased."""


class Evidence:
    """Best shots and clips of all cameras of this process. Used from one event loop.

    Args:
        vault: on disk.
        executor: where pictures are cut.
        check: asks the gallery which sightings are gone.
        clock: for ages and the ends of clips.
        metrics: where it counts.
        settings: how it is kept.
    """

    def __init__(
        self,
        *,
        vault: Vault,
        executor: Executor,
        check: Check,
        clock: Clock,
        metrics: IngestMetrics,
        settings: EvidenceSettings,
    ) -> None:
        self._settings = settings
        self._clip_ids: OrderedDict[TrackletId, str] = OrderedDict()
        self._keeper = Keeper(vault, metrics)
        self.shots = Shots(self._keeper, executor, clock)
        self.clips = Clips(self._keeper, settings.clips, clock, self.shots.shown_at)
        self._forgetter = Forgetter(self._keeper, self.shots, check, settings.forget_every_s)

    def told(self, decision: TrackletDecision, camera_id: str, collection_id: str) -> None:
        """The sighting of a tracklet was told: its shot is kept from now on, and a clip of it, where wanted."""
        if decision.event_id is None:
            return
        is_first = self.shots.told(decision, collection_id)
        if is_first and self._settings.of_sightings and decision.decision.outcome in _FILMED:
            self._clip_ids[decision.tracklet_id] = self.clips.begin(camera_id)
            while len(self._clip_ids) > MAX_TRACKLETS:
                self._clip_ids.popitem(last=False)

    def clip_of(self, tracklet_id: TrackletId) -> str:
        """The clip of a tracklet's first decision; empty: there is none."""
        return self._clip_ids.get(tracklet_id, "")

    async def run(self) -> None:
        """Look after what is kept, for ever."""
        await asyncio.gather(self._keeper.run(), self._forgetter.run())

    async def shot(self, shot_id: str) -> Shot:
        """A best shot.

        Raises:
            NotFoundError: it was never kept, has gone, or is torn.
        """
        found = self.shots.find(shot_id)
        if found is not None:
            return found
        piece, jpeg = await self._keeper.get(Kind.SHOT, shot_id)
        return Shot(jpeg, piece.capture_time, piece.camera_id)

    async def clip(self, clip_id: str) -> bytes:
        """A clip as an AVI file.

        Raises:
            NotFoundError: it was never kept, is not whole yet, has gone, or is torn.
        """
        _, avi = await self._keeper.get(Kind.CLIP, clip_id)
        return avi

    async def forget_erased(self) -> int:
        """Ask now what was erased, and remove what shows it; returns how many pieces that were.

        Raises:
            UnavailableError: the gallery does not say.
        """
        return await self._forgetter.look()

    async def settle(self) -> None:
        """Wait until what was seen so far is cut and written."""
        await self.shots.flush()
        await self._keeper.flush()

    async def close(self) -> None:
        """Write what is left, and let go of the disk."""
        await self.settle()
        await asyncio.to_thread(self._keeper.close)


def no_evidence(kind: Kind, piece_id: str) -> NotFoundError:
    """What is asked of a worker that keeps nothing."""
    return NotFoundError(kind.value, piece_id, "this worker keeps none: TESSERA_INGEST_EVIDENCE_DIR is not set")
