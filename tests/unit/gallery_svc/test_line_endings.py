"""Connections that end while they are being opened: nothing of them is left, whoever ended them and how."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import uvloop

from gallery_svc.store.line import Line, NotSentError
from gallery_svc.store.node import Node
from tessera.chassis.store_address import Credentials, Endpoint

LIMIT_S = 40.0
STEPS = 8
"""Turns of the loop in which a connection to this machine is made and greets."""

Loop = Callable[[], asyncio.AbstractEventLoop]
on_both_loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
plain_or_tls = pytest.mark.parametrize("tls", [False, True])


@pytest.fixture
def silent() -> Iterator[Endpoint]:
    """A server that lets everybody in and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield Endpoint("127.0.0.1", listener.getsockname()[1])


@pytest.fixture(autouse=True)
def left_open() -> Iterator[list[str]]:
    """What nobody had closed; none may be left."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield (told := [])
        gc.collect()
        told += [str(one.message) for one in caught if issubclass(one.category, ResourceWarning)]
    assert not told


def _credentials(tls: bool) -> Credentials:
    return Credentials(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls else None)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@on_both_loops
@plain_or_tls
@pytest.mark.parametrize("turns", range(STEPS))
def test_a_loop_that_ends_without_its_tasks_finds_a_closed_node_empty(
    silent: Endpoint, loop: Loop, tls: bool, turns: int
) -> None:
    """Closing a node ends what it is opening: the loop may end right behind it, and cancels nobody itself."""

    async def closed_early() -> asyncio.Task[list[object]]:
        node = Node(silent, _credentials(tls), LIMIT_S)
        asking = asyncio.create_task(node.ask([("PING",)]))
        await _turns(turns)
        await node.close()
        return asking

    running = loop()
    try:
        asking = running.run_until_complete(closed_early())
        assert asking.done()
        assert isinstance(asking.exception(), NotSentError)
    finally:
        running.close()


@on_both_loops
@plain_or_tls
@pytest.mark.parametrize("turns", range(STEPS))
def test_who_is_cancelled_while_opening_leaves_nothing(silent: Endpoint, loop: Loop, tls: bool, turns: int) -> None:
    """At whatever turn the loop cancels its tasks, the connection is closed."""

    async def left_behind() -> tuple[Line, asyncio.Task[None]]:
        line = Line()
        opening = asyncio.create_task(line.open(silent, _credentials(tls), 0, LIMIT_S, primary_only=False))
        await _turns(turns)
        return line, opening

    with asyncio.Runner(loop_factory=loop) as runner:
        line, opening = runner.run(left_behind())
    assert opening.cancelled()
    assert not line.usable


async def test_a_connection_whose_options_are_refused_is_closed(
    silent: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands, but may stay silent for ever: it is not used, and not left open."""
    monkeypatch.setattr(socket, "TCP_KEEPIDLE", 9999)
    line = Line()
    with pytest.raises(NotSentError, match="OSError"):
        await line.open(silent, Credentials(), 0, LIMIT_S, primary_only=False)
    async with asyncio.timeout(LIMIT_S):
        await line.closed()


async def test_a_line_that_never_was_connected_has_ended() -> None:
    """Who waits for its end does not wait for ever."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        gone = Endpoint("127.0.0.1", listener.getsockname()[1])
    line = Line()
    with pytest.raises(NotSentError, match="ConnectionRefusedError"):
        await line.open(gone, Credentials(), 0, LIMIT_S, primary_only=False)
    async with asyncio.timeout(LIMIT_S):
        await line.closed()


async def test_a_closed_node_opens_nothing(silent: Endpoint) -> None:
    """Who still asks is told that nothing left."""
    node = Node(silent, Credentials(), LIMIT_S)
    await node.close()
    with pytest.raises(NotSentError, match="closed"):
        await node.ask([("PING",)])
