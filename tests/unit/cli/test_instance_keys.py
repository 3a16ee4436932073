"""The keys of an instance: made once, for their owner alone, and fit for those who read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tessera.chassis.key_files import read_key_file
from tessera.cli.instance_keys import prepare_keys
from tessera.cli.ports import ports_from
from tessera.cli.services import service_specs
from tessera.cli.valkey import prepare_valkey
from tessera.trust.keys import PublicKeys, fingerprint


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    """A later start finds them as they were; others may not even look into the folder."""
    made = prepare_keys(tmp_path)
    before = [made.kek.read_bytes(), made.signing.read_bytes()]
    assert prepare_keys(tmp_path) == made
    assert [made.kek.read_bytes(), made.signing.read_bytes()] == before
    assert [path.stat().st_mode & 0o777 for path in (made.kek, made.signing)] == [0o600, 0o600]
    assert [path.stat().st_mode & 0o777 for path in (made.kek.parent, made.audit)] == [0o700, 0o700]


def test_keys_are_what_their_readers_take(tmp_path: Path) -> None:
    """A key-encryption key by our own rules, an Ed25519 key by those of others; two instances share neither."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    one, other = map(prepare_keys, folders)
    assert len(read_key_file(one.kek)) == 1
    key = load_pem_private_key(one.signing.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    assert one.kek.read_bytes() != other.kek.read_bytes()
    assert one.signing.read_bytes() != other.signing.read_bytes()
    assert PublicKeys.load([one.public]).key_ids == (fingerprint(key.public_key()),)


def test_a_start_that_was_cut_leaves_no_half_of_a_key(tmp_path: Path) -> None:
    """What a killed start left behind is not taken for a key, and is not in the way."""
    made = prepare_keys(tmp_path)
    for key in (made.kek, made.signing):
        key.unlink()
        key.with_name(key.name + ".new").write_text("half")
    prepare_keys(tmp_path)
    assert len(read_key_file(made.kek)) == 1
    assert made.signing.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    key = load_pem_private_key(made.signing.read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    assert PublicKeys.load([made.public]).key_ids == (fingerprint(key.public_key()),)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    """Whoever starts is told which file."""
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(OSError, match="keys"):
        prepare_keys(tmp_path)


def test_the_gallery_is_told_its_keys_and_what_its_store_promises(tmp_path: Path) -> None:
    """The keys are not in the store's folder, and the store is set to what the gallery is told."""
    keys = prepare_keys(tmp_path)
    valkey = prepare_valkey(tmp_path, 7379)
    specs = service_specs(ports_from(7001, {}), valkey.url, tmp_path, keys)
    (gallery,) = [spec for spec in specs if spec.name == "gallery"]
    settings = gallery.environ
    assert settings["TESSERA_GALLERY_KEYS"] == str(keys.kek)
    assert settings["TESSERA_GALLERY_SIGNING_KEY"] == str(keys.signing)
    assert not keys.kek.is_relative_to(valkey.folder)
    configuration = (valkey.folder / "valkey.conf").read_text()
    assert f"appendfsync {settings['TESSERA_GALLERY_DURABILITY']}\n" in configuration


def test_the_camera_worker_has_a_key_of_its_own(tmp_path: Path) -> None:
    """What it keeps of people is sealed with another key than the gallery's, in a folder beside."""
    keys = prepare_keys(tmp_path)
    specs = service_specs(ports_from(7001, {}), "redis://127.0.0.1:1/0", tmp_path, keys)
    (ingest,) = [spec for spec in specs if spec.name == "ingest"]
    assert ingest.environ["TESSERA_INGEST_EVIDENCE_KEYS"] == str(keys.evidence)
    assert keys.evidence.read_text() != keys.kek.read_text()
    assert not keys.evidence.is_relative_to(ingest.environ["TESSERA_INGEST_EVIDENCE_DIR"])
