"""Cameras on real servers through a bad network: what comes is right, each loss is noticed and recovered."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import av
import numpy as np
import pytest

from camera_ingest.backoff import Backoff
from camera_ingest.capture import Capture, SampledPicture
from camera_ingest.reading.feed import ReaderFeed
from camera_ingest.reading.host import ReaderHost
from camera_ingest.reading.order import ReadOrder
from camera_ingest.sources.access import AccessRules
from camera_ingest.sources.options import StreamOptions, Transport
from camera_ingest.sources.source import ReadLimits
from camera_ingest.sources.stream_clock import ClockKind
from tessera.chassis.clock import SystemClock
from tests.bad_network import BadNetwork, bad_network
from tests.camera_servers import (
    DigestGate,
    HlsCamera,
    MjpegCamera,
    RtspServer,
    has_gstreamer,
    http_server,
    rtsp_server,
    send,
)
from tests.tls_before import self_signed, tls_before

LIMITS = ReadLimits(open_s=5.0, read_s=2.0)
RECOVERY_S = 15.0
SLACK = 4.0
"""For a machine that others load as well: bars of the product are checked at so many times their length."""

needs_gstreamer = pytest.mark.skipif(
    not has_gstreamer(), reason="no gir1.2-gst-rtsp-server-1.0: RTSP from a real server stays unproved"
)


@pytest.fixture(scope="module")
def host() -> Iterator[ReaderHost]:
    readers = ReaderHost()
    yield readers
    readers.close()


@pytest.fixture(scope="module")
def rtsp() -> Iterator[RtspServer]:
    with rtsp_server() as server:
        yield server


class Watch:
    """A camera that is watched, and what was heard of it."""

    def __init__(self, host: ReaderHost, url: str, stream: StreamOptions, rate_hz: float, access: AccessRules) -> None:
        self.sampled: list[SampledPicture] = []
        self.lost: list[tuple[float, str]] = []
        self._feeds: list[ReaderFeed] = []
        self._host = host
        self._order = ReadOrder("test", url, rate_hz, False, LIMITS, stream, access)
        # As the product waits, but for its longest waits, which a test has no time for.
        self.capture = Capture(
            name="test",
            make_feed=self._make_feed,
            rate_hz=rate_hz,
            freeze_after_s=5.0,
            backoff=Backoff(1.0, 4.0, 0.5),
            listener=self,
        )

    @property
    def reader_id(self) -> int | None:
        return self._feeds[-1].process_id if self._feeds else None

    def _make_feed(self) -> ReaderFeed:
        self._feeds.append(ReaderFeed(self._host, self._order, SystemClock()))
        return self._feeds[-1]

    def on_sampled(self, sampled: SampledPicture, missed: int) -> None:
        self.sampled.append(sampled)

    def on_lost(self, detail: str) -> None:
        self.lost.append((time.monotonic(), detail))

    def on_ended(self) -> None:
        self.lost.append((time.monotonic(), "ended"))

    async def frames(self, count: int, limit_s: float = RECOVERY_S * SLACK) -> None:
        """Wait for so many more."""
        wanted = len(self.sampled) + count
        await self.until(lambda: len(self.sampled) >= wanted, f"{count} more frames", limit_s)

    async def loss(self, limit_s: float = RECOVERY_S * SLACK) -> str:
        """Wait for one more loss; returns what was told."""
        wanted = len(self.lost) + 1
        await self.until(lambda: len(self.lost) >= wanted, "a loss", limit_s)
        return self.lost[-1][1]

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float) -> None:
        until_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < until_s, f"not within {limit_s:g} s: {what}; lost: {self.lost}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(
    host: ReaderHost,
    url: str,
    stream: StreamOptions | None = None,
    rate_hz: float = 10.0,
    access: AccessRules | None = None,
) -> AsyncIterator[Watch]:
    watch = Watch(host, url, stream or StreamOptions(), rate_hz, access or AccessRules())
    watch.capture.start()
    try:
        yield watch
    finally:
        watch.capture.stop()
        assert await watch.capture.join(30)


def age_s(sampled: SampledPicture) -> float:
    return time.time() - sampled.capture_time.timestamp()


# ---- RTSP


@needs_gstreamer
@pytest.mark.parametrize("transport", list(Transport), ids=str)
async def test_rtsp_is_read_with_the_senders_clock(host: ReaderHost, rtsp: RtspServer, transport: Transport) -> None:
    """Frames come over either transport; their capture times are the server's own, from its RTCP reports."""
    async with watched(host, f"rtsp://127.0.0.1:{rtsp.port}/live", StreamOptions(transport)) as watch:
        await watch.until(
            lambda: any(sampled.clock.kind is ClockKind.SENDER for sampled in watch.sampled), "its clock", 60
        )
        await watch.frames(5)
    times = [sampled.capture_time for sampled in watch.sampled]
    assert times == sorted(set(times))
    picture = watch.sampled[-1].picture
    assert isinstance(picture, np.ndarray)
    assert picture.shape == (240, 320, 3)
    assert watch.lost == []


