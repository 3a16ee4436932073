"""The gallery's benchmark: the arithmetic that its figures rest on, the store that it fills, and a scenario whole."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.encoder.orders import Tally
from benchmarks.figures import RESULTS, ROOT
from benchmarks.gallery import data
from benchmarks.gallery.__main__ import SCENARIOS, asked, command_of, cores, is_kept, plan_of
from benchmarks.gallery.calls import read_requests, together, write_requests
from benchmarks.gallery.enrol import CEILING, CEILING_SCRIPT, CapturingDoor, Ceiling, People, written_sizes
from benchmarks.gallery.faults import FAILED, FAULTS, PASSED, SKIPPED, read_outcomes, run_tests
from benchmarks.gallery.filling import ClearSealer, fill, fill_in_clear, keys_environ, open_store
from benchmarks.gallery.float16 import score_errors
from benchmarks.gallery.plan import Plan, free_memory_gb, in_rounds, on_cores, read_told
from benchmarks.gallery.store_server import StoreServer, store_server
from gallery_svc.rows import half
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.durability import Durability
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.lua import Script, load_scripts
from gallery_svc.store.memory_side import Unstamped
from gallery_svc.store.redis import RedisStore
from gallery_svc.store.redis_door import open_door
from gallery_svc.store.sealing import Sealer
from tessera.domain.embedding import Modality
from tessera.domain.ids import CollectionId
from tests.told import tell

PEOPLE = CollectionId("people")


# ---- the people


def test_people_are_the_same_each_time_and_as_the_gallery_keeps_them() -> None:
    """A run is compared with another run; rows are float16 unit vectors without subnormal numbers."""
    rows = data.templates(300)
    assert np.array_equal(rows, data.templates(300))
    assert not np.array_equal(rows, data.templates(300, seed=5))
    assert np.array_equal(rows, half(rows.astype(np.float32)))
    assert np.allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1.0, atol=1e-3)


def test_a_probe_is_most_like_its_own_subject_and_far_from_all_others() -> None:
    """Whatever a scenario finds for it can be called right or wrong."""
    rows = data.templates(2000)
    numbers, probes = data.mated_probes(rows, 50)
    assert [line[0] for line in data.exact_best(rows, probes, 2)] == numbers
    scores = probes.astype(np.float64) @ rows.astype(np.float64).T
    assert scores[np.arange(50), numbers].min() > 0.9
    scores[np.arange(50), numbers] = -1
    assert scores.max() < 0.6


def test_the_best_are_ranked_by_score_and_then_by_number() -> None:
    """Two rows that are the same are told in the order of their numbers."""
    rows = data.templates(6)
    rows[4] = rows[1]
    assert data.exact_best(rows, rows[1:2].astype(np.float32), 2) == [[1, 4]]


@pytest.mark.parametrize("each", [1, 3])
def test_batches_hold_every_template_once_under_its_subject(each: int) -> None:
    """However many templates a subject has."""
    rows = data.templates(12 * each)
    found = list(data.batches(rows, each, size=5))
    assert [len(batch.subject_ids) for batch in found] == [5, 5, 2]
    assert np.array_equal(np.concatenate([batch.vectors for batch in found]), rows)
    assert [name for batch in found for name in batch.subject_ids] == [data.subject_name(n) for n in range(12)]
    assert len({name for batch in found for name in batch.template_ids}) == len(rows)
    assert all(batch.counts == [each] * len(batch.subject_ids) for batch in found)


def test_recall_is_the_share_of_what_was_to_be_found() -> None:
    """Whatever else was found."""
    assert data.overlap([["a", "x"], ["c", "b"]], [["a", "b"], ["b", "c"]]) == 0.75


# ---- the plan


def test_measures_take_turns_and_each_begins_a_round() -> None:
    """A drift of the machine falls on all of them alike; what is measured stands with its measure."""
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    measured = in_rounds([lambda: measure("a"), lambda: measure("b")], 2)
    assert order == ["a", "b", "b", "a"]
    assert measured == [[1.0, 4.0], [2.0, 3.0]]


def test_what_starts_in_a_block_stays_on_its_processors() -> None:
    """And we are where we were afterwards, also when it fails."""
    before = os.sched_getaffinity(0)
    one = frozenset({min(before)})
    with pytest.raises(ZeroDivisionError), on_cores(one):
        told = subprocess.run(
            [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(told.stdout) == sorted(one)
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


def test_cores_leave_some_for_those_who_call() -> None:
    """All of them, none, or one that is not ours are refused."""
    ours = sorted(os.sched_getaffinity(0))
    for told in ("", "x", ",".join(map(str, ours)), str(max(ours) + 1)):
        with pytest.raises(argparse.ArgumentTypeError):
            cores(told)
    if len(ours) > 1:
        assert cores(str(ours[0])) == {ours[0]}
        assert plan_of(cores(str(ours[0])), quick=True).client_cores == set(ours[1:])
    assert plan_of(frozenset(), quick=True).client_cores == set(ours)


def test_figures_of_pinned_runs_stand_beside_the_others() -> None:
    """Figures replace those of the same command alone."""
    assert command_of("identify", Plan()) == 'make bench-gallery ARGS="identify"'
    pinned = command_of("identify", Plan(server_cores=frozenset({1, 0})))
    assert pinned == 'make bench-gallery ARGS="--server-cores 0,1 identify"'


def test_a_group_is_its_parts_and_none_is_measured_twice() -> None:
    """Nothing named: everything, each once."""
    assert asked(["faults", "kills"]) == list(FAULTS)
    assert asked(["kills", "verify", "kills"]) == ["kills", "verify"]
    assert asked([]) == list(SCENARIOS)


def test_figures_are_kept_of_a_commit_and_not_of_changes_on_top_of_it(tmp_path: Path) -> None:
    """What was broken off goes on where it was; another commit begins anew."""
    kept, command = tmp_path / "gallery.json", command_of("kills", Plan())
    assert not is_kept(command, kept, "abc")
    kept.write_text(json.dumps([{"command": command, "commit": "abc"}, {"command": "x", "commit": "abc+changes"}]))
    assert is_kept(command, kept, "abc")
    assert not is_kept(command, kept, "abd")
    assert not is_kept("x", kept, "abc+changes")


def test_free_memory_is_some_of_what_there_is() -> None:
    """More than nothing, and not more than the machine has."""
    whole_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert 0 < free_memory_gb() <= whole_gb


# ---- what tests told


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "cuts", "value": 3, "unit": "cuts"}, {"name": "lost", "value": 0, "unit": "writes"}]',
        '{"name": "cuts", "value": 3, "unit": "cuts"}\n{"name": "lost", "value": 0, "unit": "writes"}\n',
        '[{"name": "cuts", "value": 3, "unit": "cuts"}]\n[{"name": "lost", "value": 0, "unit": "writes"}]\n',
    ],
    ids=["a list", "lines", "lists in lines"],
)
def test_figures_of_tests_are_read_in_their_order(tmp_path: Path, text: str) -> None:
    """However they were put into the file."""
    path = tmp_path / "result.json"
    path.write_text(text, encoding="utf-8")
    assert [(figure["name"], figure["value"]) for figure in read_told(path)] == [("cuts", 3), ("lost", 0)]


def test_a_figure_without_its_unit_is_refused_and_no_file_is_no_figure(tmp_path: Path) -> None:
    """Nothing is counted that was not told."""
    path = tmp_path / "result.json"
    assert read_told(path) == []
    path.write_text('[{"name": "cuts", "value": 3}]', encoding="utf-8")
    with pytest.raises(ValueError, match="unit"):
        read_told(path)


SUITE = """
import json, os
import pytest

