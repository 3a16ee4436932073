"""`tessera doctor`: what it finds wrong, and that nothing secret is on its page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tessera.chassis.ports import free_port
from tessera.cli import doctor_machine, doctor_services
from tessera.cli.__main__ import main
from tessera.cli.doctor_page import Finding, Weight, shown_setting, shown_url
from tessera.client.collection_values import Collection
from tessera.client.encoder import EncoderInfo, EncoderState
from tessera.domain.embedding import Modality
from tessera.domain.ids import CalibrationId, ModelId
from tests.valkey import PrivateServer, running_server, valkey_binary

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = "correct-horse-battery"  # noqa: S105 - it is planted
PLANTED = {
    "TESSERA_GALLERY_STORE": f"redis://operator:{SECRET}@127.0.0.1:1/0",
    "TESSERA_GALLERY_MILVUS_TOKEN": f"root:{SECRET}",
    "TESSERA_GALLERY_MILVUS_URI": f"https://{SECRET}@milvus.example/{SECRET}?token={SECRET}",
    "TESSERA_GATEWAY_LINK_KEY": SECRET,
    "TESSERA_GALLERY_KEYS": f"env:{SECRET}",
    "TESSERA_SOMETHING_NEW": SECRET,
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}",
    "OTEL_RESOURCE_ATTRIBUTES": f"tenant={SECRET}",
    "TESSERA_INGEST_EVIDENCE_KEYS": f"/{SECRET}",
}


@pytest.fixture(autouse=True)
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GALLERY", "INGEST", "ENCODER", "GATEWAY"):
        monkeypatch.setenv(f"TESSERA_{name}", f"127.0.0.1:{free_port()}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """A store that keeps what it is told."""
    with running_server(tmp_path_factory.mktemp("store")) as running:
        yield running


def _weights(section: doctor_machine.Section) -> list[tuple[Weight, str]]:
    return [(finding.weight, finding.what) for finding in section.findings]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_planted_secret_is_shown(
    form: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Secrets in variables known and unknown, in logs, in the store's configuration and in keys beside it: none is
    on the page, in either form, while the rest of what was asked for is."""
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "logs").mkdir()
    lines = [
        {"level": "error", "event": "store.away", "error": SECRET},
        {"level": "warning", "event": f"could not open {SECRET}"},
        {"level": "warning", "event": "camera.lost", "url": f"rtsp://a:{SECRET}@10.0.0.1/"},
    ]
    (tmp_path / "logs/gallery.log").write_text("\n".join(map(json.dumps, lines)) + f"\nTraceback {SECRET}\n")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/kek").write_text(f"k {SECRET}\n")
    assert main(["doctor", "--data-dir", str(tmp_path), "--deadline", "1", *form]) == 4
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert "store.away x1" in told.out
    assert "camera.lost x1" in told.out
    assert "redis://***@127.0.0.1:1" in told.out
    for name in PLANTED:
        assert name in told.out


def test_what_is_away_is_wrong_and_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing running each service and the store is named with what to do, before any fact."""
    store = f"redis://127.0.0.1:{free_port()}/0"
    assert main(["doctor", "--data-dir", str(tmp_path), "--store", store, "--deadline", "1"]) == 4
    page = capsys.readouterr().out
    top = page.partition("\nServices\n")[0]
    for name in ("encoder", "gallery", "ingest", "gateway"):
        assert f"WRONG: {name} does not answer" in top
    assert "WRONG: the store does not answer" in top


def test_a_store_that_keeps_everything_is_well(server: PrivateServer) -> None:
    """Nothing is wrong with a Valkey that writes its file and evicts nothing; its clock is told."""
    facts = doctor_services.store(server.url)
    assert facts.section.findings == []
    assert facts.now is not None
    assert dict(facts.section.rows)["append-only file"] == "1"


def test_a_store_that_forgets_is_wrong(tmp_path: Path) -> None:
    """One without an append-only file, which throws keys away, is told as both."""
    options = ("--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with running_server(tmp_path / "forgets", valkey_binary(), *options) as server:
        found = " ".join(what for _, what in _weights(doctor_services.store(server.url).section))
    assert "append-only" in found
    assert "throws keys away" in found


def test_the_private_store_of_tessera_up_is_found(tmp_path: Path, server: PrivateServer) -> None:
    """Without a setting the store is the one whose configuration lies in the data folder, with its password; a setting
    goes before it."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    (folder / "valkey.conf").write_text(f"port {server.port}\nrequirepass {SECRET}\n")
    assert doctor_services.store_url("", {}, tmp_path) == f"redis://:{SECRET}@127.0.0.1:{server.port}/0"
    assert doctor_services.store_url("", {"TESSERA_GALLERY_STORE": "redis://x:1/0"}, tmp_path) == "redis://x:1/0"
    assert doctor_services.store_url("redis://y:1/0", {"TESSERA_GALLERY_STORE": "redis://x:1/0"}, tmp_path).endswith(
        "y:1/0"
    )


@pytest.mark.parametrize(("free", "wrong"), [(500_000_000, True), (20_000_000_000, True), (300_000_000_000, False)])
def test_a_full_disk_is_wrong(free: int, wrong: bool, tmp_path: Path) -> None:
    """Less than a gigabyte, or than a twentieth of the disk, is told as full."""
    section = doctor_machine.disks({"data": tmp_path}, lambda folder: (500_000_000_000, 0, free))
    assert [weight for weight, _ in _weights(section)] == ([Weight.WRONG] if wrong else [])


def test_a_folder_that_is_not_there_yet_is_told_by_the_one_above(tmp_path: Path) -> None:
    """The disk that it would be on is looked at."""
    asked = []
    doctor_machine.disks({"data": tmp_path / "a/b"}, lambda folder: asked.append(folder) or (10**12, 0, 10**12))  # type: ignore[func-returns-value]
    assert asked == [tmp_path]


