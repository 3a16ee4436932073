"""`tessera store`: it finds its store by address or by data folder, says what is wrong, and ends with its code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from redis import Redis

from gallery_svc.store.keyring import Keyring
from tessera.cli import __main__ as entry
from tessera.cli.instance_keys import prepare_keys
from tessera.cli.store import _instance_store
from tests.upkeep_world import Upkeep, redis_store, staff, template


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an instance that does not run, with one person in its store."""
    for name in ("STORE", "KEYS"):
        monkeypatch.delenv(f"TESSERA_GALLERY_{name}", raising=False)
    prepare_keys(tmp_path)
    return tmp_path


async def enrolled(data_dir: Path) -> str:
    """Put somebody into the store of a folder; gives the key of the record."""
    with _instance_store(data_dir) as settings:
        keyring = Keyring.load(settings["KEYS"])
        upkeep = Upkeep(redis_store(settings["STORE"], keyring.wrapping_key), keyring)
        await upkeep.store.prepare()
        await upkeep.store.create_collection(staff(1))
        await upkeep.enroll("p1", template("t1", 1))
        await upkeep.store.close()
    return "tessera:{staff/00}:head"


def tessera(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    command = [sys.executable, "-m", "tessera.cli", *(str(each) for each in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)


async def test_the_store_of_a_folder_is_run_for_the_look(data_dir: Path) -> None:
    """Nobody runs it, so it is started, looked at, and ended; damage is found and mended."""
    head = await enrolled(data_dir)
    whole = tessera("store", "check", "--data-dir", data_dir)
    assert (whole.returncode, whole.stdout) == (0, "1 collections were read: all that they hold agrees\n")
    with _instance_store(data_dir) as settings, Redis.from_url(settings["STORE"], protocol=2) as client:
        client.hset(head, "pending", "2 p2")
        during = tessera("store", "check", "--data-dir", data_dir)  # it runs: it is looked at where it is
    assert during.returncode == 3
    assert re.search(r"found  PENDING staff/00 p2: .*; next: `tessera store repair`", during.stdout)
    assert entry.main(["store", "repair", "--yes", "--data-dir", str(data_dir)]) == 0
    assert entry.main(["store", "check", "--data-dir", str(data_dir)]) == 0


def test_a_store_has_to_be_named(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2: it could not be looked at; and which options name one."""
    assert entry.main(["store", "check"]) == 2
    assert "--data-dir, or --store and --keys" in capsys.readouterr().err
    assert entry.main(["store", "check", "--nonsense"]) == 2
    key = str(data_dir / "keys" / "kek")
    assert entry.main(["store", "check", "--store", "redis://127.0.0.1:1/0", "--keys", key]) == 4


def test_a_repair_is_asked_about(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not say yes, changes nothing."""
    monkeypatch.setattr("click.confirm", _refuse)
    assert entry.main(["store", "repair", "--data-dir", str(data_dir)]) == 130
    assert not (data_dir / "valkey").exists()


def _refuse(text: str, *, abort: bool) -> None:
    assert abort
    assert "Erase everybody whose data cannot be read whole?" in text
    raise click.Abort
