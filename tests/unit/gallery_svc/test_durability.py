"""What durability asks for, which servers can keep it, and what an address and an error reply mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from gallery_svc.store.door import NodeInfo
from gallery_svc.store.durability import Durability, check_nodes
from gallery_svc.store.error_replies import Verdict, detail_of, redirection, verdict
from gallery_svc.store.line import ErrorReply
from gallery_svc.store.lua import load_scripts
from gallery_svc.store.node_info import read_node
from gallery_svc.store.slots import shared_tag, slot_of, tag_of
from tessera.chassis.store_address import Credentials, Endpoint, read_address
from tessera.domain.errors import InvalidInputError, UnavailableError

EVERYSEC, ALWAYS = Durability("everysec"), Durability("always")
SOUND = NodeInfo(
    "10.0.0.1:6379", "primary", True, "valkey", (9, 1, 2), "noeviction", True, "always", False, replicas_online=1
)


# ---- what is asked


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"fsync": "sometimes"}, "durability"),
        ({"fsync": "always", "replicas_to_wait": -1}, "replicas_to_wait"),
        ({"fsync": "always", "replica_timeout_s": 0.0}, "replica_timeout_s"),
    ],
)
def test_a_durability_that_means_nothing_is_refused(asked: dict[str, Any], field: str) -> None:
    """The error names the field; a limit of 0 would have a server wait for ever."""
    with pytest.raises(InvalidInputError) as caught:
        Durability(**asked)
    assert caught.value.field == field


def test_replicas_are_waited_for_as_many_as_are_asked_for() -> None:
    """In milliseconds, and never 0 of them: that would mean for ever. Without replicas nothing is sent."""
    assert EVERYSEC.confirmation() is None
    assert Durability("always", 2, 0.25).confirmation() == ("WAIT", 2, 250)
    assert Durability("everysec", 1, 0.0014).confirmation() == ("WAIT", 1, 1)


# ---- what servers can keep


def test_sound_servers_are_taken_without_a_word() -> None:
    """Nothing is refused, and nothing is left to say."""
    assert check_nodes(Durability("always", 1), [SOUND, replace(SOUND, role="replica")]) == []


@pytest.mark.parametrize(
    ("node", "named"),
    [
        (replace(SOUND, maxmemory_policy="volatile-lru"), "CONFIG SET maxmemory-policy noeviction"),
        (replace(SOUND, appendonly=False), "CONFIG SET appendonly yes"),
        (replace(SOUND, appendfsync="everysec"), "CONFIG SET appendfsync always"),
        (replace(SOUND, no_fsync_on_rewrite=True), "CONFIG SET no-appendfsync-on-rewrite no"),
        (replace(SOUND, server="redis", version=(6, 2, 14)), "Redis 7.0 or later"),
        (replace(SOUND, version=(7, 1, 0)), "Valkey 7.2 or later"),
    ],
)
@pytest.mark.parametrize("role", ["primary", "replica"])
def test_a_server_that_cannot_keep_it_is_refused_with_what_mends_it(node: NodeInfo, named: str, role: Any) -> None:
    """On every node, for a replica may become the primary; the error names the node."""
    with pytest.raises(InvalidInputError, match=named) as caught:
        check_nodes(ALWAYS, [SOUND, replace(node, role=role, address="10.0.0.9:6380")])
    assert "10.0.0.9:6380" in str(caught.value)


@pytest.mark.parametrize("server", [("redis", (7, 0, 15)), ("valkey", (7, 2, 4)), ("other", (1, 0))])
def test_the_oldest_servers_that_will_do_are_taken(server: tuple[str, tuple[int, ...]]) -> None:
    """Their versions are compared as numbers, each server's with its own; one that nobody knows is not judged."""
    assert check_nodes(ALWAYS, [replace(SOUND, server=server[0], version=server[1])]) == []


def test_what_may_not_be_asked_is_said_to_be_unproved() -> None:
    """One sentence for each thing that nobody told."""
    silent = replace(SOUND, maxmemory_policy=None, appendonly=None, appendfsync=None, no_fsync_on_rewrite=None)
    warnings = check_nodes(ALWAYS, [silent])
    assert [next(word for word in w.split() if word.startswith(("maxmem", "append"))) for w in warnings] == [
        "maxmemory-policy:",
        "appendonly:",
        "appendfsync:",
    ]


