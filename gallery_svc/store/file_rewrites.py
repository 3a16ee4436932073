"""What each server is asked of itself: its description, and to rewrite its append-only file."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gallery_svc.store.door import NodeInfo
from gallery_svc.store.error_replies import detail_of
from gallery_svc.store.line import AnswerLostError, ErrorReply, NotSentError
from gallery_svc.store.node import Node
from gallery_svc.store.node_info import QUESTIONS, read_node
from tessera.chassis.store_address import Endpoint
from tessera.domain.errors import UnavailableError

_REWRITE_PACE_S = 0.05


async def describe(node: Node) -> tuple[NodeInfo, list[Endpoint]]:
    """What a server says of itself, and the replicas that it knows of.

    Raises:
        NotSentError: there is no connection.
        AnswerLostError: no answer.
        UnavailableError: it does not answer INFO.
    """
    info, replicas = read_node(node.endpoint, await node.ask(QUESTIONS))
    return replace(info, certificate_ends_s=node.certificate_ends_s), replicas


async def describe_replica(node: Node) -> NodeInfo:
    """What a replica says of itself; one that does not answer is told as such."""
    try:
        return (await describe(node))[0]
    except (NotSentError, AnswerLostError, UnavailableError):
        return NodeInfo(str(node.endpoint), "replica", reachable=False)


async def rewrite(node: Node) -> None:
    """Rewrite one node's file, and wait for its end; a rewrite that is under way began before and has to end first.

    Raises:
        NotSentError: there is no connection.
        AnswerLostError: no answer.
        UnavailableError: it failed.
    """
    while True:
        (reply,) = await node.ask([("BGREWRITEAOF",)])
        if not isinstance(reply, ErrorReply):
            break
        if "in progress" not in reply.text:
            raise UnavailableError("store", f"{node.endpoint} does not rewrite its file: {detail_of(reply)}")
        await _rewritten(node)
    if (await _rewritten(node)).rewrite_failed:
        raise UnavailableError("store", f"{node.endpoint} failed to rewrite its file")


async def _rewritten(node: Node) -> NodeInfo:
    while True:
        info, _ = await describe(node)
        if not info.rewriting:
            return info
        await asyncio.sleep(_REWRITE_PACE_S)
