"""`tessera keys`: the file is its owner's alone, no key is ever shown, and no call loses a key."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tessera.chassis.key_files import read_key_file
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.keys import keys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keys are to be."""
    return tmp_path / "kek"


def _run(*arguments: object) -> int:
    code: int = keys.main([str(argument) for argument in arguments], prog_name="keys", standalone_mode=False)
    return code


def test_a_new_file_has_one_key_and_is_its_owners_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mode 0600, whatever the umask lets through; the answer names the key and where it is."""
    assert _run("new", file) == ExitCode.DONE
    (key,) = read_key_file(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"Made {key.key_id} in {file}; it wraps." in capsys.readouterr().out


def test_a_second_key_wraps_and_the_first_still_opens(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new key goes to the front; with --last to the end, where it does not wrap. No line is changed."""
    order: list[str] = []
    for options in ((), (), ("--last",), ()):
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        _run("new", file, *options, "--json")
        made = json.loads(capsys.readouterr().out)["made"]
        order = [*order, made] if options else [made, *order]
        assert before in file.read_text(encoding="utf-8")
    assert [key.key_id for key in read_key_file(file)] == order
    assert len(set(order)) == 4


def test_show_tells_names_and_days_and_no_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as text nor as JSON does a key's base64 appear."""
    _run("new", file)
    _run("new", file)
    wraps, opens = read_key_file(file)
    secrets = [line.split()[1] for line in file.read_text(encoding="utf-8").splitlines()]
    capsys.readouterr()
    _run("show", file)
    text = capsys.readouterr().out
    assert text.splitlines() == [
        f"{wraps.key_id}  {wraps.fingerprint.hex()}  {wraps.made_on}  wraps",
        f"{opens.key_id}  {opens.fingerprint.hex()}  {opens.made_on}  opens",
    ]
    _run("show", file, "--json")
    told = capsys.readouterr().out
    assert [row["key_id"] for row in json.loads(told)["keys"]] == [wraps.key_id, opens.key_id]
    assert [row["wraps"] for row in json.loads(told)["keys"]] == [True, False]
    assert not any(secret in text + told for secret in secrets)


def test_a_file_that_others_may_read_is_refused_with_what_to_run(file: Path) -> None:
    """Exit code 3, the mode that it has, and the command that sets it right; nothing is added to it."""
    _run("new", file)
    file.chmod(0o644)
    before = file.read_bytes()
    for command in ("show", "new"):
        with pytest.raises(Failure, match=f"it has 0644; run: chmod 600 {file}") as failure:
            _run(command, file)
        assert failure.value.ends_with == ExitCode.BAD_INPUT
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["kek"]


def test_a_file_of_something_else_is_not_touched(file: Path) -> None:
    """`new` does not write into a file that holds no keys."""
    file.touch(mode=0o600)
    file.write_text("certificate\n", encoding="utf-8")
    with pytest.raises(Failure, match="line 1"):
        _run("new", file)
    assert file.read_text(encoding="utf-8") == "certificate\n"


def test_two_calls_at_once_lose_no_key(file: Path) -> None:
    """While one call changes the file, another is refused and told why."""
    _run("new", file)
    before = file.read_bytes()
    (file.parent / "kek.new").touch()
    with pytest.raises(Failure, match="another call changes the keys now") as failure:
        _run("new", file)
    assert failure.value.facts["reason"] == "KEYS_BUSY"
    assert file.read_bytes() == before


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Neither command makes a folder, or ends with a traceback."""
    for command in ("new", "show"):
        with pytest.raises(Failure, match="No such file or directory"):
            _run(command, tmp_path / "none" / "kek")
