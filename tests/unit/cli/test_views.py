"""What `tessera up` shows: lines, objects, and a picture that fits the terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
from datetime import UTC, datetime

import pytest
from rich.console import Console
from unit.client.fake_messages import sighting

from tessera.chassis.clock import ManualClock
from tessera.cli.board import Board
from tessera.cli.child import ChildReport, ChildState
from tessera.cli.followers import CameraPace
from tessera.cli.live_view import LiveView
from tessera.cli.view import JsonView, PlainView
from tessera.cli.words import rate_text
from tessera.client.answers import Camera, CameraState, CameraStatus, Event
from tessera.client.answers_wire import event_from_wire
from tessera.domain.reasons import Reason


@pytest.fixture
def clock() -> ManualClock:
    """Time stands still until a test moves it."""
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


def _event(event_id: str, outcome: str = "MATCH", *, replayed: bool = False) -> Event:
    return event_from_wire(sighting(event_id, outcome=outcome).event, replayed=replayed)


def test_plain_lines_tell_each_decision_and_the_firsts(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark reads when the first match and the first unknown came; each is told once."""
    board = Board(clock, started_s=-4.0)
    board.show_on(PlainView())
    board.tell("ready")
    board.take(_event("a"))
    clock.advance(2.5)
    board.take(_event("b", "UNKNOWN"))
    board.take(_event("c", "UNKNOWN"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ready"
    assert " ".join(lines[1].split()[1:]) == "demo MATCH Barack Obama 5 frames FPIR <= 0.01 132 ms"
    assert lines[2] == "first match after 4.0 s"
    assert lines[4] == "first unknown after 6.5 s"
    assert len(lines) == 6


def test_the_lines_may_lose_their_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tessera up | head` goes on: a reader that has gone ends no service."""
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"nobody reads this")
    broken = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stdout", broken)
    PlainView().news("ready")
    PlainView().news("still here")
    with contextlib.suppress(BrokenPipeError):
        broken.close()


def test_what_happened_before_the_start_is_not_told(clock: ManualClock) -> None:
    """A replayed event is no decision of now, and no first match."""
    board = Board(clock, started_s=0.0)
    board.take(_event("a", replayed=True))
    assert board.last_events() == ()
    assert board.first_after_s() == {}


def test_json_lines_are_objects(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    """For programs: news, events and firsts, each with its kind."""
    board = Board(clock, started_s=-1.0)
    board.show_on(JsonView())
    board.tell("ready")
    board.take(_event("a"))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["kind"] for one in told] == ["news", "event", "first"]
    assert told[1]["event"]["sighting"]["subject_id"] == "barack-obama"
    assert told[2] == {"kind": "first", "what": "match", "after_s": 1.0}


@pytest.mark.parametrize(("width", "height"), [(100, 35), (80, 24), (200, 50)])
def test_the_picture_fits_the_terminal(clock: ManualClock, width: int, height: int) -> None:
    """No line is broken, none is beyond the height, and what matters is seen."""
    board = Board(clock, started_s=-61.0)
    for number in range(40):
        board.take(_event(f"e{number}", ("MATCH", "UNKNOWN", "INCONCLUSIVE")[number % 3]))
    board.tell("encoder ended by SIGKILL; started again in 0.2 s")
    console = Console(width=width, height=height, record=True, force_terminal=True, file=io.StringIO())
    view = LiveView(board, lambda: _REPORTS, lambda: (_PACE,), console)
    console.print(view.picture())
    lines = console.export_text().splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for seen in ("up 00:01:01", "Ctrl-C", "FMR", "encoder", "restarting", "9101", "demo", "online", "NEWER_FRAME 3"):
        assert seen in text
    for seen in ("MATCH", "Barack Obama", "UNKNOWN", "nobody", "FPIR <= 0.01", "132 ms", "SIGKILL", "unknown 61.0 s"):
        assert seen in text
    assert sum("FPIR <= 0.01" in line for line in lines) >= 5


@pytest.mark.parametrize(
    ("rate", "text"), [(1e-4, "1e-4"), (9.7e-5, "9.7e-5"), (1e-2, "0.01"), (0.0, "0"), (1.5e-10, "1.5e-10")]
)
def test_rates_are_short(rate: float, text: str) -> None:
    """Two digits, and no zeros that say nothing."""
    assert rate_text(rate) == text


_REPORTS = (
    ChildReport("valkey", ChildState.READY, 1, 0, "127.0.0.1:7379", "", ""),
    ChildReport(
        "encoder", ChildState.PAUSED, 0, 3, "127.0.0.1:7001", "http://127.0.0.1:9101/metrics", "ended by SIGKILL"
    ),
    ChildReport("gallery", ChildState.READY, 1, 0, "127.0.0.1:7002", "http://127.0.0.1:9102/metrics", ""),
    ChildReport("ingest", ChildState.NOT_READY, 1, 0, "127.0.0.1:7003", "http://127.0.0.1:9103/metrics", ""),
)
_PACE = CameraPace(
    Camera(
        camera_id="demo",
        url="demo:",
        sample_rate_hz=5.0,
        collection_id="default",
        enabled=True,
        status=CameraStatus(
            camera_id="demo",
            state=CameraState.ONLINE,
            detail="",
            last_frame_time=None,
            frames_sampled=10,
            frames_encoded=7,
            frames_skipped=3,
            frames_expired=0,
            frames_failed=0,
            frames_in_flight=0,
            skip_counts={Reason.NEWER_FRAME: 3},
            width_px=1280,
            height_px=720,
            latency_ms=88.0,
            active_tracklets=1,
            reconnects=0,
        ),
    ),
    sampled_hz=5.0,
    encoded_hz=4.9,
)