def test_replicas_that_are_missing_are_a_warning() -> None:
    """They may come back: a start is not refused for them. One that does not answer is named."""
    away = NodeInfo("10.0.0.2:6379", "replica", reachable=False)
    warnings = check_nodes(Durability("always", 2), [SOUND, away])
    assert [warning.split()[0] for warning in warnings] == ["10.0.0.2:6379", "10.0.0.1:6379"]
    assert "1 replicas and 2 are asked for" in warnings[1]


def test_a_valkey_is_known_by_its_own_version() -> None:
    """It tells 7.2.4 to those who ask for Redis."""
    info = (
        b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nrole:master\r\n"
        b"maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_rewrite_scheduled:1\r\naof_rewrite_in_progress:0\r\n"
        b"slave0:ip=10.0.0.2,port=6380,state=online,offset=1,lag=0\r\nslave1:ip=::1,port=6381,state=send_bulk\r\n"
    )
    refused = ErrorReply("NOPERM this user has no permissions to run the 'config|get' command")
    node, replicas = read_node(Endpoint("10.0.0.1", 6379), [info, *[refused] * 4])
    assert node.name == "valkey 9.1.2"
    assert (node.appendonly, node.appendfsync, node.maxmemory_policy) == (True, None, "noeviction")
    assert (node.rewriting, node.replicas_online, node.address) == (True, 1, "10.0.0.1:6379")
    assert list(map(str, replicas)) == ["10.0.0.2:6380", "[::1]:6381"]
    with pytest.raises(UnavailableError, match="LOADING"):
        read_node(Endpoint("a", 1), [ErrorReply("LOADING it reads its file")] * 5)


# ---- addresses


def test_addresses_of_all_kinds_are_read() -> None:
    """Hosts, ports, the name that Sentinel uses, the database, and who we are."""
    one = read_address("redis://us%65r:p%40ss@[::1]:7000/3")
    assert (one.kind, one.endpoints, one.database) == ("server", (Endpoint("::1", 7000),), 3)
    assert (one.credentials.user, one.credentials.password) == ("user", "p@ss")
    assert read_address("redis://db").endpoints == (Endpoint("db", 6379),)
    assert read_address("unix:///run/store.sock?db=2").endpoints == (Endpoint(path="/run/store.sock"),)
    assert read_address("unix:///run/store.sock?db=2").database == 2
    watched = read_address("sentinel://:pw@a:1,b/main/4?sentinel_password=sp")
    assert (watched.kind, watched.primary, watched.database) == ("sentinel", "main", 4)
    assert watched.endpoints == (Endpoint("a", 1), Endpoint("b", 26379))
    assert (watched.credentials.password, watched.sentinel_credentials.password) == ("pw", "sp")
    assert read_address("sentinel://a/main").database == 0
    cluster = read_address("cluster://a:1,b:2")
    assert (cluster.kind, cluster.endpoints) == ("cluster", (Endpoint("a", 1), Endpoint("b", 2)))


def test_tls_proves_the_server_unless_that_is_switched_off_by_name() -> None:
    """`rediss` and `tls=yes` check certificate and name."""
    for address in ("rediss://a:1/0", "cluster://a:1?tls=yes", "sentinel://a:1/main?tls=yes"):
        tls = read_address(address).credentials.tls
        assert tls is not None
        assert (tls.check_hostname, tls.verify_mode.name) == (True, "CERT_REQUIRED")
    loose = read_address("rediss://a:1/0?ssl_cert_reqs=none").credentials.tls
    assert loose is not None
    assert (loose.check_hostname, loose.verify_mode.name) == (False, "CERT_NONE")
    assert read_address("redis://a:1/0").credentials.tls is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "memory",
        "http://:hush@a:1/0",
        "redis://",
        "redis://:hush@a:hush/0",
        "redis://:hush@a:1,b:2/0",
        "redis://:hush@a:1/hush",
        "redis://:hush@a:1/0/1",
        "redis://:hush@a:1/0?hush=1",
        "redis://:hush@a:1/0?ssl_cert_reqs=none",
        "redis://:hush/hush@a:1/0",
        "redis://:hush@[a:1/0",
        "rediss://:hush@a:1/0?ssl_cert_reqs=hush",
        "rediss://:hush@a:1/0?ssl_ca_certs=/hush/is/not/there",
        "unix://:hush@",
        "unix:///a?db=hush",
        "sentinel://:hush@a:1",
        "sentinel://:hush@a:1/main/hush",
        "sentinel://:hush@a:1,/main",
        "cluster://:hush@a:1/3",
        "cluster://:hush@a:1?tls=hush",
        "cluster://:hush@a:99999",
    ],
)
def test_a_wrong_address_is_refused_without_showing_it(address: str) -> None:
    """The error names the field and what is allowed, and repeats nothing but the scheme: a password may be anywhere."""
    with pytest.raises(InvalidInputError) as caught:
        read_address(address)
    assert caught.value.field == "store"
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(st.text(st.characters(codec="utf-8"), min_size=12), st.sampled_from(["redis://", "sentinel://", "cluster://"]))
def test_any_password_is_read_and_none_is_shown(password: str, scheme: str) -> None:
    """Written with percent signs it comes through as it was; no representation holds it."""
    read = read_address(f"{scheme}:{quote(password, safe='')}@host-x:1" + ("/main" if "sentinel" in scheme else ""))
    assert read.credentials == Credentials("", password)
    for shown in (repr(read), str(read.endpoints[0]), repr(read.credentials)):
        assert password not in shown


