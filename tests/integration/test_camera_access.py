"""Where readers may go: nothing outside of the allowed schemes, networks and folders is ever connected to or opened."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from camera_ingest.reading.order import ReadOrder
from camera_ingest.sources.access import PRIVATE_NETWORKS, AccessRules
from camera_ingest.sources.opening import open_source
from camera_ingest.sources.options import StreamOptions, Transport
from camera_ingest.sources.rtsp_relay import RefusedError, ReplyFilter
from camera_ingest.sources.source import ReadLimits, Source, SourceError
from camera_ingest.sources.url import parse_url
from tessera.chassis.clock import SystemClock
from tessera.domain.errors import InvalidInputError
from tests.camera_servers import MjpegCamera, http_server, make_segments, send

LIMITS = ReadLimits(open_s=5.0, read_s=2.0)
NEAR = AccessRules(networks=("127.0.0.1/32",))
"""One address of the loopback: 127.0.0.2 stands for the rest of the world, and is just as near."""


def opened(url: str, access: AccessRules = NEAR, **stream: object) -> Source:
    options = StreamOptions(**stream)  # type: ignore[arg-type]
    return open_source(ReadOrder("test", url, 10.0, False, LIMITS, options, access), SystemClock(), {})[0]


class Forbidden:
    """Listens where nobody may go, and counts who comes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.2", 0))
        self.port: int = self._listener.getsockname()[1]
        self.visits = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = self._listener.accept()
                self.visits += 1
                visitor.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def forbidden() -> Iterator[Forbidden]:
    place = Forbidden()
    yield place
    assert place.visits == 0, "somebody went where nobody may go"
    place.close()


# ---- what is refused before anything is opened


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "8.8.8.8",
        "0.0.0.0",
        "224.0.0.1",
        "[fe80::1]",
        "[2001:4860:4860::8888]",
        "[::]",
    ],
)
def test_by_default_cameras_are_near(host: str) -> None:
    """Clouds' metadata, the internet, every-address, multicast and link-local addresses are refused by name."""
    with pytest.raises(InvalidInputError) as raised:
        AccessRules().check_url(parse_url(f"rtsp://user:s3cret@{host}/x"))
    assert raised.value.field == "url"
    assert "TESSERA_INGEST_ALLOWED_NETWORKS" in raised.value.allowed
    assert "s3cret" not in f"{raised.value} {raised.value.value}"


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.20", "[::1]", "[fd12::1]", "door"])
def test_private_networks_are_allowed(host: str) -> None:
    """So is a name, which is looked up when it is opened."""
    AccessRules().check_url(parse_url(f"rtsp://{host}/x"))


@pytest.mark.parametrize("url", ["http://10.0.0.1/x", "demo:", "folder:/tmp", "/tmp/x.mp4", "v4l2:/dev/video0"])
def test_schemes_are_allowed_one_by_one(url: str) -> None:
    """What is not listed is refused, files and devices too."""
    with pytest.raises(InvalidInputError, match="TESSERA_INGEST_ALLOWED_SCHEMES"):
        AccessRules(schemes=("rtsp",)).check_url(parse_url(url))


