"""The outbox in Redis: a few keys under one hash tag, and every write one script, so that it is whole or not at all.

`tessera:{gateway}:` and then
`lease`, `fence` who works, and the number of its lease;
`cursor`         how far the event log was taken in;
`jobs`           hash: key -> notification as JSON;
`queues`         hash: "target thread" -> the keys that wait there, in their order, as JSON;
`due:TARGET`     sorted set: thread -> when its first may be sent, in milliseconds;
`waiting:TARGET` sorted set: key -> when it was recorded;
`done`           sorted set: key -> when it was delivered;
`dead`, `letters` sorted set and hash of dead letters;
`held`           hash: how many were held back from a target, and of how many it was told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import cast

from gateway_svc.notifications import (
    DeadLetter,
    DeadReason,
    Notification,
    dump_notification,
    load_notification,
    milliseconds,
    moment,
)
from gateway_svc.outbox import DEFAULT_LIMITS, Depth, Fence, FencedError, HeldBack, OutboxLimits
from tessera.chassis.store_client import StoreClient
from tessera.domain.errors import StoreCorruptError

PREFIX = "tessera:{gateway}:"
_TIMEOUT_S = 3.0
_FENCED = -1


class RedisOutbox:
    """What is owed, in Redis or Valkey.

    Args:
        url: where the store is; as `tessera.chassis.store_address` reads it.
        limits: how much is kept.
    """

    def __init__(self, url: str, limits: OutboxLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._store = StoreClient(url, _TIMEOUT_S)
        self._ask = self._store.answer
        self._redis = self._store.commands
        shared = _script("shared")
        names = ("acquire", "renew", "release", "accept", "delivered", "tell_held", "postpone", "bury", "revive")
        self._scripts = {name: self._redis.register_script(shared + _script(name)) for name in names}

    async def acquire(self, holder: str, lease_s: float) -> Fence | None:
        """Take the lease, when nobody has it."""
        fence = int(await self._run("acquire", holder, round(1000 * lease_s)))
        return Fence(fence) if fence else None

    async def renew(self, holder: str, fence: Fence, lease_s: float) -> None:
        """Hold on to the lease."""
        await self._write("renew", fence, holder, round(1000 * lease_s))

    async def release(self, holder: str, fence: Fence) -> None:
        """Let another gateway have the lease at once."""
        await self._run("release", fence, holder)

    async def cursor(self) -> str:
        """How far the event log was taken in."""
        return str(await self._ask(self._redis.get(PREFIX + "cursor")) or "")

    async def accept(self, fence: Fence, cursor: str, owed: Sequence[Notification], now: datetime) -> int:
        """Write what is owed and the cursor behind it, in one script."""
        limits = self._limits
        arguments: list[str | int] = [cursor, milliseconds(now), limits.max_waiting, limits.max_dead]
        for one in owed:
            recorded_ms = milliseconds(one.happening.recorded_at)
            arguments += [one.target, one.thread, one.key, recorded_ms, dump_notification(one)]
        return await self._write("accept", fence, *arguments)

    async def due(self, target: str, now: datetime, limit: int) -> list[Notification]:
        """What may be sent now."""
        threads = await self._ask(
            self._redis.zrange(f"{PREFIX}due:{target}", "-inf", milliseconds(now), byscore=True, offset=0, num=limit)
        )
        if not threads:
            return []
        queues = await self._ask(self._redis.hmget(PREFIX + "queues", [f"{target} {thread}" for thread in threads]))
        keys = [json.loads(queue)[0] for queue in queues if queue]
        jobs = await self._ask(self._redis.hmget(PREFIX + "jobs", keys)) if keys else []
        return [load_notification(job, f"{PREFIX}jobs[{key}]") for key, job in zip(keys, jobs, strict=True) if job]

    async def next_due(self, target: str) -> datetime | None:
        """When the next may be sent."""
        first = await self._ask(self._redis.zrange(f"{PREFIX}due:{target}", 0, 0, withscores=True))
        return moment(first[0][1]) if first else None

    async def delivered(
        self, fence: Fence, notification: Notification, now: datetime, held_told: int | None = None
    ) -> None:
        """Strike it off."""
        forgotten_ms = milliseconds(now) - round(1000 * self._limits.remembered_s)
        told = "" if held_told is None else held_told
        await self._write("delivered", fence, *_place(notification), milliseconds(now), forgotten_ms, told)

    async def tell_held(self, fence: Fence, target: str, held_told: int) -> None:
        """The target knows of so many."""
        await self._write("tell_held", fence, target, held_told)

    async def postpone(self, fence: Fence, tried: Notification, until: datetime) -> None:
        """Keep what failed for later."""
        await self._write("postpone", fence, *_place(tried), milliseconds(until), dump_notification(tried))

    async def bury(self, fence: Fence, letter: DeadLetter) -> None:
        """Try it no more."""
        at_ms = milliseconds(letter.at)
        forgotten_ms = at_ms - round(1000 * self._limits.remembered_s)
        job = dump_notification(letter.notification)
        limits = (self._limits.max_dead, forgotten_ms)
        await self._write(
            "bury", fence, *_place(letter.notification), at_ms, letter.reason.value, letter.detail, job, *limits
        )

    async def dead(self, target: str, limit: int) -> list[DeadLetter]:
        """Dead letters, the newest first."""
        found: list[DeadLetter] = []
        at, step = 0, 500
        while len(found) < limit:
            keys = await self._ask(self._redis.zrange(PREFIX + "dead", at, at + step - 1, desc=True))
            if not keys:
                break
            texts = await self._ask(self._redis.hmget(PREFIX + "letters", keys))
            letters = [_letter(text, key) for key, text in zip(keys, texts, strict=True) if text]
            found += [letter for letter in letters if target in {"", letter.notification.target}]
            at += step
        return found[:limit]

    async def revive(self, letters: Sequence[DeadLetter], now: datetime) -> int:
        """Send dead letters again."""
        arguments: list[str | int] = [milliseconds(now)]
        for letter in letters:
            one = letter.notification.sent_again(now)
            arguments += [*_place(one), milliseconds(one.happening.recorded_at), dump_notification(one)]
        return int(await self._run("revive", *arguments))

    async def depth(self, target: str) -> Depth:
        """What waits for a target."""
        waiting = await self._ask(self._redis.zcard(f"{PREFIX}waiting:{target}"))
        first = await self._ask(self._redis.zrange(f"{PREFIX}waiting:{target}", 0, 0, withscores=True))
        return Depth(int(waiting), moment(first[0][1]) if first else None)

    async def held_back(self, target: str) -> HeldBack:
        """What flood control held back."""
        total, told = await self._ask(self._redis.hmget(PREFIX + "held", [f"total {target}", f"told {target}"]))
        return HeldBack(int(total or 0), int(told or 0))

    async def dead_count(self) -> int:
        """How many dead letters there are."""
        return int(await self._ask(self._redis.zcard(PREFIX + "dead")))

    async def targets(self) -> frozenset[str]:
        """Those for whom something waits."""
        fields = await self._ask(self._redis.hkeys(PREFIX + "queues"))
        return frozenset(str(field).partition(" ")[0] for field in fields)

    async def check(self) -> None:
        """Ask whoever has the outbox, not just any server of a cluster."""
        await self.cursor()

    async def close(self) -> None:
        """Close the connections."""
        await self._store.close()

    async def _write(self, script: str, fence: Fence, *arguments: str | int) -> int:
        answer = int(await self._run(script, fence, *arguments))
        if answer == _FENCED:
            raise FencedError(fence)
        return answer

    async def _run(self, script: str, *arguments: str | int) -> str | int:
        # Cluster servers find the slot by this key; the scripts make the others from its hash tag.
        return cast("str | int", await self._ask(self._scripts[script](keys=[PREFIX], args=list(arguments))))


def _script(name: str) -> str:
    return (resources.files("gateway_svc") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def _place(notification: Notification) -> tuple[str, str, str]:
    return notification.target, notification.thread, notification.key


def _letter(text: str, key: str) -> DeadLetter:
    place = f"{PREFIX}letters[{key}]"
    try:
        told = json.loads(text)
        reason, detail, at = DeadReason(told["reason"]), str(told["detail"]), moment(float(told["at"]))
        job = str(told["job"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(place, f"no dead letter: {type(error).__name__}") from None
    return DeadLetter(load_notification(job, place), reason, detail, at)
