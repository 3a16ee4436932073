"""Each image's command, started as its user in a root folder that has what its Dockerfile names and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.figures import ROOT
from benchmarks.operations.dockerfile import read_image
from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.ports import free_port
from tests.clean_root import USER, CleanRoot, clean_root, why_not

_WHY = why_not()
pytestmark = [
    pytest.mark.skipif(bool(_WHY), reason=f"{_WHY}: that the images have all they need stays unproved"),
    pytest.mark.timeout(300),
]

_PYTHON = "/opt/tessera/bin/python"
_ALONE = {
    "gallery": {"TESSERA_GALLERY_STORE": "memory", "TESSERA_GALLERY_KEYS": "ephemeral"},
    "ingest": {"TESSERA_INGEST_STORE_URL": "memory"},
    "gateway": {"TESSERA_GATEWAY_STORE_URL": "memory"},
    "encoder": {"TESSERA_ENCODER_RUNTIME": "eager", "TESSERA_ENCODER_LANES": "1"},
}
"""Settings with which each starts without the others."""


@contextmanager
def _running(root: CleanRoot, name: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    port, metrics_port = free_port(), free_port()
    prefix = f"TESSERA_{name.upper()}_"
    places = {"HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(metrics_port)}
    environ = {prefix + field: value for field, value in places.items()} | _ALONE[name]
    log = root.folder.with_suffix(".log")
    with log.open("wb") as written:
        process = root.start(environ, stdout=written.fileno(), stderr=written.fileno())
        try:
            yield process, port, metrics_port
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0, log.read_text()[-2000:]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the encoder's image, made by the command of its Dockerfile; without compiling."""
    cache = tmp_path_factory.mktemp("prepared") / "cache"
    supplied = default_supplied_dir() or default_cache_dir()
    environ = {
        **os.environ,
        "TESSERA_CACHE_DIR": str(cache),
        "TESSERA_SUPPLIED_DIR": str(supplied),
        "TESSERA_ENCODER_RUNTIME": "eager",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, "-m", "encoder_svc.prepare"], env=environ, check=True, timeout=200, cwd=ROOT)
    return cache


@pytest.mark.parametrize("name", ["encoder", "gallery", "ingest", "gateway"])
def test_a_service_starts_from_its_image_alone(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """It runs as the user of the Dockerfile, sees nothing but its own root, answers the Dockerfile's health check and
    tells its metrics; SIGTERM ends it with 0."""
    cache: Path | None = request.getfixturevalue("prepared") if name == "encoder" else None
    with clean_root(read_image(name), tmp_path / "root", cache) as root, _running(root, name) as running:
        process, port, metrics_port = running
        check = [word.replace(word.rpartition(":")[2], str(port)) if ":" in word else word for word in _check(root)]
        alone = ["--service", "live"] if name == "gateway" else []  # without a gallery it is not ready
        asked = root.run(*check, "--wait", "50", *alone)
        assert asked.returncode == 0, asked.stderr.decode() + root.folder.with_suffix(".log").read_text()[-2000:]
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
        assert Path(f"/proc/{process.pid}/root").readlink() == root.folder
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10) as page:
            assert f"tessera_{name}_" in page.read().decode()


@pytest.mark.parametrize("name", ["gallery", "ingest", "gateway", "tools"])
def test_no_image_but_the_encoders_has_torch(name: str, tmp_path: Path) -> None:
    """In them torch cannot be imported, and neither can another service."""
    with clean_root(read_image(name), tmp_path / "root") as root:
        code = "import importlib.util as u; print([n for n in ('torch', 'encoder_svc', 'pip') if u.find_spec(n)])"
        told = root.run(_PYTHON, "-P", "-c", code)
        assert told.stdout.decode().strip() == "[]", told.stderr.decode()


def test_the_tools_make_keys_and_say_what_is_away(tmp_path: Path) -> None:
    """`tessera keys prepare` makes a site's keys in the volume, for their owner alone; `tessera status` names each
    service that does not answer."""
    with clean_root(read_image("tools"), tmp_path / "root") as root:
        made = root.run("keys", "prepare", "--for", "gallery", "/var/lib/tessera")
        assert made.returncode == 0, made.stderr.decode()
        kek = root.folder / "var/lib/tessera/keys/kek"
        assert (kek.stat().st_uid, kek.stat().st_mode & 0o777) == (USER, 0o600)
        before = kek.read_bytes()
        assert root.run("keys", "prepare", "--for", "gallery", "/var/lib/tessera").returncode == 0
        assert kek.read_bytes() == before
        away = [f"--{name}=127.0.0.1:{free_port()}" for name in ("gallery", "ingest", "encoder", "gateway")]
        told = root.run("status", *away)
        assert told.returncode == 4
        assert told.stdout.decode().count("does not answer") == 4


def _check(root: CleanRoot) -> tuple[str, ...]:
    return root.image.final.healthcheck
