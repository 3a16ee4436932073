"""Commands over a real gallery that tell what an enrolment found, correct it, and say what holds in a collection."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tessera.cli.__main__ import main
from tessera.client import wire
from tessera.v1 import biometrics_pb2 as pb
from tessera.v1 import matching_pb2
from tests.eventually import eventually
from tests.gallery_world import World, embedded, enroll, person, picture, running_world

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gallery in memory whose logs do not mix with what a command prints; FMR 1e-2 is at 0.3, 1e-4 at 0.5."""
    with capture_logs():
        async with running_world("memory") as running:
            await eventually(running.is_ready)
            yield running


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command against the gallery; gives its exit code, what it printed, and what it complained of."""
    monkeypatch.setenv("TESSERA_GALLERY", f"127.0.0.1:{world.gallery.server.port}")

    async def command(*arguments: object) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


@pytest.fixture
def show(tmp_path: Path) -> Callable[..., Path]:
    """Makes a picture's file of somebody."""

    def made(name: str, number: int, off: float = 0.0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(person(number, off)).data)
        return path

    return made


Show = Callable[..., Path]

# ---- enroll


async def test_whom_a_new_person_looks_like_is_told_and_what_to_do(run: Run, show: Show) -> None:
    """0: it is done. The text names the other, the rate of the check, and both ways on."""
    await run("enroll", "ada", show("a.jpg", 1))
    code, told, _ = await run("enroll", "bob", show("b.jpg", 1, 0.3))
    assert code == 0
    assert "Looks like ada, who is enrolled already at FPIR <= 0.005 among 1 subject" in told
    assert "`tessera subjects keep-apart bob ada`" in told
    code, told, _ = await run("subjects", "keep-apart", "bob", "ada")
    assert (code, told) == (0, "bob is known to be another than ada\n")
    _, told, _ = await run("enroll", "bob", show("c.jpg", 1, 0.2))
    assert "Looks like" not in told
    _, told, _ = await run("subjects", "show", "bob")
    assert "is not     ada" in told


async def test_somebody_who_is_not_there_cannot_be_kept_apart(run: Run, show: Show) -> None:
    """3: a name that was mistyped would keep nobody apart."""
    await run("enroll", "ada", show("a.jpg", 1))
    code, _, complaint = await run("subjects", "keep-apart", "ada", "aad")
    assert code == 3
    assert "aad" in complaint


async def test_a_refused_duplicate_ends_with_bad_input(run: Run, show: Show) -> None:
    """3, the other's id and what to do; as JSON too."""
    await run("enroll", "ada", show("a.jpg", 1))
    code, _, complaint = await run("enroll", "bob", show("b.jpg", 1, 0.3), "--duplicates", "reject")
    assert code == 3
    assert "ada" in complaint
    assert "--duplicates merge" in complaint
    code, _, complaint = await run("enroll", "bob", show("b.jpg", 1, 0.3), "--duplicates", "reject", "--json")
    assert code == 3
    assert json.loads(complaint)["error"]["details"] == {"subject_ids": "ada"}


async def test_merging_and_keeping_apart_are_told(run: Run, show: Show) -> None:
    """Whose the pictures are now; and who is known to differ."""
    await run("enroll", "ada", show("a.jpg", 1))
    _, told, _ = await run("enroll", "bob", show("b.jpg", 1, 0.3), "--duplicates", "merge")
    assert told.startswith("Enrolled 1 picture of ada, who now has 2 templates; bob was not made")
    _, told, _ = await run("enroll", "eve", show("c.jpg", 1, 0.2), "--duplicates", "keep-apart")
    assert "eve is known to be another than ada from now on" in told