@pytest.mark.parametrize("shards", [1, 8])
@pytest.mark.parametrize("kind", ["memory", "redis7"])
def test_kind(kind, shards):
    if kind == "redis7" and shards == 8:
        pytest.skip("it is not installed")
    assert (kind, shards) != ("redis7", 1)

@pytest.fixture
def broken():
    raise OSError

def test_setup(broken):
    pass

def test_tells():
    with open(os.environ["TESSERA_CHAOS_RESULT"], "a") as file:
        file.write(json.dumps([{"name": "kills", "value": 5, "unit": "kills"}]) + "\\n")
"""


def test_a_suite_is_counted_by_outcome_and_kind(tmp_path: Path) -> None:
    """What fails in its preparation failed; a skip says why; what the tests told is told."""
    suite = tmp_path / "test_suite_in_a_folder.py"
    suite.write_text(SUITE, encoding="utf-8")
    outcomes, told = run_tests([str(suite), "-c", os.devnull, "--rootdir", str(tmp_path)], {})
    assert not outcomes.ended_well
    assert [outcomes.count(each) for each in (PASSED, FAILED, SKIPPED)] == [3, 2, 1]
    assert outcomes.by_kind() == {"memory": {PASSED: 2}, "redis7": {FAILED: 1, SKIPPED: 1}}
    assert outcomes.by_promise() == {
        "kind": {PASSED: 2, FAILED: 1, SKIPPED: 1},
        "setup": {FAILED: 1},
        "tells": {PASSED: 1},
    }
    assert sum(count for reason, count in outcomes.reasons.items() if "not installed" in reason) == 1
    assert told == [{"name": "kills", "value": 5, "unit": "kills"}]


def test_what_tests_tell_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order; nothing is written where nobody asked."""
    path = tmp_path / "result.json"
    monkeypatch.delenv("TESSERA_CHAOS_RESULT", raising=False)
    tell("kills", 5, "kills")
    monkeypatch.setenv("TESSERA_CHAOS_RESULT", str(path))
    tell("kills", 50, "kills", "50", holds=True)
    tell("lost", 0, "writes")
    assert read_told(path) == [
        {"name": "kills", "value": 50, "unit": "kills", "bar": "50", "holds": True},
        {"name": "lost", "value": 0, "unit": "writes", "bar": "", "holds": None},
    ]


