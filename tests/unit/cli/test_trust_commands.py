"""`tessera audit verify` and `tessera receipt verify`: what they say, and the exit code that a script reads."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.trust.audit_world import KEY, LOG, World, honest_world

from gallery_svc.receipts import signed_receipt
from gallery_svc.signing import Signer
from tessera.chassis.key_files import read_key_file
from tessera.cli import __main__ as entry
from tessera.cli.lazy_group import LazyCommand
from tessera.trust.entry_lines import entry_line
from tessera.trust.receipts import ErasureState, Receipt, receipt_file
from tessera.trust.stamps import StampedEntry, audit_key_of

Run = Callable[..., int]
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two groups stand among the commands, whether or not this version lists them."""
    for name in ("audit", "receipt"):
        monkeypatch.setitem(entry._COMMANDS, name, LazyCommand(f"tessera.cli.{name}", name, "Check."))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An honest log and its checkpoints."""
    return honest_world(tmp_path_factory.mktemp("audit"))


@pytest.fixture
def folder(tmp_path: Path, world: World) -> Path:
    """Everything that an auditor is handed."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "staff%2F00.checkpoints").write_bytes(world.content)
    (tmp_path / "pub.pem").write_text(world.signer.public_pem)
    (tmp_path / "audit.keys").write_text(f"audit-1 {base64.b64encode(KEY).decode()}\n")
    (tmp_path / "audit.keys").chmod(0o600)
    return tmp_path


def _export(folder: Path, entries: list[StampedEntry]) -> Path:
    path = folder / "entries.jsonl"
    path.write_text("".join(entry_line(one) + "\n" for one in entries), encoding="utf-8")
    return path


def _verify(folder: Path, *options: str, with_key: bool = True) -> int:
    arguments = ["audit", "verify", "--checkpoints", str(folder / "checkpoints"), "--key", str(folder / "pub.pem")]
    if with_key:
        arguments += ["--mac-key", str(folder / "audit.keys")]
    return entry.main([*arguments, *options])


