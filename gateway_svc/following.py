"""Follows the event log from the outbox's own cursor, and writes what each event makes owed together with the cursor
behind it. An event is taken in whole or will come again; there is no moment in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway_svc.happenings import Happening, Kind
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.notifications import Notification
from gateway_svc.outbox import Fence, Outbox
from gateway_svc.targets import Target
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import TesseraError, UnavailableError

log = get_logger()

FROM_NOW = ""
FROM_OLDEST = "0"
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_PASSED_OVER = 100


class EventsGoneError(TesseraError):
    """The events after the cursor are no longer kept."""

    def __init__(self, cursor: str, detail: str) -> None:
        self.cursor = cursor
        super().__init__(detail)


@dataclass(frozen=True, slots=True)
class Told:
    """What the log said, and where it stands after it."""

    cursor: str
    happening: Happening | None
    """None: nothing happened, or nothing that the gateway knows."""


class EventSource(Protocol):
    """The event log."""

    def watch(self, after_cursor: str, kinds: Collection[Kind]) -> AsyncGenerator[Told, None]:
        """Events from a cursor on, then live, with beats between them.

        Raises:
            EventsGoneError: events after the cursor are no longer kept.
            UnavailableError: the log does not answer, or the connection broke.
        """
        ...


class Follower:
    """Turns events into what is owed.

    Args:
        source: the event log.
        outbox: where what is owed is written.
        targets: who is told of what.
        clock: for when it was taken in.
        metrics: where it counts.
        on_owed: told which targets something new is owed.
    """

    def __init__(
        self,
        source: EventSource,
        outbox: Outbox,
        *,
        targets: Sequence[Target],
        clock: Clock,
        metrics: GatewayMetrics,
        on_owed: Callable[[Collection[str]], None],
    ) -> None:
        self._source = source
        self._outbox = outbox
        self._targets = tuple(targets)
        self._clock = clock
        self._metrics = metrics
        self._on_owed = on_owed
        self._pause_s = _FIRST_PAUSE_S
        self._passed_over = 0
        self.is_following = False
        # Nobody to be told: the place in the log is kept all the same, at the pace of the rarest kind.
        self._kinds = frozenset(kind for target in targets for kind in target.only.kinds) or {Kind.ALERT}

    async def run(self, fence: Fence) -> None:
        """Follow until cancelled; a broken connection is made again.

        Raises:
            FencedError: the lease is another's.
        """
        restart_from: str | None = None
        while True:
            try:
                await self._follow(fence, restart_from)
            except EventsGoneError as error:
                self._metrics.gaps.inc()
                log.error("events.gap", error=str(error))  # noqa: TRY400 - the sentence says it all
                restart_from = FROM_OLDEST
                continue
            except UnavailableError as error:
                log.info("events.away", error=str(error))
            finally:
                self._set_following(False)
            restart_from = None
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    async def _follow(self, fence: Fence, restart_from: str | None) -> None:
        at = await self._outbox.cursor() if restart_from is None else restart_from
        watch = self._source.watch(at, self._kinds)
        async with aclosing(watch):
            async for told in watch:
                self._set_following(True)
                self._pause_s = _FIRST_PAUSE_S
                if told.happening is not None or told.cursor != at or self._passed_over:
                    await self._take(fence, told)
                    at = told.cursor

    async def _take(self, fence: Fence, told: Told) -> None:
        now = self._clock.now()
        owed = self._owed(told.happening, now)
        if told.happening is not None:
            self._metrics.events.labels(told.happening.kind.value).inc()
            # Events that owe nothing may be read again: their place is written now and then, not for each.
            self._passed_over = 0 if owed else self._passed_over + 1
            if 0 < self._passed_over < _PASSED_OVER:
                return
        self._passed_over = 0
        new = await self._outbox.accept(fence, told.cursor, owed, now)
        if new:
            names = [one.target for one in owed]
            for name in names:
                self._metrics.accepted.labels(name).inc()
            self._on_owed(names)

    def _owed(self, happening: Happening | None, now: datetime) -> list[Notification]:
        if happening is None:
            return []
        return [Notification(target.name, happening, now) for target in self._targets if target.only.takes(happening)]

    def _set_following(self, following: bool) -> None:
        self.is_following = following
        self._metrics.following.set(int(following))
