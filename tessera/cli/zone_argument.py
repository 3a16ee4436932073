"""`--zone NAME=x,y;x,y;x,y` and `--mask x,y;x,y;x,y`: places in a camera's picture, as the command line says them."""

from __future__ import annotations

from collections.abc import Sequence

from tessera.cli.failure import Failure
from tessera.client.answers import Zone

_ALLOWED = "3 or more corners x,y in fractions [0, 1] of width and height, such as 0,0;0.5,0;0.5,1"


def parse_zones(zones: Sequence[str], masks: Sequence[str]) -> tuple[Zone, ...]:
    """The zones and masks of a camera.

    Raises:
        Failure: one is no polygon, or a zone has no name.
    """
    named = []
    for argument in zones:
        name, found, corners = argument.partition("=")
        if not (found and name):
            raise Failure(
                f"--zone {argument}: it has no name", field="--zone", value=argument, allowed=f"NAME={_ALLOWED}"
            )
        named.append(Zone(name, _corners("--zone", argument, corners), masked=False))
    return (*named, *(Zone("", _corners("--mask", mask, mask), masked=True) for mask in masks))


def _corners(option: str, argument: str, text: str) -> tuple[tuple[float, float], ...]:
    try:
        corners = tuple((float(x), float(y)) for x, y in (corner.split(",") for corner in text.split(";") if corner))
    except ValueError:
        corners = ()
    if len(corners) < 3 or not all(0.0 <= side <= 1.0 for corner in corners for side in corner):
        raise Failure(f"{option} {argument}: it is no polygon", field=option, value=argument, allowed=_ALLOWED)
    return corners
