"""The door to the servers: finds the primary of a tag, sends a script there once, and says what became of it.

A write travels with its WAIT on one connection: WAIT speaks of the writes of its own connection alone. It is sent again
only after a reply which says that it was not carried out (MOVED, ASK, READONLY, NOSCRIPT) or when it never left.
Whatever is lost after it left is told as an unknown outcome, and the caller settles it with the same request id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gallery_svc.store.door import Command, CommandRefusedError, NodeInfo, Observe
from gallery_svc.store.durability import Durability, check_nodes
from gallery_svc.store.error_replies import Verdict, detail_of, redirection, verdict
from gallery_svc.store.file_rewrites import describe, describe_replica, rewrite
from gallery_svc.store.line import AnswerLostError, ErrorReply, Line, NotSentError
from gallery_svc.store.lua import Script, load_scripts
from gallery_svc.store.node import Node
from gallery_svc.store.outgoing import Call, Write, exchange
from gallery_svc.store.redis_topology import Topology, topology_of
from gallery_svc.store.slots import shared_tag, slot_of
from tessera.chassis.logs import get_logger
from tessera.chassis.store_address import Endpoint, StoreAddress, read_address
from tessera.domain.errors import InvalidInputError, OutcomeUnknownError, UnavailableError

_MAX_HOPS = 4  # a map that is old sends us on, a slot on its way sends us on once more
_MAX_UNSENT = 2  # the second try goes to whom the Sentinels or the cluster name now

Send = Callable[[Line, bool], Awaitable[list[Any]]]
"""Sends something over a line and returns the replies to judge; True: the node is only asked (ASK)."""


def open_door(
    address: str,
    durability: Durability,
    *,
    timeout_s: float = 2.0,
    observe: Observe | None = None,
    scripts: Mapping[str, Script] | None = None,
) -> RedisDoor:
    """A door to the servers at an address; it connects when it is first used.

    Args:
        address: what `store_address` reads.
        durability: what an acknowledged write shall have survived.
        timeout_s: for connecting, and for an answer.
        observe: told each call's operation (a script's name, or `read`) and its seconds.
        scripts: by name; None: those of the store.

    Raises:
        InvalidInputError: the address is none.
    """
    where = read_address(address)
    return RedisDoor(
        where,
        topology_of(where, timeout_s),
        durability,
        timeout_s=timeout_s,
        observe=observe,
        scripts=load_scripts() if scripts is None else scripts,
    )


class RedisDoor:
    """The door; see `Door` for what its methods promise.

    Args:
        address: where the servers are.
        topology: knows which of them holds what.
        durability: what an acknowledged write shall have survived.
        timeout_s: for connecting, and for an answer.
        observe: told each call's operation and its seconds.
        scripts: by name.
    """

    def __init__(
        self,
        address: StoreAddress,
        topology: Topology,
        durability: Durability,
        *,
        timeout_s: float,
        observe: Observe | None,
        scripts: Mapping[str, Script],
    ) -> None:
        self._address = address
        self._topology = topology
        self._durability = durability
        self._timeout_s = timeout_s
        self._observe = observe
        self._scripts = scripts
        self._replicas: dict[Endpoint, Node] = {}

    # ---- commands and scripts

    async def read(self, tag: str, commands: Sequence[Command], *, blocking_s: float = 0.0) -> list[Any]:
        """Send commands in one pipeline to the primary that holds a tag."""
        if not commands:
            return []

        async def send(line: Line, asked: bool) -> list[Any]:
            return await exchange(line, commands, self._timeout_s + blocking_s, asked)

        with self._timed("read"):
            replies = await self._answered(slot_of(tag), send)
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise _error("read", reply)
        return replies

    async def read_raw(self, tag: str, command: Command) -> list[bytes]:
        """Send a command to the primary that holds a tag; its reply in pieces, not taken apart."""

        async def send(line: Line, asked: bool) -> list[Any]:
            if asked:
                await line.exchange([("ASKING",)], self._timeout_s)
            return [await line.exchange_raw(command, self._timeout_s)]

        with self._timed("read"):
            (reply,) = await self._answered(slot_of(tag), send)
        if isinstance(reply, ErrorReply):
            raise _error("read", reply)
        pieces: list[bytes] = reply
        return pieces

    async def run(self, script: str, keys: Sequence[str], args: Sequence[bytes | str | int]) -> Any:  # noqa: ANN401 - Redis
        """Run a script that writes nothing durable."""
        call = Call(self._scripts[script], keys, args)

        async def send(line: Line, asked: bool) -> list[Any]:
            return (await call.send(line, None, self._timeout_s, asked))[:1]

        with self._timed(script):
            (reply,) = await self._answered(slot_of(shared_tag(keys)), send)
        if isinstance(reply, ErrorReply):
            raise _error(script, reply)
        return reply

    async def write(
        self,
        script: str,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        request_id: str = "",
        *,
        wrote: Callable[[Any], bool] | None = None,
    ) -> Any:  # noqa: ANN401 - Redis
        """Run a script that writes, and wait on the same connection for the replicas."""
        sent = Write(Call(self._scripts[script], keys, args), self._durability, self._timeout_s, wrote)
        with self._timed(script):
            try:
                (reply,) = await self._deliver(slot_of(shared_tag(keys)), sent.send)
            except NotSentError as error:
                raise UnavailableError("store", str(error)) from error
            except AnswerLostError as error:
                raise OutcomeUnknownError(request_id, error.cause, 0, self._durability.replicas_to_wait) from error
        if isinstance(reply, ErrorReply):
            raise _error(script, reply)
        if (unknown := sent.short_of(reply, request_id)) is not None:
            self._topology.doubt()  # replicas that do not follow: it may be primary no longer
            raise unknown
        return reply

    async def _answered(self, slot: int, send: Send) -> list[Any]:
        try:
            return await self._deliver(slot, send)
        except NotSentError as error:
            raise UnavailableError("store", str(error)) from error
        except AnswerLostError as error:
            raise UnavailableError("store", f"no answer ({error.cause.lower()})") from error

    async def _deliver(self, slot: int, send: Send) -> list[Any]:
        """Send to the primary of a slot; again only what was not carried out.

        Raises:
            NotSentError: it was not carried out by anybody.
            AnswerLostError: it left, and nobody knows.
        """
        told: Node | None = None
        asked, unsent = False, 0
        for _ in range(_MAX_HOPS):
            try:
                node = told or await self._topology.node_of(slot)
                async with node.line() as line:
                    replies = await send(line, asked)
            except NotSentError:
                self._topology.doubt()
                told, asked, unsent = None, False, unsent + 1
                if unsent == _MAX_UNSENT or not self._topology.can_change:
                    raise
                continue
            except AnswerLostError:
                self._topology.doubt()
                raise
            refusal = next((reply for reply in replies if isinstance(reply, ErrorReply)), None)
            if refusal is None or not self._leads_on(refusal):
                return replies
            told, asked = self._told(refusal, node), verdict(refusal) is Verdict.ASK_ELSEWHERE
        raise NotSentError(f"slot {slot} is sent from server to server: {refusal.word if refusal else ''}")

    def _leads_on(self, refusal: ErrorReply) -> bool:
        """Whether another server may carry it out; what is known of the servers is doubted when it was wrong."""
        what = verdict(refusal)
        if what in (Verdict.ELSEWHERE, Verdict.NOT_PRIMARY) or refusal.word == "CLUSTERDOWN":
            self._topology.doubt()
        return self._topology.can_change and what in (Verdict.ELSEWHERE, Verdict.ASK_ELSEWHERE, Verdict.NOT_PRIMARY)

    def _told(self, refusal: ErrorReply, node: Node) -> Node | None:
        if verdict(refusal) is Verdict.NOT_PRIMARY:
            return None
        host, port = redirection(refusal)
        return self._topology.node_at(Endpoint(host or node.endpoint.host, port))

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        started_s = time.monotonic()
        try:
            yield
        finally:
            if self._observe is not None:
                self._observe(operation, time.monotonic() - started_s)

    # ---- the servers themselves

    async def prepare(self) -> None:
        """Check that the servers can keep what durability asks for."""
        nodes = await self.nodes()
        if self._address.kind != "cluster" and nodes[0].cluster:
            raise InvalidInputError("store", f"{nodes[0].address}, a node of a cluster", "a cluster:// address")
        if nodes[0].role != "primary":
            raise InvalidInputError("store", f"{nodes[0].address}, a replica", "the address of a primary")
        for warning in check_nodes(self._durability, nodes):
            get_logger().warning("store.unproved", detail=warning)

    async def nodes(self) -> list[NodeInfo]:
        """Each primary and replica that the servers know of."""
        return [info for _, info in await self._asked_nodes()]

    async def _asked_nodes(self) -> list[tuple[Node, NodeInfo]]:
        try:
            primaries = await self._topology.primaries()
            described = await asyncio.gather(*map(describe, primaries))
        except (NotSentError, AnswerLostError) as error:
            self._topology.doubt()
            raise UnavailableError("store", str(error)) from error
        known = {replica for _, replicas in described for replica in replicas} | self._topology.replicas()
        replicas = [self._replica(endpoint) for endpoint in sorted(known, key=str)]
        told = await asyncio.gather(*map(describe_replica, replicas))
        infos = [info for info, _ in described]
        return [*zip(primaries, infos, strict=True), *zip(replicas, told, strict=True)]

    def _replica(self, endpoint: Endpoint) -> Node:
        if endpoint not in self._replicas:
            self._replicas[endpoint] = Node(endpoint, self._address.credentials, self._timeout_s)
        return self._replicas[endpoint]

    async def rewrite_files(self, limit_s: float = 60.0) -> None:
        """Rewrite the append-only file of every node; return when all are through."""
        nodes = await self._asked_nodes()
        for _, info in nodes:
            if not info.reachable:
                raise UnavailableError("store", f"{info.address} does not answer; its file is not rewritten")
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*(rewrite(node) for node, info in nodes if info.appendonly is not False))
        except TimeoutError as error:
            raise UnavailableError("store", f"its files are not rewritten within {limit_s:g} s") from error
        except (NotSentError, AnswerLostError) as error:
            raise UnavailableError("store", str(error)) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._topology.close()
        for node in self._replicas.values():
            await node.close()


def _error(operation: str, reply: ErrorReply) -> UnavailableError | CommandRefusedError:
    if verdict(reply) is Verdict.REFUSED:
        return CommandRefusedError(operation, reply.word, detail_of(reply))
    return UnavailableError("store", reply.word if reply.word != "ERR" else detail_of(reply))
