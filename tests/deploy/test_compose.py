"""The compose file of a site: what it says holds together, and its services run as processes with its environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.figures import ROOT
from benchmarks.operations.dockerfile import read_image
from camera_ingest.settings import IngestSettings
from encoder_svc.settings import EncoderSettings
from gallery_svc.settings import GallerySettings
from gateway_svc.settings import GatewaySettings
from tessera.chassis.ports import free_port
from tessera.chassis.probe import main as probe
from tessera.chassis.settings import load_settings
from tessera.cli.__main__ import main as tessera_command
from tessera.client import Tessera
from tessera.client.answers import ServiceState
from tests.servers import until
from tests.valkey import valkey_binary

FOLDER = ROOT / "deploy" / "compose"
SETTINGS = {
    "encoder": EncoderSettings,
    "gallery": GallerySettings,
    "ingest": IngestSettings,
    "gateway": GatewaySettings,
}
_GIVEN = {"VALKEY_PASSWORD": "a-password", "GRAFANA_PASSWORD": "another"}


def _read(name: str = "compose.yaml", given: Mapping[str, str] = _GIVEN) -> dict[str, Any]:
    """A compose file with its variables put in, as Compose does it.

    Source: the Compose specification, "Interpolation": `${NAME}`, `${NAME:-default}`, `${NAME:?error}`, `$$`.
    """

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found[1], found[2], found[3]
        if given.get(name):
            return given[name]
        assert kind == ":-", f"{name} has no value: {rest}"
        return rest

    text = (FOLDER / name).read_text(encoding="utf-8")
    text = re.sub(r"(?<!\$)\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}", value, text)
    return dict(yaml.safe_load(text.replace("$$", "$")))


def _environ(service: str, compose: Mapping[str, Any]) -> dict[str, str]:
    ours = compose["services"][service].get("environment", {})
    return {**read_image(service).final.environ, **ours}


# ---- what it says


@pytest.mark.parametrize("service", SETTINGS)
def test_each_service_takes_its_environment(service: str) -> None:
    """The environment that image and compose file give together is one that the service's settings accept."""
    settings = load_settings(SETTINGS[service], f"TESSERA_{service.upper()}_", _environ(service, _read()))
    assert settings.host == "0.0.0.0"  # type: ignore[attr-defined]


@pytest.mark.parametrize("service", SETTINGS)
def test_nobody_is_killed_while_it_drains(service: str) -> None:
    """Between SIGTERM and SIGKILL there is more time than the service takes to drain."""
    compose = _read()
    settings = load_settings(SETTINGS[service], f"TESSERA_{service.upper()}_", _environ(service, compose))
    grace_s = float(compose["services"][service]["stop_grace_period"].removesuffix("s"))
    assert grace_s > settings.drain_s + 2  # type: ignore[attr-defined]


def test_a_missing_password_stops_it() -> None:
    """Without VALKEY_PASSWORD nothing starts: there is no password that everybody knows."""
    with pytest.raises(AssertionError, match="VALKEY_PASSWORD has no value"):
        _read(given={"GRAFANA_PASSWORD": "x"})


def test_only_what_must_goes_out_and_nothing_is_open_to_the_street() -> None:
    """Ports are published on this machine's loopback alone; the store, the encoder and Prometheus have no way out."""
    services = _read()["services"]
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    for service in ("valkey", "encoder", "prometheus"):
        assert services[service]["networks"] == ["inside"]
    assert _read()["networks"]["inside"] == {"internal": True}


def test_our_services_may_nearly_nothing() -> None:
    """Each has a root that cannot be written to, no capabilities, and cannot get more rights."""
    for name, service in _read()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_addresses_name_services_and_the_ports_they_listen_at() -> None:
    """Each `host:port` in an environment is a service of the file at a port that its image exposes."""
    compose = _read()
    for name in SETTINGS:
        for value in compose["services"][name].get("environment", {}).values():
            for host, port in re.findall(r"(?:^|@|///)([a-z]+):(\d+)", value):
                ports = (6379,) if host == "valkey" else read_image(host).final.ports
                assert int(port) in ports


def test_what_is_mounted_is_there() -> None:
    """Each file and folder of the repository that a service mounts, and each file in one that its command names."""
    for name, service in _read()["services"].items():
        mounts = [volume.split(":")[:2] for volume in service.get("volumes", ()) if volume.startswith(".")]
        for source, _ in mounts:
            assert (FOLDER / source).exists(), (name, source)
        for file in re.findall(r"--config\.file=(\S+)", " ".join(map(str, service.get("command", ())))):
            (here,) = [FOLDER / source / file.removeprefix(f"{at}/") for source, at in mounts if file.startswith(at)]
            assert here.is_file(), (name, file)


