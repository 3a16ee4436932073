"""One connection to one server: commands out, replies in; and whether a command went out when no reply came.

It exists because that last question decides between "try again" and "nobody knows". A client library that connects
again and sends again cannot answer it. Nothing here is ever sent twice, and a line that was left in the middle of an
answer is closed, so that nobody reads the answer of another.

Replies are taken apart here, but for those of a bulk load: whoever opens their values takes them apart, in a process of
its own.
"""

from __future__ import annotations

import asyncio
import secrets
import select
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Literal, cast

import hiredis

from gallery_svc.store.door import Command
from tessera.chassis.store_address import Credentials, Endpoint

_MORE = object()
_KEEPALIVE_S = 15  # a host that vanished is noticed after about a minute of silence


class ErrorReply(Exception):  # noqa: N818 - a reply, handed on as a value
    """A server's refusal; `word` is its first word, such as `READONLY`."""

    def __init__(self, text: str) -> None:
        self.word = text.partition(" ")[0]
        self.text = text
        super().__init__(text)


class NotSentError(Exception):
    """The command did not leave: there is no connection."""


class AnswerLostError(Exception):
    """The command left, and its answer did not come.

    Args:
        cause: why.
        replies: those that did come before.
    """

    def __init__(self, cause: Literal["CONNECTION", "TIMEOUT"], replies: Sequence[Any] = ()) -> None:
        self.cause = cause
        self.replies = list(replies)
        super().__init__(cause)


