"""`tessera up` before its services run: ports, the lock, cameras, and what refuses to start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tessera.chassis.clock import SystemClock
from tessera.cli.__main__ import main
from tessera.cli.camera_argument import parse_cameras
from tessera.cli.failure import Failure
from tessera.cli.instance import locked_data_dir, write_instance
from tessera.cli.ports import ports_from, settle_ports


def _up(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tessera.cli", "up", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={**os.environ, **environ},
    )


def test_a_port_in_use_is_named_with_the_option_that_changes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, and nothing was started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ["up", "--data-dir", str(tmp_path), "--base-port", "0", "--gallery-port", str(port)]
        assert main(arguments) == 3
    told = capsys.readouterr().err
    assert f"port {port} of the gallery is in use" in told
    assert "--gallery-port" in told
    assert not (tmp_path / "instance.json").exists()


def test_a_second_instance_on_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3; the process that has the folder is named."""
    with locked_data_dir(tmp_path):
        assert main(["up", "--data-dir", str(tmp_path), "--base-port", "0"]) == 3
    assert f"process {os.getpid()}" in capsys.readouterr().err


def test_a_full_disk_keeps_the_addresses_that_were_told(tmp_path: Path) -> None:
    """What runs goes on; the file is replaced when there is room again."""
    ports = ports_from(7001, {})
    assert write_instance(tmp_path, ports, ())
    before = (tmp_path / "instance.json").read_text()
    (tmp_path / "instance.json.part").symlink_to("/dev/full")
    assert not write_instance(tmp_path, ports_from(8001, {}), ())
    assert (tmp_path / "instance.json").read_text() == before
    (tmp_path / "instance.json.part").unlink()
    assert write_instance(tmp_path, ports_from(8001, {}), ())
    assert json.loads((tmp_path / "instance.json").read_text())["ports"]["gallery"] == 8002


def test_a_data_folder_on_a_full_disk_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3, and the option that changes it."""
    (tmp_path / "up.lock").symlink_to("/dev/full")
    assert main(["up", "--data-dir", str(tmp_path), "--base-port", "0"]) == 3
    told = capsys.readouterr().err
    assert "--data-dir" in told


def test_a_wrong_setting_of_a_service_ends_everything_with_its_message(tmp_path: Path) -> None:
    """Exit code 3, the service's own words, and no process left."""
    done = _up("--no-view", "--base-port", "0", "--data-dir", str(tmp_path), TESSERA_ENCODER_THREADS="many")
    assert done.returncode == 3, done.stderr
    assert "the encoder refused to start: TESSERA_ENCODER_THREADS: got 'many'" in done.stderr
    assert "stopped" in done.stdout
    children = json.loads((tmp_path / "instance.json").read_text())["children"]
    assert not any(Path(f"/proc/{child['pid']}").exists() for child in children if child["pid"])


def test_the_ports_stand_above_the_base() -> None:
    """One option moves all of them; another moves one."""
    assert ports_from(7001, {}).encoder_metrics == 9101
    assert ports_from(7001, {}).store == 7379
    moved = ports_from(8001, {"store": 6000})
    assert (moved.encoder, moved.gallery, moved.ingest, moved.store) == (8001, 8002, 8003, 6000)


def test_zero_finds_free_ports_and_no_port_twice() -> None:
    """All nine differ."""
    ports = settle_ports(ports_from(0, {}), SystemClock())
    chosen = [getattr(ports, name) for name in ports.__dataclass_fields__]
    assert len(set(chosen)) == 9
    assert all(20_000 <= port < 30_000 for port in chosen)


def test_cameras_are_named_by_the_user_or_by_their_place() -> None:
    """An equals sign inside of a URL is no name."""
    cameras = parse_cameras(["door=rtsp://10.0.0.1/a", "rtsp://10.0.0.2/b?channel=1", "demo:"])
    assert [(camera.camera_id, camera.url) for camera in cameras] == [
        ("door", "rtsp://10.0.0.1/a"),
        ("camera-2", "rtsp://10.0.0.2/b?channel=1"),
        ("camera-3", "demo:"),
    ]


def test_two_cameras_of_one_name_are_refused() -> None:
    """The error shows which."""
    with pytest.raises(Failure, match="door=demo:"):
        parse_cameras(["door=rtsp://10.0.0.1/a", "door=demo:"])


def test_a_file_is_found_again_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The camera outlives this call, the present folder does not."""
    (tmp_path / "walk.mp4").touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    urls = [camera.url for camera in parse_cameras(["walk.mp4", "folder:shots", "demo:", "gone.mp4"])]
    assert urls == [str(tmp_path / "walk.mp4"), f"folder:{tmp_path / 'shots'}", "demo:", "gone.mp4"]