def test_a_clock_that_is_right_is_not_told_as_wrong(tmp_path: Path) -> None:
    """Files of the past and a store half a second away say nothing against it."""
    file = tmp_path / "written"
    file.touch()
    os.utime(file, (NOW.timestamp() - 10,) * 2)
    assert _weights(doctor_machine.clock([file], NOW + timedelta(seconds=0.5), NOW)) == []


@pytest.mark.parametrize(
    ("written_ago_s", "store_ahead_s", "now", "words"),
    [
        (-86400, 0, NOW, "the clock went back"),
        (10, 90, NOW, "90 s apart"),
        (10**9, 0, datetime(1970, 1, 1, 0, 5, tzinfo=UTC), "before this release"),
    ],
    ids=["files from tomorrow", "another time than the store", "1970"],
)
def test_a_wrong_clock_is_found(
    written_ago_s: float, store_ahead_s: float, now: datetime, words: str, tmp_path: Path
) -> None:
    """By files that were written later than now, by the store's clock, and by the day of the release."""
    file = tmp_path / "written"
    file.touch()
    written_s = max(0.0, now.timestamp() - written_ago_s)
    os.utime(file, (written_s, written_s))
    section = doctor_machine.clock([file], now + timedelta(seconds=store_ahead_s), now)
    assert any(weight is Weight.WRONG and words in what for weight, what in _weights(section))


def test_old_weights_in_the_cache_are_wrong(tmp_path: Path) -> None:
    """A file of the right name with another content is told, and what to do; an empty cache is no fault."""
    assert doctor_machine.weights(tmp_path).findings == []
    manifest = doctor_machine.load_manifest("face-sface-2")
    source = next(each for each in manifest.sources if isinstance(each, doctor_machine.SourceFile))
    pinned = tmp_path / "pinned" / source.sha256[:16] / source.file
    pinned.parent.mkdir(parents=True)
    pinned.write_bytes(b"of last year")
    found = doctor_machine.weights(tmp_path).findings
    assert any(finding.weight is Weight.WRONG and "face-sface-2" in finding.what for finding in found)
    assert all(isinstance(finding, Finding) and finding.next_step for finding in found)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("TESSERA_ENCODER_PORT", "7001", "7001"),
        ("TESSERA_INGEST_ENCODER_ADDRESS", "dns:///encoder:7001", "dns:///encoder:7001"),
        ("TESSERA_GALLERY_STORE", "sentinel://:secret@a:1,b:2/main", "sentinel://***@a:1,b:2"),
        ("TESSERA_GALLERY_AUDIT_DIR", "/var/lib/tessera", "/var/lib/tessera"),
        ("TESSERA_GALLERY_KEYS", "/", "/"),
        ("TESSERA_GALLERY_KEYS", "/c2VjcmV0", "(set, hidden)"),
        ("TESSERA_WHATEVER", "an unknown word", "(set, 15 characters)"),
        ("TESSERA_GATEWAY_LINK_KEY", "1234", "(set, hidden)"),
    ],
)
def test_a_setting_is_shown_when_its_kind_is_harmless(name: str, value: str, shown: str) -> None:
    """Numbers, addresses, existing paths and URLs without credentials; of all else that it is set."""
    assert shown_setting(name, value) == shown


def test_a_url_loses_path_and_query() -> None:
    """A token in either is not shown."""
    assert shown_url("https://u:p@host:8443/token/abc?key=1#x") == "https://***@host:8443"


class Site:
    """Services that answer, as far as the page asks them."""

    def __init__(self, served: tuple[EncoderInfo, ...], held: tuple[Collection, ...]) -> None:
        self._served, self._held = served, held

    def encoders(self) -> tuple[EncoderInfo, ...]:
        return self._served

    def collections(self) -> tuple[Collection, ...]:
        return self._held


def _encoder(name: str, **changes: object) -> EncoderInfo:
    told = EncoderInfo(
        model_id=ModelId(f"{name}@1"),
        name=name,
        modality=Modality.FACE,
        dimensions=128,
        state=EncoderState.READY,
        default=True,
        device="cpu",
        calibration_id=CalibrationId("c"),
        runtime="compiled",
    )
    return replace(told, **changes)  # type: ignore[arg-type]


def _collection(model_id: str) -> Collection:
    return Collection("the-board-of-directors", "The board", Modality.FACE, model_id, 3, 5)


def test_a_collection_of_an_encoder_that_nobody_runs_has_old_weights() -> None:
    """It is told with how to run that encoder meanwhile; one whose encoder runs is not. Neither is named."""
    site = Site((_encoder("face-sface-2"),), (_collection("face-sface-2@1"), _collection("face-sface-1@1")))
    section = doctor_services.people(site)  # type: ignore[arg-type]
    (found,) = section.findings
    assert found.weight is Weight.WRONG
    assert "collection 2 is of face-sface-1@1" in found.what
    assert "TESSERA_ENCODER_MORE_ENCODERS=face-sface-1" in found.next_step
    assert "board" not in str(section)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": EncoderState.FAILED}, "failed to load"),
        ({"calibration_id": None}, "no calibration"),
        ({"runtime": "eager"}, "uncompiled"),
        ({}, ""),
    ],
    ids=["failed", "without calibration", "eager", "well"],
)
def test_an_encoder_is_looked_at(change: dict[str, object], words: str) -> None:
    """One that failed, has no calibration or runs uncompiled is told; one that is well is not."""
    found = doctor_services.encoders(Site((_encoder("face-sface-2", **change),), ())).findings  # type: ignore[arg-type]
    assert [words in finding.what for finding in found] == ([True] if words else [])