async def test_a_wrong_picture_is_told(run: Run, show: Show) -> None:
    """Refused beside those that are enrolled; enrolled with a word where that is asked; JSON has the reason."""
    good = [show(f"{at}.jpg", 1, at / 10) for at in range(3)]
    wrong = show("wrong.jpg", 9)
    code, told, _ = await run("enroll", "ada", *good, wrong)
    assert code == 0
    assert "wrong.jpg: refused, it does not look like the person's others" in told
    _, told, _ = await run("enroll", "ada", wrong, "--outliers", "report")
    assert "wrong.jpg: enrolled, quality 0.90, but it does not look like the person's others" in told
    _, told, _ = await run("enroll", "ada", show("other.jpg", 12), "--outliers", "report", "--json")
    answer = json.loads(told)
    assert (answer["results"][0]["accepted"], answer["results"][0]["reasons"]) == (True, ["OUTLIER"])
    assert (answer["duplicates"], answer["merged"]) == ([], False)


# ---- correct


async def test_a_correction_is_told_template_by_template(run: Run, show: Show) -> None:
    """A dry run says what would be done; the correction does it; a second one finds nothing."""
    wrong = show("wrong.jpg", 9)
    await run("enroll", "ada", show("1.jpg", 1), show("2.jpg", 1, 0.2))
    await run("enroll", "ada", wrong, "--outliers", "ignore")
    code, told, _ = await run("correct", "ada", wrong, "--not-this", "--dry-run")
    assert code == 0
    assert told.startswith("Not ada (dry run): nothing was changed; ada has 3 templates\n  template template-")
    assert ": removed; it matches the sample and does not look like" in told
    code, told, _ = await run("correct", "ada", wrong, "--not-this")
    assert (code, told.splitlines()[0]) == (0, "Not ada: ada now has 2 templates")
    code, told, _ = await run("correct", "ada", wrong, "--not-this")
    assert (code, told) == (0, "Nothing to correct: no template of ada matches the picture\n")


async def test_a_missed_picture_is_added_or_refused(run: Run, show: Show) -> None:
    """0 and the template; 3 when it is somebody else's, in words and as JSON."""
    await run("enroll", "ada", show("1.jpg", 1))
    await run("enroll", "bob", show("2.jpg", 9))
    code, told, _ = await run("correct", "ada", show("3.jpg", 1, 0.9), "--this")
    assert code == 0
    assert ": added" in told
    code, told, _ = await run("correct", "ada", show("4.jpg", 9, 0.1), "--this", "--json")
    assert code == 3
    answer = json.loads(told)
    assert [one["action"] for one in answer["corrections"]] == ["REFUSED"]
    assert answer["corrections"][0]["reasons"] == ["DUPLICATE"]


@pytest.mark.parametrize("verdicts", [[], ["--this", "--not-this"]])
async def test_a_correction_says_exactly_one_thing(run: Run, show: Show, verdicts: list[str]) -> None:
    """3, and nobody is asked."""
    code, _, complaint = await run("correct", "ada", show("1.jpg", 1), *verdicts)
    assert code == 3
    assert "one of --not-this and --this" in complaint


# ---- collections


async def test_a_collection_is_made_shown_and_changed(run: Run) -> None:
    """What is named is changed, and the rest stays; JSON has the SDK's names."""
    code, told, _ = await run(
        "collections", "create", "staff", "--name", "Staff", "--fmr", "1e-3", "--duplicates", "reject",
        "--retention", "30d", "--gate", "min-sharpness=0.4", "--label", "site=north",
        "--camera", "door", "fpir=0.05,frames=4",
    )  # fmt: skip
    assert code == 0
    shown = dict(line.split(maxsplit=1) for line in told.splitlines() if not line.startswith("at door"))
    assert shown["decides"] == "FMR <= 0.001, FPIR <= 0.01 among those who are enrolled, from 2 frames on"
    assert "at door     FMR <= 1e-4, FPIR <= 0.05 among those who are enrolled, from 4 frames on" in told
    assert shown["gate"] == "min_sharpness 0.4, for the rest the encoder's own"
    assert (shown["duplicates"], shown["outliers"]) == ("reject", "reject")
    assert shown["retention"] == "erased 30 days after their last enrolment"

    code, told, _ = await run(
        "collections", "update", "staff", "--outliers", "report", "--gate", "min_sharpness=", "--fpir", "0.02",
        "--retention", "unlimited", "--no-camera", "door", "--label", "site=", "--label", "floor=2", "--json",
    )  # fmt: skip
    assert code == 0
    changed = json.loads(told)
    assert (changed["duplicate_policy"], changed["outlier_policy"]) == ("REJECT", "REPORT")
    assert (changed["policy"]["verify_target_fmr"], changed["policy"]["identify_target_fpir"]) == (1e-3, 0.02)
    assert set(changed["quality_gate"].values()) == {None}
    assert (changed["retention"], changed["camera_policies"], changed["labels"]) == (None, {}, {"floor": "2"})
    assert changed["display_name"] == "Staff"