def test_files_lie_in_their_folders(tmp_path: Path) -> None:
    """A path is allowed by where it really is: neither dots nor links lead out."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link.mp4").symlink_to(outside / "x.mp4")
    rules = AccessRules(folders=(str(inside),))
    rules.check_url(parse_url(str(inside / "x.mp4")))
    rules.check_url(parse_url(f"folder:{inside}"))
    for path in (outside / "x.mp4", inside / ".." / "out" / "x.mp4", inside / "link.mp4", Path(f"{inside}x/y.mp4")):
        with pytest.raises(InvalidInputError, match="TESSERA_INGEST_ALLOWED_FOLDERS"):
            rules.check_url(parse_url(str(path)))


@pytest.mark.parametrize(
    ("field", "rules"),
    [("allowed_schemes", {"schemes": ("ftp",)}), ("allowed_networks", {"networks": ("10.0.0.1/8",)})],
)
def test_rules_that_cannot_be_are_named(field: str, rules: dict[str, tuple[str, ...]]) -> None:
    """A scheme that there is not, and a network with bits below its mask."""
    with pytest.raises(InvalidInputError) as raised:
        AccessRules(**rules)  # type: ignore[arg-type]
    assert raised.value.field == field


# ---- names


def resolving(answers: Iterator[list[str]], asked: list[str]) -> Callable[..., list[tuple[object, ...]]]:
    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(answers)]

    return getaddrinfo


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_name_is_resolved_once(scheme: str, forbidden: Forbidden, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that points elsewhere when it is asked for again is not asked again: what was checked is connected to."""
    asked: list[str] = []
    answers = itertools.chain([["127.0.0.1"]], itertools.repeat(["127.0.0.2"]))
    look_up = resolving(answers, asked)
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: look_up(host, *a, **k) if host == "cam" else real(host, *a, **k)
    )
    with pytest.raises(SourceError, match="Connection refused"):
        opened(f"{scheme}://cam:{forbidden.port}/x")
    assert asked == ["cam"]


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_name_that_leads_out_is_refused(scheme: str, forbidden: Forbidden, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says where the name is, and what is allowed."""
    monkeypatch.setattr(socket, "getaddrinfo", resolving(itertools.repeat(["127.0.0.2"]), []))
    with pytest.raises(SourceError, match=r"cam is at 127\.0\.0\.2; allowed: .*127\.0\.0\.1/32.*ALLOWED_NETWORKS"):
        opened(f"{scheme}://cam:{forbidden.port}/x")


# ---- being sent elsewhere


@pytest.mark.parametrize("way", ["redirect", "playlist", "segment", "header", "variant"])
def test_http_leads_nowhere_else(way: str, forbidden: Forbidden, tmp_path: Path) -> None:
    """Redirects, and whatever a playlist names, are checked like the camera's own URL."""
    out = f"http://127.0.0.2:{forbidden.port}"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
        bodies = {
            "segment": f"{head}#EXTINF:1,\n{out}/s0.ts\n#EXT-X-ENDLIST\n",
            "header": f'{head}#EXT-X-MAP:URI="{out}/init.mp4"\n#EXTINF:1,\ns0.ts\n#EXT-X-ENDLIST\n',
            "variant": f"{head}#EXT-X-STREAM-INF:BANDWIDTH=1\n{out}/v.m3u8\n",
            "playlist": f"{head}#EXTINF:1,\n/leads-out\n#EXT-X-ENDLIST\n",
        }
        if way == "redirect" or handler.path == "/leads-out":
            send(handler, b"", "text/plain", 302, Location=f"{out}/x")
        else:
            send(handler, bodies[way].encode(), "application/vnd.apple.mpegurl")

    with http_server(answer) as port, pytest.raises(SourceError, match=r"127\.0\.0\.2; allowed"):
        list(opened(f"http://127.0.0.1:{port}/x").frames(threading.Event()))


def test_a_redirect_within_what_is_allowed_is_followed_without_the_password() -> None:
    """Credentials are for the server that the URL names: another one never sees them."""
    camera, seen = MjpegCamera(), []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        camera(handler)

    with http_server(elsewhere) as there:

        def here(handler: BaseHTTPRequestHandler) -> None:
            if handler.headers.get("Authorization"):
                send(handler, b"", "text/plain", 302, Location=f"http://127.0.0.1:{there}/video")
            else:
                send(handler, b"", "text/plain", 401, WWW_Authenticate='Basic realm="x"')

        with http_server(here) as port:
            source = opened(f"http://user:s3cret@127.0.0.1:{port}/video")
            assert next(iter(source.frames(threading.Event())))
            camera.over.set()
            source.close()
    assert seen == [None]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "rtsp://127.0.0.1/x", "gopher://127.0.0.1/"])
def test_a_redirect_to_another_scheme_is_refused(location: str) -> None:
    """HTTP leads to HTTP alone."""
    with (
        http_server(lambda handler: send(handler, b"", "text/plain", 302, Location=location)) as port,
        pytest.raises(SourceError, match="it leads to"),
    ):
        opened(f"http://127.0.0.1:{port}/x")


@pytest.mark.parametrize("needed", ['#EXT-X-KEY:METHOD=AES-128,URI="k"', "#EXT-X-BYTERANGE:10@0"])
def test_a_playlist_that_needs_more_says_so(needed: str) -> None:
    """Encrypted segments and byte ranges are not read, and that is told."""
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{needed}\n#EXTINF:1,\ns0.ts\n"
    with (
        http_server(lambda handler: send(handler, text.encode(), "application/vnd.apple.mpegurl")) as port,
        pytest.raises(SourceError, match="not read"),
    ):
        opened(f"http://127.0.0.1:{port}/x.m3u8")


