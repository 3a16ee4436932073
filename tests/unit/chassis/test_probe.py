"""The question that containers and units ask: whether a service takes work, and whether it answers at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.ports import free_port
from tessera.chassis.probe import main
from tessera.chassis.server import Server, ServerSettings


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A service that listens and takes no work yet."""
    server = Server(ServerSettings(drain_s=1.0), ServiceMetrics(CollectorRegistry(), "test"), [], lambda at: None)
    await server.start()
    yield server
    await server.stop()


async def _asked(server: Server, *options: str) -> int:
    return await asyncio.to_thread(main, [f"127.0.0.1:{server.port}", *options])


async def test_a_service_that_waits_is_alive_and_not_ready(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """While its store is away a service is NOT_SERVING, and `live` all the same: to restart it would not help."""
    assert await _asked(server) == 1
    assert "NOT_SERVING" in capsys.readouterr().err
    assert await _asked(server, "--service", "live") == 0


async def test_a_service_that_takes_work_is_ready(server: Server) -> None:
    """0, as a container's health check wants it."""
    await server.set_ready(True)
    assert await _asked(server) == 0


async def test_waiting_ends_as_soon_as_it_is_ready(server: Server) -> None:
    """With --wait it asks again until the service takes work."""
    asking = asyncio.create_task(_asked(server, "--wait", "60"))
    await asyncio.sleep(0)
    await server.set_ready(True)
    async with asyncio.timeout(30):
        assert await asking == 0


def test_nobody_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """1, and the reason in a word."""
    assert main([f"127.0.0.1:{free_port()}"]) == 1
    assert "UNAVAILABLE" in capsys.readouterr().err
