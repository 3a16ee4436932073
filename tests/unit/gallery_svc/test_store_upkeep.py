"""`python -m gallery_svc.store_upkeep` on a real server: it finds what was done to it, mends it, and guesses no key."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from gallery_svc.store.keyring import Keyring
from gallery_svc.store.protocol import shard_of
from gallery_svc.store_upkeep import StoreUpkeep, Wanted, wanted_from
from tessera.chassis.key_files import EncryptionKey
from tessera.domain.errors import KeyMissingError, NotFoundError
from tests.upkeep_world import COPY, NEW_KEY, OLD_KEY, STAFF, Upkeep, key_lines, redis_store, staff, template
from tests.valkey import PrivateServer, running_server

SHARD = f"{shard_of('p3', 4):02d}"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture
def redis(valkey: PrivateServer) -> Iterator[Redis]:
    """A client of the server, which holds nothing."""
    with Redis(port=valkey.port, protocol=2) as client:
        client.flushall()
        yield client


@pytest.fixture
async def filled(valkey: PrivateServer, redis: Redis) -> str:
    """The address of a store with two collections of five."""
    store = redis_store(valkey.url)
    upkeep = Upkeep(store, Keyring((OLD_KEY,)))
    await store.prepare()
    await store.create_collection(staff())
    for number in range(5):
        await upkeep.enroll(f"p{number}", template(f"t{number}", number))
    await upkeep.imported(await upkeep.exported())
    await store.close()
    return valkey.url


async def run(url: str, *arguments: str, keys: tuple[EncryptionKey, ...] = (OLD_KEY,)) -> tuple[int, str]:
    """Exit code and lines."""
    out = io.StringIO()
    store = redis_store(url, *keys)
    try:
        return await StoreUpkeep(store, wanted_from(arguments), out).run(), out.getvalue()
    finally:
        await store.close()


def damage(redis: Redis, name: str = "p3") -> None:
    """Have a subject's record not open."""
    key = f"tessera:{{staff/{SHARD}}}:subjects"
    sealed = bytearray(redis.hget(key, name))
    sealed[-1] ^= 1
    redis.hset(key, name, bytes(sealed))


async def test_a_whole_store_is_told_so(filled: str) -> None:
    """Exit code 0, and how many were read."""
    code, lines = await run(filled, "check")
    assert (code, lines) == (0, "2 collections were read: all that they hold agrees\n")


async def test_a_damaged_subject_is_found_mended_and_gone(filled: str, redis: Redis) -> None:
    """3 with the subject and what to do; repair ends with 0; the others are as they were; nothing is found again."""
    damage(redis)
    code, lines = await run(filled, "check", "--collection", "staff")
    assert code == 3
    assert f"found  SEALED  staff/{SHARD} p3: " in lines
    assert "tessera store repair" in lines
    code, lines = await run(filled, "repair")
    assert code == 0
    assert "mended SEALED" in lines
    store = redis_store(filled)
    left = await Upkeep(store, Keyring((OLD_KEY,))).everybody(STAFF)
    await store.close()
    assert [subject.subject_id for subject in left] == ["p0", "p1", "p2", "p4"]
    assert (await run(filled, "check"))[0] == 0


async def test_half_of_a_write_is_found_although_no_gallery_starts(filled: str, redis: Redis) -> None:
    """PENDING: the store refuses to be prepared, and is looked at all the same; and all other findings too."""
    redis.hset(f"tessera:{{staff/{SHARD}}}:head", "pending", "7 p3")
    redis.hdel(f"tessera:{{copy/{SHARD}}}:rows:1", "p3")
    code, lines = await run(filled, "check")
    assert code == 3
    assert f"PENDING staff/{SHARD} p3" in lines
    assert f"STATE   copy/{SHARD}" in lines
    assert (await run(filled, "repair"))[0] == 0
    assert (await run(filled, "check"))[0] == 0


async def test_without_the_key_nothing_is_mended_away(filled: str, redis: Redis) -> None:
    """A key that is missing looks like damage everywhere: it ends the repair before the first change."""
    before = {key: redis.dump(key) for key in redis.scan_iter("tessera:{staff*")}
    with pytest.raises(KeyMissingError):
        await run(filled, "repair", keys=(NEW_KEY,))
    assert {key: redis.dump(key) for key in redis.scan_iter("tessera:{staff*")} == before


async def test_a_collection_that_is_not_there_is_told(filled: str) -> None:
    """And nothing is looked at."""
    with pytest.raises(NotFoundError):
        await run(filled, "check", "--collection", "nobody")


def test_the_command_line_is_read() -> None:
    """Action, collection, JSON; anything else ends with 2."""
    assert wanted_from(["repair", "--collection", "copy", "--json"]) == Wanted("repair", COPY, True)
    assert wanted_from(["check"]) == Wanted("check", None, False)
    with pytest.raises(SystemExit) as ended:
        wanted_from(["mend"])
    assert ended.value.code == 2


def as_process(url: str, *arguments: str, keys: str) -> subprocess.CompletedProcess[str]:
    """Run it as `tessera store` does."""
    settings = {"STORE": url, "KEYS": keys, "DURABILITY": "everysec"}
    environ = {**os.environ, **{f"TESSERA_GALLERY_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-P", "-m", "gallery_svc.store_upkeep", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=110)


async def test_the_process_speaks_json_and_ends_with_its_code(filled: str, redis: Redis, tmp_path: Path) -> None:
    """Findings as JSON on standard output; why it could not look, on standard error, with 2; away is 4."""
    damage(redis)
    keys = tmp_path / "kek"
    keys.write_text(key_lines(OLD_KEY))
    keys.chmod(0o600)
    ran = as_process(filled, "check", "--json", keys=str(keys))
    assert ran.returncode == 3
    told = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {(one["collection_id"], one["what"], one["subject_id"]) for one in told} >= {("staff", "SEALED", "p3")}
    other = tmp_path / "other"
    other.write_text(key_lines(NEW_KEY))
    other.chmod(0o600)
    ran = as_process(filled, "repair", keys=str(other))
    assert ran.returncode == 2
    assert OLD_KEY.fingerprint.hex() in ran.stderr
    assert "nothing was changed" in ran.stderr
    ran = as_process("redis://127.0.0.1:1/0", "check", keys=str(keys))
    assert ran.returncode == 4
    ran = as_process("memory", "check", keys=str(keys))
    assert (ran.returncode, "TESSERA_GALLERY_STORE" in ran.stderr) == (2, True)
    ran = as_process(filled, "migrate", keys=str(keys))
    assert (ran.returncode, ran.stdout) == (0, "the store has the schema of this version\n")
