"""What runbooks tell somebody at night to type is there: commands, settings, metrics and other runbooks."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

from camera_ingest.settings import IngestSettings
from encoder_svc.settings import EncoderSettings
from gallery_svc.settings import GallerySettings
from gateway_svc.settings import GatewaySettings
from tessera.cli.__main__ import cli
from tests.unit.deploy.rule_files import RUNBOOKS, known_series, rules

PAGES = sorted(RUNBOOKS.glob("*.md"))
SETTINGS = {
    "ENCODER": EncoderSettings,
    "GALLERY": GallerySettings,
    "INGEST": IngestSettings,
    "GATEWAY": GatewaySettings,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_there(page: Path) -> None:
    """`tessera NAME [NAME]` names a command, and one of its options where it gives one."""
    for typed in re.findall(r"`tessera ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
        command: click.Command = cli
        for word in typed.split():
            if isinstance(command, click.Group):
                found = command.get_command(click.Context(command), word)
                assert found is not None, f"tessera {typed}: no command {word}"
                command = found
            elif word.startswith("--"):
                assert any(word in option.opts for option in command.params), f"tessera {typed}: no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_and_metric_is_there(page: Path) -> None:
    """A variable belongs to a field of its service's settings, and a metric is exported."""
    text = page.read_text(encoding="utf-8")
    for service, name in re.findall(r"TESSERA_([A-Z]+)_([A-Z_]+)", text):
        assert name.lower() in {field.name for field in fields(SETTINGS[service])}
    exported = known_series()
    for name in re.findall(r"`((?:tessera|grpc_server)_[a-z_]+)`", text):
        assert name in exported or f"{name}_bucket" in exported, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_other_page_is_there(page: Path) -> None:
    """Words in the form of an alert's name are one."""
    names = {rule.name for rule in rules() if rule.is_alert}
    ends = "|".join({re.findall("[A-Z][a-z]+", name)[0] for name in names})
    for word in re.findall(rf"\b(?:{ends})[A-Z][A-Za-z]+\b", page.read_text(encoding="utf-8")):
        assert word in names, word
