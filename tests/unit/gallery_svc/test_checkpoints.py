"""The file of checkpoints: a crash leaves nothing that counts, and whatever else was done to it is found."""

from __future__ import annotations

import base64
import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from unit.trust.audit_world import KEY, LOG, NOON, World, Writers, honest_world

from gallery_svc.checkpoints import CheckpointFile
from gallery_svc.signing import Signer
from tessera.chassis.clock import ManualClock
from tessera.domain.errors import InvalidInputError, StoreCorruptError, UnavailableError
from tessera.trust.audit_check import AuditReport, verify_audit
from tessera.trust.findings import FindingKind
from tessera.trust.fold import LogFold
from tessera.trust.keys import PublicKeys
from tessera.trust.trail import file_name, read_copies, read_trail

Opened = Callable[..., CheckpointFile]


@pytest.fixture
def signer() -> Signer:
    """Who signs."""
    return Signer.ephemeral()


@pytest.fixture
def opened(tmp_path: Path, signer: Signer) -> Iterator[Opened]:
    """Opens the file in the folder `one`; closed at the end."""
    files: list[CheckpointFile] = []

    def open_it(**options: object) -> CheckpointFile:
        files.append(CheckpointFile.open(tmp_path / "one", LOG, signer, ManualClock(NOON), **options))  # type: ignore[arg-type]  # by name
        return files[-1]

    yield open_it
    for file in files:
        file.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An honest log and its checkpoints."""
    return honest_world(tmp_path_factory.mktemp("audit"))


def _path(tmp_path: Path, folder: str = "one") -> Path:
    return tmp_path / folder / file_name(LOG)


def _read_on(file: CheckpointFile, writers: Writers) -> LogFold:
    """Reads what is new in a log, as the gallery does."""
    fold = file.fold([KEY])
    for entry in writers.entries[fold.head.sequence :]:
        fold.take(entry)
    return fold


def _grow(file: CheckpointFile, writers: Writers, entries: int = 3) -> None:
    for at in range(entries):
        writers.write(at % 3)
    file.checkpoint(_read_on(file, writers))


def _check(content: bytes, writers: Writers, keys: PublicKeys) -> AuditReport:
    return verify_audit(LOG, writers.entries, read_trail(LOG, content, keys), [KEY])


def _kinds(report: AuditReport) -> set[FindingKind]:
    return {finding.kind for finding in report.findings}


# ---- a way through


def test_a_file_goes_on_where_it_ended(opened: Opened, tmp_path: Path, signer: Signer) -> None:
    """Another process reads the log on from the last checkpoint, and what it writes proves the whole."""
    writers = Writers()
    file = opened()
    _grow(file, writers)
    file.close()
    file = opened()
    assert file.fold([KEY]).head.sequence == 3
    _grow(file, writers, 5)
    report = _check(_path(tmp_path).read_bytes(), writers, signer.public_keys)
    assert (report.findings, report.checkpoint, report.notes) == ((), 8, ())


def test_one_process_at_a_time_has_the_file(opened: Opened) -> None:
    """Two that append would break each other's chain."""
    file = opened()
    with pytest.raises(UnavailableError, match="another process"):
        opened()
    file.close()
    opened()


