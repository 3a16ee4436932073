"""What an error reply says about the command: carried out or not, and where to go instead. One table.

A server decides on most refusals before it begins with a script. A refusal that a script ran into in its middle names
the script's line (`user_script:12`): whatever its first word is, something may be written then.
"""

from __future__ import annotations

from enum import Enum, auto

from gallery_svc.store.line import ErrorReply


class Verdict(Enum):
    """What to do about an error reply."""

    AWAY = auto()
    """It was not carried out; the server cannot serve now."""
    ELSEWHERE = auto()
    """It was not carried out; another server holds the key, and the reply names it."""
    ASK_ELSEWHERE = auto()
    """The same, for this command alone: the key is on its way."""
    NOT_PRIMARY = auto()
    """It was not carried out; this server is a replica now."""
    NO_SCRIPT = auto()
    """It was not carried out; the server has to be sent the script's text."""
    CHANGED_ROLE = auto()
    """What was waited for will not come: the server became a replica meanwhile."""
    REFUSED = auto()
    """A fault of the command, or of what the key holds."""


_VERDICTS = {
    "MOVED": Verdict.ELSEWHERE,
    "ASK": Verdict.ASK_ELSEWHERE,
    "READONLY": Verdict.NOT_PRIMARY,
    "NOSCRIPT": Verdict.NO_SCRIPT,
    "UNBLOCKED": Verdict.CHANGED_ROLE,
    "LOADING": Verdict.AWAY,  # it reads its file
    "MASTERDOWN": Verdict.AWAY,  # a replica without its primary
    "CLUSTERDOWN": Verdict.AWAY,  # a slot has no node, or the majority is gone
    "TRYAGAIN": Verdict.AWAY,  # the slot is on its way, and some of the keys are here, some there
    "NOREPLICAS": Verdict.AWAY,  # fewer than min-replicas-to-write
    "MISCONF": Verdict.AWAY,  # it cannot write its file
    "OOM": Verdict.AWAY,  # it is full
    "BUSY": Verdict.AWAY,  # another script runs for too long
    "NOAUTH": Verdict.AWAY,
    "WRONGPASS": Verdict.AWAY,
    "NOPERM": Verdict.AWAY,
}
_FULL_OF_CLIENTS = "ERR max number of clients reached"


def verdict(reply: ErrorReply) -> Verdict:
    """What to do about an error reply."""
    if "user_script:" in reply.text:
        return Verdict.REFUSED
    if reply.text.startswith(_FULL_OF_CLIENTS):
        return Verdict.AWAY
    return _VERDICTS.get(reply.word, Verdict.REFUSED)


def detail_of(reply: ErrorReply) -> str:
    """The reply without the arguments that a server repeats in it: they may be secret."""
    return reply.text.partition(", with args beginning with")[0]


def redirection(reply: ErrorReply) -> tuple[str, int]:
    """The (host, port) of a `MOVED 3999 127.0.0.1:6381`; an empty host means that of the server that said it."""
    host, _, port = reply.text.split(" ")[2].rpartition(":")
    return host, int(port)
