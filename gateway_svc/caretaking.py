"""What a person does with notifications: look at the targets, list dead letters, send them again, try a target."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway_svc.delivering import Deliverer, DeliveryError
from gateway_svc.happenings import Happening, Kind
from gateway_svc.messages import Message
from gateway_svc.notifications import DeadLetter, DeadReason
from gateway_svc.outbox import Depth, HeldBack, Outbox
from gateway_svc.targets import Target
from tessera.chassis.clock import Clock
from tessera.chassis.logs import get_logger
from tessera.domain.errors import InvalidInputError, NotFoundError

log = get_logger()

_MOST = 1000
_TEST_VALID_S = 60.0
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class TargetReport:
    """How one target does."""

    target: Target
    depth: Depth
    held: HeldBack


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """How a test message went."""

    delivered: bool
    detail: str
    took_s: float


class Caretaker:
    """Answers a person; any gateway may, also one that does not work.

    Args:
        targets: those of the file.
        deliverers: the way to each.
        outbox: what is owed, and what is dead.
        clock: for the time.
    """

    def __init__(
        self, targets: Sequence[Target], deliverers: Mapping[str, Deliverer], outbox: Outbox, clock: Clock
    ) -> None:
        self._targets = tuple(targets)
        self._deliverers = deliverers
        self._outbox = outbox
        self._clock = clock

    async def reports(self) -> list[TargetReport]:
        """How each target does."""
        return [
            TargetReport(one, await self._outbox.depth(one.name), await self._outbox.held_back(one.name))
            for one in self._targets
        ]

    async def dead(self, target: str, reason: DeadReason | None, limit: int) -> tuple[list[DeadLetter], int]:
        """Dead letters, the newest first, and how many there are in all.

        Raises:
            InvalidInputError: a limit beyond 1000.
        """
        if not 1 <= limit <= _MOST:
            raise InvalidInputError("limit", limit, f"1 to {_MOST}")
        found = await self._found((), target, reason)
        return found[:limit], await self._outbox.dead_count()

    async def replay(self, keys: Collection[str], target: str, reason: DeadReason | None) -> int:
        """Send dead letters again; returns how many were still dead.

        Raises:
            InvalidInputError: nothing says which.
        """
        if not keys and not target and reason is None:
            raise InvalidInputError("keys", "none", "keys, or a target, or a reason")
        if len(keys) > _MOST:
            raise InvalidInputError("keys", len(keys), f"at most {_MOST}")
        names = {one.name for one in self._targets}
        letters = [one for one in await self._found(keys, target, reason) if one.notification.target in names]
        revived = 0
        for at in range(0, len(letters), _MOST):
            revived += await self._outbox.revive(letters[at : at + _MOST], self._clock.now())
        log.info("dead_letters.replayed", count=revived)
        return revived

    async def test(self, name: str) -> TestOutcome:
        """Send one target a test message, past the outbox.

        Raises:
            NotFoundError: there is no such target.
        """
        target = next((one for one in self._targets if one.name == name), None)
        if target is None:
            raise NotFoundError("target", name, "`tessera notifications targets` lists them")
        began_s, detail = self._clock.monotonic_s(), ""
        try:
            async with asyncio.timeout(target.timeout_s + _GRACE_S):
                await self._deliverers[name].deliver(self._message(name))
        except DeliveryError as error:
            detail = error.detail
        except TimeoutError:
            detail = "no answer in time"
        return TestOutcome(not detail, detail, self._clock.monotonic_s() - began_s)

    def _message(self, target: str) -> Message:
        now, number = self._clock.now(), uuid.uuid4().hex[:12]
        happening = Happening(
            kind=Kind.TEST,
            event_id=f"test:{number}",
            revision=1,
            event_time=now,
            recorded_at=now,
            valid_until=now + timedelta(seconds=_TEST_VALID_S),
            camera_id="",
            facts={"summary": "Somebody tries whether this target is told. Nothing has happened."},
        )
        return Message(f"test:{number}/1/{target}", target, happening, now)

    async def _found(self, keys: Collection[str], target: str, reason: DeadReason | None) -> list[DeadLetter]:
        letters = await self._outbox.dead(target, await self._outbox.dead_count())
        wanted = frozenset(keys)
        return [
            letter
            for letter in letters
            if reason in {None, letter.reason} and (not wanted or letter.notification.key in wanted)
        ]