def test_a_suite_that_cannot_be_read_did_not_end_well(tmp_path: Path) -> None:
    """Nothing that ran is not the same as nothing that failed."""
    outcomes, told = run_tests([str(tmp_path / "nowhere"), "-c", os.devnull, "--rootdir", str(tmp_path)], {})
    assert (outcomes.ended_well, outcomes.count(PASSED), told) == (False, 0, [])


def test_a_report_of_nothing_has_no_kinds(tmp_path: Path) -> None:
    """A test without a kind is counted, and belongs to none."""
    report = tmp_path / "junit.xml"
    report.write_text('<testsuites><testsuite><testcase name="test_x" classname="m"/></testsuite></testsuites>')
    outcomes = read_outcomes(report, ended_well=True)
    assert (outcomes.count(PASSED), outcomes.by_kind()) == (1, {})


# ---- callers


def test_requests_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    """Empty ones too."""
    bodies = [b"one", b"", bytes(range(256)) * 9]
    assert read_requests(write_requests(tmp_path / "requests", bodies)) == bodies


def test_what_several_processes_saw_is_one_tally() -> None:
    """Their calls add up; the span was the same."""
    parts = [
        Tally(2.0, {"OK": [1.0, 2.0]}, late_ms=[0.1]),
        Tally(2.1, {"OK": [3.0], "UNAVAILABLE": [9.0]}, late_ms=[0.2]),
    ]
    whole = together(parts)
    assert (whole.seconds, whole.counts, whole.late_ms) == (2.1, {"OK": 3, "UNAVAILABLE": 1}, [0.1, 0.2])


# ---- float16


def test_errors_of_scores_are_those_of_a_loop() -> None:
    """Each score with the rounded row against the score with the row itself."""
    rows, probes = data.unit_rows(5, 1, 16), data.unit_rows(3, 2, 16)

    def cosine(row: np.ndarray, probe: np.ndarray) -> float:
        return float(np.dot(row.astype(float), probe.astype(float)) / np.linalg.norm(row.astype(float)))

    expected = [abs(cosine(half(row), probe) - cosine(row, probe)) for row in rows for probe in probes]
    assert np.allclose(score_errors(rows, probes), expected, atol=1e-12)
    assert max(expected) > 0


# ---- the store


