"""What a server says of itself, read from INFO and CONFIG GET; where CONFIG may not be asked, INFO tells a part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gallery_svc.store.door import Command, NodeInfo
from gallery_svc.store.line import ErrorReply
from tessera.chassis.store_address import Endpoint
from tessera.domain.errors import UnavailableError

_SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite")
QUESTIONS: tuple[Command, ...] = (("INFO",), *(("CONFIG", "GET", setting) for setting in _SETTINGS))
"""What to send; the replies go to `read_node`."""


def read_node(endpoint: Endpoint, replies: Sequence[Any]) -> tuple[NodeInfo, list[Endpoint]]:
    """A server's description of itself, and the replicas that it knows of.

    Args:
        endpoint: where it is.
        replies: to `QUESTIONS`.

    Raises:
        UnavailableError: it does not answer INFO.
    """
    if isinstance(replies[0], ErrorReply):
        raise UnavailableError("store", f"{endpoint}: {replies[0].word}")
    info = _fields(replies[0])
    policy, appendonly, appendfsync, no_fsync = (_setting(reply) for reply in replies[1:])
    replicas = list(_replicas(info))
    node = NodeInfo(
        address=str(endpoint),
        role="primary" if info.get("role") == "master" else "replica",
        server=info.get("server_name", "redis"),
        version=_version(info.get("valkey_version") or info.get("redis_version", "")),
        maxmemory_policy=policy or info.get("maxmemory_policy"),
        appendonly=_yes(appendonly, "yes") if appendonly else _yes(info.get("aof_enabled"), "1"),
        appendfsync=appendfsync,
        no_fsync_on_rewrite=_yes(no_fsync, "yes"),
        cluster=info.get("cluster_enabled") == "1",
        replicas_online=sum(replica["state"] == "online" for replica in replicas),
        rewriting="1" in (info.get("aof_rewrite_in_progress"), info.get("aof_rewrite_scheduled")),
        rewrite_failed=info.get("aof_last_bgrewrite_status", "ok") != "ok",
        write_failed="err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")),
        memory_bytes=int(info.get("used_memory", 0)),
        memory_limit_bytes=int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0)),
    )
    return node, [Endpoint(replica["ip"], int(replica["port"])) for replica in replicas]


def _fields(text: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.decode().splitlines())
    return {name: value for name, colon, value in pairs if colon}


def _replicas(info: Mapping[str, str]) -> Iterable[dict[str, str]]:
    """From lines such as `slave0:ip=127.0.0.1,port=6380,state=online,offset=14,lag=1`."""
    for name, value in info.items():
        if name.startswith("slave") and name[5:].isdigit():
            yield dict(part.split("=", 1) for part in value.split(","))


def _setting(reply: Any) -> str | None:  # noqa: ANN401 - Redis
    return reply[1].decode() if isinstance(reply, list) and len(reply) == 2 else None


def _yes(value: str | None, yes: str) -> bool | None:
    return None if value is None else value == yes


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
