"""The log of one child process: a file that is rotated by size, and its last lines at hand to tell why it ended."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections import deque
from pathlib import Path
from typing import IO

_MAX_BYTES = 8 * 1024 * 1024
_KEPT_FILES = 3
_LAST_LINES = 40
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"""\berror=(?P<quote>["'])(?P<error>.*?)(?P=quote)(?: \w+=|$)""")


class ProcessLog:
    """Takes the lines of a child, of one life after the other.

    Args:
        path: `NAME.log`; older parts are `NAME.log.1` and so on.
        max_bytes: a file that reaches this is put aside.
    """

    def __init__(self, path: Path, max_bytes: int = _MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._lock = threading.Lock()

    def follow(self, output: IO[bytes]) -> threading.Thread:
        """Take lines until the child closes its output; the thread that does so ends then."""
        thread = threading.Thread(target=self._pump, args=(output,), name=f"log-{self.path.stem}", daemon=True)
        thread.start()
        return thread

    def last_words(self) -> str:
        """What the child said last: the error of its newest log record that has one, else its newest line."""
        with self._lock:
            lines = list(self._last)
        for line in reversed(lines):
            told = _error_in(line)
            if told:
                return told
        return lines[-1] if lines else ""

    def _pump(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._take(line)

    def _take(self, line: bytes) -> None:
        with self._lock:
            self._last.append(line.decode("utf-8", errors="replace").rstrip())
            # A full disk loses lines. Were the child no longer read from, it would end at its next line.
            with contextlib.suppress(OSError):
                if self.path.exists() and self.path.stat().st_size + len(line) > self._max_bytes:
                    self._rotate()
                with self.path.open("ab") as file:
                    file.write(line)

    def _rotate(self) -> None:
        for number in range(_KEPT_FILES, 0, -1):
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(self.path.with_name(f"{self.path.name}.{number}"))


def _error_in(line: str) -> str:
    """The error of a log record: JSON, or as structlog writes it for people while a service reads its settings."""
    try:
        record = json.loads(line)
    except ValueError:
        found = _ERROR.search(_COLOUR.sub("", line))
        return found["error"] if found else ""
    return str(record.get("error", "")) if isinstance(record, dict) else ""
