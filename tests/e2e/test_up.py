"""The real `tessera up --demo`: real services, real faces, real kills; what a user is promised on the first day."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tessera.chassis.ports import free_port
from tessera.cli.__main__ import main
from tessera.cli.failure import Failure
from tessera.cli.instance import locked_data_dir
from tessera.client import Tessera
from tessera.client.answers import ServiceState
from tessera.client.errors import ServiceUnavailable
from tessera.client.webhooks import WebhookNotification, WebhookReceiver, WebhookRejected
from tessera.domain.alerting.rules import Rule, RuleKind
from tessera.domain.artifact import DEFAULT_ENCODERS, load_manifest
from tessera.domain.embedding import Modality

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_START_LIMIT_S = 200.0
_LIMIT_S = 90.0


def wait_until(condition: Callable[[], object], limit_s: float, what: str) -> None:
    """Return as soon as the condition holds.

    Raises:
        AssertionError: it did not hold within the limit.
    """
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, f"{what} did not come true within {limit_s} s"
        threading.Event().wait(0.05)


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


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

    def run(self, *arguments: str | Path) -> Done:
        """A command against this instance, in this process: an interpreter's start for each would take minutes."""
        addresses = [
            f"--{name}={self.children()[name]['address']}" for name in ("gallery", "ingest", "encoder", "gateway")
        ]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*map(str, arguments), *addresses])
        return Done(code, out.getvalue(), err.getvalue())

    def connect(self) -> Tessera:
        """The SDK, against this instance."""
        address = {name: child["address"] for name, child in self.children().items()}
        return Tessera(
            address["gallery"], ingest=address["ingest"], encoder=address["encoder"], gateway=address["gateway"]
        )

    def connect_when(self, pattern: str) -> Tessera:
        """The same, as soon as a line with the pattern was written."""
        self.wait_for_line(pattern, _START_LIMIT_S)
        return self.connect()

    def kill(self, name: str) -> None:
        """kill -9 one child and wait until its successor takes work."""
        before = self.children()[name]
        os.kill(before["pid"], signal.SIGKILL)

        def is_back() -> bool:
            now = self.children()[name]
            return now["pid"] not in {0, before["pid"]} and now["state"] == "ready"

        # A start, and that of an encoder on a busy machine takes its time.
        wait_until(is_back, _START_LIMIT_S, f"a ready successor of {name}")
        assert self.children()[name]["restarts"] == before["restarts"] + 1


@contextmanager
def running(data_dir: Path, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[Instance]:
    """`tessera up` on free ports; ended in good order afterwards, if nobody did before."""
    environ = {**os.environ, **(environ or {})}
    command = [sys.executable, "-m", "tessera.cli", "up", "--no-view", "--base-port", "0", "--data-dir", str(data_dir)]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
    ) as process:
        instance = Instance(process, data_dir)
        reader = threading.Thread(target=instance.follow, daemon=True)
        reader.start()
        try:
            yield instance
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LIMIT_S)
            process.kill()
            reader.join(_LIMIT_S)


class Door:
    """A receiver of webhooks: checks them with the library, and keeps what it was told."""

    def __init__(self) -> None:
        self.secret = "the-secret-of-a-door-of-a-test"  # noqa: S105 - it opens no door
        self.told: list[WebhookNotification] = []
        door, receiver = self, WebhookReceiver(self.secret)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    with receiver.receive(dict(self.headers), body) as told:
                        door.told.append(told)
                    self.send_response(204)
                except WebhookRejected as rejection:
                    self.send_response(rejection.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def targets(self) -> str:
        """The file of targets that names it."""
        url = f"http://127.0.0.1:{self.server.server_port}/"
        return json.dumps({"targets": [{"name": "door", "type": "webhook", "url": url, "secret": "${DOOR_SECRET}"}]})


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """It listens until the end of the module."""
    made = Door()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory, door: Door) -> Iterator[Instance]:
    """`tessera up --demo` on an empty folder, with somebody who is told of alerts."""
    targets = tmp_path_factory.mktemp("targets") / "targets.json"
    targets.write_text(door.targets, encoding="utf-8")
    port = free_port()
    environ = {
        "DOOR_SECRET": door.secret,
        "TESSERA_GATEWAY_ALLOWED_NETWORKS": "127.0.0.1",
        "TESSERA_GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "TESSERA_GATEWAY_HTTP_PORT": str(port),
        "TESSERA_GATEWAY_LINK_KEY": "a-key-for-links-of-a-test",
    }
    with running(tmp_path_factory.mktemp("up"), "--demo", "--targets", str(targets), environ=environ) as instance:
        instance.wait_for_line(r"^ready after", _START_LIMIT_S)
        yield instance


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
    seen = [line for line in instance.lines if not line.startswith("signature desk") and " NO MATCH " not in line]
    matches = [line for line in seen if " MATCH " in line]
    assert matches
    assert all("Barack Obama" in line or "Eileen Collins" in line for line in matches)
    assert not any("Biden" in line for line in instance.lines)


