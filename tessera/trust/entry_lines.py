"""Audit entries as lines of JSON, as they are exported to be checked elsewhere.

A line: {"log", "sequence", "writer", "n", "settled", "given_up", "entry", "mac"}; `entry` and `mac` in base64,
`given_up` as first and last in turn. Lines of several logs may stand in one file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from tessera.domain.errors import InvalidInputError
from tessera.trust.stamps import MAC_BYTES, Stamp, StampedEntry

_MOST = 2**63
_ALLOWED = 'an object {"log", "sequence", "writer", "n", "settled", "given_up", "entry", "mac"} as the export writes it'


def entry_line(entry: StampedEntry) -> str:
    """An entry as one line, without its line feed."""
    stamp = entry.stamp
    fields = {
        "log": entry.log,
        "sequence": entry.sequence,
        "writer": stamp.writer,
        "n": stamp.n,
        "settled": stamp.settled,
        "given_up": list(stamp.given_up),
        "entry": base64.b64encode(entry.entry).decode(),
        "mac": base64.b64encode(stamp.mac).decode(),
    }
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def read_entries(lines: Iterable[str | bytes], source: str = "entries") -> Iterator[StampedEntry]:
    """The entries of a file, one after the other.

    Args:
        lines: of the file.
        source: its name, for the error.

    Raises:
        InvalidInputError: a line is not an entry; told by its number.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = _entry_of(json.loads(line))
        except (KeyError, TypeError, ValueError, RecursionError):
            raise InvalidInputError(source, f"line {number}", _ALLOWED) from None
        yield entry


def _entry_of(fields: Any) -> StampedEntry:  # noqa: ANN401 - JSON
    given_up = tuple(_count(number) for number in fields["given_up"])
    stamp = Stamp(
        writer=_text(fields["writer"]),
        n=_count(fields["n"]),
        settled=_count(fields["settled"]),
        given_up=given_up,
        mac=base64.b64decode(fields["mac"], validate=True),
    )
    if len(given_up) % 2 or len(stamp.mac) != MAC_BYTES:
        raise ValueError("half a range, or half a MAC")
    entry = base64.b64decode(fields["entry"], validate=True)
    return StampedEntry(_text(fields["log"]), _count(fields["sequence"]), entry, stamp)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MOST:
        raise ValueError("not a count")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    value.encode()  # half a character cannot be
    return value
