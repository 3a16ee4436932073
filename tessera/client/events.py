"""Events as an iterator that goes on where it was when the connection breaks, and never tells one twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc

from tessera.chassis.clock import Clock, SystemClock
from tessera.client.answers import Event
from tessera.client.answers_wire import event_from_wire
from tessera.client.errors import ServiceUnavailable, TesseraCallError, error_of
from tessera.v1 import events_pb2, events_pb2_grpc

FROM_NOW = ""
FROM_OLDEST = "0"
_REMEMBERED_EVENTS = 10_000
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


class EventKind(StrEnum):
    """What to be told of."""

    SIGHTING = "SIGHTING"
    CAMERA = "CAMERA"
    ALERT = "ALERT"
    VERIFY_FAILURE = "VERIFY_FAILURE"


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which events."""

    camera_ids: Sequence[str] = ()
    """Empty: all cameras."""
    kinds: Sequence[EventKind] = ()
    """Empty: all kinds."""
    collection_id: str = ""
    """Empty: all collections."""


class EventWatch(Iterator[Event]):
    """Iterates over events, the oldest first; ends when it is closed.

    The first connection must succeed. One that breaks later is made again, for ever or for `patience_s`, from the last
    cursor that was seen; an event that comes again is passed over.

    Args:
        channel: to the service that records events; stays open when the watch is closed.
        address: where that is, for errors.
        after_cursor: `FROM_NOW`, `FROM_OLDEST`, or the cursor of the last event that was seen.
        wanted: which events.
        patience_s: how long a broken connection is tried again; None: for ever.
        clock: for the patience.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        address: str,
        after_cursor: str,
        wanted: WatchFilter,
        *,
        patience_s: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._stub = events_pb2_grpc.EventServiceStub(channel)
        self._address = address
        self._wanted = wanted
        self._patience_s = patience_s
        self._clock = clock or SystemClock()
        self._seen = _Seen()
        self._closed = threading.Event()
        self._stream: Any = None
        self._connected = False
        self._broken_since_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S
        self.cursor = after_cursor

    def __iter__(self) -> EventWatch:
        return self

    def __next__(self) -> Event:
        """The next event; waits for it.

        Raises:
            CursorTrimmed: the events after the cursor are no longer kept.
            ServiceUnavailable: nobody answered at first, or for longer than `patience_s`.
        """
        while not self._closed.is_set():
            try:
                response = next(self._opened())
            except StopIteration:
                self._pause(None)
            except grpc.RpcError as error:
                self._pause(error_of(error, "gallery", self._address))
            else:
                event = self._taken(response)
                if event is not None:
                    return event
        raise StopIteration

    def close(self) -> None:
        """End the iteration, also from another thread."""
        self._closed.set()
        if self._stream is not None:
            self._stream.cancel()

    def _opened(self) -> Any:  # noqa: ANN401 - grpc's stream of responses
        if self._stream is None:
            self._stream = self._stub.WatchEvents(
                events_pb2.WatchEventsRequest(
                    after_cursor=self.cursor,
                    camera_ids=self._wanted.camera_ids,
                    kinds=[events_pb2.EventKind.Value(f"EVENT_KIND_{kind}") for kind in self._wanted.kinds],
                    collection_id=self._wanted.collection_id,
                )
            )
            if self._closed.is_set():  # by another thread, which had no stream to cancel yet
                self._stream.cancel()
        return self._stream

    def _taken(self, response: events_pb2.WatchEventsResponse) -> Event | None:
        self._connected, self._broken_since_s, self._pause_s = True, None, _FIRST_PAUSE_S
        if response.WhichOneof("message") == "heartbeat":
            self.cursor = response.heartbeat.cursor or self.cursor
            return None
        self.cursor = response.event.cursor
        if not self._seen.is_new(response.event.event_id, response.event.revision):
            return None
        return event_from_wire(response.event, replayed=response.replayed)

    def _pause(self, error: TesseraCallError | None) -> None:
        """Wait before the next attempt; None: the server ended the stream in good order."""
        self._stream = None
        if self._closed.is_set():
            return
        now_s = self._clock.monotonic_s()
        self._broken_since_s = now_s if self._broken_since_s is None else self._broken_since_s
        if error is not None:
            final = not isinstance(error, ServiceUnavailable) or not self._connected
            if final or (self._patience_s is not None and now_s - self._broken_since_s > self._patience_s):
                raise error
        self._closed.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


class _Seen:
    """The newest revision of each event that was told, as many as are remembered."""

    def __init__(self) -> None:
        self._revisions: OrderedDict[str, int] = OrderedDict()

    def is_new(self, event_id: str, revision: int) -> bool:
        """Remember an event; False when it, or a newer revision of it, was here before."""
        if self._revisions.get(event_id, -1) >= revision:
            return False
        self._revisions[event_id] = revision
        self._revisions.move_to_end(event_id)
        if len(self._revisions) > _REMEMBERED_EVENTS:
            self._revisions.popitem(last=False)
        return True