def test_a_checkpoint_holds_what_changed_since_the_last(opened: Opened, tmp_path: Path) -> None:
    """Writers that said nothing are not repeated: lines do not grow with the gallery's restarts."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    writers.write(1)
    file.checkpoint(_read_on(file, writers))
    last = json.loads(_path(tmp_path).read_bytes().splitlines()[-1])
    assert last["writers"].keys() == {"gallery-b"}


def test_keys_may_change(tmp_path: Path) -> None:
    """The old public key goes on to check the old lines; without it they are told as such."""
    writers, old, new = Writers(), Signer.ephemeral(), Signer.ephemeral()
    with CheckpointFile.open(tmp_path / "one", LOG, old, ManualClock(NOON)) as file:
        _grow(file, writers)
    with pytest.raises(StoreCorruptError, match="not among the keys"):
        CheckpointFile.open(tmp_path / "one", LOG, new, ManualClock(NOON))
    with CheckpointFile.open(tmp_path / "one", LOG, new, ManualClock(NOON), old_keys=old.public_keys) as file:
        _grow(file, writers)
    content = _path(tmp_path).read_bytes()
    assert _check(content, writers, old.public_keys.joined(new.public_keys)).findings == ()
    assert _kinds(_check(content, writers, new.public_keys)) == {FindingKind.CHECKPOINTS_DAMAGED}


def test_the_name_of_a_log_makes_no_path(tmp_path: Path, signer: Signer) -> None:
    """Nor do two logs share a file."""
    names = ["_", "staff/00", "staff%2F00", "../up", ".."]
    assert len({file_name(name) for name in names}) == len(names)
    for name in names:
        CheckpointFile.open(tmp_path / "one", name, signer, ManualClock(NOON)).close()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(map(file_name, names))


# ---- trimming, receipts, restored backups, alarms


def test_entries_are_forgotten_at_a_checkpoint_alone(opened: Opened, tmp_path: Path, signer: Signer) -> None:
    """What is left is proven; less than what was told is DELETED, and the same without a word too."""
    writers, file = Writers(), opened()
    for _ in range(3):
        _grow(file, writers, 4)
    with pytest.raises(InvalidInputError, match="that of a checkpoint"):
        file.trim(5)
    file.trim(8)
    content = _path(tmp_path).read_bytes()
    trail = read_trail(LOG, content, signer.public_keys)
    for keys in ([KEY], []):
        # Nothing, some, or all of it is forgotten yet.
        for first in (1, 2, 5, 8, 9):
            assert verify_audit(LOG, writers.entries[first - 1 :], trail, keys).findings == ()
        report = verify_audit(LOG, writers.entries[9:], trail, keys)
        assert [(one.kind, one.sequence) for one in report.findings] == [(FindingKind.DELETED, 9)]
        edited = [*writers.entries[8:]]
        edited[1] = replace(edited[1], entry=b"{}")
        assert _kinds(verify_audit(LOG, edited, trail, keys)) == {FindingKind.EDITED}
        assert _kinds(verify_audit(LOG, [], trail, keys)) == {FindingKind.TRUNCATED}


def test_a_log_that_was_forgotten_to_its_last_checkpoint_is_whole(
    opened: Opened, tmp_path: Path, signer: Signer
) -> None:
    """An old log without new entries is empty after its time, and nothing is wrong."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    file.trim(3)
    trail = read_trail(LOG, _path(tmp_path).read_bytes(), signer.public_keys)
    assert verify_audit(LOG, [], trail, [KEY]).findings == ()


def test_receipts_stand_outside_of_the_store(opened: Opened, tmp_path: Path, signer: Signer) -> None:
    """As they were signed."""
    signed = signer.sign("receipt", {"receipt_id": "er-1"})
    opened().receipt(signed)
    assert read_trail(LOG, _path(tmp_path).read_bytes(), signer.public_keys).receipts == [signed]


def test_a_restored_backup_is_told_and_no_finding(opened: Opened, tmp_path: Path, signer: Signer) -> None:
    """Without the word of the gallery a log that went back is TRUNCATED or worse; with it a note says what happened."""
    writers, file = Writers(), opened()
    _grow(file, writers, 4)
    _grow(file, writers, 4)
    back = Writers(start="2")
    back.entries = writers.entries[:6]
    assert FindingKind.TRUNCATED in _kinds(_check(_path(tmp_path).read_bytes(), back, signer.public_keys))
    fold = LogFold(LOG, *_origin(signer, tmp_path), [KEY])
    for entry in back.entries:
        fold.take(entry)
    file.start(fold, "the backup of 12:00 was restored")
    _grow(file, back, 4)
    report = _check(_path(tmp_path).read_bytes(), back, signer.public_keys)
    assert report.findings == ()
    assert any("the backup of 12:00 was restored" in note for note in report.notes)


