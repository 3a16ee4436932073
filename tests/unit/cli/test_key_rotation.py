"""`tessera keys rotate` and `tessera keys status` against a sealed store behind a real gallery's servicer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from gallery_svc.store.keyring import Keyring
from tessera.chassis.key_files import EncryptionKey
from tessera.cli import __main__ as entry
from tests.upkeep_world import NEW_KEY, OLD_KEY, Upkeep, key_lines, redis_store, serving, staff, template
from tests.valkey import PrivateServer, running_server

OLD, NEW = OLD_KEY.fingerprint.hex(), NEW_KEY.fingerprint.hex()

Run = Callable[..., Awaitable[int]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
async def run(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """Runs `tessera keys` against a gallery that was started with a new first key; gives the exit code."""
    with Redis(port=server.port, protocol=2) as client:
        client.flushall()
    before = Upkeep(redis_store(server.url, OLD_KEY), Keyring((OLD_KEY,)))
    await before.store.prepare()
    await before.store.create_collection(staff())
    for number in range(3):
        await before.enroll(f"p{number}", template(f"t{number}", number))
    await before.store.close()
    upkeep = Upkeep(redis_store(server.url, NEW_KEY, OLD_KEY), Keyring((NEW_KEY, OLD_KEY)))
    async with serving(upkeep) as address:
        monkeypatch.setenv("TESSERA_GALLERY", address)
        yield lambda *arguments: asyncio.to_thread(entry.main, ["keys", *(str(each) for each in arguments)])
    await upkeep.store.close()


def key_file(folder: Path, *keys: EncryptionKey) -> Path:
    """A key file."""
    path = folder / "kek"
    path.write_text(key_lines(*keys))
    path.chmod(0o600)
    return path


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, without the log of this process."""
    return [line for line in capsys.readouterr().out.splitlines() if "[info" not in line]


async def test_a_rotation_frees_the_old_line(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before it the old key opens values, after it none: status says that its line may go, and what still needs it."""
    path = key_file(tmp_path, NEW_KEY, OLD_KEY)
    assert await run("status", path) == 0
    assert told(capsys) == [f"new  {NEW}           0 values  wraps", f"old  {OLD}           6 values  opens"]
    assert await run("rotate") == 0
    assert told(capsys) == ["Looked at 6 values.", f"{NEW}           6 values"]
    assert await run("status", path) == 0
    lines = told(capsys)
    assert lines[:2] == [
        f"new  {NEW}           6 values  wraps",
        f"old  {OLD}           0 values  opens nothing: its line may go",
    ]
    assert "audit entries" in " ".join(lines[2:])


async def test_status_changes_nothing_and_names_what_is_missing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """3 when values need a key that the file does not have; asked twice it says the same."""
    path = key_file(tmp_path, NEW_KEY)
    for _ in range(2):
        assert await run("status", path) == 3
        assert f"not in FILE  {OLD}           6 values  put it back" in told(capsys)
    assert await run("status", "--json") == 0
    assert json.loads(told(capsys)[-1]) == {"values_by_key": {OLD: 6}, "keys": [], "missing": []}


async def test_json_says_which_line_may_go(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one that wraps never may."""
    path = key_file(tmp_path, NEW_KEY, OLD_KEY)
    await run("rotate", "--collection", "staff", "--json")
    assert json.loads(told(capsys)[-1]) == {"values_done": 6, "values_by_key": {NEW: 6}}
    await run("status", path, "--json")
    rows = json.loads(told(capsys)[-1])["keys"]
    assert [(row["key_id"], row["values"], row["may_go"]) for row in rows] == [("new", 6, False), ("old", 0, True)]


async def test_a_collection_that_is_not_there_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3."""
    assert await run("rotate", "--collection", "nobody") == 3
    assert "nobody" in capsys.readouterr().err