# ---- slots


@given(st.text(st.sampled_from("{}/ab0é"), max_size=12))
def test_slots_are_those_of_the_cluster(key: str) -> None:
    """Braces anywhere, empty or open: the same slot as another client computes; a tag has the slot of its keys."""
    assert slot_of(key) == key_slot(key.encode())
    if "{" not in tag_of(key):
        assert slot_of(tag_of(key)) == slot_of(key)


def test_a_scripts_keys_have_one_tag() -> None:
    """Two tags, or no key at all, are a fault of the caller."""
    assert shared_tag(["tessera:{a/00}:head", "tessera:{a/00}:log"]) == "a/00"
    for keys in ([], ["tessera:{a/00}:head", "tessera:{a/01}:head"]):
        with pytest.raises(ValueError, match="hash tag"):
            shared_tag(keys)


# ---- error replies


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("LOADING Redis is loading the dataset in memory", Verdict.AWAY),
        ("CLUSTERDOWN Hash slot not served", Verdict.AWAY),
        ("NOREPLICAS Not enough good replicas to write.", Verdict.AWAY),
        ("OOM command not allowed when used memory > 'maxmemory'.", Verdict.AWAY),
        ("MISCONF Errors writing to the AOF file: No space left on device", Verdict.AWAY),
        ("BUSY Redis is busy running a script.", Verdict.AWAY),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Verdict.AWAY),
        ("MASTERDOWN Link with MASTER is down", Verdict.AWAY),
        ("NOAUTH Authentication required.", Verdict.AWAY),
        ("ERR max number of clients reached", Verdict.AWAY),
        ("READONLY You can't write against a read only replica.", Verdict.NOT_PRIMARY),
        ("MOVED 3999 127.0.0.1:6381", Verdict.ELSEWHERE),
        ("ASK 3999 127.0.0.1:6381", Verdict.ASK_ELSEWHERE),
        ("NOSCRIPT No matching script.", Verdict.NO_SCRIPT),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", Verdict.CHANGED_ROLE),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Verdict.REFUSED),
        ("ERR unknown command", Verdict.REFUSED),
        ("OOM command not allowed script: 12ab, on @user_script:7.", Verdict.REFUSED),
        ("READONLY script: 12ab, on @user_script:7.", Verdict.REFUSED),
    ],
)
def test_a_reply_says_whether_the_command_was_carried_out(text: str, what: Verdict) -> None:
    """What a script ran into in its middle is never "not carried out", whatever its first word is."""
    assert verdict(ErrorReply(text)) is what


def test_what_a_reply_repeats_of_a_command_is_cut_off() -> None:
    """Servers quote the arguments of a command that they do not know."""
    reply = ErrorReply("ERR unknown command 'X', with args beginning with: 'a name' 'a key'")
    assert detail_of(reply) == "ERR unknown command 'X'"


def test_a_redirection_names_its_server() -> None:
    """IPv6 has colons of its own; an empty host is that of the server which said it."""
    assert redirection(ErrorReply("MOVED 3999 127.0.0.1:6381")) == ("127.0.0.1", 6381)
    assert redirection(ErrorReply("ASK 3999 2001:db8::1:6381")) == ("2001:db8::1", 6381)
    assert redirection(ErrorReply("MOVED 3999 :6381")) == ("", 6381)


# ---- scripts


def test_every_script_has_a_header_and_the_digest_of_its_text() -> None:
    """Without a header a server checks memory and role in the middle of a script, when a part is written."""
    folder = Path(__file__).parents[3] / "gallery_svc" / "store" / "scripts"
    scripts = load_scripts()
    assert scripts.keys() == {file.stem for file in folder.glob("*.lua")} - {"prelude"}
    assert all(script.text.startswith("#!lua flags=") for script in scripts.values())
    assert len({script.digest for script in scripts.values()}) == len(scripts)
