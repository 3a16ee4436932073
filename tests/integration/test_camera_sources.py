"""Sources on real containers and sockets: recordings, MJPEG over HTTP, and peers that never answer."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from camera_ingest.backoff import Backoff
from camera_ingest.capture import Capture, SampledPicture
from camera_ingest.freeze import FreezeWatch
from camera_ingest.reading.feed import Feed, ReaderFeed
from camera_ingest.reading.host import ReaderHost
from camera_ingest.reading.order import ReadOrder
from camera_ingest.sources.av_source import AvInput, AvSource, Decoding, Timing
from camera_ingest.sources.folder import FolderSource
from camera_ingest.sources.opening import open_source
from camera_ingest.sources.source import Pixels, ReadLimits, Source, SourceError
from tessera.chassis.clock import SystemClock
from tessera.chassis.ports import free_port

LIMITS = ReadLimits(open_s=1.0, read_s=0.7)
SLACK_S = 10.0
"""For a machine that is busy: libav itself would wait for ever."""
BOUNDARY = b"frame"


def opened(url: str, *, loop: bool = False, environ: Mapping[str, str] | None = None) -> Source:
    order = ReadOrder("test", url, 10.0, loop, LIMITS)
    return open_source(order, SystemClock(), {"CAMERA_PW": "s3cret"} if environ is None else environ)[0]


def picture(number: int) -> np.ndarray:
    """A gray picture whose brightness tells its number."""
    return np.full((48, 64, 3), 20 + 8 * number, np.uint8)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twelve frames, ten a second, as H.264 in MP4."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class MjpegHandler(BaseHTTPRequestHandler):
    """Sends JPEGs, one part each, then falls silent, ends, or repeats the last one."""

    frames = 10
    then = "end"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}")
        self.end_headers()
        numbers = itertools.chain(range(self.frames), itertools.repeat(self.frames) if self.then == "repeat" else [])
        try:
            for number in numbers:
                jpeg = simplejpeg.encode_jpeg(picture(number), 90, "BGR")
                head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (BOUNDARY, len(jpeg))
                self.wfile.write(head + jpeg + b"\r\n")
                self.wfile.flush()
                if self.server.over.wait(0.04):  # type: ignore[attr-defined]
                    return
            if self.then == "silence":
                self.server.over.wait()  # type: ignore[attr-defined]
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def mjpeg_camera(then: str) -> Iterator[int]:
    handler = type("Handler", (MjpegHandler,), {"then": then})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.over = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def silent_peer() -> Iterator[int]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_recording_plays_in_its_own_time(recording: Path) -> None:
    """Every frame comes, in order, a tenth of a second apart by capture time, and not faster than that."""
    source, started_s = opened(str(recording)), time.monotonic()
    times, values = [], []
    for frame in source.frames(threading.Event()):
        times.append(frame.capture_time)
        pixels = frame.picture()
        assert isinstance(pixels, Pixels)
        rows = np.frombuffer(pixels.rows, np.uint8).reshape(pixels.height_px, pixels.stride_bytes)
        values.append(int(rows[:, : 3 * pixels.width_px].mean()))
    source.close()
    steps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(times)]
    assert len(values) == 12
    assert values == sorted(values)
    assert steps == pytest.approx([0.1] * 11, abs=0.001)
    assert time.monotonic() - started_s >= 1.0


def test_a_looped_recording_starts_again(recording: Path) -> None:
    """With `loop` its end is its beginning, and capture time goes on."""
    source, stopped = opened(str(recording), loop=True), threading.Event()
    frames = list(itertools.islice(source.frames(stopped), 15))
    source.close()
    times = [frame.capture_time for frame in frames]
    assert len(times) == 15
    assert times == sorted(times)


def test_mjpeg_over_http_is_read_and_its_end_is_a_loss() -> None:
    """A live stream gives its pictures; when the server closes it, that is an error and not an end."""
    with mjpeg_camera("end") as port:
        source = opened(f"http://user:s3cret@127.0.0.1:{port}/video")
        seen: list[datetime] = []
        with pytest.raises(SourceError) as raised:
            seen.extend(frame.capture_time for frame in source.frames(threading.Event()) if frame.picture() is not None)
        source.close()
    assert raised.value.detail


def test_a_stream_that_falls_silent_is_lost_in_time() -> None:
    """No picture within the read limit ends the wait."""
    with mjpeg_camera("silence") as port:
        source, began_s = opened(f"http://127.0.0.1:{port}/video"), time.monotonic()
        with pytest.raises(SourceError, match="no answer"):
            for _ in source.frames(threading.Event()):
                began_s = time.monotonic()
        assert time.monotonic() - began_s < LIMITS.read_s + SLACK_S
        source.close()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_peer_that_never_answers_times_out(scheme: str) -> None:
    """A host that accepts and says nothing is given up within the limit, in words without credentials."""
    with silent_peer() as port:
        began_s = time.monotonic()
        with pytest.raises(SourceError, match=r"^no answer for \d\.\d s$"):
            opened(f"{scheme}://user:${{CAMERA_PW}}@127.0.0.1:{port}/x")
        assert time.monotonic() - began_s < LIMITS.open_s + SLACK_S


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_no_server_is_told_as_such(scheme: str) -> None:
    """Where nobody listens the detail says so, at once and without credentials."""
    with pytest.raises(SourceError, match=r"^Connection refused$"):
        opened(f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/x")


def test_a_missing_credential_is_named() -> None:
    """The detail names the variable that is not set."""
    with pytest.raises(SourceError, match="CAMERA_PW"):
        opened("rtsp://user:${CAMERA_PW}@127.0.0.1/x", environ={})


@pytest.mark.parametrize(("name", "content"), [("text.mp4", b"no video"), ("empty.mp4", b"")])
def test_a_file_that_is_no_video_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """The detail says what is wrong with it."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match="Invalid data"):
        opened(str(path))