def test_a_playlist_that_is_over_is_a_recording(tmp_path: Path) -> None:
    """With its end in it, it is played from its beginning, once, in its own time."""
    make_segments(tmp_path, 2)
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ns0.ts\n#EXTINF:1,\ns1.ts\n#EXT-X-ENDLIST\n"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.lstrip("/")
        body = text.encode() if name == "x.m3u8" else (tmp_path / name).read_bytes()
        send(handler, body, "application/octet-stream")

    with http_server(answer) as port:
        source = opened(f"http://127.0.0.1:{port}/x.m3u8")
        assert not source.is_live
        frames = list(source.frames(threading.Event()))
        source.close()
    assert len(frames) == 20
    assert (frames[-1].capture_time - frames[0].capture_time).total_seconds() == pytest.approx(1.9, abs=0.01)


@contextlib.contextmanager
def rtsp_that_says(*replies: bytes) -> Iterator[int]:
    """A server that answers each request with the next reply."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                with client:
                    for reply in replies:
                        number = next(
                            (line for line in client.recv(65536).split(b"\r\n") if line.lower().startswith(b"cseq")),
                            b"",
                        )
                        client.sendall(reply.replace(b"CSEQ", number))
                    client.recv(65536)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("transport", list(Transport), ids=str)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_rtsp_leads_nowhere_else(transport: Transport, end: bytes, forbidden: Forbidden) -> None:
    """FFmpeg would follow a redirect to anywhere; it never sees one, however its lines end, and the target is told."""
    target = b"rtsp://user:s3cret@127.0.0.2:%d/x" % forbidden.port
    options = end.join([b"RTSP/1.0 200 OK", b"CSEQ", b"Public: DESCRIBE", b"", b""])
    redirect = end.join([b"RTSP/1.0 302 Moved", b"CSEQ", b"Location: " + target, b"", b""])
    with rtsp_that_says(options, redirect) as port, pytest.raises(SourceError) as raised:
        opened(f"rtsp://127.0.0.1:{port}/x", transport=transport)
    assert raised.value.detail == f"it redirects to rtsp://***@127.0.0.2:{forbidden.port}/x: add that URL instead"


# ---- what passes the relay


def passed(data: bytes, step: int) -> bytes:
    filter_ = ReplyFilter("10.0.0.9")
    return b"".join(filter_.feed(data[at : at + step]) for at in range(0, len(data), step))


STREAM = (
    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 26\r\n\r\nv=0\r\nRTSP/1.0 302 Moved\r\n!"
    b"$\x00\x00\x05RTSP/"
    b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n"
    b"$\x01\x00\x03$$$"
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 4096])
def test_replies_and_packets_pass_unchanged_however_they_are_cut(step: int) -> None:
    """Bodies and packets may hold anything, a redirect's first line too: only heads are read."""
    assert passed(STREAM, step) == STREAM


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_a_server_cannot_name_another_host_for_packets(step: int) -> None:
    """Whatever it says of source and destination, the address that was checked stands there."""
    said = b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;source=8.8.8.8;server_port=1-2;destination=9.9.9.9\r\n\r\n"
    kept = b"RTSP/1.0 200 OK\r\nTransport: RTP/AVP;unicast;server_port=1-2;source=10.0.0.9\r\n\r\n"
    assert passed(said, step) == kept


@pytest.mark.parametrize("step", [1, 4096])
def test_a_redirect_hidden_behind_bare_line_feeds_is_found(step: int) -> None:
    """FFmpeg ends lines at a line feed, so that this does as well."""
    hidden = b"RTSP/1.0 200 OK\nCSeq: 1\n\nRTSP/1.0 301 Moved\r\nLocation: rtsp://10.0.0.1/x\r\n\r\n"
    with pytest.raises(RefusedError, match="redirects"):
        passed(hidden, step)


def test_a_head_without_end_is_given_up() -> None:
    """A server that never ends a line does not fill the memory."""
    with pytest.raises(RefusedError, match="no end"):
        passed(b"RTSP/1.0 200 OK" + b"x" * 70_000, 4096)


def test_the_default_networks_are_networks() -> None:
    """They are private and this machine's; no address of them is global or link-local."""
    import ipaddress

    for text in PRIVATE_NETWORKS:
        network = ipaddress.ip_network(text)
        assert not network.is_link_local
        assert not network.network_address.is_global
