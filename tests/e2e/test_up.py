"""The real `tessera up --demo`: real services, real faces, real kills; what a user is promised on the first day."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tessera.client import Tessera

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

_START_LIMIT_S = 90.0
_LIMIT_S = 30.0


def wait_until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not hold within the limit.
    """
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, f"{what} did not come true within {limit_s} s"
        threading.Event().wait(0.05)


@dataclass
class Instance:
    """A running `tessera up`, its lines so far, and a way to call commands against it."""

    process: subprocess.Popen[str]
    data_dir: Path
    lines: list[str] = field(default_factory=list)
    new: queue.Queue[str] = field(default_factory=queue.Queue)

    def follow(self) -> None:
        """Collect its lines until its output ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            self.new.put(line.rstrip())

    def wait_for_line(self, pattern: str, limit_s: float) -> str:
        """The next line, from those not looked at yet, that has the pattern."""
        until_s = time.monotonic() + limit_s
        while True:
            try:
                line = self.new.get(timeout=max(0.01, until_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {pattern!r} in {limit_s} s; lines: {self.lines[-20:]}") from None
            if re.search(pattern, line):
                return line

    def children(self) -> Mapping[str, dict[str, Any]]:
        """What `instance.json` says of each child."""
        told = json.loads((self.data_dir / "instance.json").read_text(encoding="utf-8"))
        return {child["name"]: child for child in told["children"]}

    def run(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A command of the command line, against this instance."""
        children = self.children()
        addresses = {f"TESSERA_{name.upper()}": children[name]["address"] for name in ("gallery", "ingest", "encoder")}
        command = [sys.executable, "-m", "tessera.cli", *map(str, arguments)]
        environ = {**os.environ, **addresses}
        return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=_LIMIT_S, env=environ)

    def json(self, *arguments: str | Path) -> Any:
        """The JSON that a command prints."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def create_collection(self, collection_id: str) -> None:
        """Make a collection, beside the one that the demo's camera looks in."""
        with Tessera(self.children()["gallery"]["address"]) as tessera:
            tessera.create_collection(collection_id)

    def kill(self, name: str) -> None:
        """kill -9 one child and wait until its successor takes work."""
        before = self.children()[name]
        os.kill(before["pid"], signal.SIGKILL)

        def is_back() -> bool:
            now = self.children()[name]
            return now["pid"] not in {0, before["pid"]} and now["state"] == "ready"

        wait_until(is_back, _LIMIT_S, f"a ready successor of {name}")
        assert self.children()[name]["restarts"] == before["restarts"] + 1


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """`tessera up --demo` on free ports and an empty folder; ended in good order afterwards."""
    data_dir = tmp_path_factory.mktemp("up")
    command = [sys.executable, "-m", "tessera.cli", "up", "--demo", "--no-view", "--base-port", "0"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(data_dir)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    running = Instance(process, data_dir)
    reader = threading.Thread(target=running.follow, daemon=True)
    reader.start()
    try:
        running.wait_for_line(r"^ready after", _START_LIMIT_S)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_LIMIT_S)
        finally:
            process.kill()
            reader.join(_LIMIT_S)