async def test_collections_are_listed_and_deleted(run: Run, show: Show) -> None:
    """People go with theirs only with --force."""
    _, told, _ = await run("collections", "list")
    assert "There is no collection yet" in told or "default" in told
    await run("collections", "create", "staff")
    await run("enroll", "ada", show("1.jpg", 1), "--collection", "staff")
    code, told, _ = await run("collections", "list", "--json")
    staff = next(one for one in json.loads(told)["collections"] if one["collection_id"] == "staff")
    assert (code, staff["subject_count"], staff["retention"]) == (0, 1, None)
    assert (await run("collections", "delete", "staff"))[0] == 3
    code, told, _ = await run("collections", "delete", "staff", "--force", "--yes")
    assert (code, told) == (0, "Deleted staff with 1 people\n")
    code, _, complaint = await run("collections", "show", "staff")
    assert code == 3
    assert "tessera collections create" in complaint


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--retention", "soon"], "--retention"),
        (["--gate", "beauty=0.5"], "--gate"),
        (["--gate", "min-pose=high"], "--gate"),
        (["--camera", "door", "fpir"], "--camera"),
        (["--label", "north"], "--label"),
        (["--duplicates", "perhaps"], "perhaps"),
        (["--retention", "0h"], "retention"),
        ([], "options"),
    ],
)
async def test_what_cannot_hold_is_refused_by_name(run: Run, options: list[str], named: str) -> None:
    """3, and the collection is as it was."""
    await run("collections", "create", "staff")
    _, before, _ = await run("collections", "show", "staff", "--json")
    code, _, complaint = await run("collections", "update", "staff", *options)
    assert code == 3
    assert named in complaint
    assert (await run("collections", "show", "staff", "--json"))[1] == before


# ---- enroll-folder


async def test_a_folder_tells_who_looks_like_whom_and_which_pictures_are_wrong(
    run: Run, show: Show, tmp_path: Path
) -> None:
    """Counted at the end, told in words, and in the report; a second run of the same command finds all done."""
    await run("enroll", "zoe", show("zoe.jpg", 1))
    for at in range(3):
        show(f"people/ada/{at}.jpg", 5, at / 10)
    show("people/ada/wrong.jpg", 9)
    show("people/bob/1.jpg", 1, 0.3)
    folder, report = tmp_path / "people", tmp_path / "report.csv"
    code, told, complaint = await run("enroll-folder", folder, "--report", report)
    assert code == 0
    assert told == (
        "2 people: enrolled 2; 1 picture refused; 1 person looks like somebody else; "
        "1 picture unlike its person's others\n"
    )
    assert "bob: enrolled: looks like zoe" in complaint
    assert "ada: enrolled: ada/wrong.jpg: it does not look like the person's others" in complaint
    with report.open(encoding="utf-8", newline="") as file:
        rows: dict[str, Any] = {row["subject"]: row for row in csv.DictReader(file)}
    assert (rows["bob"]["looks_like"], rows["ada"]["reasons"]) == ("zoe", "ada/wrong.jpg: OUTLIER")
    code, told, _ = await run("enroll-folder", folder, "--json")
    assert (code, json.loads(told)["already"], json.loads(told)["duplicates"]) == (0, 2, 1)


