"""Best shots and clips on disk: sealed, bounded, whole or not at all."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from camera_ingest.evidence.avi import to_avi
from camera_ingest.evidence.sealing import EvidenceKeys, TornError, UnknownKeyError
from camera_ingest.evidence.vault import Gone, Kind, Limits, NotKeptError, Piece, Removal, Trouble, Vault, new_piece_id
from tessera.chassis.clock import ManualClock
from tessera.chassis.key_files import add_key
from tessera.domain.errors import InvalidInputError, NotFoundError

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
DAY_S = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def keys() -> EvidenceKeys:
    return EvidenceKeys.load("ephemeral")


def vault_in(folder: Path, keys: EvidenceKeys, clock: ManualClock, max_bytes: int = 1 << 20) -> Vault:
    vault = Vault(folder, keys, Limits(max_bytes, DAY_S), clock)
    vault.open()
    return vault


def shot(clock: ManualClock, *sightings: str, camera_id: str = "door") -> Piece:
    return Piece(new_piece_id(), Kind.SHOT, camera_id, clock.now(), clock.now(), tuple((one,) for one in sightings))


def test_what_was_put_is_got_back(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """With all that is known of it, from this vault and from one that opens the folder later."""
    piece = shot(clock, "s1")
    vault_in(tmp_path, keys, clock).put(piece, b"a picture")
    assert vault_in(tmp_path, keys, clock).get(Kind.SHOT, piece.piece_id) == (piece, b"a picture")


def test_a_piece_that_shows_many_is_found_again(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """However long the list of whom it shows: a clip of a crowd is erased with each of them."""
    piece = shot(clock, *(f"sighting-{number:04}" for number in range(500)))
    vault_in(tmp_path, keys, clock).put(piece, b"a crowd")
    again = vault_in(tmp_path, keys, clock)
    assert again.pieces == (piece,)
    assert again.erase_showing(frozenset({("sighting-0400",)})) == 1


def test_neither_names_nor_bytes_tell_anything(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """Nothing of a picture, a camera or a sighting can be read in the folder; files are the owner's alone."""
    vault_in(tmp_path, keys, clock).put(shot(clock, "sighting-of-ann", camera_id="back-door"), b"JPEGJPEGJPEG")
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for told in (b"JPEG", b"sighting", b"back-door", b"shot", b"2026"):
        assert told not in content
        assert told.decode() not in file.name
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("where", [0.02, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_torn_file_is_not_served_and_goes(
    tmp_path: Path, keys: EvidenceKeys, clock: ManualClock, where: float, damage: str
) -> None:
    """Cut or changed anywhere: not found, now and after a restart, and nothing is left of it."""
    vault, piece = vault_in(tmp_path, keys, clock), shot(clock)
    vault.put(piece, bytes(500))
    path = tmp_path / piece.piece_id
    content = bytearray(path.read_bytes())
    at = int(len(content) * where)
    if damage == "cut":
        del content[at:]
    else:
        content[at] ^= 1
    path.write_bytes(content)
    again = vault_in(tmp_path, keys, clock)
    for one in (vault, again):
        with pytest.raises(NotFoundError):
            one.get(Kind.SHOT, piece.piece_id)
    assert list(tmp_path.iterdir()) == []
    assert again.size_bytes == 0


def test_a_file_under_another_name_does_not_open(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """Whoever can write into the folder cannot show one sighting's picture as another's."""
    vault, first, second = vault_in(tmp_path, keys, clock), shot(clock), shot(clock)
    vault.put(first, b"ann")
    vault.put(second, b"ben")
    (tmp_path / second.piece_id).write_bytes((tmp_path / first.piece_id).read_bytes())
    with pytest.raises(NotFoundError):
        vault.get(Kind.SHOT, second.piece_id)


def test_the_oldest_make_room(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """The size stays within its bound; what is newest is there."""
    vault = vault_in(tmp_path, keys, clock, max_bytes=10_000)
    pieces = []
    for _ in range(8):
        clock.advance(1.0)
        pieces.append(shot(clock))
        vault.put(pieces[-1], bytes(2_000))
        assert vault.size_bytes <= 10_000
        assert vault.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert [piece.piece_id for piece in vault.pieces] == [piece.piece_id for piece in pieces[-4:]]


def test_an_age_ends_what_is_kept(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """A piece that is too old is not served, and the next tidying removes it."""
    vault, old = vault_in(tmp_path, keys, clock), shot(clock)
    vault.put(old, b"old")
    clock.advance(DAY_S / 2)
    new = shot(clock)
    vault.put(new, b"new")
    clock.advance(DAY_S / 2 + 1)
    with pytest.raises(NotFoundError):
        vault.get(Kind.SHOT, old.piece_id)
    assert vault.tidy() == ()
    clock.advance(DAY_S / 2)
    assert vault.tidy() == (Gone(Removal.AGE, 1),)
    assert list(tmp_path.iterdir()) == []


def test_a_better_shot_takes_the_place_of_the_one_before(
    tmp_path: Path, keys: EvidenceKeys, clock: ManualClock
) -> None:
    """One file for one id, and its size counts once."""
    vault, piece = vault_in(tmp_path, keys, clock), shot(clock)
    vault.put(piece, bytes(3000))
    vault.put(replace(piece, shows=(("staff", "ann"),)), b"better")
    assert vault.get(Kind.SHOT, piece.piece_id)[1] == b"better"
    assert vault.size_bytes == (tmp_path / piece.piece_id).stat().st_size


def test_what_shows_an_erased_sighting_goes(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """Also where it shows others besides; all else stays."""
    vault = vault_in(tmp_path, keys, clock)
    one, both, other = shot(clock, "ann"), shot(clock, "ann", "ben"), shot(clock, "ben")
    for piece in (one, both, other):
        vault.put(piece, b"picture")
    assert vault.erase_showing(frozenset({("ann",)})) == 2
    assert [path.name for path in tmp_path.iterdir()] == [other.piece_id]


def test_a_folder_that_cannot_be_written_costs_the_piece_alone(
    tmp_path: Path, keys: EvidenceKeys, clock: ManualClock
) -> None:
    """It is told why; when the folder is back, the next piece is kept."""
    folder = tmp_path / "vault"
    vault = vault_in(folder, keys, clock)
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(NotKeptError) as told:
        vault.put(shot(clock), b"lost")
    assert told.value.trouble is Trouble.WRITE
    folder.unlink()
    vault.open()
    piece = shot(clock)
    vault.put(piece, b"kept")
    assert [kept.piece_id for kept in vault.pieces] == [piece.piece_id]


def test_a_piece_larger_than_the_store_is_refused(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """It would push out everything, and itself."""
    vault, small = vault_in(tmp_path, keys, clock, max_bytes=4_000), shot(clock)
    vault.put(small, b"small")
    with pytest.raises(NotKeptError) as told:
        vault.put(shot(clock), bytes(5_000))
    assert told.value.trouble is Trouble.TOO_LARGE
    assert len(vault.pieces) == 1


def test_a_draft_that_was_left_is_removed(tmp_path: Path, keys: EvidenceKeys, clock: ManualClock) -> None:
    """A worker that was killed while it wrote leaves nothing behind."""
    (tmp_path / (new_piece_id() + ".draft")).write_bytes(b"half")
    vault_in(tmp_path, keys, clock)
    assert list(tmp_path.iterdir()) == []


def test_with_another_key_nothing_opens_and_nothing_is_destroyed(tmp_path: Path, clock: ManualClock) -> None:
    """A key file that was forgotten can be brought; without it pieces count, and go by age."""
    first, folder = tmp_path / "first", tmp_path / "vault"
    add_key(first, START)
    piece = shot(clock)
    vault_in(folder, EvidenceKeys.load(str(first)), clock).put(piece, b"picture")
    other = vault_in(folder, EvidenceKeys.load("ephemeral"), clock)
    with pytest.raises(NotFoundError):
        other.get(Kind.SHOT, piece.piece_id)
    assert other.size_bytes > 0
    add_key(first, START)  # a second one in front: the old one still opens
    assert vault_in(folder, EvidenceKeys.load(str(first)), clock).get(Kind.SHOT, piece.piece_id)[1] == b"picture"


def test_keys_come_from_a_file_or_a_variable(tmp_path: Path) -> None:
    """And a variable that is not set, or a file that others may read, is refused."""
    path = tmp_path / "keys"
    add_key(path, START)
    sealed = EvidenceKeys.load(str(path)).seal("a" * 32, b"head", b"body")
    assert EvidenceKeys.load("env:KEYS", {"KEYS": path.read_text()}).open_body("a" * 32, sealed) == b"body"
    with pytest.raises(UnknownKeyError):
        EvidenceKeys.load("ephemeral").open_body("a" * 32, sealed)
    with pytest.raises(TornError):
        EvidenceKeys.load(str(path)).open_body("b" * 32, sealed)
    with pytest.raises(InvalidInputError, match="NOBODY"):
        EvidenceKeys.load("env:NOBODY", {})
    path.chmod(0o644)
    with pytest.raises(InvalidInputError, match="0600"):
        EvidenceKeys.load(str(path))


def test_a_clip_is_a_file_that_players_open(tmp_path: Path) -> None:
    """Frames that came unsteadily are played when they were taken: ten a second, the one before shown in between."""
    pictures = [np.full((48, 64, 3), level, np.uint8) for level in (10, 90, 170, 250)]
    times = [0.0, 0.2, 0.5, 1.0]
    frames = [
        (START + timedelta(seconds=at), simplejpeg.encode_jpeg(picture, 90, "BGR"))
        for at, picture in zip(times, pictures, strict=True)
    ]
    path = tmp_path / "clip.avi"
    path.write_bytes(to_avi(frames))
    assert struct.unpack("<I", path.read_bytes()[4:8])[0] == path.stat().st_size - 8
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = [
            (float(frame.time or 0.0), int(frame.to_ndarray(format="gray").mean()))
            for frame in container.decode(stream)
        ]
        assert (stream.codec_context.name, stream.width, stream.height) == ("mjpeg", 64, 48)
    assert [at for at, _ in shown] == pytest.approx(times)
    assert [level for _, level in shown] == pytest.approx([10, 90, 170, 250], abs=6)


def test_a_clip_of_nothing_is_refused() -> None:
    """There is nothing to play."""
    with pytest.raises(InvalidInputError):
        to_avi([])
