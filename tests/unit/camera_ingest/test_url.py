"""Camera URLs: what is allowed, and that no credential is ever shown."""

from __future__ import annotations

import pytest

from camera_ingest.sources.url import SourceKind, parse_url
from tessera.domain.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("rtsp://admin:s3cret@10.0.0.5:554/h264?channel=1", SourceKind.RTSP, "rtsp://***@10.0.0.5:554/h264?channel=1"),
        ("http://cam/video?user=me&pwd=s3cret&fps=5", SourceKind.HTTP, "http://cam/video?user=***&pwd=***&fps=5"),
        ("https://cam/live.m3u8", SourceKind.HTTP, "https://cam/live.m3u8"),
        ("clips/door.mp4", SourceKind.FILE, "clips/door.mp4"),
        ("file:///clips/front%20door.mp4", SourceKind.FILE, "file:///clips/front%20door.mp4"),
        ("v4l2:/dev/video0", SourceKind.V4L2, "v4l2:/dev/video0"),
        ("folder:pictures", SourceKind.FOLDER, "folder:pictures"),
        ("demo:", SourceKind.DEMO, "demo:"),
    ],
)
def test_each_kind_is_known_and_shown_safely(text: str, kind: SourceKind, shown: str) -> None:
    """The kind follows from the scheme; what is shown has no user, password or token."""
    url = parse_url(text)
    assert (url.kind, url.shown) == (kind, shown)
    assert "s3cret" not in repr(url)


def test_a_file_url_is_a_path() -> None:
    """Escapes in a file URL are undone."""
    assert parse_url("file:///clips/front%20door.mp4").location == "/clips/front door.mp4"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://",
        "ftp://user:s3cret@host/x",
        "concat:/etc/passwd|/etc/hosts",
        "rtsp://user:s3cret@host:99999/x",
        "rtsp://user:s3/cret@host/x",
        "v4l2:/etc/passwd",
        "folder:",
        "rtsp://host/x\r\nHeader: 1",
        "x" * 3000,
        "rtsp://user:${HOME}@host/x",
        "http://host/${CAMERA_TOKEN}",
        "http://${CAMERA_HOST}/x",
    ],
)
def test_what_is_not_allowed_is_refused_by_name(text: str) -> None:
    """The error names the field `url` and what is allowed, and holds no credential."""
    with pytest.raises(InvalidInputError) as raised:
        parse_url(text)
    assert raised.value.field == "url"
    assert "cret" not in f"{raised.value} {raised.value.value}"


def test_credentials_come_from_the_environment() -> None:
    """A named credential is looked up when the source is opened, escaped, and scrubbed from what others say."""
    url = parse_url("rtsp://admin:${CAMERA_DOOR_PW}@host/x")
    environ = {"CAMERA_DOOR_PW": "p@ss/word"}
    assert url.resolved(environ) == "rtsp://admin:p%40ss%2Fword@host/x"
    said = url.scrubbed("cannot open rtsp://admin:p%40ss%2Fword@host/x with p@ss/word", environ)
    assert said == "cannot open rtsp://***@host/x with ***"


def test_a_credential_that_is_not_set_is_named() -> None:
    """The error says which variable is missing."""
    with pytest.raises(InvalidInputError, match="CAMERA_DOOR_PW"):
        parse_url("rtsp://admin:${CAMERA_DOOR_PW}@host/x").resolved({})
