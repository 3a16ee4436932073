"""Request ids in Redis: what a request got the first time, found again for a day.

An answer lies in its subject's shard. A request is looked for in its own shard, the one of its id: where the two
differ, a claim lies there, which names the subject and promises nothing. Telling an answer again is a write, so that
what it waits for covers the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gallery_svc.store.collection_records import CollectionRecord, ShardPosition
from gallery_svc.store.protocol import REQUEST_KEPT_S
from gallery_svc.store.redis_keys import ShardKeys
from gallery_svc.store.redis_parts import Argument, RedisParts
from gallery_svc.store.write_records import RequestKey
from tessera.domain.errors import RequestIdReusedError
from tessera.domain.ids import SubjectId

REQUEST_KEPT_MS = REQUEST_KEPT_S * 1000

_FIELDS = ("generation", "digest", "kind", "subject", "position", "created", "answer", "pictures")
_CLAIM = b"CLAIM"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got."""

    kind: str
    subject_id: SubjectId
    position: ShardPosition
    created: str
    """When the subject was enrolled that it tells of; empty for an erasure."""
    body: bytes
    pictures: int


class RedisRequests(RedisParts):
    """Answers to requests."""

    async def _find_answer(self, record: CollectionRecord, request: RequestKey | None) -> Answer | None:
        """The answer that a request got before, settled.

        Raises:
            Again: what was known of the collection is old.
            NotFoundError: the collection does not exist.
            RequestIdReusedError: the request id came before with other content.
        """
        if request is None:
            return None
        keys = ShardKeys.holding(record, request.request_id)
        commands = [("HGET", keys.head, "generation"), ("HMGET", keys.request(request.request_id), *_FIELDS)]
        generation, found = await self._door.read(keys.tag, commands)
        if generation != record.generation.encode():
            raise await self._refusal([b"absent"], record, keys)
        if self._is_of(found, record, request) and found[2] == _CLAIM:
            keys = ShardKeys.holding(record, found[3].decode())
            (found,) = await self._door.read(keys.tag, [("HMGET", keys.request(request.request_id), *_FIELDS)])
        if not self._is_of(found, record, request):
            return None
        await self._settle(record, keys, request)
        return answer_of(found[2:], keys.shard)

    def _is_of(self, found: Sequence[Any], record: CollectionRecord, request: RequestKey) -> bool:
        if found[0] != record.generation.encode():
            return False
        if found[1] != request.content_digest.encode():
            raise RequestIdReusedError(request.request_id)
        return True

    async def _settle(self, record: CollectionRecord, keys: ShardKeys, request: RequestKey) -> None:
        both = [keys.head, keys.request(request.request_id)]
        reply = await self._door.write("settle", both, [record.generation], request.request_id)
        if reply[0] not in (b"ok", b"gone"):  # gone: its day ended just now, and it was durable for that long
            raise await self._refusal(reply, record, keys)

    async def _claim(
        self, record: CollectionRecord, request: RequestKey | None, subject_id: SubjectId
    ) -> SubjectId | Answer:
        """The subject that a request is about: this one, or that of the first call; or what it got then.

        Raises:
            Again: what was known of the collection is old.
            NotFoundError: the collection does not exist.
            RequestIdReusedError: the request id came before with other content.
        """
        if request is None or ShardKeys.holding(record, request.request_id) == ShardKeys.holding(record, subject_id):
            return subject_id
        keys = ShardKeys.holding(record, request.request_id)
        both = [keys.head, keys.request(request.request_id)]
        args: list[Argument] = [record.generation, request.content_digest, subject_id, REQUEST_KEPT_MS]
        reply = await self._door.write("claim", both, args, request.request_id)
        match reply[0]:
            case b"claimed":
                return SubjectId(reply[1].decode())
            case b"replayed":
                return answer_of(reply[1:], keys.shard)
            case b"reused":
                raise RequestIdReusedError(request.request_id)
            case _:
                raise await self._refusal(reply, record, keys)


def answer_of(told: Sequence[Any], shard: int) -> Answer:
    """An answer from kind, subject, position, created, answer and pictures as a script or a hash has them."""
    kind, subject, position, created, body, pictures = told
    return Answer(
        kind.decode(),
        SubjectId(subject.decode()),
        ShardPosition(shard, int(position)),
        (created or b"").decode(),
        body or b"",
        int(pictures or 0),
    )
