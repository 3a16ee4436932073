"""Reader processes: what they hand over, how they end, and that nothing which happens to one reaches anybody else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from camera_ingest.reading.feed import FedFrame, ReaderFeed
from camera_ingest.reading.host import ReaderHost
from camera_ingest.reading.order import ReadOrder, dump_order, load_order
from camera_ingest.sources.source import ReadLimits, SourceError
from tessera.chassis.clock import SystemClock

LIMIT_S = 60.0
LIMITS = ReadLimits(open_s=10.0, read_s=1.0)


@pytest.fixture(scope="module")
def host() -> Iterator[ReaderHost]:
    readers = ReaderHost()
    yield readers
    readers.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of 25 frames a second, brighter and brighter, of a width that is no multiple of 16."""
    path = tmp_path_factory.mktemp("readers") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 98, 50, "yuv420p"
        for number in range(100):
            image = np.full((50, 98, 3), 20 + 2 * number, np.uint8)
            image[:, :49, 0] = 0  # the left half is without blue
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


def feed_of(host: ReaderHost, url: str | Path, rate_hz: float = 10.0, *, loop: bool = False) -> ReaderFeed:
    return ReaderFeed(host, ReadOrder("test", str(url), rate_hz, loop, LIMITS), SystemClock())


def eventually(condition: object, what: str) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until_s, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.01)


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def started(feed: ReaderFeed) -> tuple[int, Iterator[FedFrame]]:
    """A feed that has given its first frame."""
    frames = feed.frames(threading.Event())
    next(frames)
    assert feed.process_id is not None
    return feed.process_id, frames


def test_a_file_comes_over_sampled_in_order_and_in_its_own_colours(host: ReaderHost, clip: Path) -> None:
    """Ten frames a second of twenty-five, every one whole: the rows' padding stays behind."""
    with closing(feed_of(host, clip)) as feed:
        frames = list(feed.frames(threading.Event()))
    assert 36 <= len(frames) + sum(frame.missed for frame in frames) <= 42
    times = [frame.capture_time for frame in frames]
    assert times == sorted(set(times))
    brightness = [float(np.asarray(frame.picture).mean()) for frame in frames]
    assert brightness == sorted(brightness)
    last = frames[-1].picture
    assert isinstance(last, np.ndarray)
    assert last.shape == (50, 98, 3)
    assert int(last[:, :40, 0].max()) < int(last[:, 58:, 0].min())
    assert len({frame.fingerprint for frame in frames}) == len(frames)


def test_a_parent_that_has_no_time_gets_the_newest(host: ReaderHost, clip: Path) -> None:
    """What was sampled meanwhile is told as missed, and what comes is new: nothing queues."""
    with closing(feed_of(host, clip)) as feed:
        frames = feed.frames(threading.Event())
        first = next(frames)
        eventually(lambda: time.monotonic() - first.captured_s > 1.5, "time that passes")
        late = next(frames)
    assert late.missed >= 5
    assert (late.capture_time - first.capture_time).total_seconds() > 1.0


def test_a_killed_reader_is_a_loss_that_names_the_signal(host: ReaderHost, clip: Path) -> None:
    """kill -9 of one reader ends its feed at once, and leaves the reader beside it alone."""
    with closing(feed_of(host, clip, loop=True)) as other, closing(feed_of(host, clip, loop=True)) as feed:
        _, others = started(other)
        process_id, frames = started(feed)
        os.kill(process_id, signal.SIGKILL)
        with pytest.raises(SourceError, match=r"its reader died \(SIGKILL\)"):
            list(frames)
        next(others)


def test_a_crash_in_the_decoder_costs_one_camera(host: ReaderHost, clip: Path) -> None:
    """A segmentation fault is told as one, and the next reader starts as ever."""
    with closing(feed_of(host, clip, loop=True)) as feed:
        process_id, frames = started(feed)
        os.kill(process_id, signal.SIGSEGV)
        with pytest.raises(SourceError, match="SIGSEGV"):
            list(frames)
    with closing(feed_of(host, clip)) as again:
        started(again)


def test_a_reader_that_stalls_is_killed(host: ReaderHost, clip: Path) -> None:
    """A reader that says nothing for its limit is lost, and is no more."""
    with closing(feed_of(host, clip, loop=True)) as feed:
        process_id, frames = started(feed)
        os.kill(process_id, signal.SIGSTOP)
        with pytest.raises(SourceError, match="said nothing"):
            list(frames)
    eventually(lambda: not is_running(process_id), "the end of the reader")


