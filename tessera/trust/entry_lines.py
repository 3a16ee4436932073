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
from tessera.trust.stamps import StampedEntry, count_of, stamp_of, text_of

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
    stamp = stamp_of(fields, base64.b64decode(fields["mac"], validate=True))
    entry = base64.b64decode(fields["entry"], validate=True)
    return StampedEntry(text_of(fields["log"]), count_of(fields["sequence"]), entry, stamp)