def test_a_sound_log_ends_with_0(folder: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """One line for the log; notes say how far the proof goes."""
    assert _verify(folder, "--entries", str(_export(folder, world.entries))) == 0
    told = capsys.readouterr().out
    assert f"{LOG}: 40 entries (1 to 40), nothing is wrong" in told
    assert "6 entries behind it are proven by their MACs alone" in told


def test_without_the_audit_key_it_says_what_is_not_proven(
    folder: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """0, and a note."""
    assert _verify(folder, "--entries", str(_export(folder, world.entries)), with_key=False) == 0
    assert "6 entries behind it are not proven: --mac-key would check them" in capsys.readouterr().out


def test_findings_end_with_3(folder: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each, with its kind, its sequence, and what to do."""
    entries = [*world.entries]
    entries[9] = replace(entries[9], entry=b"{}")
    del entries[20]
    assert _verify(folder, "--entries", str(_export(folder, entries))) == 3
    told = capsys.readouterr().out
    assert "NOT AS RECORDED from sequence 10 on" in told
    assert "EDITED              sequence 10: its MAC is wrong" in told
    assert "DELETED             sequence 21: their sequences are not there" in told
    assert told.count("next: keep the log") == 2


def test_json_has_the_same(folder: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts: kinds and sequences by name."""
    assert _verify(folder, "--entries", str(_export(folder, world.entries[:20])), "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] is False
    (log,) = told["logs"]
    (finding,) = log["findings"]
    assert (finding["kind"], finding["sequence"], finding["last_sequence"]) == ("TRUNCATED", 21, 34)
    assert finding["next"]


def test_entries_come_from_standard_input(folder: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads it."""
    content = _export(folder, world.entries).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert _verify(folder, "--entries", "-") == 0


def test_a_log_that_is_gone_whole_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its checkpoints are there, so it was."""
    assert _verify(folder, "--entries", str(_export(folder, []))) == 3
    assert "TRUNCATED" in capsys.readouterr().out


def test_checkpoints_that_are_gone_are_found(folder: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Its entries are there, so they were."""
    (folder / "checkpoints" / "staff%2F00.checkpoints").unlink()
    assert _verify(folder, "--entries", str(_export(folder, world.entries))) == 3
    assert "CHECKPOINTS_DAMAGED" in capsys.readouterr().out


def test_a_second_folder_must_agree(folder: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy without the last lines is found; one that is the same is not."""
    second = folder / "second"
    second.mkdir()
    (second / "staff%2F00.checkpoints").write_bytes(world.content)
    path = _export(folder, world.entries)
    assert _verify(folder, "--entries", str(path), "--checkpoints", str(second)) == 0
    (second / "staff%2F00.checkpoints").write_bytes(b"".join(world.content.splitlines(keepends=True)[:2]))
    assert _verify(folder, "--entries", str(path), "--checkpoints", str(second)) == 3
    assert "the copies differ from line 3 on" in capsys.readouterr().out


def test_one_log_can_be_picked(folder: Path, world: World) -> None:
    """Others are left out; one that is not there is a wrong use."""
    other = [replace(one, log="other/00") for one in world.entries]
    path = _export(folder, [*world.entries, *other])
    assert _verify(folder, "--entries", str(path)) == 3
    assert _verify(folder, "--entries", str(path), "--log", LOG) == 0
    assert _verify(folder, "--entries", str(path), "--log", "nobody/00") == 2


def test_a_wrong_use_is_no_finding(folder: Path, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """2: a missing option or file, a line that is no entry, a file that is no key, a key that others may read."""
    path = str(_export(folder, world.entries))
    assert entry.main(["audit", "verify"]) == 2
    assert _verify(folder, "--entries", str(folder / "nothing")) == 2
    assert _verify(folder, "--entries", path, "--what") == 2
    assert _verify(folder, "--entries", path, "--key", path) == 2
    (folder / "bad.jsonl").write_text("{}\n")
    assert _verify(folder, "--entries", str(folder / "bad.jsonl")) == 2
    assert "line 1" in capsys.readouterr().err
    (folder / "audit.keys").chmod(0o644)
    assert _verify(folder, "--entries", path) == 2
    assert base64.b64encode(KEY).decode() not in capsys.readouterr().err


# ---- receipts


@pytest.fixture
def receipt_path(folder: Path, world: World) -> Path:
    """A receipt as a file."""
    receipt = Receipt("er-1", "staff", "alice", ErasureState.COMPLETE, 3, 2, 14, AT, AT, 2, 7)
    path = folder / "receipt.json"
    path.write_text(receipt_file(signed_receipt(receipt, world.signer)))
    return path


def test_a_genuine_receipt_is_shown(folder: Path, receipt_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0, and what it says."""
    assert entry.main(["receipt", "verify", str(receipt_path), "--key", str(folder / "pub.pem")]) == 0
    told = capsys.readouterr().out
    assert "alice of staff" in told
    assert "3 templates, 2 pictures, 14 events at 2026-11-22 12:00:00 UTC" in told


def test_a_changed_receipt_ends_with_3_and_is_not_shown(
    folder: Path, receipt_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says is not to be read by mistake."""
    receipt_path.write_text(receipt_path.read_text().replace("alice", "bob"))
    assert entry.main(["receipt", "verify", str(receipt_path), "--key", str(folder / "pub.pem")]) == 3
    told = capsys.readouterr().out
    assert "BAD_SIGNATURE" in told
    assert "bob" not in told
    (folder / "other.pem").write_text(Signer.ephemeral().public_pem)
    assert entry.main(["receipt", "verify", str(receipt_path), "--key", str(folder / "other.pem"), "--json"]) == 3
    told_json = json.loads(capsys.readouterr().out)
    assert told_json["findings"][0]["fault"] == "UNKNOWN_KEY"


def test_a_receipt_that_cannot_be_read_ends_with_2(folder: Path, receipt_path: Path) -> None:
    """A wrong use, not a forged receipt."""
    assert entry.main(["receipt", "verify", str(receipt_path)]) == 2
    assert entry.main(["receipt", "verify", str(folder / "nothing"), "--key", str(folder / "pub.pem")]) == 2
    receipt_path.write_bytes(b"\xff")
    assert entry.main(["receipt", "verify", str(receipt_path), "--key", str(folder / "pub.pem")]) == 2


def test_help_says_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """They are others than those of the commands that decide."""
    for group in ("audit", "receipt"):
        assert entry.main([group, "verify", "--help"]) == 0
        assert "3 there are findings; 2 it could not be" in capsys.readouterr().out


def test_audit_keys_are_written_for_auditors_and_open_nothing(tmp_path: Path) -> None:
    """A file for its owner alone, with keys that derive from the gallery's and are none of them; never written over."""
    gallery_key = base64.b64encode(KEY).decode()
    (tmp_path / "kek").write_text(f"k-1 {gallery_key}\n")
    (tmp_path / "kek").chmod(0o600)
    arguments = ["audit", "keys", str(tmp_path / "kek"), str(tmp_path / "audit.keys")]
    assert entry.main(arguments) == 0
    assert (tmp_path / "audit.keys").stat().st_mode & 0o777 == 0o600
    assert [key.key for key in read_key_file(tmp_path / "audit.keys")] == [audit_key_of(KEY)]
    assert entry.main(arguments) == 3