@pytest.mark.parametrize("overlay", ["compose.cuda.yaml", "compose.sentinel.yaml"])
def test_what_is_laid_over_fits(overlay: str) -> None:
    """An overlay changes services that are there or brings whole ones, and its settings are ones that services take."""
    compose, over = _read(), _read(overlay)
    for name, service in over["services"].items():
        assert name in compose["services"] or "image" in service
        if name in SETTINGS:
            merged = _environ(name, compose) | service.get("environment", {})
            load_settings(SETTINGS[name], f"TESSERA_{name.upper()}_", merged)


# ---- what it does


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The services of the compose file as processes: its commands and its environment, on other ports and folders."""
    folder, compose = tmp_path_factory.mktemp("site"), _read()
    ports = {name: free_port() for name in ("valkey", *SETTINGS)}
    with ExitStack() as stack:
        stack.enter_context(_started("valkey", _store_command(compose, ports["valkey"], folder), {}, folder))
        for name in ("gallery-keys", "ingest-keys"):
            service = compose["services"][name]
            home = _folder_of(service, folder)
            assert tessera_command([word.replace("/var/lib/tessera", home) for word in service["command"]]) == 0
        for name in SETTINGS:
            environ = _moved(_environ(name, compose), name, compose, ports, folder)
            module = read_image(name).final.entrypoint[3]
            stack.enter_context(_started(name, [sys.executable, "-P", "-m", module], environ, folder))
        for name in SETTINGS:
            log = (folder / f"{name}.log").read_text
            assert probe([f"127.0.0.1:{ports[name]}", "--wait", "90"]) == 0, log()[-2000:]
        yield ports


@pytest.mark.timeout(240)
def test_a_site_enrols_and_verifies(site: Mapping[str, int], portraits: Mapping[str, bytes]) -> None:
    """With the compose file's environment a person is enrolled and recognised, the camera worker has its cameras in the
    store, and the gateway is told its target."""
    addresses = {name: f"127.0.0.1:{port}" for name, port in site.items()}
    with Tessera(
        addresses["gallery"],
        ingest=addresses["ingest"],
        encoder=addresses["encoder"],
        gateway=addresses["gateway"],
        deadline_s=30,
    ) as tessera:
        until(lambda: all(one.state is ServiceState.SERVING for one in tessera.status()))
        names = sorted(name for name in portraits if name.startswith("obama"))
        tessera.enroll("barack", [portraits[names[0]]])
        assert tessera.verify("barack", portraits[names[1]]).is_match
        assert list(tessera.cameras()) == []
        assert [target.name for target in tessera.notification_targets()] == ["alertmanager"]


def _store_command(compose: Mapping[str, Any], port: int, folder: Path) -> list[str]:
    words = [str(word) for word in compose["services"]["valkey"]["command"]]
    data = folder / "valkey"
    data.mkdir()
    moved = {"valkey-server": str(valkey_binary()), "/data": str(data)}
    moved["/etc/valkey/valkey.conf"] = str(ROOT / "deploy/store/valkey.conf")
    return [*(moved.get(word, word) for word in words), "--port", str(port), "--bind", "127.0.0.1"]


def _folder_of(service: Mapping[str, Any], folder: Path) -> str:
    (volume,) = [each for each in service["volumes"] if each.endswith(":/var/lib/tessera")]
    home = folder / f"volume-{volume.partition(':')[0]}"
    home.mkdir(exist_ok=True)
    return str(home)


def _moved(
    environ: Mapping[str, str], name: str, compose: Mapping[str, Any], ports: Mapping[str, int], folder: Path
) -> dict[str, str]:
    """The environment with each address on the loopback and each path in a folder of ours."""
    known = {host: {"valkey": 6379}.get(host) or read_image(host).final.ports[0] for host in ports}
    service, moved = compose["services"][name], {}
    targets = str(FOLDER / "targets.yaml")
    for field, value in environ.items():
        text = value
        for host, port in known.items():
            text = re.sub(rf"\b{host}:{port}\b", f"127.0.0.1:{ports[host]}", text)
        if "/var/lib/tessera" in text:
            text = text.replace("/var/lib/tessera", _folder_of(service, folder))
        moved[field] = text.replace("/etc/tessera/targets.yaml", targets)
    prefix = f"TESSERA_{name.upper()}_"
    moved |= {prefix + "HOST": "127.0.0.1", prefix + "PORT": str(ports[name]), prefix + "METRICS_PORT": "0"}
    moved.pop("TESSERA_CACHE_DIR", None)  # the weights of this machine
    return moved


class _started:  # noqa: N801 - reads as a word
    """A process that ends with the block."""

    def __init__(self, name: str, command: list[str], environ: Mapping[str, str], folder: Path) -> None:
        self._name, self._command, self._environ, self._folder = name, command, environ, folder

    def __enter__(self) -> None:
        with (self._folder / f"{self._name}.log").open("wb") as log:
            environ = {**os.environ, "PYTHONPATH": str(ROOT), **self._environ}
            self._process = subprocess.Popen(self._command, env=environ, stdout=log, stderr=log, cwd=self._folder)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=40)
        finally:
            self._process.kill()
            self._process.wait()
