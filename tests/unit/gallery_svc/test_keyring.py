"""The keys of the store: which files are taken, what is refused and how, and what derives from a key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gallery_svc.store.keyring import KeyId, Keyring
from tessera.chassis.key_files import EncryptionKey, add_key, new_key
from tessera.domain.errors import InvalidInputError, KeyMissingError

KeyFile = Callable[..., Path]


def line(key_id: str, key: bytes) -> str:
    """A line of a key file."""
    return f"{key_id} {base64.b64encode(key).decode()}"


@pytest.fixture
def key_file(tmp_path: Path) -> KeyFile:
    """Writes a key file of some lines."""

    def write(*lines: str, mode: int = 0o600) -> Path:
        path = tmp_path / "kek"
        path.write_text("\n".join(lines), encoding="utf-8")
        path.chmod(mode)
        return path

    return write


def test_the_first_line_wraps_and_all_open(key_file: KeyFile) -> None:
    """Blank lines and comments do not count; the order of the file is kept."""
    first, second = secrets.token_bytes(32), secrets.token_bytes(32)
    path = key_file("# the keys of the west gate", "", line("new", first), "  ", line("old", second), "# end")
    ring = Keyring.load(str(path))
    assert ring.wrapping == "new"
    assert ring.key_ids == ("new", "old")
    assert {key.key for key in ring.by_fingerprint.values()} == {first, second}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601])
def test_a_file_that_others_may_use_is_refused(key_file: KeyFile, mode: int) -> None:
    """The error names the mode and the command that helps."""
    path = key_file(line("a", secrets.token_bytes(32)), mode=mode)
    with pytest.raises(InvalidInputError, match=f"{mode:04o}; run: chmod 600 {path}"):
        Keyring.load(str(path))
    path.chmod(0o400)
    assert Keyring.load(str(path)).wrapping == "a"


_KEY = secrets.token_bytes(32)
_OTHER = secrets.token_bytes(32)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "at least one line"),
        (["# nothing"], "at least one line"),
        ([line("a", _KEY), "b"], "line 2"),
        ([line("a", _KEY) + " more"], "line 1"),
        ([line("a/b", _KEY)], "line 1"),
        ([line("a", _KEY)[:-4]], "line 1"),
        ([line("a", _KEY[:31])], "line 1"),
        ([line("a", _KEY + b"x")], "line 1"),
        (["a " + "!" * 44], "line 1"),
        ([line("a", bytes(32))], "random bytes"),
        ([line("a", _KEY), line("a", _OTHER)], "a comes twice"),
        ([line("a", _KEY), line("b", _KEY)], "comes twice"),
    ],
)
def test_what_is_not_a_key_is_refused_and_never_shown(key_file: KeyFile, lines: list[str], told: str) -> None:
    """The error says which line and what is allowed; no key's text is in it."""
    with pytest.raises(InvalidInputError, match=told) as refused:
        Keyring.load(str(key_file(*lines)))
    shown = str(refused.value)
    assert not any(word in shown for given in lines for word in given.split()[1:] if len(word) > 30)


def test_two_keys_of_one_fingerprint_are_refused(key_file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value names its key by the fingerprint alone, so that it must be unambiguous."""
    monkeypatch.setattr(EncryptionKey, "fingerprint", property(lambda _: b"same"))
    with pytest.raises(InvalidInputError, match="73616d65 comes twice"):
        Keyring.load(str(key_file(line("a", _KEY), line("b", _OTHER))))


def test_keys_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`env:NAME` holds the same lines; one that is not set is told by its name."""
    monkeypatch.setenv("GATE_KEYS", f"{line('a', _KEY)}\n{line('b', _OTHER)}")
    assert Keyring.load("env:GATE_KEYS").key_ids == ("a", "b")
    with pytest.raises(InvalidInputError, match="env:NOT_THERE"):
        Keyring.load("env:NOT_THERE")


@pytest.mark.parametrize("source", ["", "/nowhere/kek", "/"])
def test_what_cannot_be_read_is_told(source: str) -> None:
    """No file, no name, a folder: a wrong setting, not a traceback."""
    with pytest.raises(InvalidInputError, match="keys"):
        Keyring.load(source)


def test_ephemeral_keys_are_others_each_time() -> None:
    """What was sealed under one cannot be opened by the next process."""
    one, two = Keyring.load("ephemeral"), Keyring.load("ephemeral")
    assert one.by_fingerprint.keys() != two.by_fingerprint.keys()


def test_a_ring_shows_no_key(key_file: KeyFile) -> None:
    """Neither the ring nor one of its keys can be printed into a log."""
    ring = Keyring.load(str(key_file(line("a", _KEY))))
    shown = f"{ring!r} {ring} {ring.wrapping_key!r}"
    assert "a" in shown
    assert repr(_KEY) not in shown
    assert base64.b64encode(_KEY).decode() not in shown


def test_derived_keys_are_those_of_the_rfc(key_file: KeyFile) -> None:
    """HKDF-SHA256 without salt, written out with HMAC; another for each purpose and each key."""
    ring = Keyring.load(str(key_file(line("a", _KEY), line("b", _OTHER))))

    def expected(key: bytes, purpose: str) -> bytes:
        extracted = hmac.digest(bytes(32), key, hashlib.sha256)
        return hmac.digest(extracted, f"tessera {purpose}".encode() + b"\x01", hashlib.sha256)

    assert ring.derived("audit") == ring.derived("audit", KeyId("a")) == expected(_KEY, "audit")
    assert ring.derived("export") == expected(_KEY, "export")
    assert ring.derived("audit", KeyId("b")) == expected(_OTHER, "audit")
    with pytest.raises(KeyMissingError):
        ring.derived("audit", KeyId("c"))


def test_a_made_key_is_called_by_its_day_and_fingerprint(tmp_path: Path) -> None:
    """So that an error, which names the fingerprint, leads to the line of the file."""
    made = add_key(tmp_path / "kek", datetime(2026, 11, 22, 23, 59, tzinfo=UTC))
    assert made.key_id == f"2026-11-22-{made.fingerprint.hex()}"
    assert str(made.made_on) == "2026-11-22"
    assert EncryptionKey(KeyId("gate-2"), made.key).made_on is None
    assert EncryptionKey(KeyId("2026-13-40-01234567"), made.key).made_on is None
    assert Keyring.load(str(tmp_path / "kek")).wrapping == made.key_id
    assert new_key(datetime.now(UTC)).key != made.key
