"""HTTP for cameras: one GET at a time, over connections that were checked, with redirects that are checked as well.

FFmpeg's own HTTP would look names up by itself and follow a redirect to anywhere. Credentials go to the server that
the URL names, never to one that it redirects to, and stand in no error.
"""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from camera_ingest.sources.access import DEFAULT_PORTS, AccessRules
from camera_ingest.sources.http_login import Login, answer_to
from camera_ingest.sources.source import ReadLimits, SourceError
from camera_ingest.sources.url import parse_url
from tessera.domain.errors import InvalidInputError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_AGENT = "tessera-camera-ingest"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body is still to be read."""

    url: str = field(repr=False)
    """Where it came from in the end, without credentials."""
    response: http.client.HTTPResponse = field(repr=False)
    connection: http.client.HTTPConnection = field(repr=False)

    @property
    def content_type(self) -> str:
        """Such as `multipart/x-mixed-replace; boundary=frame`."""
        return self.response.getheader("Content-Type", "")

    def read(self, size: int = -1) -> bytes:
        """What has come, at most `size` bytes; empty at the end.

        Raises:
            TimeoutError: nothing came for the read limit.
            OSError: the connection broke.
        """
        try:
            return self.response.read1(size if size > 0 else 65536)
        except http.client.HTTPException as error:
            raise ConnectionError(type(error).__name__) from None

    def close(self) -> None:
        """Drop the connection."""
        self.response.close()
        self.connection.close()


class HttpClient:
    """Gets what one camera serves.

    Args:
        url: the camera's, whose credentials are for its own server alone.
        rules: where it may go.
        limits: how long the server may take.
    """

    def __init__(self, url: str, rules: AccessRules, limits: ReadLimits) -> None:
        parts = urlsplit(url)
        self._home = _origin(parts)
        self._login = Login(unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else None
        self._challenge = ""
        self._rules = rules
        self._limits = limits

    def get(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask for one URL, and follow where it leads.

        Raises:
            SourceError: it is not allowed, does not answer in time, or answers with an error.
        """
        url = _bare(url)
        for _ in range(_MAX_REDIRECTS):
            answer = self._ask(url, headers or {})
            status = answer.response.status
            if status in _REDIRECTS:
                target = answer.response.getheader("Location", "")
                answer.close()
                url = _bare(urljoin(url, target))
                continue
            if status == 401 and self._login is None:
                answer.close()
                raise SourceError("401 Unauthorized: it asks for a user and a password")
            if status not in (200, 206):
                reason = answer.response.reason
                answer.close()
                raise SourceError(f"{status} {reason}"[:100])
            answer.connection.sock.settimeout(self._limits.read_s) if answer.connection.sock else None
            return answer
        raise SourceError(f"more than {_MAX_REDIRECTS} redirects")

    def _ask(self, url: str, headers: dict[str, str]) -> Answer:
        for attempt in range(2):
            connection = self._connect(url)
            try:
                connection.request("GET", _target(url), headers=self._headers(url, headers))
                response = connection.getresponse()
            except TimeoutError:
                connection.close()
                raise SourceError(f"no answer for {self._limits.open_s:.1f} s") from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                raise SourceError(getattr(error, "strerror", None) or "its answer is no HTTP") from None
            if response.status != 401 or attempt or self._login is None or not self._is_home(url):
                break
            self._challenge = response.getheader("WWW-Authenticate", "")
            response.close()
            connection.close()
        return Answer(url, response, connection)

    def _connect(self, url: str) -> http.client.HTTPConnection:
        try:
            parsed = parse_url(url)
        except InvalidInputError:
            raise SourceError("it leads to what is no camera's URL") from None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.scheme not in self._rules.schemes:
            raise SourceError(f"it leads to {parsed.shown}, whose scheme is not allowed")
        host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
        plain = self._rules.connect(host, port, self._limits.open_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = http.client.HTTPConnection(host, port, timeout=self._limits.open_s)
        connection.sock = self._rules.with_tls(plain, host) if parts.scheme == "https" else plain
        return connection

    def _headers(self, url: str, headers: dict[str, str]) -> dict[str, str]:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port and parts.port != DEFAULT_PORTS[parts.scheme] else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        made = {"Host": host + port, "User-Agent": _AGENT, "Accept": "*/*", **headers}
        if self._login is not None and self._challenge and self._is_home(url):
            made["Authorization"] = answer_to(self._challenge, self._login, "GET", _target(url))
        return made

    def _is_home(self, url: str) -> bool:
        return _origin(urlsplit(url)) == self._home


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(scheme, 0)


def _bare(url: str) -> str:
    """The URL without its credentials, which travel in a header of their own."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise SourceError("it leads to what is no URL") from None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