def test_the_demo_shows_a_signature_desk(instance: Instance) -> None:
    """A decision about a genuine signature and one about a forgery: which, the weights say. Whoever signed is enrolled
    with five references."""
    wait_until(lambda: sum("signature desk, " in line for line in instance.lines) == 2, _LIMIT_S, "both decisions")
    with instance.connect() as tessera:
        signed = tessera.get_subject("demo-writer", collection_id="signatures")
        assert len(signed.templates) == 5
        assert {facts.name for facts in tessera.encoders()} == set(DEFAULT_ENCODERS.values())


def test_an_alert_of_the_demo_reaches_a_door_signed(instance: Instance, door: Door) -> None:
    """A rule, somebody unknown at the demo's camera, a webhook that its receiver finds genuine and may act on."""
    with instance.connect() as tessera:
        tessera.put_rule(Rule("strangers", RuleKind.UNKNOWN_PERSON, cooldown_s=0.0))
    wait_until(lambda: any(told.kind == "ALERT" for told in door.told), _LIMIT_S, "an alert at the door")
    told = next(told for told in door.told if told.kind == "ALERT")
    assert told.may_act
    assert (told.alert["rule_id"], told.alert["state"], told.camera_id) == ("strangers", "OPEN", "demo")
    with urllib.request.urlopen(told.content["shot"]["url"], timeout=20) as picture:  # noqa: S310 - the gateway's own
        assert picture.read(2) == b"\xff\xd8"
    assert instance.run("notifications", "test", "door").code == 0
    assert any(told.test for told in door.told)
    assert "door" in instance.run("notifications", "targets").out
    assert "gateway" in instance.run("status").out


def test_the_commands_decide_against_the_running_instance(instance: Instance, pictures: Path) -> None:
    """enroll, verify, identify and compare, with the exit codes that scripts read."""
    with instance.connect() as tessera:
        tessera.create_collection("doors")
    enrolled = instance.run("enroll", "joe", pictures / "biden.jpg", "--name", "Joe", "--collection", "doors")
    assert enrolled.code == 0, enrolled
    verified = instance.run("verify", "barack-obama", pictures / "obama3.jpg")
    assert verified.code == 0
    assert verified.out.startswith("MATCH barack-obama at FMR <= 1e-4 (measured ")
    assert instance.run("verify", "barack-obama", pictures / "biden.jpg").code == 1
    assert instance.run("identify", pictures / "obama3.jpg").code == 0
    assert instance.run("identify", pictures / "biden.jpg").code == 2
    assert instance.run("compare", pictures / "obama.jpg", pictures / "obama2.jpg").code == 0
    assert instance.run("compare", pictures / "obama.jpg", pictures / "biden.jpg").code == 1
    listed = json.loads(instance.run("subjects", "list", "--json").out)["subjects"]
    assert {subject["subject_id"] for subject in listed} >= {"barack-obama", "eileen-collins"}


def test_whoever_was_seen_is_listed_and_shown(instance: Instance, tmp_path: Path) -> None:
    """Sightings with their best shots: pictures of the face, one command away."""
    wait_until(lambda: any("first match after" in line for line in instance.lines), _LIMIT_S, "a match")
    listed = instance.run("sightings", "list", "--outcome", "match", "--camera", "demo", "--json")
    assert listed.code == 0, listed
    shot_id = json.loads(listed.out.splitlines()[0])["sighting"]["best_shot_id"]
    path = tmp_path / "shot.jpg"
    fetched = instance.run("sightings", "shot", shot_id, "-o", path)
    assert fetched.code == 0, fetched
    assert path.read_bytes()[:2] == b"\xff\xd8"
    assert instance.run("sightings", "shot", "0" * 32, "-o", path).code == 3


