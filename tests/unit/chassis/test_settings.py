"""Settings come from the environment, and a wrong one says which, what and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from tessera.chassis.settings import Secret, hide_credentials, load_settings, redacted, require
from tessera.domain.errors import InvalidInputError


class Device(StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Example:
    """Settings of a service that does not exist."""

    port: int = 7001
    rate_hz: float = 5.0
    warm: bool = True
    device: Device = Device.CPU
    folder: Path | None = None
    url: str = "redis://127.0.0.1/0"
    password: Secret = Secret()

    def __post_init__(self) -> None:
        require(0 < self.rate_hz <= 30, "rate_hz", self.rate_hz, "more than 0, at most 30")


def load(**environ: str) -> Example:
    return load_settings(Example, "X_", environ)


def test_each_kind_is_read() -> None:
    """Numbers, switches, choices, paths and secrets come out as their types."""
    settings = load(X_PORT="9", X_RATE_HZ="2.5", X_WARM="off", X_DEVICE="cuda", X_FOLDER="/a", X_PASSWORD="hush")
    assert settings == Example(9, 2.5, False, Device.CUDA, Path("/a"), password=Secret("hush"))


def test_nothing_set_means_the_defaults() -> None:
    """Other variables are no business of this service; an empty optional one is None."""
    assert load(PATH="/bin", X_FOLDER="") == Example()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("X_PORT", "many", "a whole number"),
        ("X_RATE_HZ", "fast", "a number"),
        ("X_RATE_HZ", "31", "at most 30"),
        ("X_WARM", "perhaps", "true or false"),
        ("X_DEVICE", "tpu", "cpu, cuda"),
    ],
)
def test_a_wrong_value_names_itself(name: str, value: str, allowed: str) -> None:
    """The error names the variable, the value and what is allowed."""
    with pytest.raises(InvalidInputError) as raised:
        load(**{name: value})
    assert raised.value.field == name
    assert allowed in raised.value.allowed
    assert value in str(raised.value)


def test_a_misspelt_variable_names_itself_and_keeps_its_value() -> None:
    """It is not passed over; what it holds may be a secret and is not shown."""
    with pytest.raises(InvalidInputError, match=r"X_PASWORD.*X_PASSWORD") as raised:
        load(X_PASWORD="hush")
    assert "hush" not in str(raised.value)


def test_secrets_never_show() -> None:
    """Neither printed, nor in repr, nor inside a URL."""
    settings = load(X_PASSWORD="hush", X_URL="redis://me:hush@host:1/0")
    assert "hush" not in repr(settings.password)
    assert "hush" not in str(redacted(settings))
    assert redacted(settings)["url"] == "redis://***@host:1/0"


@pytest.mark.parametrize("url", ["/dev/video0", "a@b", "http://host/p@th"])
def test_text_without_credentials_stays(url: str) -> None:
    """An @ outside the authority hides nothing."""
    assert hide_credentials(url) == url
