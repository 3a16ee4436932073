"""`--camera [NAME=]URL`: what is watched, as the command line says it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.cli.failure import Failure

_FOLDER = "folder:"
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._:@-]{0,127})=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CameraArgument:
    """One camera to watch."""

    camera_id: str
    url: str


def parse_cameras(arguments: Sequence[str]) -> tuple[CameraArgument, ...]:
    """Name the cameras; those without a name are `camera-1`, `camera-2`, ... by their place.

    Raises:
        Failure: one is empty, or two have the same name.
    """
    cameras: dict[str, CameraArgument] = {}
    for place, argument in enumerate(arguments, start=1):
        named = _NAMED.fullmatch(argument)
        camera_id, url = named.groups() if named else (f"camera-{place}", argument)
        if not url or camera_id in cameras:
            raise Failure(
                f"--camera {argument}: " + ("the name is taken by another one" if url else "there is no URL"),
                field="--camera",
                value=argument,
                allowed="[NAME=]URL, each with its own name",
            )
        cameras[camera_id] = CameraArgument(camera_id, absolute(url))
    return tuple(cameras.values())


def absolute(url: str) -> str:
    """A file's or folder's path as it is seen from everywhere: the camera is remembered, the present folder is not."""
    scheme, path = (_FOLDER, url.removeprefix(_FOLDER)) if url.startswith(_FOLDER) else ("", url)
    is_path = "://" not in path and Path(path).exists()
    return scheme + str(Path(path).absolute()) if is_path else url
