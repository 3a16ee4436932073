"""Watching events: nothing twice, nothing lost over a broken connection."""

from __future__ import annotations

import itertools
import threading

import pytest
from unit.client.fake_messages import heartbeat, sighting
from unit.client.fake_services import Script, serving

from tessera.client import Tessera
from tessera.client.errors import BadInput, ServiceUnavailable
from tessera.domain import errors as e


def test_a_broken_stream_goes_on_after_the_last_cursor_and_tells_nothing_twice() -> None:
    """The second connection asks from the last cursor; what the service sends again is passed over."""
    script = Script()
    streams = iter(
        [
            [sighting("a", cursor="1"), sighting("b", cursor="2"), e.UnavailableError("gallery")],
            [sighting("b", cursor="2"), sighting("c", cursor="3")],
        ]
    )
    script.answers["WatchEvents"] = lambda _: next(streams)
    with serving(script) as address, Tessera(address) as tessera:
        watch = tessera.watch(after_cursor="0")
        events = list(itertools.islice(watch, 3))
        watch.close()
    assert [event.event_id for event in events] == ["a", "b", "c"]
    assert [request.after_cursor for request in script.requests] == ["0", "2"]


def test_a_new_revision_is_told_and_an_old_one_is_not() -> None:
    """Revisions only grow: one that comes late is passed over."""
    script = Script()
    script.answers["WatchEvents"] = [
        sighting("a", revision=2, cursor="1"),
        sighting("a", revision=1, cursor="2"),
        sighting("a", revision=3, cursor="3"),
    ]
    with serving(script) as address, Tessera(address) as tessera:
        watch = tessera.watch()
        assert [event.revision for event in itertools.islice(watch, 2)] == [2, 3]
        watch.close()


def test_the_cursor_of_a_heartbeat_counts() -> None:
    """After a quiet time the watch goes on from where the service stood, not from where something happened last."""
    script = Script()
    streams = iter([[heartbeat("41"), e.UnavailableError("gallery")], [sighting("a", cursor="42")]])
    script.answers["WatchEvents"] = lambda _: next(streams)
    with serving(script) as address, Tessera(address) as tessera:
        watch = tessera.watch()
        assert next(watch).cursor == "42"
        watch.close()
    assert [request.after_cursor for request in script.requests] == ["", "41"]


def test_a_service_that_starts_again_on_its_port_is_found_again() -> None:
    """The process behind the address may change."""
    script = Script()
    script.answers["WatchEvents"] = [sighting("a", cursor="1")]
    with serving(script) as address:
        tessera = Tessera(address)
        watch = tessera.watch()
        assert next(watch).event_id == "a"
    script.answers["WatchEvents"] = [sighting("b", cursor="2")]
    with serving(script, port=int(address.rpartition(":")[2])), tessera:
        assert next(watch).event_id == "b"
        watch.close()


def test_a_first_connection_that_fails_is_told() -> None:
    """Who watches a wrong address hears so."""
    with Tessera("127.0.0.1:1") as tessera, pytest.raises(ServiceUnavailable):
        next(tessera.watch())


def test_a_wrong_request_is_told_and_not_tried_again() -> None:
    """Only what may pass is waited for."""
    script = Script()
    script.answers["WatchEvents"] = [e.InvalidInputError("after_cursor", "x", "a cursor")]
    with serving(script) as address, Tessera(address) as tessera, pytest.raises(BadInput):
        next(tessera.watch(after_cursor="x"))
    assert len(script.requests) == 1


def test_patience_ends() -> None:
    """A connection that stays broken is told after `patience_s`."""
    script = Script()
    broken = iter([[heartbeat("1"), e.UnavailableError("gallery")]])
    script.answers["WatchEvents"] = lambda _: next(broken, [e.UnavailableError("gallery")])
    with serving(script) as address, Tessera(address) as tessera, pytest.raises(ServiceUnavailable):
        next(tessera.watch(patience_s=0.2))


def test_closing_ends_the_iteration_from_another_thread() -> None:
    """The iterator that waits for the next event ends."""
    script = Script()
    script.answers["WatchEvents"] = [sighting("a", cursor="1")]
    with serving(script) as address, Tessera(address) as tessera:
        watch = tessera.watch()
        assert next(watch).event_id == "a"
        closer = threading.Timer(0.1, watch.close)
        closer.start()
        assert list(watch) == []
        closer.join()
