"""`tessera persons` and `--watch` against fake services over real gRPC: what they send, print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from unit.client.fake_services import Script, serving

from tessera.cli.__main__ import main
from tessera.client import wire
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import camera_pb2, matching_pb2, persons_pb2

Run = Callable[..., int]
AT = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    return Script()


@pytest.fixture
def run(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a command against the fake services; gives its exit code."""
    with serving(script) as address:
        for name in ("GALLERY", "INGEST", "ENCODER"):
            monkeypatch.setenv(f"TESSERA_{name}", address)
        yield lambda *arguments: main([str(argument) for argument in arguments])


def appearance(
    tracklet_id: str, camera_id: str, basis: persons_pb2.AppearanceBasis.ValueType
) -> persons_pb2.Appearance:
    """Somebody was seen, whom a face at the door called Ada."""
    name = matching_pb2.BodyName(
        subject_id="ada", display_name="Ada", basis=matching_pb2.BODY_NAME_BASIS_BODY_LINK, face_camera_id="door"
    )
    return persons_pb2.Appearance(
        tracklet_id=tracklet_id,
        camera_id=camera_id,
        first_seen=wire.time_to_wire(AT),
        last_seen=wire.time_to_wire(AT),
        person=matching_pb2.AnonymousPerson(person_id="person-1", name=name),
        basis=basis,
    )


def page(*found: persons_pb2.Appearance, token: str = "") -> persons_pb2.FindAppearancesResponse:
    """One page of an answer at FMR 1e-2."""
    return persons_pb2.FindAppearancesResponse(
        appearances=found,
        next_page_token=token,
        threshold=pb.Threshold(score=0.5, target_fmr=0.01, fmr=0.01, fmr_low=0.008, fmr_high=0.012, gallery_size=1),
        looks_compared=40,
        expected_false=0.4,
        kept_since=wire.time_to_wire(AT),
    )


def test_where_shows_each_time_and_how_many_false_ones_to_expect(
    run: Run, script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    """Page after page; the rate stands in the last line, on the side of errors, so that the rest can be piped on."""
    pages = iter(
        [
            page(appearance("t2", "hall", persons_pb2.APPEARANCE_BASIS_LOOKS_ALIKE), token="next"),
            page(appearance("t1", "door", persons_pb2.APPEARANCE_BASIS_ASKED)),
        ]
    )
    script.answers["FindAppearances"] = lambda _: next(pages)
    assert run("persons", "where", "--event", "sighting-1", "--camera", "hall", "--fmr", "0.01") == 0
    out, err = capsys.readouterr()
    assert [line.split("  ")[1].strip() for line in out.splitlines()] == ["hall", "door"]
    assert "looks alike" in out
    assert "person-1 (Ada, by the face at door)" in out
    assert "40 looks at others compared, 0.4 false ones to be expected" in err
    first, second = script.requests
    assert (first.event_id, list(first.camera_ids), first.target_fmr) == ("sighting-1", ["hall"], 0.01)
    assert (first.page_token, second.page_token) == ("", "next")


def test_json_is_one_object_for_each_time(run: Run, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """With the names of the SDK, and a score only where it was asked for."""
    script.answers["FindAppearances"] = page(appearance("t1", "door", persons_pb2.APPEARANCE_BASIS_ASKED))
    assert run("persons", "where", "--person", "person-1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["tracklet_id"], told["basis"], told["score"]) == ("t1", "ASKED", None)
    assert told["person"]["name"]["subject_id"] == "ada"


@pytest.mark.parametrize("who", [(), ("--person", "p", "--tracklet", "t")], ids=["nobody", "two"])
def test_exactly_one_person_is_meant(
    run: Run, script: Script, who: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked otherwise, and what is allowed is said."""
    assert run("persons", "where", *who) != 0
    assert "exactly one of --tracklet, --event, --person, --picture" in capsys.readouterr().err
    assert script.requests == []


def test_erase_tells_what_went(run: Run, script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    """Looks and events of that person."""
    script.answers["ErasePerson"] = persons_pb2.ErasePersonResponse(looks_erased=3, events_erased=5)
    assert run("persons", "erase", "person-1") == 0
    assert capsys.readouterr().out == "person-1: 3 looks and 5 events erased\n"
    assert script.requests[0].person_id == "person-1"


@pytest.mark.parametrize(
    ("watch", "modalities"),
    [
        ("faces", [pb.MODALITY_FACE]),
        ("persons", [pb.MODALITY_PERSON]),
        ("both", [pb.MODALITY_FACE, pb.MODALITY_PERSON]),
    ],
)
def test_a_camera_is_told_what_to_watch(
    run: Run, script: Script, watch: str, modalities: list[pb.Modality.ValueType]
) -> None:
    """And where persons are looked for."""
    script.answers["AddCamera"] = camera_pb2.AddCameraResponse(camera=camera_pb2.Camera(camera_id="door"))
    assert run("camera", "add", "door", "demo:", "--watch", watch, "--person-collection", "yard") == 0
    camera = script.requests[0].camera
    assert (list(camera.modalities), camera.person_collection_id) == (modalities, "yard")
