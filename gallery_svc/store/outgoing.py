"""One script on its way over one line, and what that line says of its replicas afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gallery_svc.store.door import Command
from gallery_svc.store.durability import Durability
from gallery_svc.store.error_replies import Verdict, verdict
from gallery_svc.store.line import AnswerLostError, ErrorReply, Line
from gallery_svc.store.lua import Script
from tessera.domain.errors import OutcomeUnknownError


class Call:
    """One script with its keys and arguments."""

    def __init__(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str | int]) -> None:
        self._script = script
        self._rest: Command = (len(keys), *keys, *args)

    async def send(self, line: Line, wait: Command | None, limit_s: float, asked: bool) -> list[Any]:
        """Its reply, and that of the command which waits; by its digest, or by its text where it is not known."""
        after = [] if wait is None else [wait]
        replies = await exchange(line, [("EVALSHA", self._script.digest, *self._rest), *after], limit_s, asked)
        if isinstance(replies[0], ErrorReply) and verdict(replies[0]) is Verdict.NO_SCRIPT:
            replies = await exchange(line, [("EVAL", self._script.text, *self._rest), *after], limit_s, asked)
        return replies


class Write:
    """One write and what its connection said about the replicas."""

    def __init__(
        self, call: Call, durability: Durability, timeout_s: float, wrote: Callable[[Any], bool] | None
    ) -> None:
        self._call = call
        self._durability = durability
        self._limit_s = timeout_s + (durability.replica_timeout_s if durability.replicas_to_wait else 0.0)
        self._wrote = wrote
        self._confirmed: Any = None

    async def send(self, line: Line, asked: bool) -> list[Any]:
        """The script's reply; what the replicas have is kept for `short_of`."""
        wait = self._durability.confirmation()
        try:
            replies = await self._call.send(line, wait, self._limit_s, asked)
        except AnswerLostError as error:
            if error.replies and self._changed_nothing(error.replies[0]):
                return error.replies[:1]
            raise
        self._confirmed = replies[-1]
        return replies[:1]

    def _changed_nothing(self, reply: Any) -> bool:  # noqa: ANN401 - Redis
        if isinstance(reply, ErrorReply):
            return verdict(reply) is not Verdict.REFUSED
        return self._wrote is not None and not self._wrote(reply)

    def short_of(self, reply: Any, request_id: str) -> OutcomeUnknownError | None:  # noqa: ANN401 - Redis
        """What is missing of the durability that was asked for; None: nothing."""
        wanted = self._durability.replicas_to_wait
        if wanted == 0 or self._changed_nothing(reply):
            return None
        if isinstance(self._confirmed, ErrorReply):
            failed_over = verdict(self._confirmed) in (Verdict.CHANGED_ROLE, Verdict.NOT_PRIMARY)
            return OutcomeUnknownError(request_id, "FAILOVER" if failed_over else "WAIT", 0, wanted)
        if self._confirmed >= wanted:
            return None
        return OutcomeUnknownError(request_id, "WAIT", self._confirmed, wanted)


async def exchange(line: Line, commands: Sequence[Command], limit_s: float, asked: bool) -> list[Any]:
    """The replies of a pipeline; `asked`: each command is only asked of this node (ASK).

    Raises:
        NotSentError: it did not leave.
        AnswerLostError: it left, and its answer did not come.
    """
    if not asked:
        return await line.exchange(commands, limit_s)
    pairs = [part for command in commands for part in (("ASKING",), command)]
    try:
        return (await line.exchange(pairs, limit_s))[1::2]
    except AnswerLostError as error:
        raise AnswerLostError(error.cause, error.replies[1::2]) from error
