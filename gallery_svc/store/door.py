"""The seam between the store and its servers: what may be asked of them, and what an answer means.

A door knows where a key lives, sends a script there and says what became of it. It refuses to know what the keys hold,
and it never sends a write twice unless the server said that it did not carry it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tessera.domain.errors import TesseraError

Command = tuple[bytes | str | int, ...]
"""One command and its arguments, such as `("HMGET", key, "position", "chain")`."""

Observe = Callable[[str, float], None]
"""Told each call's operation (a script's name, or `read`) and its seconds."""


class CommandRefusedError(TesseraError):
    """A server took a command and could not make sense of it: a fault of ours, or of what the keys hold.

    Args:
        operation: the script's name, or `read`.
        word: the first word of the reply, such as `WRONGTYPE`.
        detail: the reply without any argument of ours.
    """

    def __init__(self, operation: str, word: str, detail: str) -> None:
        self.operation = operation
        self.word = word
        super().__init__(f"{operation}: the server refused it: {detail}")


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One server process, as it describes itself; None where it may not be asked."""

    address: str
    """`host:port`, or the path of a socket."""
    role: Literal["primary", "replica"]
    reachable: bool = True
    """False: it was named by its primary or its cluster and does not answer; nothing below is known."""
    server: str = ""
    """`redis`, `valkey`, or what else it calls itself."""
    version: tuple[int, ...] = ()
    """Its own version: Valkey also tells 7.2.4 to those who ask for Redis."""
    maxmemory_policy: str | None = None
    appendonly: bool | None = None
    appendfsync: str | None = None
    """`always`, `everysec` or `no`."""
    no_fsync_on_rewrite: bool | None = None
    """True: while it rewrites its file, it does not force writes to the disk, whatever `appendfsync` says."""
    cluster: bool = False
    replicas_online: int = 0
    """Replicas of this primary that are connected and have caught up once."""
    rewriting: bool = False
    """It rewrites its append-only file, or is about to."""
    rewrite_failed: bool = False
    """The last rewrite of its append-only file failed."""
    write_failed: bool = False
    """The last write to its append-only file, or the last snapshot, failed: it may refuse writes."""
    memory_bytes: int = 0
    """That it uses."""
    memory_limit_bytes: int = 0
    """That it may use: its `maxmemory`, else what its machine has; 0: not known."""
    certificate_ends_s: float | None = None
    """When its certificate ends, seconds since 1970; None: the connection has none, or it is not checked."""

    @property
    def name(self) -> str:
        """Server and version, such as `valkey 9.1.2`."""
        return f"{self.server} {'.'.join(map(str, self.version))}"


class Door(Protocol):
    """Servers behind one address: one server, a primary that Sentinel names, or a cluster.

    Replies are as RESP2 gives them: bytes, int, None, and lists of these.
    """

    async def read(self, tag: str, commands: Sequence[Command], *, blocking_s: float = 0.0) -> list[Any]:
        """Send commands in one pipeline, without a transaction, to the primary that holds a hash tag.

        Args:
            tag: the hash tag that all their keys share, with its braces or without.
            commands: that change nothing; or whose change may be lost with a failover, and may come twice.
            blocking_s: seconds that they may wait on the server, as `XREAD BLOCK` does, beside the usual limit.

        Returns:
            One reply for each command.

        Raises:
            UnavailableError: no answer, whatever the cause.
            CommandRefusedError: an error reply.
        """
        ...

    async def read_raw(self, tag: str, command: Command) -> list[bytes]:
        """Send a command that changes nothing to the primary that holds a hash tag.

        Args:
            tag: the hash tag that all its keys share, with its braces or without.
            command: whose reply is no error and no simple string.

        Returns:
            The reply as the server wrote it, in pieces as they came.

        Raises:
            UnavailableError: no answer, whatever the cause.
            CommandRefusedError: an error reply.
        """
        ...

    async def run(self, script: str, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:  # noqa: ANN401 - Redis
        """Run a script that writes nothing durable: it reads, or holds a lease.

        Args:
            script: the name of a file of `scripts/`.
            keys: at least one; all share a hash tag.
            args: its arguments.

        Raises:
            UnavailableError: no answer, whatever the cause.
            CommandRefusedError: an error reply.
        """
        ...

    async def write(
        self,
        script: str,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        request_id: str = "",
        *,
        wrote: Callable[[Any], bool] | None = None,
    ) -> Any:  # noqa: ANN401 - Redis
        """Run a script that writes, and wait on the same connection for as many replicas as durability asks for.

        Args:
            script: the name of a file of `scripts/`.
            keys: at least one; all share a hash tag.
            args: its arguments.
            request_id: told with an unknown outcome.
            wrote: says of a reply whether the script wrote; an answer that wrote nothing needs no replica.
                None: every reply did.

        Raises:
            UnavailableError: it was not carried out.
            OutcomeUnknownError: it was sent, and may hold or not, or too few replicas have it.
            CommandRefusedError: an error reply.
        """
        ...

    async def nodes(self) -> list[NodeInfo]:
        """Each primary and replica that the servers know of.

        Raises:
            UnavailableError: a primary does not answer.
        """
        ...

    async def rewrite_files(self, limit_s: float = 60.0) -> None:
        """Rewrite the append-only file of every node; return when each has ended one that began after this call.

        Raises:
            UnavailableError: a node does not answer, its rewrite failed, or the limit passed.
        """
        ...

    async def prepare(self) -> None:
        """Check that the servers can keep what durability asks for.

        Raises:
            InvalidInputError: a setting forbids it; the error names the setting and what mends it.
            UnavailableError: a server does not answer.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
