"""Servers of which one dies in the middle of a test, and another takes over."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from tests.servers import PrivateServer, SentinelGroup, client_of, running_cluster, running_sentinels


@dataclass(frozen=True, slots=True)
class Group:
    """Servers of which one may die."""

    address: str
    doomed: PrivateServer
    is_led_by_another: Callable[[], bool]


@contextlib.contextmanager
def sentinels(folder: Path) -> Iterator[Group]:
    """A primary that Sentinels replace."""
    with running_sentinels(folder) as group:
        yield Group(group.address, group.servers.primary, lambda: _chosen(group))


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Group]:
    """A cluster that replaces a primary."""
    with running_cluster(folder) as running:
        yield Group(running.address, running.primaries[0], lambda: _leads(running.replicas[0]))


def _chosen(group: SentinelGroup) -> bool:
    return group.primary_port() == group.servers.replica.port and _leads(group.servers.replica)


def _leads(server: PrivateServer) -> bool:
    with contextlib.suppress(RedisError), client_of(server) as client:
        return bool(client.execute_command("ROLE")[0] == b"master")
    return False
