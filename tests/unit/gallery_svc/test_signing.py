"""Who signs: the key stays private, what it signed cannot be changed, and old keys go on to check."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.signing import Signer
from tessera.domain.errors import AlreadyExistsError, InvalidInputError
from tessera.trust.canonical import canonical, parse_canonical, signed_bytes
from tessera.trust.keys import PublicKeys, SignatureState, Signed

STATEMENT = {"subject_id": "alice", "templates_erased": 3, "names": ["Ä", "\n"], "at": None}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_a_key_from_a_file_signs_as_the_one_that_was_made(tmp_path: Path) -> None:
    """The file is for its owner alone, and holds the key."""
    made = Signer.create(tmp_path / "signing.pem")
    assert (tmp_path / "signing.pem").stat().st_mode & 0o777 == 0o600
    signed = Signer.load(str(tmp_path / "signing.pem")).sign("receipt", STATEMENT)
    assert signed.key_id == made.key_id
    assert made.public_keys.check("receipt", signed) is SignatureState.GOOD


def test_a_key_comes_from_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env:NAME`, for those whose secrets come that way."""
    made = Signer.create(tmp_path / "signing.pem")
    monkeypatch.setenv("SIGNING", (tmp_path / "signing.pem").read_text())
    assert Signer.load("env:SIGNING").key_id == made.key_id
    monkeypatch.delenv("SIGNING")
    with pytest.raises(InvalidInputError, match="env:SIGNING"):
        Signer.load("env:SIGNING")


def test_old_public_keys_stand_behind_the_private_one(tmp_path: Path) -> None:
    """After a change of keys, what the old one signed is still believed; what signs is the new one alone."""
    old, path = Signer.create(tmp_path / "old.pem"), tmp_path / "new.pem"
    new = Signer.create(path)
    assert Signer.load(str(path)).old_keys.key_ids == ()
    path.write_text(path.read_text() + old.public_pem)
    loaded = Signer.load(str(path))
    assert (loaded.key_id, loaded.old_keys.key_ids) == (new.key_id, (old.key_id,))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The error says how to mend it."""
    path = tmp_path / "signing.pem"
    Signer.create(path)
    path.chmod(mode)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        Signer.load(str(path))


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    """Losing it would make every receipt unprovable."""
    path = tmp_path / "signing.pem"
    made = Signer.create(path)
    with pytest.raises(AlreadyExistsError):
        Signer.create(path)
    assert Signer.load(str(path)).key_id == made.key_id


@pytest.mark.parametrize(
    "content", ["", "secret words", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    """The error names the file and never what it holds."""
    path = tmp_path / "signing.pem"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(InvalidInputError) as caught:
        Signer.load(str(path))
    assert "secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Ed25519 alone, private and public."""
    other = generate_private_key(SECP256R1())
    path = tmp_path / "signing.pem"
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(InvalidInputError, match="Ed25519"):
        Signer.load(str(path))
    assert "BEGIN PRIVATE" in path.read_text()
    with pytest.raises(InvalidInputError, match="Ed25519"):
        PublicKeys.parse(path.read_text())


def test_a_signature_stands_for_its_text_kind_and_key_alone() -> None:
    """Any change of one of them is WRONG; a key that is not trusted is told apart."""
    signer, other = Signer.ephemeral(), Signer.ephemeral()
    signed = signer.sign("receipt", STATEMENT)
    keys = signer.public_keys
    assert keys.check("receipt", signed) is SignatureState.GOOD
    assert keys.check("checkpoint", signed) is SignatureState.WRONG
    for at in range(len(signed.signature)):
        bent = signed.signature[:at] + bytes([signed.signature[at] ^ 1]) + signed.signature[at + 1 :]
        assert keys.check("receipt", Signed(signed.text, bent, signed.key_id)) is SignatureState.WRONG
    changed = Signed(signed.text.replace("alice", "bob"), signed.signature, signed.key_id)
    assert keys.check("receipt", changed) is SignatureState.WRONG
    assert keys.check("receipt", Signed(signed.text, b"", signed.key_id)) is SignatureState.WRONG
    assert other.public_keys.check("receipt", signed) is SignatureState.UNKNOWN_KEY
    assert keys.check("receipt", other.sign("receipt", STATEMENT)) is SignatureState.UNKNOWN_KEY


def test_old_signatures_check_after_the_key_was_changed(tmp_path: Path) -> None:
    """A ring of public keys, from one file with several or from several files."""
    signers = [Signer.ephemeral(), Signer.ephemeral()]
    both = tmp_path / "both.pem"
    both.write_text("# ours\n" + "\n".join(signer.public_pem for signer in signers))
    for at, signer in enumerate(signers):
        (tmp_path / f"{at}.pem").write_text(signer.public_pem)
    for keys in (PublicKeys.load([both]), PublicKeys.load([tmp_path / "0.pem", tmp_path / "1.pem"])):
        assert set(keys.key_ids) == {signer.key_id for signer in signers}
        assert all(keys.check("receipt", one.sign("receipt", STATEMENT)) is SignatureState.GOOD for one in signers)


def test_a_private_key_is_not_shown() -> None:
    """Not by its representation, which logs may hold."""
    signer = Signer.ephemeral()
    assert repr(signer) == f"Signer({signer.key_id})"


def test_openssl_checks_a_signature_too(tmp_path: Path) -> None:
    """An outsider needs nothing of ours: the documented recipe works."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: unproved that outsiders can check with it")
    signer = Signer.create(tmp_path / "signing.pem")
    signed = signer.sign("receipt", STATEMENT)
    (tmp_path / "pub.pem").write_text(signer.public_pem)
    (tmp_path / "signed").write_bytes(signed_bytes("receipt", signed.text))
    (tmp_path / "sig").write_bytes(signed.signature)
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "pub.pem",
        "-rawin",
        "-in",
        "signed",
        "-sigfile",
        "sig",
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "signed").write_bytes(b"other")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


@given(st.dictionaries(st.text("abc_", max_size=4), VALUES, max_size=4))
def test_canonical_text_comes_back_as_it_was(statement: dict[str, object]) -> None:
    """One statement has one text, and one text one statement."""
    text = canonical(statement)
    assert parse_canonical(text) == statement
    assert canonical(dict(reversed(statement.items()))) == text


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"b":1,"a":1}', '{"a":1,"a":1}', '{"a":1.5}', "[1]", "{", '{"a":1}\n', "\ud800"]
)
def test_what_is_not_canonical_is_refused(text: str) -> None:
    """Else one signature could stand for two readings."""
    with pytest.raises(InvalidInputError):
        parse_canonical(text)


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**64, b"bytes", {"ä": 1}, {1: 2}, "\ud800", object()])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    """Rather than signed in a form that another program would write in another way."""
    with pytest.raises(InvalidInputError):
        canonical({"value": value})
