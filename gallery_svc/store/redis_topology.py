"""Where a slot's primary is: always the same server, the one that Sentinel names, or the one of a cluster's map.

What is known is kept until somebody doubts it; then the Sentinels or the cluster are asked again. A topology sends no
command of the store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from gallery_svc.store.door import Command
from gallery_svc.store.line import AnswerLostError, ErrorReply, NotSentError
from gallery_svc.store.node import Node
from gallery_svc.store.slots import SLOTS
from tessera.chassis.store_address import Endpoint, StoreAddress
from tessera.domain.errors import InvalidInputError


class Topology(Protocol):
    """What a door needs to know about its servers."""

    can_change: bool
    """Whether asking again may name another server."""

    async def node_of(self, slot: int) -> Node:
        """The primary that holds a slot.

        Raises:
            NotSentError: none is known, and nobody tells.
        """
        ...

    def node_at(self, endpoint: Endpoint) -> Node:
        """The server at an address that another server told."""
        ...

    def doubt(self) -> None:
        """What is known may be wrong: ask again before the next use."""
        ...

    async def primaries(self) -> list[Node]:
        """Every primary.

        Raises:
            NotSentError: nobody tells.
        """
        ...

    def replicas(self) -> frozenset[Endpoint]:
        """Replicas that were told, beside those that the primaries know of."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


def topology_of(address: StoreAddress, timeout_s: float) -> Topology:
    """The topology that an address names."""
    if address.kind == "sentinel":
        return SentinelTopology(address, timeout_s)
    if address.kind == "cluster":
        return ClusterTopology(address, timeout_s)
    return SingleTopology(address, timeout_s)


class SingleTopology:
    """One server."""

    can_change = False

    def __init__(self, address: StoreAddress, timeout_s: float) -> None:
        self._node = Node(address.endpoints[0], address.credentials, timeout_s, database=address.database)

    async def node_of(self, slot: int) -> Node:  # noqa: ARG002 - it has them all
        """The server."""
        return self._node

    def node_at(self, endpoint: Endpoint) -> Node:  # noqa: ARG002 - there is no other
        """The server."""
        return self._node

    def doubt(self) -> None:
        """There is nobody to ask."""

    async def primaries(self) -> list[Node]:
        """The server."""
        return [self._node]

    def replicas(self) -> frozenset[Endpoint]:
        """None but those that it knows of itself."""
        return frozenset()

    async def close(self) -> None:
        """Close the connections."""
        await self._node.close()


class SentinelTopology:
    """The primary that the Sentinels name; each connection sees for itself that the server still is one.

    Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
    """

    can_change = True

    def __init__(self, address: StoreAddress, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._sentinels = deque(
            Node(endpoint, address.sentinel_credentials, timeout_s) for endpoint in address.endpoints
        )
        self._primary: Node | None = None
        self._known = False
        self._asking = asyncio.Lock()

    async def node_of(self, slot: int) -> Node:  # noqa: ARG002 - it has them all
        """The primary."""
        async with self._asking:
            if self._primary is None or not self._known:
                return self._know(await self._ask())
            return self._primary

    def node_at(self, endpoint: Endpoint) -> Node:
        """A server at a told address."""
        if self._primary is not None and self._primary.endpoint == endpoint:
            return self._primary
        address = self._address
        return Node(endpoint, address.credentials, self._timeout_s, database=address.database, primary_only=True)

    def doubt(self) -> None:
        """Ask the Sentinels before the next use."""
        self._known = False

    async def primaries(self) -> list[Node]:
        """The primary."""
        return [await self.node_of(0)]

    def replicas(self) -> frozenset[Endpoint]:
        """None but those that the primary knows of."""
        return frozenset()

    async def close(self) -> None:
        """Close the connections."""
        for node in (*self._sentinels, *([self._primary] if self._primary else [])):
            await node.close()

    async def _ask(self) -> Endpoint:
        command: Command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.primary)
        _, reply = await _first_answer(self._sentinels, command)
        if isinstance(reply, list) and len(reply) == 2:
            return Endpoint(reply[0].decode(), int(reply[1]))
        word = reply.word if isinstance(reply, ErrorReply) else "no such name"
        raise NotSentError(f"Sentinel knows no primary {self._address.primary!r}: {word}")

    def _know(self, endpoint: Endpoint) -> Node:
        node = self.node_at(endpoint)
        if self._primary is not None and node is not self._primary:
            self._primary.retire()
        self._primary, self._known = node, True
        return node


