"""Durability that can be named: what a deployment asks of its servers, and whether their settings can keep it.

It judges what servers say of themselves. It refuses to start where an acknowledged write could be lost against what was
asked; where a server may not be asked, it says what stays unproved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gallery_svc.store.door import Command, NodeInfo
from tessera.domain.errors import InvalidInputError

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_FSYNC_RANK = {"no": 0, "everysec": 1, "always": 2}


@dataclass(frozen=True, slots=True)
class Durability:
    """What an acknowledged write has survived."""

    fsync: Literal["everysec", "always"]
    """`always`: it is on the disk; `everysec`: it is there a second later."""
    replicas_to_wait: int = 0
    """So many replicas have it, too: with `always` on their disks."""
    replica_timeout_s: float = 0.5
    """A write that fewer replicas have after this is told as an unknown outcome."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        if self.fsync not in ("everysec", "always"):
            raise InvalidInputError("durability", self.fsync, "everysec or always")
        if self.replicas_to_wait < 0:
            raise InvalidInputError("replicas_to_wait", self.replicas_to_wait, "0 or more")
        if self.replica_timeout_s < 0.001:  # 0 would mean for ever to the server
            raise InvalidInputError("replica_timeout_s", self.replica_timeout_s, "0.001 or more")

    def confirmation(self) -> Command | None:
        """The command that waits for the replicas of the write before it; None: nobody is waited for.

        Not WAITAOF: with `appendfsync always` a replica forces a write to the disk before it acknowledges it (seen with
        strace on Valkey 9.1.2, Redis 7.0.15 and 8.2.3), so that WAIT says the same; WAITAOF hears of it from the next
        acknowledgement, up to a second later (measured: p50 1.01 s a write, WAIT 2.6 ms beside it).

        Source: https://valkey.io/commands/wait/
        """
        if self.replicas_to_wait == 0:
            return None
        return ("WAIT", self.replicas_to_wait, max(1, round(self.replica_timeout_s * 1000)))


def check_nodes(durability: Durability, nodes: Sequence[NodeInfo]) -> list[str]:
    """Whether these servers can keep what is asked.

    Args:
        durability: what is asked.
        nodes: every server that may hold a write.

    Returns:
        What stays unproved or is short for now, as sentences.

    Raises:
        InvalidInputError: a setting forbids it; the error names the setting and what mends it.
    """
    warnings: list[str] = []
    for node in nodes:
        if node.reachable:
            _check_version(node)
            _check_settings(durability, node)
            warnings.extend(_unproved(durability, node))
        else:
            warnings.append(f"{node.address} does not answer: its settings are unproved")
    warnings.extend(_short_of_replicas(durability, nodes))
    return warnings


def _check_version(node: NodeInfo) -> None:
    oldest = _OLDEST.get(node.server)
    if oldest is not None and node.version < oldest:
        raise InvalidInputError(
            "store", f"{node.name} at {node.address}", "a server of Redis 7.0 or later, or of Valkey 7.2 or later"
        )


def _check_settings(durability: Durability, node: NodeInfo) -> None:
    if node.maxmemory_policy not in (None, "noeviction"):  # it would drop enrolments and say nothing
        raise _setting(node, f"maxmemory-policy {node.maxmemory_policy}", "maxmemory-policy noeviction")
    if node.appendonly is False:
        raise _setting(node, "appendonly no", "appendonly yes")
    if node.appendfsync is not None and _FSYNC_RANK.get(node.appendfsync, 0) < _FSYNC_RANK[durability.fsync]:
        raise _setting(node, f"appendfsync {node.appendfsync}", f"appendfsync {durability.fsync}")
    if node.no_fsync_on_rewrite:
        raise _setting(node, "no-appendfsync-on-rewrite yes", "no-appendfsync-on-rewrite no")


def _setting(node: NodeInfo, found: str, needed: str) -> InvalidInputError:
    return InvalidInputError("store", f"{found} at {node.address}", f"{needed}; mend it with CONFIG SET {needed}")


def _unproved(durability: Durability, node: NodeInfo) -> Iterable[str]:
    if node.maxmemory_policy is None:
        yield f"{node.address} does not tell maxmemory-policy: that it never evicts is unproved"
    if node.appendonly is None:
        yield f"{node.address} does not tell appendonly: that it keeps a file is unproved"
    if node.appendfsync is None:
        yield f"{node.address} does not tell appendfsync: that it is {durability.fsync} is unproved"


def _short_of_replicas(durability: Durability, nodes: Iterable[NodeInfo]) -> Iterable[str]:
    for node in nodes:
        if node.role == "primary" and node.replicas_online < durability.replicas_to_wait:
            yield (
                f"{node.address} has {node.replicas_online} replicas and {durability.replicas_to_wait} are asked for: "
                "until they are back, the outcome of each write is unknown"
            )
