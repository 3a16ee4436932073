"""How `tessera up` is seen: one protocol, and the two views that write lines. The one that draws is `live_view`."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from tessera.cli.as_json import plain
from tessera.cli.words import event_text
from tessera.client.answers import Event


class View(Protocol):
    """Shows what happens; called from several threads, one at a time."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        ...

    def news(self, text: str) -> None:
        """Something happened to the instance itself."""
        ...

    def event(self, event: Event) -> None:
        """A decision, or something that happened to a camera."""
        ...

    def first(self, what: str, after_s: float) -> None:
        """The first `match` or `unknown` came so long after the start of the process."""
        ...

    def draw(self) -> None:
        """Time has passed; called four times a second from the main thread."""
        ...


class _LineView:
    """Writes each line at once and draws nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def draw(self) -> None:
        """Nothing to draw: every line is out already."""

    def _write(self, line: str) -> None:
        # Whoever read the lines may go; the services stay.
        with suppress(BrokenPipeError):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


class PlainView(_LineView):
    """Lines for people and their log files."""

    def news(self, text: str) -> None:
        """Write it."""
        self._write(text)

    def event(self, event: Event) -> None:
        """Write it."""
        self._write(event_text(event))

    def first(self, what: str, after_s: float) -> None:
        """Write it, so that a benchmark can read it."""
        self._write(f"first {what} after {after_s:.1f} s")


class JsonView(_LineView):
    """One JSON object on a line, for programs."""

    def news(self, text: str) -> None:
        """Write it as `{"kind": "news", "text": ...}`."""
        self._object({"kind": "news", "text": text})

    def event(self, event: Event) -> None:
        """Write it as `{"kind": "event", "event": ...}`."""
        self._object({"kind": "event", "event": plain(event)})

    def first(self, what: str, after_s: float) -> None:
        """Write it as `{"kind": "first", "what": ..., "after_s": ...}`."""
        self._object({"kind": "first", "what": what, "after_s": round(after_s, 3)})

    def _object(self, value: dict[str, Any]) -> None:
        self._write(json.dumps(value))
