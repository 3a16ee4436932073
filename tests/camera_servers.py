"""Real camera servers for tests: GStreamer's RTSP, MJPEG over HTTP, and HLS with segments that FFmpeg made."""

from __future__ import annotations

import contextlib
import hashlib
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import simplejpeg

from tessera.chassis.ports import free_port

_RTSP = Path(__file__).with_name("rtsp_server_process.py")
_DEBIAN_PYTHON = "/usr/bin/python3"
_IMPORT = 'import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer'
BOUNDARY = "frame"


def has_gstreamer() -> bool:
    """Whether GStreamer's RTSP server is installed."""
    try:
        done = subprocess.run([_DEBIAN_PYTHON, "-c", _IMPORT], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0


class RtspServer:
    """GStreamer's server on a port that it keeps, so that it can be killed and come back."""

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        self.port = free_port()
        self._login = login or ()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Serve; returns once it listens."""
        command = [_DEBIAN_PYTHON, str(_RTSP), str(self.port), *self._login]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        self._process = process

    def kill(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:
                process.wait(10)


@contextlib.contextmanager
def rtsp_server(login: tuple[str, str] | None = None) -> Iterator[RtspServer]:
    """A server, for the block."""
    server = RtspServer(login)
    server.start()
    try:
        yield server
    finally:
        server.kill()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.server.answer(self)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextlib.contextmanager
def http_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """An HTTP server that answers each GET so; gives its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.answer = answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler: BaseHTTPRequestHandler, body: bytes, content_type: str, status: int = 200, **headers: str) -> None:
    """One whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def jpeg_of(number: int) -> bytes:
    """A small picture, another one for each number."""
    image = np.full((48, 64, 3), 20 + number % 200, np.uint8)
    return bytes(simplejpeg.encode_jpeg(image, 90, "BGR"))


class MjpegCamera:
    """Sends pictures until it is told to stop.

    Args:
        rate_hz: pictures a second.
        with_length: each part says how long it is.
    """

    def __init__(self, rate_hz: float = 20.0, *, with_length: bool = True) -> None:
        self._period_s = 1.0 / rate_hz
        self._with_length = with_length
        self.over = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", f'multipart/x-mixed-replace; boundary="{BOUNDARY}"')
        handler.end_headers()
        number = 0
        while not self.over.wait(self._period_s):
            jpeg, number = jpeg_of(number), number + 1
            length = f"Content-Length: {len(jpeg)}\r\n" if self._with_length else ""
            handler.wfile.write(f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + jpeg + b"\r\n")


class DigestGate:
    """Lets through who knows the password, by Digest.

    Args:
        user: who.
        password: their password.
        behind: answers them.
    """

    def __init__(self, user: str, password: str, behind: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self._user = user
        self._password = password
        self._behind = behind
        self.seen: list[str] = []
        """What came as `Authorization`."""

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        said = handler.headers.get("Authorization", "")
        self.seen.append(said)
        if said and self._is_right(said, handler.path):
            self._behind(handler)
        else:
            asked = 'Digest realm="camera", nonce="abc", qop="auth", algorithm=MD5'
            send(handler, b"", "text/plain", 401, WWW_Authenticate=asked)

    def _is_right(self, said: str, path: str) -> bool:
        parts = dict(re.findall(r'(\w+)="?([^",]+)"?', said))
        one = _md5(f"{self._user}:camera:{self._password}")
        two = _md5(f"GET:{path}")
        return parts.get("response") == _md5(f"{one}:abc:{parts.get('nc')}:{parts.get('cnonce')}:auth:{two}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class HlsCamera:
    """A live playlist of one-second segments, of which one more is there each second; `/master.m3u8` offers two sizes.

    Args:
        folder: where the segments are made.
        seconds: how many there are.
    """

    def __init__(self, folder: Path, seconds: int = 30) -> None:
        self._folder = folder
        self._seconds = seconds
        self._began_s = time.monotonic()
        self.began = datetime.now(UTC)
        self.asked: list[str] = []
        make_segments(folder, seconds)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.lstrip("/")
        self.asked.append(name)
        if name == "master.m3u8":
            sizes = [(320, 180, 100), (1280, 720, 900)]
            lines = [f"#EXT-X-STREAM-INF:BANDWIDTH={rate}000,RESOLUTION={w}x{h}\n{h}.m3u8" for w, h, rate in sizes]
            send(handler, ("#EXTM3U\n" + "\n".join(lines) + "\n").encode(), "application/vnd.apple.mpegurl")
        elif name.endswith(".m3u8"):
            send(handler, self.playlist().encode(), "application/vnd.apple.mpegurl")
        elif (self._folder / name).is_file():
            send(handler, (self._folder / name).read_bytes(), "video/mp2t")
        else:
            send(handler, b"", "text/plain", 404)

    def playlist(self) -> str:
        """What is there by now: at most four segments, the first two from the start."""
        last = min(self._seconds, 2 + int(time.monotonic() - self._began_s))
        first = max(0, last - 4)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        for number in range(first, last):
            captured = self.began + timedelta(seconds=number - 2)
            lines += [f"#EXT-X-PROGRAM-DATE-TIME:{captured.isoformat()}", "#EXTINF:1.0,", f"s{number}.ts"]
        return "\n".join(lines) + "\n"


def make_segments(folder: Path, seconds: int, rate: int = 10) -> None:
    """`s0.ts`, `s1.ts`, ...: a second each, H.264, brighter and brighter, their time stamps going on."""
    options = {"hls_time": "1", "hls_list_size": "0", "hls_segment_filename": str(folder / "s%d.ts")}
    with av.open(str(folder / "made.m3u8"), "w", format="hls", options=options) as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": str(rate), "bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(seconds * rate):
            image = np.full((48, 64, 3), 20 + number % 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