def test_a_picture_is_piped_into_the_command(instance: Instance, pictures: Path) -> None:
    """`tessera verify SUBJECT -`, as a process of its own."""
    address = instance.children()["gallery"]["address"]
    command = [sys.executable, "-m", "tessera.cli", "verify", "barack-obama", "-", "--gallery", address]
    picture = (pictures / "obama3.jpg").read_bytes()
    done = subprocess.run(command, input=picture, capture_output=True, check=False, timeout=_LIMIT_S)
    assert done.returncode == 0, done
    assert done.stdout.startswith(b"MATCH barack-obama")


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
        assert done.code == 3, done
        assert json.loads(done.err)["error"]["reason"] == reason


def test_a_second_instance_is_refused(instance: Instance) -> None:
    """The folder is this one's."""
    with pytest.raises(Failure, match=f"process {instance.process.pid}"), locked_data_dir(instance.data_dir):
        pass


def _enrolled(tessera: Tessera, subject_id: str, picture: Path) -> bool:
    """Whether the enrolment was acknowledged; a client tries again while what was killed before is coming back."""
    try:
        tessera.enroll(subject_id, picture, collection_id="kills", request_id=subject_id)
    except ServiceUnavailable:
        return False
    return True


def test_every_acknowledged_enrolment_outlives_kill_9_of_each_process(instance: Instance, pictures: Path) -> None:
    """The supervisor starts each again, the services find the store again, and people are still matched."""
    names = ("gateway", "ingest", "encoder", "gallery", "valkey")
    expected = {f"enrolled-before-{name}" for name in names}
    with instance.connect() as tessera:
        tessera.create_collection("kills")
        for name in names:
            enrolled = partial(_enrolled, tessera, f"enrolled-before-{name}", pictures / "obama2.jpg")
            wait_until(enrolled, _LIMIT_S, f"the enrolment before {name} is killed")
            instance.kill(name)
        wait_until(
            lambda: all(service.state is ServiceState.SERVING for service in tessera.status()), _LIMIT_S, "all ready"
        )
        subjects = {subject.subject_id: subject for subject in tessera.subjects(collection_id="kills")}
        assert subjects.keys() == expected
        assert all(len(subject.templates) == 1 for subject in subjects.values())
        for subject_id in expected:
            assert tessera.verify(subject_id, pictures / "obama3.jpg", collection_id="kills").is_match


def test_the_camera_goes_on_after_kill_9(instance: Instance) -> None:
    """The camera was remembered, and decisions come again."""
    instance.kill("ingest")
    cameras = json.loads(instance.run("camera", "list", "--json").out)["cameras"]
    assert [camera["camera_id"] for camera in cameras] == ["demo"]
    while not instance.new.empty():
        instance.new.get()
    instance.wait_for_line(r" demo +(MATCH|UNKNOWN) ", 60.0)


def test_everything_ends_in_order_and_is_there_again(tmp_path: Path) -> None:
    """SIGTERM ends all; the next start on the same folder knows the person; kill -9 of the parent leaves no orphan."""
    for life in ("first", "second"):
        with running(tmp_path) as instance, instance.connect_when(r"^gallery ready after") as tessera:
            children = [psutil.Process(child["pid"]) for child in instance.children().values()]
            if life == "first":
                tessera.enroll(
                    "alice", np.arange(1, 129), model_id=load_manifest(DEFAULT_ENCODERS[Modality.FACE]).model_id
                )
                instance.process.send_signal(signal.SIGTERM)
                assert instance.process.wait(_LIMIT_S) == 0
            else:
                assert [subject.subject_id for subject in tessera.subjects()] == ["alice"]
                instance.process.kill()
            wait_until(partial(_all_ended, children), 10.0, "the end of every process")


def _all_ended(processes: Sequence[psutil.Process]) -> bool:
    return not any(process.is_running() for process in processes)