def _origin(signer: Signer, tmp_path: Path) -> tuple[object, object]:
    trail = read_trail(LOG, _path(tmp_path).read_bytes(), signer.public_keys)
    return trail.checkpoints[0].head, {}


def test_what_the_gallery_finds_is_kept_for_those_without_the_audit_key(
    opened: Opened, tmp_path: Path, signer: Signer
) -> None:
    """An entry that was changed before its checkpoint fits the chain: the ALARM tells of it."""
    writers, file = Writers(), opened()
    for at in range(4):
        writers.write(at % 2)
    writers.entries[2] = replace(writers.entries[2], entry=b"{}")
    fold = _read_on(file, writers)
    file.checkpoint(fold)
    file.checkpoint(fold)  # said once
    trail = read_trail(LOG, _path(tmp_path).read_bytes(), signer.public_keys)
    report = verify_audit(LOG, writers.entries, trail)
    assert [(one.kind, one.sequence) for one in report.findings] == [(FindingKind.EDITED, 3)]
    assert report.findings[0].detail.count("more") == 0


# ---- crashes


def test_a_crash_at_every_byte_of_a_line_leaves_the_lines_before(tmp_path: Path, signer: Signer) -> None:
    """Nothing half written counts; the file is read and written on, and says that it was torn."""
    writers = Writers()
    with CheckpointFile.open(tmp_path / "one", LOG, signer, ManualClock(NOON)) as file:
        _grow(file, writers)
        before = len(_path(tmp_path).read_bytes())
        _grow(file, writers)
    whole = _path(tmp_path).read_bytes()
    for length in range(before, len(whole) - 1):
        assert _check(whole[:length], writers, signer.public_keys).checkpoint == 3
    for length in (before, before + 1, *range(before + 2, len(whole), 40), len(whole) - 2, len(whole) - 1):
        torn = Writers(start="2")
        torn.entries = list(writers.entries)
        _path(tmp_path).write_bytes(whole[:length])
        report = _check(whole[:length], torn, signer.public_keys)
        assert report.findings == ()
        assert report.checkpoint == (6 if length == len(whole) - 1 else 3)
        with CheckpointFile.open(tmp_path / "one", LOG, signer, ManualClock(NOON)) as file:
            _grow(file, torn, 1)
        after = _path(tmp_path).read_bytes()
        assert after.startswith(whole[:length])
        report = _check(after, torn, signer.public_keys)
        assert (report.findings, report.checkpoint) == ((), 7)
        assert any("crash" in note for note in report.notes) or length in {before, len(whole) - 1}


@pytest.mark.parametrize("tail", [b"\0" * 700, b"\xff\xfe", b'{"kind":"CHECKPOINT"'])
def test_what_a_power_cut_may_leave_does_not_count(opened: Opened, tmp_path: Path, signer: Signer, tail: bytes) -> None:
    """Zeros where a block never came, and the crash of the crash's repair."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    file.close()
    with _path(tmp_path).open("ab") as stream:
        stream.write(tail + b"\n" + tail)
    file = opened()
    _grow(file, writers)
    assert _check(_path(tmp_path).read_bytes(), writers, signer.public_keys).findings == ()


@contextmanager
def _disk_of(file_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond this: a write that passes it is cut short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 1, 100, 400])
def test_a_full_disk_is_told_and_made_up_for(opened: Opened, tmp_path: Path, signer: Signer, room: int) -> None:
    """The error names the file; half a line counts for nothing; the same call later writes what it could not."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    writers.write(0)
    fold = _read_on(file, writers)
    size = _path(tmp_path).stat().st_size
    with _disk_of(size + room), pytest.raises(UnavailableError, match="File too large"):
        file.checkpoint(fold)
    assert _path(tmp_path).stat().st_size == size + room
    assert _check(_path(tmp_path).read_bytes(), writers, signer.public_keys).checkpoint == 3
    with _disk_of(size + room), pytest.raises(UnavailableError):
        file.checkpoint(fold)
    file.checkpoint(fold)
    report = _check(_path(tmp_path).read_bytes(), writers, signer.public_keys)
    assert (report.findings, report.checkpoint) == ((), 4)
    assert json.loads(_path(tmp_path).read_bytes().splitlines()[-1])["writers"].keys() == {"gallery-a"}


