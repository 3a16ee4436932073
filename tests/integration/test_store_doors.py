"""The door before real servers: what was sent is carried out once, and what became of it is told as it is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from redis import Redis
from structlog.testing import capture_logs

from gallery_svc.store.door import CommandRefusedError
from gallery_svc.store.durability import Durability
from gallery_svc.store.lua import Script
from gallery_svc.store.redis_door import RedisDoor, open_door
from tessera.chassis.ports import free_port
from tessera.domain.errors import InvalidInputError, OutcomeUnknownError, UnavailableError
from tests.cutting_proxy import Loss, cutting_proxy
from tests.eventually import eventually
from tests.servers import (
    KINDS,
    PrimaryAndReplica,
    PrivateServer,
    binary_of,
    client_of,
    redis_binary,
    running_pair,
    running_server,
    until,
)

SCRIPTS = {
    "count": Script.of("#!lua flags=\nreturn {'ok', redis.call('INCR', KEYS[1])}"),
    "refuse": Script.of("#!lua flags=\nreturn {'absent'}"),
    "look": Script.of("#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])"),
    "break": Script.of("#!lua flags=\nredis.call('INCR', KEYS[1])\nreturn redis.call('HGET', KEYS[1], 'x')"),
    "spin": Script.of("#!lua flags=no-writes\nwhile true do redis.call('PING') end"),
}
EVERYSEC = Durability("everysec")
COUNT = "tessera:{staff/00}:count"
SECRET = "s3cret-pässword@/"  # noqa: S105 - of a server that lives for one test


@contextlib.asynccontextmanager
async def _door(
    address: str, durability: Durability = EVERYSEC, timeout_s: float = 2.0, **options: Any
) -> AsyncIterator[RedisDoor]:
    door = open_door(address, durability, timeout_s=timeout_s, scripts=SCRIPTS, **options)
    try:
        yield door
    finally:
        await door.close()


def _binary(kind: str) -> Path:
    binary = binary_of(kind)
    if binary is None:
        pytest.skip(f"{kind} is not installed: that the door works with it stays unproved")
    return binary


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One server of each kind."""
    with running_server(tmp_path_factory.mktemp(request.param), _binary(request.param)) as running:
        yield running


_AS_IT_WAS = {
    "requirepass": "",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "min-replicas-to-write": "0",
    "busy-reply-threshold": "5000",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "no-appendfsync-on-rewrite": "no",
    "rdb-key-save-delay": "0",
}


@pytest.fixture
def client(server: PrivateServer) -> Iterator[Redis]:
    """A client of the empty server, with its settings put back afterwards."""
    with client_of(server) as redis:
        redis.flushall()
        yield redis
        redis.replicaof("NO", "ONE")
        redis.acl_deluser("reader")
        for setting, value in _AS_IT_WAS.items():
            redis.config_set(setting, value)
        until(lambda: not _rewriting(redis))  # a server does not end before its first file is whole


def _rewriting(client: Redis) -> bool:
    state = client.info("persistence")
    return bool(state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])


def _counted(client: Redis, key: str = COUNT) -> int:
    return int(client.get(key) or 0)


async def _is(state: bool) -> bool:
    return state


# ---- reading and writing


async def test_replies_are_what_the_server_sent(server: PrivateServer, client: Redis) -> None:
    """Bytes stay bytes, in the order of the commands; nothing is decoded, and nothing is made into a dictionary."""
    client.hset("tessera:{a}:h", mapping={b"\xff\x00": b"\x80"})
    async with _door(server.url) as door:
        commands = [("HGETALL", "tessera:{a}:h"), ("GET", "tessera:{a}:none"), ("HLEN", "tessera:{a}:h"), ("PING",)]
        assert await door.read("a", commands) == [[b"\xff\x00", b"\x80"], None, 1, b"PONG"]
        assert await door.read("a", []) == []


async def test_an_error_reply_is_told_and_the_next_call_gets_its_own_answer(
    server: PrivateServer, client: Redis
) -> None:
    """A command that is refused says which word the server used; its connection is in order afterwards."""
    client.set(COUNT, "x")
    async with _door(server.url) as door:
        with pytest.raises(CommandRefusedError, match="WRONGTYPE") as caught:
            await door.read("staff/00", [("PING",), ("HGETALL", COUNT), ("ECHO", "1")])
        assert (caught.value.operation, caught.value.word) == ("read", "WRONGTYPE")
        assert await door.read("staff/00", [("ECHO", "2")]) == [b"2"]