@needs_gstreamer
async def test_the_smaller_stream_is_looked_at_instead(host: ReaderHost, rtsp: RtspServer) -> None:
    """Where it opens it is the one that is read; where not, the main one is, and it is said."""
    url = f"rtsp://127.0.0.1:{rtsp.port}"
    async with watched(host, f"{url}/live", StreamOptions(sub_stream_url=f"{url}/small")) as watch:
        await watch.frames(1)
    assert np.shape(watch.sampled[-1].picture) == (120, 160, 3)
    assert watch.sampled[-1].note == ""
    async with watched(host, f"{url}/live", StreamOptions(sub_stream_url=f"{url}/none")) as watch:
        await watch.frames(1)
    assert np.shape(watch.sampled[-1].picture) == (240, 320, 3)
    assert "404" in watch.sampled[-1].note


@needs_gstreamer
async def test_mjpeg_over_rtsp_is_read(host: ReaderHost, rtsp: RtspServer) -> None:
    """Older cameras send JPEGs over RTP."""
    async with watched(host, f"rtsp://127.0.0.1:{rtsp.port}/jpeg") as watch:
        await watch.frames(3)
    assert np.shape(watch.sampled[-1].picture) == (240, 320, 3)
    assert watch.lost == []


@needs_gstreamer
async def test_key_frames_alone_are_decoded(host: ReaderHost, rtsp: RtspServer) -> None:
    """The server sends one each second; no more come, however many are asked for."""
    stream = StreamOptions(key_frames_only=True)
    async with watched(host, f"rtsp://127.0.0.1:{rtsp.port}/live", stream) as watch:
        await watch.frames(3)
    first, *_, last = (sampled.capture_time for sampled in watch.sampled)
    assert (last - first).total_seconds() > 0.8 * (len(watch.sampled) - 1)


@needs_gstreamer
async def test_key_frames_that_are_rare_are_waited_for(host: ReaderHost, rtsp: RtspServer) -> None:
    """Six seconds without a frame are no loss, and no stall, where packets come all the while."""
    stream = StreamOptions(key_frames_only=True)
    async with watched(host, f"rtsp://127.0.0.1:{rtsp.port}/rare", stream) as watch:
        await watch.frames(2)
    assert watch.lost == []
    assert (watch.sampled[1].capture_time - watch.sampled[0].capture_time).total_seconds() > LIMITS.read_s + 2.0


@needs_gstreamer
async def test_a_cut_and_a_restart_are_recovered(host: ReaderHost) -> None:
    """A broken connection, and a server that is killed and comes back, are losses, and frames come again after each."""
    with rtsp_server() as server, bad_network(server.port) as network:
        async with watched(host, f"rtsp://127.0.0.1:{network.port}/live") as watch:
            await watch.frames(3)
            network.cut()
            await watch.loss()
            await watch.frames(3)
            server.kill()
            await watch.loss()
            server.start()
            await watch.frames(3)


@needs_gstreamer
async def test_corruption_is_survived(host: ReaderHost, rtsp: RtspServer) -> None:
    """Bytes that were changed on the way cost pictures, at most a reconnect; afterwards all is well again."""
    with bad_network(rtsp.port) as network:
        async with watched(host, f"rtsp://127.0.0.1:{network.port}/live") as watch:
            await watch.frames(3)
            network.corrupts = 0.5
            began_s = time.monotonic()
            await watch.until(lambda: time.monotonic() - began_s > 2.0, "a while of it", 10)
            network.corrupts = 0.0
            await watch.frames(10)


@needs_gstreamer
async def test_a_server_that_falls_silent_is_a_loss_in_time(host: ReaderHost, rtsp: RtspServer) -> None:
    """Within the read limit, though the connection stays open; so is one that takes connections and says nothing."""
    with bad_network(rtsp.port) as network:
        async with watched(host, f"rtsp://127.0.0.1:{network.port}/live") as watch:
            await watch.frames(3)
            network.is_silent = True
            began_s = time.monotonic()
            assert "no answer" in await watch.loss()
            assert watch.lost[-1][0] - began_s < LIMITS.read_s + 1.0 + SLACK
            assert "no answer" in await watch.loss()
            network.is_silent = False
            network.cut()
            await watch.frames(3)