@pytest.fixture(scope="module")
def pictures(portraits: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the portraits."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, content in portraits.items():
        (folder / name).write_bytes(content)
    return folder


def test_the_demo_shows_a_right_match_and_a_right_unknown(instance: Instance) -> None:
    """Who is enrolled is named, who is not stays unknown, and nobody is taken for somebody else."""
    wait_until(lambda: any("first match after" in line for line in instance.lines), _LIMIT_S, "a match")
    wait_until(lambda: any("first unknown after" in line for line in instance.lines), _LIMIT_S, "an unknown")
    matches = [line for line in instance.lines if " MATCH " in line]
    assert matches
    assert all("Barack Obama" in line or "Eileen Collins" in line for line in matches)
    assert not any("Biden" in line for line in instance.lines)


def test_the_commands_decide_against_the_running_instance(instance: Instance, pictures: Path) -> None:
    """enroll, verify, identify and compare, with the exit codes that scripts read."""
    instance.create_collection("doors")
    enrolled = instance.run("enroll", "joe", pictures / "biden.jpg", "--name", "Joe", "--collection", "doors")
    assert enrolled.returncode == 0, enrolled
    verified = instance.run("verify", "barack-obama", pictures / "obama3.jpg")
    assert verified.returncode == 0
    assert verified.stdout.startswith(b"MATCH barack-obama at FMR <= 1e-4 (measured ")
    assert instance.run("verify", "barack-obama", pictures / "biden.jpg").returncode == 1
    assert instance.run("verify", "barack-obama", "-", stdin=(pictures / "obama3.jpg").read_bytes()).returncode == 0
    assert instance.run("identify", pictures / "obama3.jpg").returncode == 0
    assert instance.run("identify", pictures / "biden.jpg").returncode == 2
    assert instance.run("compare", pictures / "obama.jpg", pictures / "obama2.jpg").returncode == 0
    assert instance.run("compare", pictures / "obama.jpg", pictures / "biden.jpg").returncode == 1


def test_bad_input_is_refused_with_its_reason(instance: Instance, pictures: Path, tmp_path: Path) -> None:
    """3, the reason, and the way on; nothing is lost."""
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for arguments, reason in [
        (("verify", "nobody", pictures / "obama.jpg"), "SUBJECT_NOT_FOUND"),
        (("verify", "barack-obama", text), "NOT_AN_IMAGE"),
        (("verify", "barack-obama", empty), "EMPTY_IMAGE"),
        (("enroll", "a b", pictures / "obama.jpg"), "INVALID_FIELD"),
    ]:
        done = instance.run(*arguments, "--json")
        assert done.returncode == 3, done
        assert json.loads(done.stderr)["error"]["reason"] == reason


def test_a_second_instance_is_refused(instance: Instance) -> None:
    """The folder is this one's."""
    again = instance.run("up", "--base-port", "0", "--data-dir", instance.data_dir)
    assert again.returncode == 3
    assert str(instance.process.pid).encode() in again.stderr


def test_every_acknowledged_enrolment_outlives_kill_9_of_each_process(instance: Instance, pictures: Path) -> None:
    """The supervisor starts each again, the services find the store again, and people are still matched."""
    instance.create_collection("kills")
    for name in ("ingest", "encoder", "gallery", "valkey"):
        subject_id = f"enrolled-before-{name}"
        assert instance.run("enroll", subject_id, pictures / "obama2.jpg", "--collection", "kills").returncode == 0
        instance.kill(name)
    wait_until(lambda: instance.run("status").returncode == 0, _LIMIT_S, "all services ready")
    listed = instance.json("subjects", "list", "--collection", "kills")["subjects"]
    expected = {f"enrolled-before-{name}" for name in ("ingest", "encoder", "gallery", "valkey")}
    assert {subject["subject_id"] for subject in listed} == expected
    assert all(len(subject["templates"]) == 1 for subject in listed)
    for subject_id in sorted(expected):
        done = instance.run("verify", subject_id, pictures / "obama3.jpg", "--collection", "kills")
        assert done.returncode == 0, done


def test_the_camera_goes_on_after_kill_9(instance: Instance) -> None:
    """The camera was remembered, and decisions come again."""
    instance.kill("ingest")
    while not instance.new.empty():
        instance.new.get()
    instance.wait_for_line(r" demo +(MATCH|UNKNOWN) ", 60.0)
    assert [camera["camera_id"] for camera in instance.json("camera", "list")["cameras"]] == ["demo"]


def test_everything_ends_in_order_and_is_there_again(tmp_path: Path, portraits: Mapping[str, bytes]) -> None:
    """SIGTERM ends all; the next start on the same folder knows the person; kill -9 of the parent leaves no orphan."""
    picture = tmp_path / "obama.jpg"
    picture.write_bytes(portraits["obama.jpg"])
    command = [sys.executable, "-m", "tessera.cli", "up", "--no-view", "--base-port", "0", "--data-dir", str(tmp_path)]
    for life in ("first", "second"):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            instance = Instance(process, tmp_path)
            reader = threading.Thread(target=instance.follow, daemon=True)
            reader.start()
            instance.wait_for_line(r"^ready after", _START_LIMIT_S)
            children = [psutil.Process(child["pid"]) for child in instance.children().values()]
            if life == "first":
                assert instance.run("enroll", "alice", picture).returncode == 0
                process.send_signal(signal.SIGTERM)
                assert process.wait(_LIMIT_S) == 0
            else:
                assert [s["subject_id"] for s in instance.json("subjects", "list")["subjects"]] == ["alice"]
                process.kill()
            wait_until(lambda: not any(child.is_running() for child in children), 10.0, "the end of all")  # noqa: B023 - waited for at once
            reader.join(_LIMIT_S)