async def test_a_refusal_does_not_repeat_what_was_sent(server: PrivateServer, client: Redis) -> None:
    """A server quotes the arguments of a command that it does not know; the error does not."""
    async with _door(server.url) as door:
        with pytest.raises(CommandRefusedError) as caught:
            await door.read("a", [("NONSENSE", "tessera:{a}:x", SECRET)])
    assert SECRET not in str(caught.value)


async def test_a_script_that_the_server_has_forgotten_runs_once(server: PrivateServer, client: Redis) -> None:
    """Its text is sent when its digest is not known: at first, and after SCRIPT FLUSH."""
    async with _door(server.url) as door:
        assert await door.write("count", [COUNT], []) == [b"ok", 1]
        client.script_flush()
        assert await door.write("count", [COUNT], []) == [b"ok", 2]
        assert await door.run("look", [COUNT], []) == b"2"


async def test_a_script_that_breaks_off_is_a_fault_and_not_a_refusal(server: PrivateServer, client: Redis) -> None:
    """It wrote before it broke: an error that says "try again" would be wrong."""
    async with _door(server.url) as door:
        with pytest.raises(CommandRefusedError, match="WRONGTYPE"):
            await door.write("break", [COUNT], [])
    assert _counted(client) == 1


async def test_keys_of_two_tags_are_refused_before_they_go_out(server: PrivateServer, client: Redis) -> None:
    """A single server would run such a script; a cluster would not."""
    async with _door(server.url) as door:
        with pytest.raises(ValueError, match="hash tag"):
            await door.write("count", [COUNT, "tessera:{staff/01}:count"], [])
    assert _counted(client) == 0


async def test_calls_at_once_do_not_mix(server: PrivateServer, client: Redis) -> None:
    """Each of many callers gets the answer to what it asked; each is observed."""
    seen: list[str] = []
    async with _door(server.url, observe=lambda name, seconds: seen.append(name)) as door:
        asked = [door.read("a", [("ECHO", str(n)), ("ECHO", str(-n))]) for n in range(200)]
        assert await asyncio.gather(*asked) == [[str(n).encode(), str(-n).encode()] for n in range(200)]
        await asyncio.gather(*(door.write("count", [COUNT], []) for _ in range(100)))
    assert _counted(client) == 100
    assert (seen.count("read"), seen.count("count")) == (200, 100)


# ---- when the answer is lost


@pytest.mark.parametrize(("loss", "cause"), [("cut", "CONNECTION"), ("silence", "TIMEOUT")])
async def test_a_write_whose_answer_is_lost_ran_once_and_is_unknown(
    server: PrivateServer, client: Redis, loss: Loss, cause: str
) -> None:
    """The server has carried it out; nothing below sends it again, and the caller is told to settle it."""
    async with cutting_proxy(server.port) as proxy, _door(proxy.url, timeout_s=0.8) as door:
        await door.write("count", [COUNT], [])
        proxy.lose_answer_to(b"EVALSHA", loss)
        with pytest.raises(OutcomeUnknownError) as caught:
            await door.write("count", [COUNT], [], "req-7")
        assert (caught.value.cause, caught.value.request_id, proxy.lost) == (cause, "req-7", 1)
        assert _counted(client) == 2
        assert await door.write("count", [COUNT], []) == [b"ok", 3]


@pytest.mark.parametrize("loss", ["cut", "silence"])
async def test_a_read_whose_answer_is_lost_may_be_tried_again(server: PrivateServer, client: Redis, loss: Loss) -> None:
    """It changed nothing, so that the store is merely away."""
    async with cutting_proxy(server.port) as proxy, _door(proxy.url, timeout_s=0.8) as door:
        await door.run("look", [COUNT], [])
        proxy.lose_answer_to(b"EVALSHA", loss)
        with pytest.raises(UnavailableError):
            await door.run("look", [COUNT], [])
        proxy.lose_answer_to(b"ECHO", loss)
        with pytest.raises(UnavailableError):
            await door.read("a", [("ECHO", "1")])
        assert await door.read("a", [("ECHO", "2")]) == [b"2"]