# ---- what is done to the file


def test_any_change_of_the_file_is_found(world: World) -> None:
    """Every line: edited, taken out, doubled, moved; and any byte of the file."""
    lines = world.content.splitlines(keepends=True)
    changed = []
    for at in range(len(lines) - 1):
        changed += [
            [*lines[:at], *lines[at + 1 :]],
            [*lines[: at + 1], *lines[at:]],
            [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
            [*lines[:at], b"nothing\n", *lines[at:]],
            [*lines[:at], lines[at].replace(b'"sequence":', b'"sequence":1'), *lines[at + 1 :]],
        ]
    for content in changed:
        trail = read_trail(LOG, b"".join(content), world.signer.public_keys)
        assert FindingKind.CHECKPOINTS_DAMAGED in _kinds(verify_audit(LOG, world.entries, trail, [KEY]))


def test_any_byte_of_the_file_counts(world: World) -> None:
    """Before the last line a bent byte is damage; in it it may look like a crash, and then does not count."""
    last_line = world.content[:-1].rindex(b"\n") + 1
    for at in range(0, len(world.content) - 1, 23):
        bent = world.content[:at] + bytes([world.content[at] ^ 1]) + world.content[at + 1 :]
        trail = read_trail(LOG, bent, world.signer.public_keys)
        if at < last_line:
            assert trail.is_damaged
        else:
            assert trail.is_damaged or (trail.last is not None and trail.last.head.sequence == 30 and trail.notes)


def test_sound_lines_count_even_when_others_are_damaged(world: World) -> None:
    """Each is signed by itself: an edit before them is still found, and nothing that is right is accused."""
    lines = world.content.splitlines(keepends=True)
    trail = read_trail(LOG, b"".join([lines[0], *lines[2:]]), world.signer.public_keys)
    assert _kinds(verify_audit(LOG, world.entries, trail, [KEY])) == {FindingKind.CHECKPOINTS_DAMAGED}
    edited = [*world.entries]
    edited[24] = replace(edited[24], entry=b"{}")
    kinds = _kinds(verify_audit(LOG, edited, trail, []))
    assert kinds == {FindingKind.CHECKPOINTS_DAMAGED, FindingKind.EDITED}


def test_a_line_of_another_log_is_damage(world: World, tmp_path: Path) -> None:
    """A file cannot stand for another log."""
    trail = read_trail("staff/01", world.content, world.signer.public_keys)
    assert trail.checkpoints == []
    assert trail.is_damaged


def test_lines_that_were_cut_off_whole_are_found_with_a_second_copy_alone(world: World) -> None:
    """The limit that the documentation states, and what the second folder is for."""
    cut = b"".join(world.content.splitlines(keepends=True)[:-2])
    keys = world.signer.public_keys
    assert not read_trail(LOG, cut, keys).findings
    both = read_copies(LOG, [cut, world.content], keys)
    assert [finding.kind for finding in both.findings] == [FindingKind.CHECKPOINTS_DAMAGED]
    assert both.last == read_trail(LOG, world.content, keys).last
    one_behind = b"".join(world.content.splitlines(keepends=True)[:-1])  # a crash between the two
    assert not read_copies(LOG, [world.content, one_behind], keys).findings


def test_a_changed_file_is_not_written_on(opened: Opened, tmp_path: Path) -> None:
    """The error says what to do; the evidence stays."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    _grow(file, writers)
    file.close()
    lines = _path(tmp_path).read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], *lines[2:]])
    _path(tmp_path).write_bytes(damaged)
    with pytest.raises(StoreCorruptError, match="tessera audit verify"):
        opened()
    assert _path(tmp_path).read_bytes() == damaged


def test_lines_that_went_while_the_process_ran_are_found(opened: Opened, tmp_path: Path, signer: Signer) -> None:
    """Cut behind its back, or replaced as a whole."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    short = _path(tmp_path).read_bytes()
    _grow(file, writers)
    _path(tmp_path).unlink()
    _path(tmp_path).write_bytes(short)
    with pytest.raises(StoreCorruptError, match="not there any more"):
        file.receipt(signer.sign("receipt", {}))


# ---- two folders


def test_both_folders_get_the_same(opened: Opened, tmp_path: Path) -> None:
    """To the byte, as long as nothing crashes; a new one gets all that there is."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    file.close()
    file = opened(second=tmp_path / "two")
    _grow(file, writers)
    assert _path(tmp_path, "two").read_bytes() == _path(tmp_path).read_bytes()


@pytest.mark.parametrize("torn", ["one", "two"])
@pytest.mark.parametrize("left", [0, 1, 300])
def test_a_crash_between_the_two_is_made_up_for(
    opened: Opened, tmp_path: Path, signer: Signer, torn: str, left: int
) -> None:
    """The one that is behind, torn or not, gets what it lacks; both agree again."""
    writers = Writers()
    file = opened(second=tmp_path / "two")
    _grow(file, writers)
    before = _path(tmp_path).stat().st_size
    _grow(file, writers)
    file.close()
    path = _path(tmp_path, torn)
    path.write_bytes(path.read_bytes()[: before + left])
    file = opened(second=tmp_path / "two")
    assert file.fold([KEY]).head.sequence == 6
    _grow(file, writers)
    contents = [_path(tmp_path, folder).read_bytes() for folder in ("one", "two")]
    for content in contents:
        assert _check(content, writers, signer.public_keys).findings == ()
    both = read_copies(LOG, contents, signer.public_keys)
    assert (both.findings, both.checkpoints[-1].head.sequence) == ([], 9)


def test_a_second_folder_that_is_full_holds_the_checkpoint_up(opened: Opened, tmp_path: Path, signer: Signer) -> None:
    """What stands in one folder alone is no more than a line ahead."""
    writers, file = Writers(), opened(second=tmp_path / "two")
    _grow(file, writers)
    with _path(tmp_path, "two").open("ab") as stream:
        stream.write(b"\0" * 1000)  # the second file reaches the limit first
    for _ in range(3):
        writers.write(0)
        with _disk_of(_path(tmp_path, "two").stat().st_size), pytest.raises(UnavailableError, match="two"):
            file.checkpoint(_read_on(file, writers))
    contents = [_path(tmp_path, folder).read_bytes() for folder in ("one", "two")]
    assert read_copies(LOG, contents, signer.public_keys).findings == []
    file.checkpoint(_read_on(file, writers))
    assert _check(_path(tmp_path, "two").read_bytes(), writers, signer.public_keys).findings == ()


def test_copies_that_say_different_things_are_found(tmp_path: Path, signer: Signer) -> None:
    """Both well signed: one of them is of another history."""
    writers = Writers()
    contents = []
    for folder in ("one", "two"):
        with CheckpointFile.open(tmp_path / folder, LOG, signer, ManualClock(NOON)) as file:
            writers.write(0)
            file.checkpoint(_read_on(file, writers))
            contents.append(_path(tmp_path, folder).read_bytes())
    assert [one.kind for one in read_copies(LOG, contents, signer.public_keys).findings] == [
        FindingKind.CHECKPOINTS_DAMAGED
    ]


def test_a_line_shows_no_key(opened: Opened, tmp_path: Path) -> None:
    """The signing key's fingerprint alone."""
    writers, file = Writers(), opened()
    _grow(file, writers)
    content = _path(tmp_path).read_bytes()
    assert KEY not in content
    assert base64.b64encode(KEY) not in content
    assert KEY.hex().encode() not in content