@needs_gstreamer
async def test_delays_do_not_move_capture_times(host: ReaderHost, rtsp: RtspServer) -> None:
    """While the network holds packets back, frames are told as old as they are: no lag is hidden, none is made up."""
    with bad_network(rtsp.port) as network:
        async with watched(host, f"rtsp://127.0.0.1:{network.port}/live") as watch:
            await watch.frames(15)
            network.delay_s = 0.04
            await watch.frames(10)
            network.delay_s = 0.0
            await watch.frames(10)
    steps = np.diff([sampled.capture_time.timestamp() for sampled in watch.sampled[2:]])
    # Fifteen frames a second sampled at ten: each step is a whole number of frames.
    off = np.abs(steps * 15 - np.round(steps * 15))
    assert float(np.median(off)) < 0.15


@needs_gstreamer
async def test_a_killed_reader_is_replaced(host: ReaderHost, rtsp: RtspServer) -> None:
    """kill -9 of the process that reads is a loss like any other."""
    async with watched(host, f"rtsp://127.0.0.1:{rtsp.port}/live") as watch:
        await watch.frames(2)
        assert watch.reader_id is not None
        os.kill(watch.reader_id, signal.SIGKILL)
        assert "SIGKILL" in await watch.loss()
        await watch.frames(2)


