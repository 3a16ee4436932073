"""Sends what is due to one target: in order within an incident, several incidents at a time, each until it is taken,
too old, refused, or has failed for too long."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway_svc.delivering import Deliverer, DeliveryError, DeliveryRefusedError
from gateway_svc.flood import Bucket
from gateway_svc.happenings import Happening, Kind, Severity
from gateway_svc.messages import Message, message_of
from gateway_svc.metrics import GatewayMetrics
from gateway_svc.naming import RememberedNames
from gateway_svc.notifications import DeadLetter, DeadReason, Notification
from gateway_svc.outbox import Fence, HeldBack, Outbox
from gateway_svc.shots import SignedLinks
from gateway_svc.targets import Late, Target
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.chassis.tasks import end_tasks
from tessera.chassis.tracing import Tracing
from tessera.domain.errors import UnavailableError

log = get_logger()

_LONGEST_SLEEP_S = 1.0
"""What another gateway's command line sends again is noticed so soon."""
_GRACE_S = 1.0
"""A deliverer keeps its own time; one that does not is ended so much later."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts, with full jitter: a receiver that comes back is not met by all at once.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
    """

    first_s: float = 1.0
    """The range of the first pause; each next one is twice as long."""
    longest_s: float = 300.0
    """No range is longer."""

    def pause_s(self, attempts: int, chance: random.Random) -> float:
        """Seconds to wait after so many failed attempts, uniform in [0, min(longest, first * 2^(attempts - 1))]."""
        range_s = min(self.longest_s, self.first_s * 2.0 ** min(max(attempts - 1, 0), 32))
        return chance.uniform(0.0, range_s)