@pytest.fixture(scope="module")
def running() -> Iterator[StoreServer]:
    """One server for this module."""
    with store_server("--appendfsync", "everysec") as server:
        yield server


@pytest.fixture
def server(running: StoreServer, monkeypatch: pytest.MonkeyPatch) -> StoreServer:
    """An empty store, and a key for this test."""
    for name, value in keys_environ().items():
        monkeypatch.setenv(name, value)
    with running.client() as client:
        client.flushall()
    return running


async def loaded(store: RedisStore) -> tuple[int, np.ndarray]:
    """How many subjects a bulk load gives, and their vectors by template id."""
    subjects, vectors = 0, {}
    async for batch in store.load_rows(PEOPLE, 0, 1):
        subjects += len(batch.subject_ids)
        vectors.update(zip(batch.template_ids, batch.vectors, strict=True))
    return subjects, np.stack([vectors[name] for name in sorted(vectors)])


@pytest.mark.parametrize("each", [1, 3])
async def test_a_filled_store_is_one_that_the_store_itself_finds_whole(server: StoreServer, each: int) -> None:
    """Heads, records, rows and seals agree, so that what is measured on it is measured on the real thing."""
    rows = data.templates(90)
    await fill(server, CollectionRecord(PEOPLE, Modality.FACE, data.MODEL, data.AT), rows, each)
    store = open_store(server.url)
    try:
        assert await store.check(PEOPLE) == []
        head = (await store.heads([PEOPLE]))[PEOPLE]
        assert (head.subject_count, head.template_count) == (90 // each, 90)
        subjects, vectors = await loaded(store)
        assert subjects == 90 // each
        assert np.array_equal(vectors, rows)
    finally:
        await store.close()


async def test_the_control_in_clear_loads_the_same_without_a_key(server: StoreServer) -> None:
    """What is left out is the cipher alone; a store with a cipher cannot read it."""
    rows = data.templates(40)
    await fill_in_clear(server, CollectionRecord(PEOPLE, Modality.FACE, data.MODEL, data.AT), rows)
    store = open_store(server.url, sealer=ClearSealer(Keyring.load("ephemeral")))
    try:
        subjects, vectors = await loaded(store)
        assert subjects == 40
        assert np.array_equal(vectors, rows)
    finally:
        await store.close()


async def test_the_ceiling_writes_about_as_much_as_an_enrolment(server: StoreServer) -> None:
    """As many bytes of content as the enrolment's script puts into its keys, by what the server then holds."""
    scripts = {**load_scripts(), CEILING: Script.of(CEILING_SCRIPT)}
    door = CapturingDoor(open_door(server.url, Durability("everysec"), scripts=scripts))
    store = RedisStore(door, Sealer(Keyring.load("ephemeral")), Unstamped())
    try:
        await store.create_collection(CollectionRecord(PEOPLE, Modality.FACE, data.MODEL, data.AT))
        people = People(store, PEOPLE)
        door.sending = False
        await people.enrol(1)
        door.sending = True
        with server.client() as client:
            before = set(client.scan_iter())
        await door.send(0)
        with server.client() as client:
            ours = sum(len(client.dump(key) or b"") for key in client.scan_iter() if key not in before)
            keys = set(client.scan_iter())
        await Ceiling(door.door, written_sizes(door.kept[0][1])).write(1)
        with server.client() as client:
            new = [key for key in client.scan_iter() if key not in keys]
            theirs = sum(len(client.dump(key) or b"") for key in new)
        assert len(new) == 7
        assert 0.7 * ours < theirs < 1.3 * ours
    finally:
        await store.close()


# ---- a scenario whole


def test_a_quick_run_prints_its_figures_and_keeps_none() -> None:
    """From the command line, in a process of its own."""
    kept = RESULTS / "gallery.json"
    before = kept.read_bytes() if kept.is_file() else None
    environ = {name: value for name, value in os.environ.items() if name != "TESSERA_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gallery", "--quick", "float16"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "float16: p99 of the difference of a score" in done.stdout
    assert "LFW with float16 and float32 is left out" in done.stdout
    assert (kept.read_bytes() if kept.is_file() else None) == before