def test_a_feed_that_is_closed_ends_its_reader(host: ReaderHost, clip: Path) -> None:
    """Nothing is left running, not even as a zombie."""
    feed = feed_of(host, clip, loop=True)
    process_id, _ = started(feed)
    feed.close()
    assert not Path(f"/proc/{process_id}").exists()


def test_a_stop_that_reaches_everybody_is_the_parents_to_obey(host: ReaderHost, clip: Path) -> None:
    """SIGTERM and SIGINT to a reader and its server end neither: a camera that is stopped was not lost."""
    with closing(feed_of(host, clip, loop=True)) as feed:
        process_id, frames = started(feed)
        server_id = int(Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(process_id, number)
            os.kill(server_id, number)
            next(frames)
        assert feed.process_id == process_id


def test_a_fork_server_that_dies_is_started_again(clip: Path) -> None:
    """Its readers die with it, by the kernel; the next order starts another one."""
    host = ReaderHost()
    try:
        feed = feed_of(host, clip, loop=True)
        process_id, frames = started(feed)
        server_id = int(Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
        os.kill(server_id, signal.SIGKILL)
        with pytest.raises(SourceError, match="its reader died"):
            list(frames)
        feed.close()
        eventually(lambda: not is_running(process_id), "the end of the reader")
        with closing(feed_of(host, clip, loop=True)) as again:
            started(again)
    finally:
        host.close()


PARENT = """
import sys, threading, os
from camera_ingest.reading.feed import ReaderFeed
from camera_ingest.reading.host import ReaderHost
from camera_ingest.reading.order import load_order
from tessera.chassis.clock import SystemClock
feed = ReaderFeed(ReaderHost(), load_order(sys.argv[1].encode()), SystemClock())
frames = feed.frames(threading.Event())
next(frames)
print(feed.process_id, os.getpid(), flush=True)
sys.stdin.read()
"""


def test_readers_end_with_their_parent(clip: Path) -> None:
    """When camera_ingest is killed with -9, its fork server and its readers are gone as well."""
    order = dump_order(ReadOrder("test", str(clip), 10.0, True, LIMITS)).decode()
    command = [sys.executable, "-c", PARENT, order]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        reader_id, _ = (int(word) for word in parent.stdout.readline().split())
        stat = Path(f"/proc/{reader_id}/stat").read_text(encoding="ascii")
        server_id = int(stat.rpartition(")")[2].split()[1])
        parent.kill()
    eventually(lambda: not is_running(server_id) and not is_running(reader_id), "the end of both")


def test_a_reader_has_loaded_no_service(host: ReaderHost, clip: Path) -> None:
    """Neither grpc nor redis, prometheus, torch, OpenCV or numpy is mapped: a reader is small."""
    with closing(feed_of(host, clip, loop=True)) as feed:
        process_id, _ = started(feed)
        mapped = Path(f"/proc/{process_id}/maps").read_text(encoding="ascii")
    assert "libavformat" in mapped
    for name in ("grpc", "hiredis", "torch", "cv2", "numpy", "uvloop"):
        assert f"/{name}" not in mapped


def test_credentials_stand_in_no_command_line(host: ReaderHost, clip: Path) -> None:
    """Any user of the machine reads command lines; an order goes over a socket."""
    order = ReadOrder("door", "rtsp://user:s3cret@127.0.0.1:1/x", 5.0)
    with closing(feed_of(host, clip, loop=True)) as feed:
        process_id, _ = started(feed)
        assert b"clip" not in Path(f"/proc/{process_id}/cmdline").read_bytes()
    assert "s3cret" not in repr(order)


def test_an_order_comes_through_as_it_was() -> None:
    """What is dumped is what is loaded."""
    order = ReadOrder("door", "file:/tmp/x.mp4", 2.5, True, ReadLimits(3.0, 2.0))
    assert load_order(dump_order(order)) == order
    assert json.loads(dump_order(order))["rate_hz"] == 2.5


def test_a_source_that_cannot_be_opened_says_why(host: ReaderHost, tmp_path: Path) -> None:
    """The reader's last word is the reason."""
    with (
        closing(feed_of(host, f"folder:{tmp_path / 'none'}")) as feed,
        pytest.raises(SourceError, match="No such file"),
    ):
        list(feed.frames(threading.Event()))