class Line(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=ErrorReply, notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._usable = False
        self._poll = select.poll()
        self._wanted = 0
        self._replies: list[Any] = []
        self._end = b""
        self._pieces: list[bytes] = []
        self._answer: asyncio.Future[list[Any]] | None = None
        self._opening: asyncio.Timeout | None = None
        self._ended = asyncio.get_running_loop().create_future()

    async def open(
        self, endpoint: Endpoint, credentials: Credentials, database: int, limit_s: float, *, primary_only: bool
    ) -> None:
        """Connect, say who we are, and see that the server serves; whatever ends it early leaves no connection.

        Args:
            endpoint: where to.
            credentials: who we are.
            database: its number.
            limit_s: for all of it.
            primary_only: refuse a server that is not a primary (now).

        Raises:
            NotSentError: it is not there, does not let us in, or does not serve; or the line was aborted meanwhile; the
                text says which.
        """
        try:
            async with asyncio.timeout(limit_s) as self._opening:
                await self._connect(endpoint, credentials)
                await _greet(self, credentials, database, limit_s, primary_only=primary_only)
        except BaseException as error:
            self._opening = None
            self.abort()
            self._tell_end()  # uvloop tells nobody of the loss of a connection that was cut short
            if isinstance(error, OSError | AnswerLostError):  # a timeout is an OSError, too
                raise NotSentError(f"{endpoint}: {type(error).__name__}") from error
            if isinstance(error, NotSentError):
                raise NotSentError(f"{endpoint}: {error}") from error
            raise
        self._opening = None

    @property
    def usable(self) -> bool:
        """Whether it is connected, and nobody waits for an answer on it."""
        return self._usable and self._answer is None

    def hung_up(self) -> bool:
        """Whether something came where nothing is due: mostly the server's goodbye, which the loop has not seen."""
        return bool(self._poll.poll(0))

    async def exchange(self, commands: Sequence[Command], limit_s: float) -> list[Any]:
        """Send commands in one piece and await their replies; an error reply is an `ErrorReply` among them.

        Raises:
            NotSentError: the connection was closed before.
            AnswerLostError: it broke, or the limit passed, after the commands had left.
        """
        return await self._exchanged(b"".join(_packed(command) for command in commands), len(commands), limit_s)

    async def exchange_raw(self, command: Command, limit_s: float) -> list[bytes] | ErrorReply:
        """Send a command and await its reply as the server wrote it, in pieces as they came; or its refusal.

        The end is known by the answer to a PING that is sent behind it, with a word that nothing else can have.

        Raises:
            NotSentError: the connection was closed before.
            AnswerLostError: it broke, or the limit passed, after the command had left.
        """
        word = secrets.token_hex(16).encode()
        end = self._end = b"$%d\r\n%b\r\n" % (len(word), word)
        self._pieces = []
        try:
            told = await self._exchanged(_packed(command) + _packed(("PING", word)), 2, limit_s)
        finally:
            pieces, self._pieces, self._end = self._pieces, [], b""
        return told[0] if isinstance(told[0], ErrorReply) else _without(end, pieces)

    async def _exchanged(self, packed: bytes, wanted: int, limit_s: float) -> list[Any]:
        if not self.usable or self._transport is None:
            raise NotSentError("the connection is closed")
        loop = asyncio.get_running_loop()
        self._wanted, self._replies = wanted, []
        self._answer = loop.create_future()
        # Not `asyncio.timeout`: after a stall of the loop it throws an answer away that came in time.
        limit = loop.call_later(limit_s, self._lose_answer, "TIMEOUT")
        self._transport.write(packed)
        try:
            return await self._answer
        finally:
            limit.cancel()
            if (
                len(self._replies) != self._wanted
            ):  # timed out, cancelled or broken: what still comes is not the next one's
                self.abort()
            self._answer = None

    def abort(self) -> None:
        """Close it now, whatever is under way: opening it, too."""
        self._usable = False
        if self._transport is not None:
            self._transport.abort()
        elif self._opening is not None and not self._opening.expired():
            self._opening.reschedule(0.0)

    async def closed(self) -> None:
        """Await the end of a line that was aborted."""
        await self._ended

    async def _connect(self, endpoint: Endpoint, credentials: Credentials) -> None:
        loop = asyncio.get_running_loop()
        if endpoint.path:
            await loop.create_unix_connection(lambda: self, endpoint.path)
            return
        transport, _ = await loop.create_connection(lambda: self, endpoint.host, endpoint.port, ssl=credentials.tls)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
            if hasattr(socket, option):  # Linux
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), _KEEPALIVE_S)

    def _tell_end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _lose_answer(self, cause: Literal["CONNECTION", "TIMEOUT"]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(AnswerLostError(cause, self._replies))

    @property
    def certificate_ends_s(self) -> float | None:
        """When the server's certificate ends, seconds since 1970; None: there is none, or it is not checked."""
        told = self._transport.get_extra_info("peercert") if self._transport is not None else None
        return ssl.cert_time_to_seconds(told["notAfter"]) if told else None

    # ---- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._usable = True

    def data_received(self, data: bytes) -> None:
        """Collect replies until those of the exchange are complete."""
        if self._end:
            if self._pieces or data[:1] != b"-":
                self._collect(data)
                return
            self._end = b""  # a refusal is taken apart
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._replies.append(reply)
        except hiredis.ProtocolError:
            self.abort()
            return
        if self._answer is None or len(self._replies) > self._wanted:  # nobody asked for this
            self.abort()
        elif len(self._replies) == self._wanted and not self._answer.done():
            self._answer.set_result(self._replies)

    def _collect(self, piece: bytes) -> None:
        """A piece of a reply that is not taken apart here."""
        self._pieces.append(piece)
        tail = piece if len(piece) >= len(self._end) else b"".join(self._pieces[-len(self._end) :])
        if tail.endswith(self._end) and self._answer is not None and not self._answer.done():
            self._replies = [None, None]
            self._answer.set_result(self._replies)

    def eof_received(self) -> None:
        """The server hangs up."""
        self._usable = False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - whatever it was, the answer is lost
        """The connection is gone."""
        self._usable = False
        self._lose_answer("CONNECTION")
        self._tell_end()


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub allows tuples of one element
    return packed


def _without(end: bytes, pieces: list[bytes]) -> list[bytes]:
    """Pieces without the end that they have in common."""
    left = len(end)
    while left:
        last = pieces.pop()
        if len(last) > left:
            pieces.append(last[:-left])
        left -= min(left, len(last))
    return pieces


async def _greet(line: Line, credentials: Credentials, database: int, limit_s: float, *, primary_only: bool) -> None:
    greeting: list[Command] = []
    if credentials.password:
        greeting.append(("AUTH", *filter(None, (credentials.user, credentials.password))))
    if database:
        greeting.append(("SELECT", database))
    greeting.append(("ROLE",) if primary_only else ("PING",))
    replies = await line.exchange(greeting, limit_s)
    for reply in replies:
        if isinstance(reply, ErrorReply):
            raise NotSentError(reply.word) from None
    if primary_only and replies[-1][0] != b"master":
        raise NotSentError("READONLY: it is a replica")
