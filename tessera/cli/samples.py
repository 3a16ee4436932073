"""Pictures from the command line: a path, or `-` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tessera.cli.failure import Failure

STANDARD_INPUT = "-"


class ImageFile(click.Path):
    """A picture's file that exists, or `-`."""

    name = "image"

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, readable=True, allow_dash=True)


def read_samples(names: tuple[str, ...]) -> list[bytes]:
    """The bytes of each picture.

    Args:
        names: paths; at most one may be `-`.

    Raises:
        Failure: standard input is named twice.
    """
    if names.count(STANDARD_INPUT) > 1:
        raise Failure(
            "standard input can be read once",
            field="IMAGE",
            value="- -",
            allowed="at most one -",
            next_step="name the other pictures by their paths",
        )
    return [_read(name) for name in names]


def _read(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
