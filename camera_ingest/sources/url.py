"""A camera's URL: which kind of source it names, how it may be shown, and where its credentials come from.

Credentials may stand in the URL or be named as `${NAME}` there, to be taken from the environment when the source is
opened. Only names that start with CAMERA_ or TESSERA_CAMERA_ are looked up: whoever may add a camera must not be able
to send the rest of the environment to a host of their choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from tessera.domain.errors import InvalidInputError

ALLOWED = "rtsp://, rtsps://, http://, https://, a file path or file://, v4l2:/dev/video0, folder:PATH, or demo:"
_MAX_CHARACTERS = 2048
_NAMED = re.compile(r"\$\{([^}]*)\}")
_NAME_ALLOWED = re.compile(r"(TESSERA_)?CAMERA_[A-Z0-9_]{1,64}")
_SECRET_KEY = re.compile(r"pass|pwd|token|key|auth|sig|secret|user|login|code|cred", re.IGNORECASE)
_QUERY_PART = re.compile(r"([?&;])([^=&;#]*)=([^&;#]*)")
_UP_TO_LAST_AT = re.compile(r"^([a-zA-Z0-9+.-]*:/*).*@", re.DOTALL)
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):")


class SourceKind(StrEnum):
    """What stands behind a URL."""

    RTSP = "RTSP"
    HTTP = "HTTP"
    FILE = "FILE"
    V4L2 = "V4L2"
    FOLDER = "FOLDER"
    DEMO = "DEMO"


_STREAM_SCHEMES = {
    "rtsp": SourceKind.RTSP,
    "rtsps": SourceKind.RTSP,
    "http": SourceKind.HTTP,
    "https": SourceKind.HTTP,
}
_LIVE = frozenset({SourceKind.RTSP, SourceKind.HTTP, SourceKind.V4L2, SourceKind.DEMO})


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """A checked URL."""

    kind: SourceKind
    location: str = field(repr=False)
    """The whole URL for streams, a path for the others; may hold credentials or their names."""
    shown: str
    """Safe to show: no credentials."""

    @property
    def is_live(self) -> bool:
        """Whether it has no end: an end of it is a loss."""
        return self.kind in _LIVE

    def resolved(self, environ: Mapping[str, str]) -> str:
        """The location with each `${NAME}` replaced from the environment.

        Raises:
            InvalidInputError: a name is not set there.
        """

        def value_of(match: re.Match[str]) -> str:
            value = environ.get(match.group(1))
            if value is None:
                allowed = f"the environment of camera_ingest must set {match.group(1)}"
                raise InvalidInputError("url", self.shown, allowed)
            return quote(value, safe="")

        return _NAMED.sub(value_of, self.location) if self.kind in _STREAM_SCHEMES.values() else self.location

    def scrubbed(self, text: str, environ: Mapping[str, str]) -> str:
        """`text` without this URL's credentials, for a message that another library wrote."""
        try:
            resolved = self.resolved(environ)
        except InvalidInputError:
            resolved = self.location
        text = text.replace(resolved, self.shown).replace(self.location, self.shown)
        if self.kind in _STREAM_SCHEMES.values():
            for secret in _secrets(resolved):
                text = text.replace(secret, "***")
        return text


def parse_url(text: str, field: str = "url") -> SourceUrl:
    """Read and check a camera's URL; nothing is opened, resolved or looked up.

    Args:
        text: the URL.
        field: what an error names.

    Raises:
        InvalidInputError: it is empty, too long, of a scheme that is not allowed, or has no host.
    """
    if not text or len(text) > _MAX_CHARACTERS or any(ord(character) < 32 for character in text):
        raise InvalidInputError(field, _shown_unparsed(text), f"{ALLOWED}; at most {_MAX_CHARACTERS} characters")
    scheme = _scheme_of(text)
    if scheme in _STREAM_SCHEMES:
        return _parse_stream(text, _STREAM_SCHEMES[scheme], field)
    if scheme == "demo":
        return SourceUrl(SourceKind.DEMO, text.partition(":")[2], text)
    if scheme in {"v4l2", "folder", "file", ""}:
        return _parse_path(text, scheme, field)
    raise InvalidInputError(field, _shown_unparsed(text), ALLOWED)


def _scheme_of(text: str) -> str:
    match = _SCHEME.match(text)
    return match.group(1).lower() if match else ""


def _parse_path(text: str, scheme: str, field: str) -> SourceUrl:
    rest = text.partition(":")[2] if scheme else text
    kind = {"v4l2": SourceKind.V4L2, "folder": SourceKind.FOLDER}.get(scheme, SourceKind.FILE)
    if scheme == "file":
        rest = unquote(urlsplit(text).path) if rest.startswith("//") else rest
    if not rest:
        raise InvalidInputError(field, text, ALLOWED)
    if kind is SourceKind.V4L2 and not re.fullmatch(r"/dev/[A-Za-z0-9_/-]+", rest):
        raise InvalidInputError(field, text, "v4l2:/dev/video0")
    return SourceUrl(kind, str(Path(rest).expanduser()), text)


def _parse_stream(text: str, kind: SourceKind, field: str) -> SourceUrl:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise InvalidInputError(field, _shown_unparsed(text), "a URL with a host and a port of 1 to 65535") from None
    if not parts.hostname or "$" in (parts.hostname or ""):
        raise InvalidInputError(field, _shown_unparsed(text), "a URL with a host, such as rtsp://host/stream")
    userinfo = parts.netloc.rpartition("@")[0]
    if _NAMED.search(text.replace(userinfo, "", 1) if userinfo else text):
        raise InvalidInputError(field, _shown(parts), "${NAME} only as user or password: rtsp://user:${CAMERA_PW}@host")
    for name in _NAMED.findall(userinfo):
        if not _NAME_ALLOWED.fullmatch(name):
            allowed = "${NAME} with a NAME that starts with CAMERA_ or TESSERA_CAMERA_"
            raise InvalidInputError(field, _shown(parts), allowed)
    return SourceUrl(kind, text, _shown(parts))


def _shown(parts: SplitResult) -> str:
    userinfo, at, host = parts.netloc.rpartition("@")
    netloc = f"***@{host}" if at and userinfo else host
    return _QUERY_PART.sub(_hide_value, parts._replace(netloc=netloc).geturl())


def _hide_value(match: re.Match[str]) -> str:
    mark, key, value = match.groups()
    return f"{mark}{key}={'***' if _SECRET_KEY.search(key) else value}"


def _shown_unparsed(text: str) -> str:
    return _QUERY_PART.sub(_hide_value, _UP_TO_LAST_AT.sub(r"\1***@", text))


def _secrets(url: str) -> list[str]:
    userinfo = urlsplit(url).netloc.rpartition("@")[0]
    found = [userinfo, *userinfo.split(":")]
    found += [match[2] for match in _QUERY_PART.findall(url) if _SECRET_KEY.search(match[1])]
    both = [form for secret in found for form in (secret, unquote(secret))]
    return sorted({secret for secret in both if len(secret) >= 3}, key=len, reverse=True)
