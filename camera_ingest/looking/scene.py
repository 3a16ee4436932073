"""Watches whether a camera still sees its scene: covered, out of focus, pushed or turned; and that it does again.

About once a second a small picture is compared with what the camera usually shows, and more often while something seems
to have happened. What is usual follows slow changes; a light that was there before, such as a lamp or the evening, is
known again. Nothing is told before it has lasted, and nothing is learned from a look that may be disturbed.

Refuses to judge until the scene was learned, and to call it a tamper when the picture fades over minutes: that is dusk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from camera_ingest.looking.alarm import Alarm, Look
from camera_ingest.looking.album import Album, Page, Usual
from camera_ingest.looking.bands import Bands, bands_of
from camera_ingest.looking.changes import WHOLE, Region, SceneChange
from camera_ingest.looking.comparing import Comparison, coarsely_kept, compare, softness
from camera_ingest.looking.covering import largest_cover
from camera_ingest.looking.moving import Move, shifted, turned
from camera_ingest.looking.objects import ObjectWatch
from camera_ingest.looking.reference import Mask, Reference
from camera_ingest.looking.small import Grey
from tessera.domain.camera_events import CameraEventKind

_DISTURBED = frozenset({Look.COVERED, Look.DEFOCUSED, Look.MOVED})


class SceneState(StrEnum):
    """What a camera sees of its scene."""

    UNWATCHED = "UNWATCHED"
    LEARNING = "LEARNING"
    CLEAR = "CLEAR"
    COVERED = "COVERED"
    DEFOCUSED = "DEFOCUSED"
    MOVED = "MOVED"


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """When a scene counts as changed. The benchmark `tamper` says what these are worth."""

    every_s: float = 1.0
    """Between two looks."""
    urgent_s: float = 0.4
    """The same while something seems to have happened."""
    learn_looks: int = 16
    follow_s: float = 5.0
    """The reference takes a step so often."""
    usual_s: float = 20.0
    """How fast the usual share of matched tiles, and the usual sharpness, follow."""
    lost_share: float = 0.7
    """Fewer matched tiles than this share of the usual ones: something happened."""
    safe_share: float = 0.75
    """From here on nothing did."""
    cover_share: float = 0.45
    """Of the picture: one region that is something else."""
    soft_detail: float = -0.45
    """Detail that fell by this or more, in logs of energy,"""
    soft_sharpness: float = 0.72
    """and sharpness below this share of the usual: out of focus."""
    least_met: float = 0.6
    """Of the textured tiles, where the scene is met elsewhere."""
    coarse_met: float = 0.25
    """Share of tiles that a lens far out of focus still shows coarsely,"""
    coarse_softness: float = -1.5
    """with fine detail that fell by this."""
    least_reliable: int = 10
    """Tiles with a pattern; a scene with fewer is not judged by them."""
    light_step: float = 0.3
    """A light that changes by this (log) from look to look may change the usual sharpness at once."""
    page_s: float = 600.0
    """The scene as it is usual by now is kept so often for its part of the day,"""
    settled_s: float = 120.0
    """not before it was followed for so long."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """One look, and what would be told if it lasted."""

    look: Look
    probability: float = 0.0
    regions: tuple[Region, ...] = (WHOLE,)
    detail: str = ""


class SceneWatch:
    """The scene of one camera. Used by one thread at a time.

    Args:
        config: when it counts as changed.
    """

    def __init__(self, config: SceneConfig | None = None) -> None:
        self._config = config or SceneConfig()
        self.album = Album()
        """What is known from before; may be replaced before the first look."""
        self._alarm = Alarm()
        self._first: list[Bands] = []
        self._page: Page | None = None
        self._objects: ObjectWatch | None = None
        self._is_accepted = False
        self._is_new_page = False
        self._kept_s = 0.0
        self._doubtful: list[tuple[Mask, float]] = []
        self._looked_s = -math.inf
        self._followed_s = 0.0
        self._raised_s = 0.0

    @property
    def state(self) -> SceneState:
        """What the camera sees of its scene."""
        if self._alarm.raised is not None:
            return SceneState(self._alarm.raised.value)
        return SceneState.LEARNING if self._page is None else SceneState.CLEAR

    def accept(self) -> None:
        """The scene is as it should be, whatever it was: learn it anew with the next look. From any thread."""
        self._is_accepted = True

    def is_due(self, captured_s: float) -> bool:
        """Whether it is time for a look."""
        c = self._config
        period_s = min(c.urgent_s, c.every_s) if self._alarm.is_waiting else c.every_s
        # A camera's frames come on no clock of ours: a little early is in time.
        return not 0.0 <= captured_s - self._looked_s < 0.95 * period_s

    def look(self, small: Grey, captured_s: float, part_of_day: int = 0) -> tuple[SceneChange, ...]:
        """Look at a picture, if it is due; returns what is to be told now.

        Args:
            small: the picture, small.
            captured_s: when, on the clock of deadlines.
            part_of_day: by the clock on the wall, as `part_of` tells it.
        """
        if not self.is_due(captured_s):
            return ()
        since_s, self._looked_s = captured_s - self._looked_s, captured_s
        bands = bands_of(small)
        page = self._page or self._remembered(bands, part_of_day)
        if self._is_accepted or page is None or page.reference.shape != bands.middle.shape:
            return self._learn(bands, part_of_day)
        seen = compare(page.reference, bands)
        verdict = self._judge(page, bands, seen)
        other = self._known_otherwise(bands, part_of_day) if verdict.look in _DISTURBED else None
        if other is not None:
            page, seen, verdict = other, compare(other.reference, bands), _Verdict(Look.CLEAR)
            self._turn_to(page)
        self._trust(page.reference, verdict.look, seen, min(since_s, 5.0))
        things: tuple[SceneChange, ...] = ()
        if verdict.look is Look.CLEAR and self._alarm.raised is None:
            self._follow(page, bands, seen, min(since_s, 5.0))
            self._keep(page, part_of_day)
            things = self._objects.look(bands, captured_s) if self._objects is not None else ()
        return self._told(verdict, captured_s) + things

    # ---- which look of the scene is the usual one

    def _learn(self, bands: Bands, part_of_day: int) -> tuple[SceneChange, ...]:
        why = "it was accepted as it is" if self._is_accepted else "the pictures have another size"
        is_new = self._is_accepted or self._page is not None
        self._page = None
        if is_new or (self._first and self._first[0].middle.shape != bands.middle.shape):
            self._first.clear()
        self._is_new_page = self._is_new_page or self._is_accepted
        self._is_accepted = False
        self._first.append(bands)
        if len(self._first) >= self._config.learn_looks:
            page = Page(Reference(self._first), Usual())
            self._first = []
            self._turn_to(page)
            if self._is_new_page:
                self._is_new_page = False
                self.album.keep(part_of_day, page)
        if self._alarm.raised is None:
            return ()
        return (SceneChange(self._alarm.clear(), 1.0, (), f"{why}: the scene is learned anew"),)

    def _remembered(self, bands: Bands, part_of_day: int) -> Page | None:
        """At the beginning: what the scene was like before, in this part of the day or wherever it is met again."""
        if self._first or self._is_new_page:
            return None
        shape = bands.middle.shape
        page = self.album.page(part_of_day, shape) or self._known_otherwise(bands, part_of_day)
        if page is not None:
            self._turn_to(page)
        return page

    def _known_otherwise(self, bands: Bands, part_of_day: int) -> Page | None:
        """The page of the album of which a look shows nothing disturbed, in the light that it was kept in."""
        for page in self.album.nearest(part_of_day, bands.middle.shape):
            seen = compare(page.reference, bands)
            is_its_light = abs(seen.lighter - page.usual.lighter) <= self._config.light_step
            if is_its_light and self._judge(page, bands, seen).look is Look.CLEAR:
                return page
        return None

    def _turn_to(self, page: Page) -> None:
        self._page, self._objects = page, ObjectWatch(page.reference.middle)
        self._doubtful.clear()
        self._kept_s = self._looked_s + self._config.settled_s - self._config.page_s

    def _keep(self, page: Page, part_of_day: int) -> None:
        if self._looked_s - self._kept_s >= self._config.page_s:
            self._kept_s = self._looked_s
            self.album.keep(part_of_day, page)

    def _trust(self, reference: Reference, look: Look, seen: Comparison, since_s: float) -> None:
        """Learn which tiles can be relied on; from a doubtful look only once it is sure that nothing happened."""
        if self._alarm.raised is not None:
            self._doubtful.clear()
            return
        self._doubtful.append((seen.matched, since_s))
        if look is Look.CLEAR or (look is Look.UNSURE and not self._alarm.is_waiting):
            for matched, for_s in self._doubtful:
                reference.trust(matched, for_s)
            self._doubtful.clear()

    def _follow(self, page: Page, bands: Bands, seen: Comparison, since_s: float) -> None:
        if self._looked_s - self._followed_s >= self._config.follow_s:
            self._followed_s = self._looked_s
            page.reference.follow(bands)
        page.usual.follow(seen, 1.0 - math.exp(-since_s / self._config.usual_s))

    def _told(self, verdict: _Verdict, captured_s: float) -> tuple[SceneChange, ...]:
        before = self._alarm.raised
        told = self._alarm.take(verdict.look, captured_s)
        if told is None:
            return ()
        if told is CameraEventKind.SCENE_CLEAR:
            return (SceneChange(told, 1.0, (), f"{before} for {captured_s - self._raised_s:.0f} s"),)
        self._raised_s = captured_s
        return (SceneChange(told, verdict.probability, verdict.regions, verdict.detail),)

    # ---- judging one look

    def _judge(self, page: Page, bands: Bands, seen: Comparison) -> _Verdict:
        c, reference = self._config, page.reference
        if int(reference.reliable.sum()) < c.least_reliable:
            return _Verdict(Look.UNSURE)
        left = seen.kept / max(page.usual.kept, 1e-6)
        if left < c.lost_share:
            return self._lost(reference, bands, seen, left)
        soft = self._softened(page, bands, seen)
        if soft is not None:
            return soft
        cover = largest_cover(reference, bands, seen)
        if cover.share >= c.cover_share:
            return _covered(cover.tiles, cover.share)
        return _Verdict(Look.CLEAR if left >= c.safe_share else Look.UNSURE)

    def _softened(self, page: Page, bands: Bands, seen: Comparison) -> _Verdict | None:
        c, usual = self._config, page.usual
        if math.isnan(seen.detail):
            return None
        if abs(seen.lighter - usual.lighter) > c.light_step and self._alarm.raised is None:
            # Another lamp, another noise: what is usual in this light is not known.
            usual.detail, usual.sharpness, usual.lighter = seen.detail, seen.sharpness, seen.lighter
            return None
        fell, share = seen.detail - usual.detail, seen.sharpness / max(usual.sharpness, 1e-6)
        # Far out of focus the coarser detail is gone as well, and with it what fine detail is measured by.
        is_soft = fell < c.soft_detail or (share < 0.5 and softness(page.reference, bands) < c.coarse_softness)
        if is_soft and share < c.soft_sharpness:
            return _Verdict(Look.DEFOCUSED, _sure(1.0 - share), detail=f"sharpness {share:.2f} of the usual")
        if fell < 0.7 * c.soft_detail and share < 1.0 - 0.7 * (1.0 - c.soft_sharpness):
            return _Verdict(Look.UNSURE)
        return None

    def _lost(self, reference: Reference, bands: Bands, seen: Comparison, left: float) -> _Verdict:
        c = self._config
        softer = softness(reference, bands)
        if softer < c.coarse_softness and coarsely_kept(reference, bands) >= c.coarse_met:
            return _Verdict(Look.DEFOCUSED, _sure(1.0 - left), detail="only coarse shapes are left")
        for find in (shifted, turned):
            move = find(reference, bands)
            if move is not None and move.met >= max(c.least_met, seen.kept + 0.2) and _is_move(move):
                return _Verdict(Look.MOVED, _sure(move.met), detail=_way(move))
        return _covered(reference.reliable & ~seen.matched, 1.0 - left)


def _covered(tiles: Mask, share: float) -> _Verdict:
    rows, columns = np.nonzero(tiles)
    down, across = tiles.shape
    region = Region(
        float(columns.min()) / across,
        float(rows.min()) / down,
        float(columns.max() + 1 - columns.min()) / across,
        float(rows.max() + 1 - rows.min()) / down,
    )
    return _Verdict(Look.COVERED, _sure(share), (region,), f"{100 * share:.0f} % of the scene is not seen")


def _is_move(move: Move) -> bool:
    return abs(move.across) > 0.02 or abs(move.down) > 0.02 or abs(move.degrees) > 1.0


def _way(move: Move) -> str:
    turn = f", turned by {move.degrees:.0f} degrees" if abs(move.degrees) >= 1.0 else ""
    return f"shifted by {100 * move.across:.0f} % across and {100 * move.down:.0f} % down{turn}"


def _sure(evidence: float) -> float:
    return min(1.0, max(0.0, evidence))