class ClusterTopology:
    """The primaries of a cluster by its own map of slots.

    Source: https://valkey.io/topics/cluster-spec/ (redirection, CLUSTER SLOTS)
    """

    can_change = True

    def __init__(self, address: StoreAddress, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._nodes = {endpoint: self._node(endpoint) for endpoint in address.endpoints}
        self._order = deque(self._nodes.values())
        self._map: list[Node | None] = [None] * SLOTS
        self._replicas: frozenset[Endpoint] = frozenset()
        self._known = False
        self._asking = asyncio.Lock()

    async def node_of(self, slot: int) -> Node:
        """The primary of a slot."""
        await self._look()
        node = self._map[slot]
        if node is None:
            self.doubt()
            raise NotSentError(f"slot {slot} has no node")
        return node

    def node_at(self, endpoint: Endpoint) -> Node:
        """The server at an address that a redirection told."""
        if endpoint not in self._nodes:
            self._nodes[endpoint] = self._node(endpoint)
            self._order.append(self._nodes[endpoint])
        return self._nodes[endpoint]

    def doubt(self) -> None:
        """Ask for the map before the next use."""
        self._known = False

    async def primaries(self) -> list[Node]:
        """Every primary that holds a slot."""
        await self._look()
        missing = sum(node is None for node in self._map)
        if missing:
            self.doubt()
            raise NotSentError(f"{missing} of {SLOTS} slots have no node")
        return list({node.endpoint: node for node in self._map if node is not None}.values())

    def replicas(self) -> frozenset[Endpoint]:
        """Those of the map."""
        return self._replicas

    async def close(self) -> None:
        """Close the connections."""
        for node in self._nodes.values():
            await node.close()

    def _node(self, endpoint: Endpoint) -> Node:
        return Node(endpoint, self._address.credentials, self._timeout_s)

    async def _look(self) -> None:
        async with self._asking:
            if not self._known:
                self._read_map(*await self._ask())

    async def _ask(self) -> tuple[Node, list[Any]]:
        asked, reply = await _first_answer(self._order, ("CLUSTER", "SLOTS"))
        if not isinstance(reply, ErrorReply):
            return asked, reply
        if "cluster support disabled" in reply.text:
            raise InvalidInputError("store", "cluster:// of a server that is in no cluster", "a redis:// address")
        raise NotSentError(f"{asked.endpoint}: {reply.word}")

    def _read_map(self, asked: Node, ranges: list[Any]) -> None:
        found: list[Node | None] = [None] * SLOTS
        replicas: set[Endpoint] = set()
        for first, last, primary, *others in ranges:
            node = self.node_at(_told(primary, asked))
            found[first : last + 1] = [node] * (last + 1 - first)
            replicas.update(_told(other, asked) for other in others)
        self._map, self._replicas, self._known = found, frozenset(replicas), True
        self._forget_all_but({node.endpoint for node in found if node is not None} | replicas)

    def _forget_all_but(self, endpoints: set[Endpoint]) -> None:
        for endpoint in self._nodes.keys() - endpoints - set(self._address.endpoints):
            node = self._nodes.pop(endpoint)
            self._order.remove(node)
            node.retire()


def _told(entry: list[Any], asked: Node) -> Endpoint:
    """An address of the map; one without a host means that of the node which was asked."""
    return Endpoint(entry[0].decode() if entry[0] else asked.endpoint.host, int(entry[1]))


async def _first_answer(nodes: deque[Node], command: Command) -> tuple[Node, Any]:
    """Ask one after the other, the one that answered last first; those that are silent go behind."""
    failures = []
    for _ in range(len(nodes)):
        node = nodes[0]
        try:
            return node, (await node.ask([command]))[0]
        except (NotSentError, AnswerLostError) as error:
            failures.append(str(error))
            nodes.rotate(-1)
    raise NotSentError("nobody tells where the primary is: " + "; ".join(failures))