async def test_a_caller_who_leaves_takes_its_connection_along(server: PrivateServer, client: Redis) -> None:
    """The answer to a write that was given up is not read as the answer to the next call."""
    async with cutting_proxy(server.port) as proxy, _door(proxy.url) as door:
        await door.write("count", [COUNT], [])
        proxy.lose_answer_to(b"EVALSHA", "silence")
        writing = asyncio.ensure_future(door.write("count", [COUNT], []))
        await eventually(lambda: _is(proxy.lost == 1))
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert await door.read("a", [("ECHO", "mine")]) == [b"mine"]
        assert proxy.connections == 2


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_answer_that_came_while_the_loop_stood_still_counts(
    server: PrivateServer, client: Redis, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A process that was busy for longer than the limit does not call a write unknown whose answer lies there."""

    async def stalled() -> list[Any]:
        async with _door(server.url, timeout_s=0.6) as door:
            await door.write("count", [COUNT], [])
            writing = asyncio.ensure_future(door.write("count", [COUNT], []))
            await asyncio.sleep(0)
            until(lambda: _counted(client) == 2)
            time.sleep(0.7)  # noqa: ASYNC251 - the loop stands still: that is the case
            answer: list[Any] = await writing
            return answer

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(stalled()) == [b"ok", 2]


def test_the_loop_that_services_run_on_serves_as_well(server: PrivateServer, client: Redis) -> None:
    """uvloop's transports, timers and ends of connections differ from asyncio's own: one run through the main cases."""

    async def ways() -> None:
        async with cutting_proxy(server.port) as proxy, _door(proxy.url, timeout_s=0.8) as door:
            await asyncio.gather(*(door.write("count", [COUNT], []) for _ in range(20)))
            for loss, cause in (("cut", "CONNECTION"), ("silence", "TIMEOUT")):
                proxy.lose_answer_to(b"EVALSHA", loss)
                with pytest.raises(OutcomeUnknownError) as caught:
                    await door.write("count", [COUNT], [])
                assert caught.value.cause == cause
            proxy.lose_answer_to(b"EVALSHA", "silence")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(door.write("count", [COUNT], []), 0.3)
            assert await door.read("staff/00", [("GET", COUNT)]) == [b"23"]
            await door.prepare()
        async with _door(f"redis://127.0.0.1:{free_port()}/0") as door:
            with pytest.raises(UnavailableError):
                await door.write("count", [COUNT], [])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ways())


async def test_who_does_not_speak_the_protocol_is_not_a_store() -> None:
    """Whatever listens there: nothing of ours goes out to it after the greeting."""

    def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    listener = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with listener, _door(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0") as door:
        with pytest.raises(UnavailableError):
            await door.write("count", [COUNT], [])


async def test_a_server_that_is_not_there_got_nothing(server: PrivateServer) -> None:
    """Nothing went out: the write may be sent again, and the error does not call it unknown."""
    async with _door(f"redis://127.0.0.1:{free_port()}/0") as door:
        with pytest.raises(UnavailableError, match="ConnectionRefusedError"):
            await door.write("count", [COUNT], [])
        with pytest.raises(UnavailableError):
            await door.nodes()


async def test_a_server_that_went_away_is_known_before_the_next_write(tmp_path: Path) -> None:
    """Connections that a stopped server closed are not written to: that would make an outcome unknown for nothing."""
    with running_server(tmp_path) as server:
        async with _door(server.url) as door:
            await asyncio.gather(*(door.write("count", [COUNT], []) for _ in range(8)))
            server.stop()
            with pytest.raises(UnavailableError):
                await door.write("count", [COUNT], [])
            server.start()
            assert await door.write("count", [COUNT], []) == [b"ok", 9]


async def test_more_callers_than_connections_wait_and_are_then_refused(server: PrivateServer, client: Redis) -> None:
    """The connections to a server are bounded; who finds none within the time limit has sent nothing."""
    # The limit also holds for 64 connections that begin at once, on a machine that may be busy with other tests.
    async with _door(server.url, timeout_s=5.0) as door:
        blocked = [door.read("a", [("BLPOP", "tessera:{a}:list", 0)], blocking_s=60.0) for _ in range(64)]
        tasks = [asyncio.ensure_future(one) for one in blocked]
        await eventually(lambda: _is(client.info("clients")["blocked_clients"] == 64))
        with pytest.raises(UnavailableError, match="in use"):
            await door.write("count", [COUNT], [])
        client.rpush("tessera:{a}:list", *range(64))
        assert {int(item) for ((_, item),) in await asyncio.gather(*tasks)} == set(range(64))
    assert _counted(client) == 0


# ---- refusals: nothing was written


def _full(client: Redis) -> None:
    client.config_set("maxmemory", 1)


def _lonely(client: Redis) -> None:
    client.config_set("min-replicas-to-write", 1)


def _demoted(client: Redis) -> None:
    client.replicaof("127.0.0.1", str(free_port()))


def _locked(client: Redis) -> None:
    client.config_set("requirepass", SECRET)


@pytest.mark.parametrize(
    ("state", "word"), [(_full, "OOM"), (_lonely, "NOREPLICAS"), (_demoted, "READONLY"), (_locked, "NOAUTH")]
)
async def test_what_a_server_refuses_before_it_begins_may_be_tried_again(
    server: PrivateServer, client: Redis, state: Callable[[Redis], None], word: str
) -> None:
    """The error is that of a store which is away, with the server's own word; and nothing is written."""
    state(client)
    async with _door(server.url) as door:
        with pytest.raises(UnavailableError, match=word):
            await door.write("count", [COUNT], [], "req")
    assert _counted(client) == 0


async def test_a_server_that_is_busy_with_a_script_refuses(server: PrivateServer, client: Redis) -> None:
    """A write beside a script that does not end is not carried out."""
    client.config_set("busy-reply-threshold", 10)
    async with _door(server.url, timeout_s=5.0) as door, _door(server.url) as other:
        await other.write("count", [COUNT], [])
        spinning = asyncio.ensure_future(door.run("spin", [COUNT], []))
        with pytest.raises(UnavailableError, match="BUSY"):
            while True:
                await other.write("count", [COUNT], [])
        counted_before = client.execute_command("SCRIPT", "KILL")
        assert counted_before
        with pytest.raises(CommandRefusedError):
            await spinning
        count = _counted(client)
        assert await other.write("count", [COUNT], []) == [b"ok", count + 1]


# ---- who we are


async def test_a_password_is_used_and_never_shown(server: PrivateServer, client: Redis) -> None:
    """With the right one the store opens; with a wrong one the error says WRONGPASS, and not what was tried."""
    client.config_set("requirepass", SECRET)
    address = server.url.replace("redis://", "redis://:s3cret-p%C3%A4ssword%40%2F@").replace("/0", "/3")
    async with _door(address) as door:
        assert await door.write("count", [COUNT], []) == [b"ok", 1]
    async with _door(address.replace("s3cret", "hidden")) as door:
        with pytest.raises(UnavailableError, match="WRONGPASS") as caught:
            await door.write("count", [COUNT], [])
    assert "ssword" not in str(caught.value)
    client.execute_command("SELECT", 3)
    assert _counted(client) == 1


async def test_a_socket_of_this_machine_serves(tmp_path: Path) -> None:
    """An address may be a path."""
    path = tmp_path / "s"
    with running_server(tmp_path / "files", None, "--unixsocket", str(path)):
        async with _door(f"unix://{path}?db=2") as door:
            assert await door.write("count", [COUNT], []) == [b"ok", 1]
            assert [node.address for node in await door.nodes()] == [str(path)]


async def test_a_server_behind_tls_must_prove_who_it_is(tmp_path: Path) -> None:
    """With its authority it is taken; a stranger's certificate is refused before a command goes out."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server that speaks TLS: that rediss:// proves the server stays unproved")
    certificate, key = _certificate(tmp_path)
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key),
           "--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")  # fmt: skip
    with running_server(tmp_path / "files", binary, *tls):
        async with _door(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") as door:
            await asyncio.gather(*(door.write("count", [COUNT], []) for _ in range(2)))
            assert await door.write("count", [COUNT], []) == [b"ok", 3]
            (node,) = await door.nodes()
            assert node.certificate_ends_s == _ends_s(certificate)
        async with _door(f"rediss://127.0.0.1:{port}/0") as door:
            with pytest.raises(UnavailableError, match="SSLCertVerificationError"):
                await door.write("count", [COUNT], [])


def _ends_s(certificate: Path) -> float:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = (
        builder.not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "store.crt").write_bytes(signed.public_bytes(Encoding.PEM))
    (folder / "store.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "store.crt", folder / "store.key"


# ---- what is checked at the start


async def test_a_server_in_order_is_taken(server: PrivateServer, client: Redis) -> None:
    """It says who it is, and nothing is left to warn of."""
    async with _door(server.url) as door:
        with capture_logs() as logs:
            await door.prepare()
        assert logs == []
        (node,) = await door.nodes()
    assert (node.role, node.appendonly, node.appendfsync, node.maxmemory_policy) == (
        "primary", True, "everysec", "noeviction",
    )  # fmt: skip
    assert node.version[0] in (7, 8, 9)
    assert node.server == ("valkey" if node.version[0] == 9 else "redis")


@pytest.mark.parametrize(
    ("found", "asked", "mend"),
    [
        ("maxmemory-policy allkeys-lru", EVERYSEC, "CONFIG SET maxmemory-policy noeviction"),
        ("appendonly no", EVERYSEC, "CONFIG SET appendonly yes"),
        ("appendfsync no", EVERYSEC, "CONFIG SET appendfsync everysec"),
        ("appendfsync everysec", Durability("always"), "CONFIG SET appendfsync always"),
        ("no-appendfsync-on-rewrite yes", EVERYSEC, "CONFIG SET no-appendfsync-on-rewrite no"),
    ],
)
async def test_a_setting_that_loses_writes_is_refused_with_what_mends_it(
    server: PrivateServer, client: Redis, found: str, asked: Durability, mend: str
) -> None:
    """The start fails; the error names the setting, the server and the command."""
    client.config_set(*found.split())
    async with _door(server.url, asked) as door:
        with pytest.raises(InvalidInputError, match=mend) as caught:
            await door.prepare()
    assert f"{found} at 127.0.0.1:{server.port}" in str(caught.value)


async def test_where_config_may_not_be_asked_it_is_said_what_stays_unproved(
    server: PrivateServer, client: Redis
) -> None:
    """INFO proves the policy and the file; that it is forced to the disk stays unproved, and is logged."""
    client.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-config"])
    address = server.url.replace("redis://", "redis://reader:pw@")
    async with _door(address) as door:
        with capture_logs() as logs:
            await door.prepare()
        assert ["appendfsync" in entry["detail"] for entry in logs if entry["event"] == "store.unproved"] == [True]
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(InvalidInputError, match="noeviction"):
            await door.prepare()


async def test_a_cluster_address_of_a_single_server_is_refused(server: PrivateServer, client: Redis) -> None:
    """The error says which address it should have been."""
    async with _door(server.url.replace("redis://", "cluster://").replace("/0", "")) as door:
        with pytest.raises(InvalidInputError, match="redis://"):
            await door.prepare()


# ---- its file


async def test_a_rewritten_file_holds_no_more_what_was_deleted(server: PrivateServer, client: Redis) -> None:
    """Before the rewrite the canary is in the file (or this test proves nothing); afterwards it is not."""
    client.set("tessera:{a}:canary", "canary-of-the-file")
    client.delete("tessera:{a}:canary")
    async with _door(server.url) as door:
        await eventually(lambda: _is(_in_files(server, b"canary-of-the-file")))
        await door.rewrite_files()
        assert not _in_files(server, b"canary-of-the-file")


async def test_a_rewrite_that_began_before_does_not_count(server: PrivateServer, client: Redis) -> None:
    """It took its picture of the data earlier: another one follows it, and only that is waited for."""
    for n in range(50):
        client.set(f"tessera:{{a}}:{n}", "x")
    client.set("tessera:{a}:canary", "canary-of-the-first-rewrite")
    client.config_set("rdb-key-save-delay", 4000)  # microseconds a key: the first one takes a fifth of a second
    rewrites = int(client.info("persistence")["aof_rewrites"])
    client.bgrewriteaof()
    client.delete("tessera:{a}:canary")
    async with _door(server.url) as door:
        await door.rewrite_files()
    assert int(client.info("persistence")["aof_rewrites"]) == rewrites + 2
    assert not _in_files(server, b"canary-of-the-first-rewrite")


async def test_a_rewrite_that_takes_too_long_is_not_called_done(server: PrivateServer, client: Redis) -> None:
    """The limit passes: the caller is told that the file is not rewritten."""
    for n in range(50):
        client.set(f"tessera:{{a}}:{n}", "x")
    client.config_set("rdb-key-save-delay", 10_000)
    async with _door(server.url) as door:
        with pytest.raises(UnavailableError, match=r"within 0\.1 s"):
            await door.rewrite_files(limit_s=0.1)
        client.config_set("rdb-key-save-delay", 0)
        await door.rewrite_files()


def _in_files(server: PrivateServer, canary: bytes) -> bool:
    """Whatever their names: a rewrite under way has files of its own."""
    with contextlib.suppress(FileNotFoundError):  # replaced while it was read
        return any(canary in file.read_bytes() for file in server.folder.rglob("*") if file.is_file())
    return _in_files(server, canary)


# ---- replicas


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrimaryAndReplica]:
    """A primary and a replica of each kind, which force every write to the disk."""
    folder = tmp_path_factory.mktemp(f"pair-{request.param}")
    with running_pair(folder, _binary(request.param), "--appendfsync", "always") as running:
        with client_of(running.primary) as client:
            client.flushall()
        yield running


async def test_a_write_that_a_replica_has_is_acknowledged(pair: PrimaryAndReplica) -> None:
    """The replica holds what was acknowledged, each time."""
    async with _door(pair.primary.url, Durability("always", 1, 2.0)) as door:
        await door.prepare()
        with client_of(pair.replica) as client:
            for _ in range(20):
                _, count = await door.write("count", [COUNT], [])
                assert _counted(client) == count


async def test_a_write_that_too_few_replicas_have_is_unknown(pair: PrimaryAndReplica) -> None:
    """The replica stands still: the write is on the primary alone, and that is said; afterwards all is well again."""
    async with _door(pair.primary.url, Durability("always", 1, 0.2)) as door:
        before = await _counted_once_replicas_follow(door)
        pair.replica.pause()
        try:
            with pytest.raises(OutcomeUnknownError) as caught:
                await door.write("count", [COUNT], [], "req-9")
            assert await door.write("refuse", [COUNT], [], wrote=lambda reply: reply[0] == b"ok") == [b"absent"]
        finally:
            pair.replica.resume()
        error = caught.value
        assert (error.cause, error.reached, error.wanted, error.request_id) == ("WAIT", 0, 1, "req-9")
        assert await door.run("look", [COUNT], []) == str(before + 1).encode()
        assert await _counted_once_replicas_follow(door) > before + 1


async def _counted_once_replicas_follow(door: RedisDoor) -> int:
    async with asyncio.timeout(40):
        while True:
            with contextlib.suppress(OutcomeUnknownError):
                return int((await door.write("count", [COUNT], []))[1])


async def test_without_wait_a_write_that_no_replica_has_is_acknowledged(pair: PrimaryAndReplica) -> None:
    """The control: it is WAIT that makes the difference."""
    async with _door(pair.primary.url, EVERYSEC) as door:
        pair.replica.pause()
        try:
            assert (await door.write("count", [COUNT], []))[0] == b"ok"
        finally:
            pair.replica.resume()


async def test_every_node_is_told_and_checked(pair: PrimaryAndReplica) -> None:
    """A replica that would evict is refused: it may become the primary. One that is missing is a warning."""
    async with _door(pair.primary.url, Durability("everysec", 2)) as door:
        assert [(node.role, node.replicas_online) for node in await door.nodes()] == [("primary", 1), ("replica", 0)]
        with capture_logs() as logs:
            await door.prepare()
        assert [entry["detail"].split(":")[0] for entry in logs] == ["127.0.0.1"]
        assert "1 replicas and 2 are asked for" in logs[0]["detail"]
        with client_of(pair.replica) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                with pytest.raises(InvalidInputError, match=str(pair.replica.port)):
                    await door.prepare()
            finally:
                client.config_set("maxmemory-policy", "noeviction")


async def test_a_replicas_own_address_is_refused(pair: PrimaryAndReplica) -> None:
    """Nothing can be written there."""
    async with _door(pair.replica.url) as door:
        with pytest.raises(InvalidInputError, match="address of a primary"):
            await door.prepare()


async def test_the_files_of_replicas_are_rewritten_too(pair: PrimaryAndReplica) -> None:
    """What was deleted is in no server's file afterwards; a replica that does not answer is not passed over."""
    with client_of(pair.primary) as client:
        client.set("tessera:{a}:canary", "canary-of-both")
        client.delete("tessera:{a}:canary")
        client.wait(1, 5000)
    await eventually(lambda: _is(_in_files(pair.replica, b"canary-of-both")))
    async with _door(pair.primary.url, timeout_s=0.8) as door:
        pair.replica.pause()
        try:
            with pytest.raises(UnavailableError, match=str(pair.replica.port)):
                await door.rewrite_files()
        finally:
            pair.replica.resume()
        await door.rewrite_files()
    assert not _in_files(pair.primary, b"canary-of-both")
    assert not _in_files(pair.replica, b"canary-of-both")