@pytest.mark.parametrize(
    ("policy", "code", "last"),
    [
        ("reject", 3, "1 people: enrolled 0, rejected 1; 1 picture refused; 1 person looks like somebody else\n"),
        ("merge", 0, "1 people: enrolled 1; 1 person looks like somebody else\n"),
    ],
)
async def test_a_folder_follows_the_policy_that_was_named(  # noqa: PLR0917 - fixtures and cases
    run: Run, show: Show, tmp_path: Path, policy: str, code: int, last: str
) -> None:
    """Whoever is there already is rejected, or gets the pictures; and the next run says the same."""
    await run("enroll", "zoe", show("zoe.jpg", 1))
    show("people/bob/1.jpg", 1, 0.3)
    command = ("enroll-folder", tmp_path / "people", "--duplicates", policy)
    ended, told, complaint = await run(*command)
    assert (ended, told) == (code, last)
    assert "zoe" in complaint
    assert (await run(*command))[0] == code
    _, told, _ = await run("subjects", "list")
    assert "bob" not in told


async def test_another_policy_asks_anew(run: Run, show: Show, tmp_path: Path) -> None:
    """Those who were rejected under one are sent under another, with a request id of its own."""
    await run("enroll", "zoe", show("zoe.jpg", 1))
    show("people/bob/1.jpg", 1, 0.3)
    assert (await run("enroll-folder", tmp_path / "people", "--duplicates", "reject"))[0] == 3
    code, told, _ = await run("enroll-folder", tmp_path / "people", "--duplicates", "keep-apart")
    assert (code, told) == (0, "1 people: enrolled 1; 1 person looks like somebody else\n")
    _, told, _ = await run("subjects", "show", "bob")
    assert "is not     zoe" in told


# ---- sightings


async def seen_at(world: World, tracklet_id: str, number: int, camera_id: str) -> None:
    """Somebody is seen twice, well enough to be decided."""
    now = wire.time_to_wire(datetime.now(UTC))
    look = matching_pb2.TrackletSample(
        capture_time=now, embedding=embedded(person(number)).embedding, quality=pb.Quality(overall=0.9)
    )
    update = matching_pb2.TrackletUpdate(
        camera_id=camera_id,
        tracklet_id=tracklet_id,
        sequence=1,
        samples=[look, look],
        first_seen=now,
        last_seen=now,
        best_shot_id=f"shot-of-{tracklet_id}",
    )
    opening = matching_pb2.MatchStreamRequest(open=matching_pb2.MatchStreamOpen(worker_id="w1"))
    told = [
        answer
        async for answer in world.stub.MatchStream(iter([opening, matching_pb2.MatchStreamRequest(update=update)]))
    ]
    assert told[-1].HasField("decision")


async def test_sightings_are_listed_for_people_and_for_programs(run: Run, world: World) -> None:
    """Newest first, with the id of the best shot; options narrow the list, and a wrong moment is named."""
    await enroll(world, "ada", embedded(person(1)))
    for tracklet_id, number, camera_id in (("t1", 1, "door"), ("t2", 30, "hall")):
        await seen_at(world, tracklet_id, number, camera_id)
    code, told, _ = await run("sightings", "list")
    assert code == 0
    assert [line.split()[3] for line in told.splitlines()] == ["UNKNOWN", "MATCH"]
    assert told.splitlines()[0].endswith("shot-of-t2")
    code, told, _ = await run("sightings", "list", "--camera", "door", "--json")
    (listed,) = [json.loads(line) for line in told.splitlines()]
    assert (listed["sighting"]["subject_id"], listed["sighting"]["best_shot_id"]) == ("ada", "shot-of-t1")
    assert len((await run("sightings", "list", "--outcome", "match"))[1].splitlines()) == 1
    assert len((await run("sightings", "list", "--subject", "ada", "--since", "1h"))[1].splitlines()) == 1
    assert (await run("sightings", "list", "--until", "1h"))[1] == ""
    code, _, complaint = await run("sightings", "list", "--since", "yesterday")
    assert code != 0
    assert "--since" in complaint
