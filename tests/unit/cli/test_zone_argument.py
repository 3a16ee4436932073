"""Zones and masks as the command line says them."""

from __future__ import annotations

import pytest

from tessera.cli.failure import Failure
from tessera.cli.zone_argument import parse_zones
from tessera.client.answers import Zone


def test_zones_have_names_and_masks_have_none() -> None:
    """Corners are x,y joined by semicolons."""
    assert parse_zones(["till=0,0;0.5,0;0.5,1"], ["0.9,0.9;1,0.9;1,1;0.9,1"]) == (
        Zone("till", ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0))),
        Zone("", ((0.9, 0.9), (1.0, 0.9), (1.0, 1.0), (0.9, 1.0)), masked=True),
    )


@pytest.mark.parametrize(
    ("zone", "mask"),
    [
        ("0,0;1,0;1,1", None),
        ("till=0,0;1,0", None),
        ("till=0,0;1,0;1", None),
        (None, "0,0;2,0;1,1"),
        (None, "a,b;c,d;e,f"),
    ],
    ids=["no-name", "two-corners", "half-a-corner", "outside", "words"],
)
def test_what_is_no_polygon_is_refused_with_what_is_allowed(zone: str | None, mask: str | None) -> None:
    """The failure names the option, the value and what is allowed."""
    with pytest.raises(Failure) as caught:
        parse_zones([zone] if zone else [], [mask] if mask else [])
    assert caught.value.facts["field"] == ("--zone" if zone else "--mask")
    assert caught.value.facts["allowed"]
