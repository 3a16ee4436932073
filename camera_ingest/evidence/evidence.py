"""What is kept of what was seen, as the cameras and the servicer ask for it: one part that joins the others."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from camera_ingest.evidence.clips import Clips, ClipSettings
from camera_ingest.evidence.forgetting import Check, Forgetter
from camera_ingest.evidence.keeper import Keeper
from camera_ingest.evidence.shots import Shot, Shots
from camera_ingest.evidence.vault import Kind, Vault
from camera_ingest.metrics import IngestMetrics
from tessera.chassis.clock import Clock
from tessera.domain.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """How evidence is kept."""

    clips: ClipSettings = ClipSettings()  # noqa: RUF009 - immutable
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
        self._keeper = Keeper(vault, metrics)
        self.shots = Shots(self._keeper, executor, clock)
        self.clips = Clips(self._keeper, settings.clips, clock, self.shots.shown_at)
        self._forgetter = Forgetter(self._keeper, self.shots, check, settings.forget_every_s)

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
