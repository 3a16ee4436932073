"""Who else works on the store, by the server's clock: signs of life, and leases that end by themselves."""

from __future__ import annotations

from typing import Any

from gallery_svc.store import codec
from gallery_svc.store.change_records import Member
from gallery_svc.store.memory_side import MEMBER_SILENT_S
from gallery_svc.store.redis_keys import GLOBAL_TAG, ROOT
from gallery_svc.store.redis_parts import RedisParts

MEMBERS = ROOT + "members"
_FORGOTTEN_MS = 600_000


class RedisMembers(RedisParts):
    """Members and leases; see `Store` for what each method promises."""

    async def heartbeat(self, member: Member) -> None:
        """Remember a sign of life."""
        await self._door.run("heartbeat", [MEMBERS], [member.member_id, codec.dump(member), _FORGOTTEN_MS])

    async def members(self) -> list[Member]:
        """Who was heard of lately, by id."""
        told, (seconds, microseconds) = await self._door.read(GLOBAL_TAG, [("HGETALL", MEMBERS), ("TIME",)])
        since_ms = int(seconds) * 1000 + int(microseconds) // 1000 - MEMBER_SILENT_S * 1000
        heard = [raw.partition(b" ") for raw in told[1::2]]
        alive = [codec.load(Member, text, MEMBERS) for at_ms, _, text in heard if int(at_ms) > since_ms]
        return sorted(alive, key=lambda member: member.member_id)

    async def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """Hold a lease, or hold it longer."""
        return await self._lease(name, holder, max(1, round(seconds * 1000)))

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back."""
        await self._lease(name, holder, 0)

    async def _lease(self, name: str, holder: str, milliseconds: int) -> bool:
        reply: Any = await self._door.run("lease", [f"{ROOT}lease:{name}"], [holder, milliseconds])
        return bool(reply)