@needs_gstreamer
async def test_a_password_opens_and_is_never_told(
    host: ReaderHost, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right one by Digest; the wrong one is a loss whose words, and the log, hold neither."""
    with rtsp_server(("admin", "s3cret-pw")) as server, bad_network(server.port) as network:
        async with watched(host, f"rtsp://admin:s3cret-pw@127.0.0.1:{network.port}/live") as watch:
            await watch.frames(2)
            network.cut()
            await watch.loss()
            await watch.frames(1)
        async with watched(host, f"rtsp://admin:wr0ng-pw@127.0.0.1:{network.port}/live") as refused:
            assert "401" in await refused.loss()
    told = "".join(capfd.readouterr()) + str(watch.lost) + str(refused.lost)
    assert "s3cret-pw" not in told
    assert "wr0ng-pw" not in told


@needs_gstreamer
async def test_a_reader_that_was_held_up_catches_up(host: ReaderHost, rtsp: RtspServer) -> None:
    """What queued meanwhile is passed over up to a key frame: the lag does not stay in the buffers on the way."""
    async with watched(host, f"rtsp://127.0.0.1:{rtsp.port}/live") as watch:
        await watch.frames(5)
        reader_id = watch.reader_id
        assert reader_id is not None
        os.kill(reader_id, signal.SIGSTOP)
        held_s = time.monotonic()
        await watch.until(lambda: time.monotonic() - held_s > 2.5, "being held up", 10)
        os.kill(reader_id, signal.SIGCONT)
        await watch.frames(5)
        await watch.until(lambda: time.monotonic() - watch.sampled[-1].captured_s < 0.5, "a new frame", 30)
        assert watch.reader_id == reader_id
    assert watch.lost == []


@needs_gstreamer
@pytest.mark.parametrize("trust", ["unknown", "named", "unchecked"])
async def test_rtsps_checks_certificates(host: ReaderHost, rtsp: RtspServer, tmp_path: Path, trust: str) -> None:
    """A camera that signed its own certificate is refused, in words that say what to set; and read once that is set."""
    certificate = self_signed(tmp_path)
    access = {
        "unknown": AccessRules(),
        "named": AccessRules(tls_ca_file=str(certificate.path)),
        "unchecked": AccessRules(tls_verify=False),
    }[trust]
    with tls_before(rtsp.port, certificate) as port:
        async with watched(host, f"rtsps://localhost:{port}/live", access=access) as watch:
            if trust == "unknown":
                assert "TESSERA_INGEST_TLS_CA_FILE" in await watch.loss()
            else:
                await watch.frames(2)
                assert watch.lost == []


# ---- HTTP


async def test_a_recording_over_http_is_played_in_its_own_time(host: ReaderHost, tmp_path: Path) -> None:
    """Its table of contents lies at its end, as cameras write it: it is asked for first."""
    path, chance, parts = tmp_path / "clip.mp4", np.random.default_rng(1), []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(10):
            image = chance.integers(0, 255, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    content = path.read_bytes()
    assert content.find(b"moov") > 100_000

    def answer(handler: BaseHTTPRequestHandler) -> None:
        parts.append(handler.headers.get("Range"))
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        send(handler, content[start:], "video/mp4", 206 if start else 200, Accept_Ranges="bytes")

    with http_server(answer) as port:
        async with watched(host, f"http://127.0.0.1:{port}/clip.mp4") as watch:
            told = await watch.loss()
    assert told == "ended"
    assert any(parts)
    times = [sampled.capture_time for sampled in watch.sampled]
    assert (times[-1] - times[0]).total_seconds() > 0.5
    assert watch.sampled[0].clock.kind is ClockKind.FILE


def through(network: BadNetwork, path: str = "/video", login: str = "") -> str:
    return f"http://{login}127.0.0.1:{network.port}{path}"


@pytest.mark.parametrize("with_length", [True, False], ids=["with lengths", "without lengths"])
async def test_mjpeg_recovers_from_a_cut_and_from_corruption(host: ReaderHost, with_length: bool) -> None:
    """Pictures come as the files that they were; a damaged one is the encoder's to refuse; the next ones are whole."""
    camera = MjpegCamera(with_length=with_length)
    with http_server(camera) as port, bad_network(port) as network:
        async with watched(host, through(network)) as watch:
            await watch.frames(3)
            network.cut()
            await watch.loss()
            await watch.frames(3)
            network.corrupts = 0.5
            began_s = time.monotonic()
            await watch.until(lambda: time.monotonic() - began_s > 1.5, "a while of it", 10)
            network.corrupts = 0.0
            await watch.frames(5)
        camera.over.set()
    assert all(isinstance(sampled.picture, bytes) for sampled in watch.sampled)
    assert bytes(watch.sampled[-1].picture).startswith(b"\xff\xd8")


async def test_mjpeg_that_is_throttled_stays_new(host: ReaderHost) -> None:
    """A network that carries less than the camera sends makes pictures rarer; each is told as old as its arrival."""
    camera = MjpegCamera(rate_hz=30.0)
    with http_server(camera) as port, bad_network(port) as network:
        network.bytes_per_s = 8_000
        async with watched(host, through(network)) as watch:
            await watch.frames(3)
            assert watch.sampled[-1].clock.kind is ClockKind.ARRIVAL
            assert time.monotonic() - watch.sampled[-1].captured_s < 1.0 * SLACK
        camera.over.set()


async def test_mjpeg_with_a_password(host: ReaderHost, capfd: pytest.CaptureFixture[str]) -> None:
    """By Digest, with the password in the URL; a wrong one is told without it."""
    camera = MjpegCamera()
    gate = DigestGate("viewer", "pass w0rd", camera)
    with http_server(gate) as port, bad_network(port) as network:
        async with watched(host, through(network, login="viewer:pass%20w0rd@")) as watch:
            await watch.frames(2)
        async with watched(host, through(network, login="viewer:wr0ng@")) as refused:
            assert await refused.loss() == "401 Unauthorized"
        camera.over.set()
    assert all(said.startswith("Digest ") or not said for said in gate.seen)
    told = "".join(capfd.readouterr()) + str(refused.lost)
    assert "w0rd" not in told
    assert "wr0ng" not in told


# ---- HLS


async def test_a_live_playlist_is_played_in_its_own_time(host: ReaderHost, tmp_path: Path) -> None:
    """Its frames come evenly and not in heaps, captured when the playlist says; of two sizes the one of 720 lines."""
    camera = HlsCamera(tmp_path)
    with http_server(camera) as port:
        async with watched(host, f"http://127.0.0.1:{port}/master.m3u8", rate_hz=5.0) as watch:
            await watch.frames(12)
    assert "720.m3u8" in camera.asked
    assert "180.m3u8" not in camera.asked
    assert watch.sampled[-1].clock.kind is ClockKind.SENDER
    newest = watch.sampled[-1]
    due = [sampled.captured_s for sampled in watch.sampled]
    assert max(np.diff(due)) < 1.0 * SLACK
    assert abs((newest.capture_time - camera.began).total_seconds()) < 30
    times = [sampled.capture_time for sampled in watch.sampled]
    assert times == sorted(set(times))


async def test_a_live_playlist_recovers_from_a_cut(host: ReaderHost, tmp_path: Path) -> None:
    """A segment that breaks off, or a server that is away for a moment, costs a reconnect at most."""
    with http_server(HlsCamera(tmp_path)) as port, bad_network(port) as network:
        async with watched(host, f"http://127.0.0.1:{network.port}/720.m3u8", rate_hz=5.0) as watch:
            await watch.frames(3)
            network.is_silent = True
            assert await watch.loss()
            network.is_silent = False
            network.cut()
            await watch.frames(3)
