"""The gallery's settings say which field is wrong and what it allows."""

from __future__ import annotations

import pytest

from gallery_svc.settings import PREFIX, GallerySettings
from tessera.chassis.settings import load_settings
from tessera.domain.errors import InvalidInputError


def test_defaults_are_those_of_the_readme() -> None:
    """Port 7002, metrics 9102, the encoder and the store beside it."""
    settings = load_settings(GallerySettings, PREFIX, {})
    assert (settings.port, settings.metrics_port, settings.encoder) == (7002, 9102, "127.0.0.1:7001")
    assert settings.store == "redis://127.0.0.1:7379/0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("ENCODER", "nowhere"),
        ("STORE", "postgres://x"),
        ("HEARTBEAT_S", "11"),
        ("EVENTS_KEPT", "0"),
        ("TRACKLET_IDLE_S", "0"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    """The error carries the variable's whole name."""
    with pytest.raises(InvalidInputError) as refused:
        load_settings(GallerySettings, PREFIX, {PREFIX + name: value})
    assert refused.value.field == PREFIX + name
