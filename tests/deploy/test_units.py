"""The systemd units of an edge box: known to systemd, and true to the services that they start."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from benchmarks.figures import ROOT
from camera_ingest.settings import IngestSettings
from encoder_svc.settings import EncoderSettings
from gallery_svc.settings import GallerySettings
from gateway_svc.settings import GatewaySettings
from tessera.chassis.settings import load_settings

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(path.name for path in FOLDER.glob("*.service"))
SETTINGS = {
    "encoder": EncoderSettings,
    "gallery": GallerySettings,
    "ingest": IngestSettings,
    "gateway": GatewaySettings,
}


def _unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((FOLDER / name).read_text(encoding="utf-8"))
    return parser


def _environ(service: str) -> dict[str, str]:
    lines = (FOLDER / "etc" / f"{service}.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_systemd_knows_every_line(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing to say, with programs in the places that the units name."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here: that systemd reads the units as they are meant stays unproved")
    for name in (*UNITS, "tessera.target"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(re.sub(r"/opt/tessera/bin/\S+", "/bin/true", text), encoding="utf-8")
    told = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in told.stderr.splitlines() if "tessera" in line]
    assert ours == []


@pytest.mark.parametrize("service", SETTINGS)
def test_each_service_takes_its_environment(service: str) -> None:
    """The environment files set what the services know, to values that they allow."""
    load_settings(SETTINGS[service], f"TESSERA_{service.upper()}_", _environ(service))


@pytest.mark.parametrize("service", SETTINGS)
def test_a_unit_starts_its_service_and_lets_it_drain(service: str) -> None:
    """It starts the package of that service, waits for the port that the service listens at, and does not kill it while
    it drains."""
    unit = _unit(f"tessera-{service}.service")["Service"]
    settings = load_settings(SETTINGS[service], f"TESSERA_{service.upper()}_", _environ(service))
    package = shlex.split(unit["ExecStart"])[-1]
    assert (ROOT / package / "__main__.py").is_file()
    assert package.startswith({"encoder": "encoder", "ingest": "camera"}.get(service, service))
    assert f"127.0.0.1:{settings.port} " in unit["ExecStartPost"]
    assert float(unit["TimeoutStopSec"]) > settings.drain_s + 2


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_as_nobody_special_and_comes_back(name: str) -> None:
    """Its own user, a file system that it cannot write to but for its own folders, and restarts as long as it takes."""
    unit = _unit(name)
    assert unit["Service"]["User"] == "tessera"
    assert unit["Service"]["ProtectSystem"] == "strict"
    assert unit["Service"]["NoNewPrivileges"] == "yes"
    assert unit["Service"]["CapabilityBoundingSet"] == ""
    assert unit["Service"]["Restart"] in ("always", "on-failure")
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