class Sender:
    """Sends to one target for as long as a lease holds.

    Args:
        target: who it is.
        deliverer: the way there.
        outbox: what is owed.
        clock: for what is due, late or given up.
        metrics: where it counts.
        backoff: pauses after failures.
        chance: where jitter comes from.
        links: makes links to best shots; None: none are sent.
        names: puts names to subjects; None: they are told by their ids.
        tracing: makes a span for each attempt, below what it is told because of; none by default.
    """

    def __init__(
        self,
        target: Target,
        deliverer: Deliverer,
        outbox: Outbox,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        backoff: Backoff = Backoff(),
        chance: random.Random | None = None,
        links: SignedLinks | None = None,
        names: RememberedNames | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.target = target
        self.deliverer = deliverer
        self._outbox = outbox
        self._clock = clock
        self._metrics = metrics
        self._backoff = backoff
        self._chance = chance or random.Random()  # noqa: S311 - jitter, no secret
        self._links = links
        self._names = names
        self._tracing = tracing or Tracing()
        self._bucket = Bucket(target.flood_limit, clock)
        self._wake = asyncio.Event()
        self._finishing = False
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Something new is owed: look at once."""
        self._wake.set()

    def finish(self) -> None:
        """Begin no attempt any more; `run` ends with those under way."""
        self._finishing = True
        self._wake.set()

    async def run(self, fence: Fence) -> None:
        """Send until `finish`.

        Raises:
            FencedError: the lease is another's.
        """
        failures = 0
        self._finishing = False
        try:
            while not self._finishing or self._under_way:
                self._wake.clear()
                try:
                    pause_s = await self._round(fence)
                    failures = 0
                except UnavailableError as error:
                    failures += 1
                    pause_s = max(0.05, Backoff(0.2, 2.0).pause_s(failures, self._chance))
                    log.warning("outbox.away", target=self.target.name, error=str(error))
                await self._sleep(pause_s)
        finally:
            await end_tasks(*self._under_way.values())
            self._under_way.clear()

    async def _round(self, fence: Fence) -> float:
        """Begin what is due and there is room for.

        Returns:
            How long there is nothing to do, unless something is woken or ends.
        """
        for thread, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[thread]
                task.result()
        if self._finishing:
            return _LONGEST_SLEEP_S
        target, now = self.target.name, self._clock.now()
        due = await self._outbox.due(target, now, self.target.at_a_time + len(self._under_way))
        for notification in due:
            if len(self._under_way) < self.target.at_a_time and notification.thread not in self._under_way:
                self._under_way[notification.thread] = asyncio.create_task(self._settle(fence, notification))
        if not due and not self._under_way:
            await self._tell_held(fence)
        next_due = await self._outbox.next_due(target)
        if next_due is None or next_due <= now:  # what is due is under way, and wakes us when it ends
            return _LONGEST_SLEEP_S
        return min(_LONGEST_SLEEP_S, (next_due - now).total_seconds())

    async def _sleep(self, seconds: float) -> None:
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait((woken, *self._under_way.values()), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _settle(self, fence: Fence, notification: Notification) -> None:
        """One attempt, or the end of attempts.

        Raises:
            FencedError, UnavailableError: its outcome could not be written: it will be tried again.
        """
        now = self._clock.now()
        end = self._end_of(notification, now)
        if end is not None:
            await self._end(fence, notification, *end)
            return
        held = await self._outbox.held_back(self.target.name)
        message = message_of(await self._named(notification), now, held.untold, self._links)
        with self._tracing.frame("notification", notification.happening.traceparent or None):
            await self._send(fence, notification, message, held)

    async def _send(self, fence: Fence, notification: Notification, message: Message, held: HeldBack) -> None:
        try:
            await self._attempt(message)
        except DeliveryRefusedError as error:
            await self._bury(fence, notification, DeadReason.REFUSED, error.detail)
        except DeliveryError as error:
            await self._postpone(fence, notification, error)
        else:
            self._count_delivered(notification, late=message.late)
            told = held.total if held.untold else None
            await self._outbox.delivered(fence, notification, self._clock.now(), told)

    async def _named(self, notification: Notification) -> Notification:
        if self._names is None:
            return notification
        return replace(notification, happening=await self._names.named(notification.happening))

    def _end_of(self, notification: Notification, now: datetime) -> tuple[DeadReason, str] | None:
        """Why it is not to be tried, if it is not. What a person sent again is late by intent, and no flood."""
        happening = notification.happening
        tried_s = (now - notification.accepted_at).total_seconds()
        if tried_s > self.target.give_up_after_s:
            return DeadReason.GAVE_UP, notification.last_error or f"nobody sent it for {tried_s:.0f} s"
        is_late = happening.valid_until <= now
        if is_late and self.target.late is Late.EXPIRE and not notification.replayed:
            return DeadReason.EXPIRED, notification.last_error or "it was late when its turn came"
        # A second attempt has had its token.
        is_spared = notification.replayed or notification.attempts > 0 or happening.severity is Severity.CRITICAL
        if not is_spared and not self._bucket.take():
            return DeadReason.HELD_BACK, "more came than the target's flood control lets through"
        return None

    async def _end(self, fence: Fence, notification: Notification, reason: DeadReason, detail: str) -> None:
        """Try it no more; what the target shows is brought up to date all the same."""
        if reason in {DeadReason.EXPIRED, DeadReason.HELD_BACK}:
            try:
                async with asyncio.timeout(self.target.timeout_s + _GRACE_S):
                    await self.deliverer.tell_state(message_of(notification, self._clock.now(), 0))
            except DeliveryRefusedError as error:
                detail = error.detail
            except (DeliveryError, TimeoutError) as error:
                failure = error if isinstance(error, DeliveryError) else DeliveryError("no answer in time")
                await self._postpone(fence, notification, failure)
                return
        await self._bury(fence, notification, reason, detail)

    async def _postpone(self, fence: Fence, notification: Notification, error: DeliveryError) -> None:
        tried = notification.tried(error.detail)
        pause_s = max(error.retry_after_s, self._backoff.pause_s(tried.attempts, self._chance))
        self._metrics.deliveries.labels(self.target.name, "failed").inc()
        log.info("delivery.failed", target=self.target.name, key=notification.key, why=error.detail)
        await self._outbox.postpone(fence, tried, self._clock.now() + timedelta(seconds=pause_s))

    async def _attempt(self, message: Message) -> None:
        """Hand it over within the time limit.

        Raises:
            DeliveryError: as the deliverer tells; a defect of the deliverer is one as well, so that nothing is lost.
        """
        try:
            async with asyncio.timeout(self.target.timeout_s + _GRACE_S):
                await self.deliverer.deliver(message)
        except DeliveryError:
            raise
        except TimeoutError:
            raise DeliveryError("no answer in time") from None
        except Exception as error:  # the edge to other people's code
            log.exception("delivery.defect", target=self.target.name, key=message.key)
            raise DeliveryError(f"a defect: {type(error).__name__}") from error

    async def _tell_held(self, fence: Fence) -> None:
        """When the flood is over and no other message took the number along, say how many were held back."""
        held = await self._outbox.held_back(self.target.name)
        if not held.untold or not self._bucket.is_at_rest() or not self._bucket.take():
            return
        message = _digest(self.target.name, held.told, held.total, self._clock.now())
        try:
            await self._attempt(message)
        except DeliveryRefusedError as error:
            log.warning("held_back.untold", target=self.target.name, count=held.untold, why=error.detail)
        except DeliveryError:
            return
        await self._outbox.tell_held(fence, self.target.name, held.total)

    async def _bury(self, fence: Fence, notification: Notification, reason: DeadReason, detail: str) -> None:
        await self._outbox.bury(fence, DeadLetter(notification, reason, detail, self._clock.now()))
        self._metrics.deliveries.labels(self.target.name, reason.value.lower()).inc()
        log.warning("delivery.ended", target=self.target.name, key=notification.key, reason=reason.value, why=detail)

    def _count_delivered(self, notification: Notification, *, late: bool) -> None:
        outcome = "replayed" if notification.replayed else "late" if late else "delivered"
        self._metrics.deliveries.labels(self.target.name, outcome).inc()
        if outcome == "delivered":
            age_s = (self._clock.now() - notification.happening.recorded_at).total_seconds()
            self._metrics.delivery_s.labels(self.target.name).observe(max(0.0, age_s))


def _digest(target: str, told: int, total: int, now: datetime) -> Message:
    count = total - told
    noun = "notification was" if count == 1 else "notifications were"
    happening = Happening(
        kind=Kind.HELD_BACK,
        event_id=f"held-back:{told}-{total}",
        revision=1,
        event_time=now,
        recorded_at=now,
        valid_until=now + timedelta(seconds=60),
        camera_id="",
        facts={"summary": f"{count} {noun} held back; `tessera notifications dead --target {target}` lists them"},
    )
    return Message(f"held-back:{told}-{total}/1/{target}", target, happening, now, held_back=count)
