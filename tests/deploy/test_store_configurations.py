"""The store's configurations: taken by real servers, enough for a gallery that wants its writes on the disk, and
followed by each service when another server leads."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.figures import ROOT
from camera_ingest.store import StoreConnection
from gallery_svc.store.durability import Durability
from gateway_svc.redis_outbox import RedisOutbox
from tessera.chassis.ports import free_port
from tessera.domain.errors import UnavailableError
from tests.congruence.redis_world import store_at
from tests.eventually import eventually
from tests.servers import until
from tests.valkey import valkey_binary

FOLDER = ROOT / "deploy" / "store"
PASSWORD = "a-password"  # noqa: S105 - of servers that live as long as a test


@dataclass
class Servers:
    """Servers started from the files in deploy/store, with this machine's ports and folders in the place of theirs."""

    folder: Path
    ports: list[int] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, configuration: str, *options: str, changes: tuple[tuple[str, str], ...] = ()) -> int:
        """Start a server from one of the files; its port."""
        port, home = free_port(), self.folder / f"server-{len(self.ports)}"
        home.mkdir()
        text = (FOLDER / configuration).read_text(encoding="utf-8").replace("/etc/valkey", str(FOLDER))
        for pattern, into in (*changes, (r"(?m)^(sentinel )?(resolve|announce)-hostnames.*\n", "")):
            text = re.sub(pattern, into, text)
        file = home / configuration
        file.write_text(text, encoding="utf-8")
        sentinel = ["--sentinel"] if configuration == "sentinel.conf" else []
        line = [
            str(valkey_binary()),
            str(file),
            *sentinel,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(home),
        ]
        self.ports.append(port)
        self.processes.append(
            subprocess.Popen([*line, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home)
        )
        until(lambda: self._answers(port, has_password=not sentinel))
        return port

    def _answers(self, port: int, *, has_password: bool) -> bool:
        with Redis(port=port, password=PASSWORD if has_password else None, protocol=2) as client:
            return bool(client.ping())


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """None yet; all are killed at the end."""
    started = Servers(tmp_path)
    try:
        yield started
    finally:
        for process in started.processes:
            process.kill()
            process.wait()


_WITH_PASSWORD = ("--requirepass", PASSWORD, "--primaryauth", PASSWORD)


async def test_one_server_keeps_what_a_gallery_asks(servers: Servers) -> None:
    """A gallery that wants each write on the disk before it answers accepts a server with valkey.conf."""
    port = servers.start("valkey.conf", *_WITH_PASSWORD)
    store = store_at(f"redis://:{PASSWORD}@127.0.0.1:{port}/0", durability=Durability("always"))
    try:
        await store.prepare()
    finally:
        await store.close()


@pytest.mark.slow
async def test_everything_follows_a_failover(servers: Servers) -> None:
    """With sentinel.conf, a primary that dies is replaced by its replica; gallery, camera worker and gateway go on with
    the one URL that they were told, and what the gateway wrote before is there."""
    first = servers.start("valkey.conf", *_WITH_PASSWORD)
    second = servers.start(
        "replica.conf",
        *_WITH_PASSWORD,
        changes=((r"valkey-0 6379", f"127.0.0.1 {first}"), (r"replica-announce.*\n", "")),
    )
    watched = (
        (r"valkey-0 6379", f"127.0.0.1 {first}"),
        (r"down-after-milliseconds main \d+", f"down-after-milliseconds main 1500\nsentinel auth-pass main {PASSWORD}"),
        (r"sentinel resolve-hostnames yes\n", ""),
        (r"sentinel announce-hostnames yes\n", ""),
        (r"port 26379\n", ""),
    )
    sentinels = [servers.start("sentinel.conf", changes=watched) for _ in range(3)]
    until(lambda: all(_sees_all(port) for port in sentinels))
    url = f"sentinel://:{PASSWORD}@{','.join(f'127.0.0.1:{port}' for port in sentinels)}/main"
    outbox, cameras = RedisOutbox(url), StoreConnection(url)
    store = store_at(url, durability=Durability("always", replicas_to_wait=1))
    try:
        await store.prepare()
        assert await outbox.acquire("before", 600.0) is not None
        with Redis(port=second, password=PASSWORD, protocol=2) as replica:
            until(lambda: bool(replica.exists("tessera:{gateway}:lease")))
        servers.processes[0].kill()
        servers.processes[0].wait()
        await eventually(lambda: _answers(outbox.check()))
        assert await outbox.acquire("after", 600.0) is None, "the lease from before the failover is lost"
        assert await eventually(lambda: _answers(cameras.run("return redis.call('PING')")))
        assert await eventually(lambda: _answers(store.list_collections()))
        with Redis(port=second, password=PASSWORD, protocol=2) as promoted:
            assert promoted.execute_command("ROLE")[0] == b"master"
    finally:
        await outbox.close()
        await cameras.close()
        await store.close()


async def test_nodes_take_the_clusters_file(servers: Servers) -> None:
    """A server with cluster.conf is a node of a cluster, and keeps what a gallery asks of its disk."""
    port = servers.start("cluster.conf", *_WITH_PASSWORD, "--cluster-port", str(free_port()))
    with Redis(port=port, password=PASSWORD, protocol=2) as node:
        assert node.info("cluster")["cluster_enabled"] == 1
        wanted = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory-policy": "noeviction"}
        assert node.config_get(*wanted) == wanted


async def _answers(question: object) -> bool:
    with contextlib.suppress(UnavailableError):
        await question  # type: ignore[misc]
        return True
    return False


def _sees_all(port: int) -> bool:
    with Redis(port=port, protocol=2) as client:
        told = client.execute_command("SENTINEL", "MASTER", "main")
    state = dict(zip(told[::2], told[1::2], strict=True))
    return (state[b"num-other-sentinels"], state[b"num-slaves"]) == (b"2", b"1")