def test_a_loop_over_nothing_is_told_and_does_not_spin() -> None:
    """A file that opens and holds no readable frame is a loss with its reason; played in a loop it would never rest."""

    class Empty(AvSource):
        def _decoded(self) -> Iterator[av.VideoFrame]:
            return iter(())

    empty = Empty(
        lambda: AvInput("none.mp4", Timing.FILE, False),
        loop=True,
        clock=SystemClock(),
        limits=LIMITS,
        decoding=Decoding(),
        scrubbed=str,
    )
    with pytest.raises(SourceError, match="no frame"):
        next(empty.frames(threading.Event()))


def test_a_playlist_file_cannot_reach_out(tmp_path: Path) -> None:
    """A local playlist that names a URL is not followed: only files are read."""
    with mjpeg_camera("end") as port:
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/video.ts\n#EXT-X-ENDLIST\n", encoding="ascii")
        with pytest.raises(SourceError):
            list(opened(str(path)).frames(threading.Event()))


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    """A folder without pictures is an error that names the formats."""
    source = FolderSource(tmp_path, 5.0, False, SystemClock())
    with pytest.raises(SourceError, match=r"\.jpg"):
        list(source.frames(threading.Event()))


def test_the_same_picture_for_long_is_a_freeze() -> None:
    """Different pictures never freeze; the same one does after its time, and any change thaws it."""
    watch, same, other = FreezeWatch(5.0), 71, 72
    assert not any(watch.is_frozen(n % 20, float(n)) for n in range(20))
    assert [watch.is_frozen(same, 20.0 + n) for n in range(7)] == [False] * 5 + [True] * 2
    assert not watch.is_frozen(other, 27.0)


class Listener:
    """Keeps what a capture says."""

    def __init__(self) -> None:
        self.sampled: list[SampledPicture] = []
        self.missed = 0
        self.lost: list[str] = []
        self.ended = asyncio.Event()
        self.frozen = asyncio.Event()
        self.lost_twice = asyncio.Event()

    def on_sampled(self, sampled: SampledPicture, missed: int) -> None:
        self.sampled.append(sampled)
        self.missed += missed
        if sampled.is_frozen:
            self.frozen.set()

    def on_lost(self, detail: str) -> None:
        self.lost.append(detail)
        if len(self.lost) >= 2:
            self.lost_twice.set()

    def on_ended(self) -> None:
        self.ended.set()


@pytest.fixture
def host() -> Iterator[ReaderHost]:
    readers = ReaderHost()
    yield readers
    readers.close()


def capture_of(host: ReaderHost, url: str, listener: Listener, rate_hz: float, freeze_after_s: float = 5.0) -> Capture:
    def make_feed() -> Feed:
        return ReaderFeed(host, ReadOrder("test", url, rate_hz, limits=LIMITS), SystemClock())

    backoff = Backoff(0.1, 0.2, 0.01)
    return Capture(
        name="test",
        make_feed=make_feed,
        rate_hz=rate_hz,
        freeze_after_s=freeze_after_s,
        backoff=backoff,
        listener=listener,
    )


async def test_a_capture_samples_a_recording_and_ends(host: ReaderHost, recording: Path) -> None:
    """Ten frames a second sampled at five give every second one, and then the end is told."""
    listener = Listener()
    capture = capture_of(host, str(recording), listener, 5.0)
    capture.start()
    await asyncio.wait_for(listener.ended.wait(), 10)
    assert await capture.join(5)
    assert 6 <= len(listener.sampled) + listener.missed <= 7
    assert listener.lost == []


async def test_a_camera_that_repeats_its_picture_is_frozen(host: ReaderHost) -> None:
    """A live stream whose pictures stop changing is noticed while frames keep coming."""
    listener = Listener()
    with mjpeg_camera("repeat") as port:
        capture = capture_of(host, f"http://127.0.0.1:{port}/video", listener, 20.0, freeze_after_s=0.5)
        capture.start()
        await asyncio.wait_for(listener.frozen.wait(), 10)
        capture.stop()
        assert await capture.join(5)


async def test_a_lost_stream_is_opened_again_and_again(host: ReaderHost) -> None:
    """Each end of a live stream is a loss, and each loss is followed by another attempt."""
    listener = Listener()
    with mjpeg_camera("end") as port:
        capture = capture_of(host, f"http://127.0.0.1:{port}/video", listener, 20.0)
        capture.start()
        await asyncio.wait_for(listener.lost_twice.wait(), 20)
        capture.stop()
        assert await capture.join(5)
    assert len(listener.sampled) > 5
